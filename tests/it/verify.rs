//! `KACHE_VERIFY=hits`: a hit also compiles, and reports the differences between the compile and the store.

use std::fs;

use serde_json::Value;

use crate::support::{Project, RawOutput, settle, stat};

const DEP: &str = "pub fn value() -> u32 { 7 }\n";
const RLIB: &str = "target/debug/deps/libdep-0000000000000000.rlib";
const RMETA: &str = "target/debug/deps/libdep-0000000000000000.rmeta";

/// A library in the cache; from now on, kache verifies hits.
fn stored() -> Project {
    let mut project = Project::lib(DEP);
    settle();
    project.unit("dep", "src/lib.rs").warm();
    project.set("KACHE_VERIFY", "hits");
    project
}

/// Verifies one hit and returns the outcome and its detail.
#[track_caller]
fn verify(project: &Project) -> (String, String) {
    project.unit("dep", "src/lib.rs").misses();
    last(project)
}

fn last(project: &Project) -> (String, String) {
    let event = project.events().pop().expect("an event");
    let text = |field: &str| event[field].as_str().expect("text").to_owned();
    (text("outcome"), text("detail"))
}

#[track_caller]
fn stats(project: &Project) -> Value {
    project.kache_json(&["stats", "--json"])["events"].clone()
}

#[test]
fn a_reproducible_build_is_verified() {
    let mut project = Project::app_over(DEP);
    project.warm(&["dep"]);
    project.set("KACHE_VERIFY", "hits");
    project.rebuild_misses(&["dep"]);
    assert_eq!(project.last_outcome("dep").0, "hit.verified");
    assert_eq!(project.app_output(), "7");
    project.assert_noop();
    let rlib = crate::support::find_one(&project.target_dir().join("debug/deps"), "libdep-", ".rlib");
    assert_eq!(stat(&rlib).nlink, 1, "the fresh output, not the store's");
    project.assert_store_whole();

    let events = stats(&project);
    let verified = project.events().iter().filter(|event| event["outcome"] == "hit.verified").count();
    assert_eq!(
        (events["verified"].as_u64(), events["hits"].as_u64()),
        (Some(verified as u64), Some(2 * verified as u64))
    );
    assert_eq!(events["differing"], serde_json::json!({}));
    project.unset("KACHE_VERIFY");
    project.rebuild_hits(&["dep"]);
    assert_eq!(project.last_outcome("dep").0, "hit.local", "only on demand");
}

#[test]
fn hits_of_another_checkout_are_verified_too() {
    let mut project = Project::app_over("pub fn value() -> u32 { let unused = 1; panic!(\"here\") }\n");
    project.warm(&["dep"]);
    project.set("KACHE_VERIFY", "hits");
    let other = project.clone_to("elsewhere/two");
    other.build().misses(&["dep"]);
    assert_eq!(other.last_outcome("dep").0, "hit.verified", "{:?}", last(&other));
}

#[test]
fn other_bytes_are_named_and_stay_where_they_are() {
    let project = stored();
    let (rlib, rmeta) = (project.path(RLIB), project.path(RMETA));
    let stored = fs::read(&rlib).expect("rlib");
    let size = stat(&rmeta).size;
    project.hook("after", "dep", &format!("printf x >> {RMETA}\nprintf XY | dd of={RLIB} bs=1 seek=9 conv=notrunc\n"));
    let (outcome, detail) = verify(&project);
    assert_eq!(outcome, "hit.differs");
    let (before, now) = (size, size + 1);
    let longer = format!(
        "libdep-0000000000000000.rmeta: {before} bytes in the store, {now} now, first difference at byte {before}"
    );
    assert!(detail.contains(&longer), "{detail}");
    assert!(detail.contains("first difference at byte 9"), "{detail}");
    assert_eq!(&fs::read(&rlib).expect("rlib")[9..11], b"XY", "the fresh output goes to cargo");

    let events = stats(&project);
    assert_eq!(events["differing"]["dep"]["hits"], 1);
    assert_eq!(events["differing"]["dep"]["detail"], detail.as_str());

    // The store is unchanged.
    project.assert_store_whole();
    project.unhook("after", "dep");
    assert_eq!(verify(&project).0, "hit.verified");
    let mut project = project;
    project.unset("KACHE_VERIFY");
    project.unit("dep", "src/lib.rs").hits();
    assert_eq!(fs::read(&rlib).expect("rlib"), stored);
}

#[test]
fn other_messages_dep_info_and_modes_differ() {
    let project = stored();
    let dep_info = "target/debug/deps/dep-0000000000000000.d";
    for (script, named) in [
        ("echo murmured >&2".to_owned(), "stderr: "),
        ("echo spoken".to_owned(), "stdout: 0 bytes in the store, 7 now"),
        (format!("echo >> {dep_info}"), "dep-0000000000000000.d: "),
        (format!("chmod 755 {RLIB}"), "libdep-0000000000000000.rlib: mode 755 now"),
        (format!("rm {RLIB}"), "No such file"),
    ] {
        project.hook("after", "dep", &script);
        let (outcome, detail) = verify(&project);
        assert_eq!(outcome, "hit.differs", "{script}");
        assert!(detail.contains(named) && !detail.contains(';'), "{script}: {detail}");
        project.unhook("after", "dep");
        assert_eq!(verify(&project), ("hit.verified".to_owned(), String::new()), "control of {script}");
    }
}

#[test]
fn rustcs_failure_is_the_builds_and_a_difference() {
    let project = stored();
    for (script, code) in [("exit 3", 3), ("kill -9 $$", -9)] {
        project.hook("instead", "dep", &format!("echo spoken; echo murmured >&2\n{script}\n"));
        let said = RawOutput::from(project.unit("dep", "src/lib.rs").command().output().expect("it starts"));
        assert_eq!(said, RawOutput { code, stdout: b"spoken\n".to_vec(), stderr: b"murmured\n".to_vec() }, "{script}");
        let (outcome, detail) = last(&project);
        assert_eq!(outcome, "hit.differs");
        assert!(detail.starts_with("rustc failed (") && detail.contains(&code.abs().to_string()), "{detail}");
    }
    project.unhook("instead", "dep");
    assert_eq!(verify(&project).0, "hit.verified");
}

#[test]
fn what_is_edited_meanwhile_proves_nothing() {
    let project = stored();
    project.hook("before", "dep", "echo 'pub fn value() -> u32 { 8 }' > src/lib.rs\n");
    assert_eq!(verify(&project), ("miss.input-changed".to_owned(), "while the hit was verified".to_owned()));
    let events = stats(&project);
    assert_eq!(events["differing"], serde_json::json!({}));
    project.file("src/lib.rs", DEP).unhook("before", "dep");
    assert_eq!(verify(&project).0, "hit.verified");
}

#[test]
fn a_rare_sample_leaves_hits_alone() {
    let mut project = stored();
    project.set("KACHE_VERIFY_RATE", "1/1000000");
    for _ in 0..5 {
        project.unit("dep", "src/lib.rs").hits();
        assert_eq!(last(&project).0, "hit.local");
    }
    project.set("KACHE_VERIFY_RATE", "1/1");
    assert_eq!(verify(&project).0, "hit.verified");
}

#[test]
fn an_incremental_build_is_verified_without_its_session() {
    let mut project = Project::app_over(DEP);
    project.set("CARGO_INCREMENTAL", "1");
    project.warm(&["dep"]);
    project.set("KACHE_VERIFY", "hits");
    let run = project.rebuild_misses(&["dep"]);
    let session = project.target_dir().join("debug/incremental").display().to_string();
    let compile = &run.compiles_of("dep")[0];
    assert!(compile.has("incremental=") && !compile.has(&session), "on no session, as the shared compile was");
    assert_eq!(project.last_outcome("dep").0, "hit.verified");
}
