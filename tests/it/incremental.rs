//! Incremental compiles (design 3.7, hazards N01 to N05): shared at first, then on a session and private after an edit,
//! then shared again.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{CANONICAL_MTIME_NS, Project, Run, files_under, find, find_one, manifest, stat};

/// `app` depends on `mid`, and `mid` on `dep`. Incremental compilation is on, as it is in cargo by default.
pub(crate) fn project() -> Project {
    let mut project = Project::app_over("pub fn value() -> u32 { 7 }\n");
    let rest = "[dependencies]\nmid = { path = \"mid\" }\n[workspace]\n";
    project.file("Cargo.toml", manifest("app", rest));
    project.file("src/main.rs", "fn main() { println!(\"{}\", mid::value()); }\n");
    project.file("mid/Cargo.toml", manifest("mid", "[dependencies]\ndep = { path = \"../dep\" }\n"));
    project.file("mid/src/lib.rs", "pub fn value() -> u32 { dep::value() * 10 }\n");
    project.set("CARGO_INCREMENTAL", "1");
    project
}

pub(crate) fn edit(project: &Project, value: u32) {
    crate::support::settle();
    project.file("dep/src/lib.rs", format!("pub fn value() -> u32 {{ {value} }}\n"));
}

/// Returns whether rustc got `-C incremental` for this crate.
fn incrementally(run: &Run, krate: &str) -> bool {
    let calls = run.compiles_of(krate);
    assert_eq!(calls.len(), 1, "`{krate}` compiled {} times", calls.len());
    calls[0].has("incremental=")
}

/// The session directories of a crate in the target directory.
fn sessions(project: &Project, krate: &str) -> Vec<PathBuf> {
    let list = fs::read_dir(project.target_dir().join("debug/incremental")).into_iter().flatten();
    let paths = list.map(|entry| entry.expect("entry").path());
    let of_crate = |path: &PathBuf| path.file_name().expect("name").to_string_lossy().starts_with(&format!("{krate}-"));
    paths.filter(of_crate).collect()
}

fn markers(project: &Project) -> usize {
    find(&project.target_dir(), ".", ".kache-private").len()
}

fn stored(project: &Project, krate: &str) -> String {
    project.last_outcome(krate).1
}

#[test]
fn n01_the_first_compile_is_shared() {
    let one = project();
    let (run, said) = one.build_and_run();
    assert_eq!(said, "70");
    for krate in ["dep", "mid", "app"] {
        assert!(incrementally(&run, krate));
        assert_eq!((stored(&one, krate).as_str(), sessions(&one, krate).len()), ("stored", 1));
    }
    let mut two = one.clone_to("elsewhere/two");
    two.build().hits(&["dep", "mid", "app"]);
    assert_eq!(two.app_output(), "70");
    two.assert_noop();
    two.without_cache_compiles(&["dep", "mid", "app"]);
}

#[test]
fn n01_incremental_and_not_are_two_entries() {
    let project = Project::lib("pub fn value() -> u32 { 7 }\n");
    let session = format!("incremental={}", project.path("target/debug/incremental").display());
    let with = || project.unit("dep", "src/lib.rs").args(["-C", &session]);
    with().misses();
    // Without a session, rustc uses other codegen units.
    project.unit("dep", "src/lib.rs").misses();
    project.unit("dep", "src/lib.rs").hits();
    for spelled in
        [vec!["-C".to_owned(), session.clone()], vec![format!("-C{session}")], vec![format!("--codegen={session}")]]
    {
        project.wipe().unit("dep", "src/lib.rs").args(&spelled).hits();
    }
    // The location of the session does not matter.
    let elsewhere = format!("-Cincremental={}", project.path("elsewhere").display());
    project.wipe().unit("dep", "src/lib.rs").args([elsewhere]).hits();
    assert_eq!(project.entries().len(), 2);
}

#[test]
fn n02_an_edit_is_compiled_incrementally_and_kept_private() {
    let one = project();
    one.build();
    let entries = one.entries();
    for (value, said) in [(8, "80"), (9, "90")] {
        edit(&one, value);
        let (run, printed) = one.build_and_run();
        assert_eq!(printed, said);
        assert!(incrementally(&run, "dep") && incrementally(&run, "mid"));
        assert_eq!(stored(&one, "dep"), "private-incremental");
        assert_eq!(one.last_outcome("mid"), ("miss.private-input".to_owned(), "private-input".to_owned()));
        assert_eq!((sessions(&one, "dep").len(), sessions(&one, "mid").len()), (1, 1));
        assert_eq!(one.entries(), entries, "something private was published");
        one.assert_noop();
    }
}

#[test]
fn n02_a_session_is_used_again() {
    let one = project();
    one.build();
    let session = find(&sessions(&one, "dep")[0], "dep-graph", ".bin");
    assert_eq!(session.len(), 1, "no session was written");
    edit(&one, 8);
    one.build();
    let again = find(&sessions(&one, "dep")[0], "dep-graph", ".bin");
    assert_ne!(session, again, "the session did not move on");
    assert_eq!(sessions(&one, "dep").len(), 1);
}

#[test]
fn going_back_to_a_known_state_is_a_hit() {
    let one = project();
    one.build();
    edit(&one, 8);
    one.build();
    assert_eq!(markers(&one), 3);
    edit(&one, 7);
    let (run, said) = one.build_and_run();
    run.hits(&["dep", "mid", "app"]);
    assert_eq!((said.as_str(), markers(&one)), ("70", 0));
    one.assert_noop();
    // Forward again: the restore replaced outputs that had been offered.
    edit(&one, 8);
    let (run, said) = one.build_and_run();
    run.hits(&["dep", "mid", "app"]);
    assert_eq!((said.as_str(), one.last_outcome("dep").0.as_str()), ("80", "hit.offered"));
}

#[test]
fn an_offer_outlives_a_clean() {
    let one = project();
    one.build();
    edit(&one, 8);
    one.build();
    one.cargo(&["clean"]);
    let (run, said) = one.build_and_run();
    run.hits(&["dep", "mid", "app"]);
    assert_eq!(said, "80");
    let two = one.clone_to("elsewhere/two");
    two.build().hits(&["dep", "mid"]);
    assert_eq!(two.app_output(), "80");
}

#[test]
fn after_a_clean_of_one_package_all_is_well() {
    let one = project();
    one.build();
    edit(&one, 8);
    one.build();
    one.cargo(&["clean", "-p", "dep"]);
    assert_eq!(one.build_and_run().1, "80");
    one.assert_noop();
    edit(&one, 7);
    let (run, said) = one.build_and_run();
    run.hits(&["dep", "mid"]);
    assert_eq!(said, "70");
}

#[test]
fn n03_the_store_gets_private_bytes_when_somebody_asks() {
    let one = project();
    one.build();
    edit(&one, 8);
    one.build();
    let private = |krate: &str, suffix: &str| {
        fs::read(find_one(&one.target_dir().join("debug/deps"), &format!("lib{krate}-"), suffix)).expect("output")
    };
    for blob in one.blobs() {
        let bytes = fs::read(&blob).expect("a blob");
        for krate in ["dep", "mid"] {
            assert!(bytes != private(krate, ".rlib"), "a private library of {krate} in the store");
        }
    }
    let two = one.clone_to("elsewhere/two");
    let (run, said) = two.build_and_run();
    run.hits(&["dep", "mid", "app"]);
    assert_eq!((said.as_str(), two.last_outcome("mid").0.as_str()), ("80", "hit.offered"));
    // After the other checkout has restored the offer, this checkout hits too, and its outputs are no longer private.
    one.file("dep/src/lib.rs", "pub fn value() -> u32 { 8 }\n");
    let (run, said) = one.build_and_run();
    run.hits(&["dep", "mid"]);
    assert_eq!((said.as_str(), markers(&one)), ("80", 0));
}

#[test]
fn n03_a_dependent_built_later_is_private_too() {
    let one = project();
    one.cargo(&["build", "-p", "dep"]);
    edit(&one, 8);
    one.cargo(&["build", "-p", "dep"]);
    // `mid` was never compiled here before: only its dependency makes it private.
    let entries = one.entries();
    assert_eq!(one.build_and_run().1, "80");
    assert_eq!(one.last_outcome("mid"), ("miss.private-input".to_owned(), "private-input".to_owned()));
    assert_eq!(one.entries(), entries);
    let checked = one.check();
    checked.misses(&["dep", "mid"]);
    let two = one.clone_to("elsewhere/two");
    two.check();
    assert_eq!(two.build_and_run().1, "80");
}

#[test]
fn n04_session_files_are_shared_with_nobody() {
    let one = project();
    one.build();
    edit(&one, 8);
    one.build();
    edit(&one, 7);
    one.build();
    let ids: Vec<_> = one.blobs().iter().map(|blob| stat(blob).id).collect();
    let session: Vec<PathBuf> = files_under(&one.target_dir().join("debug/incremental"));
    assert!(!session.is_empty(), "control: there is a session");
    for file in &session {
        assert!(!ids.contains(&stat(file).id), "shared with the store: {}", file.display());
        assert_ne!(stat(file).mtime_ns, CANONICAL_MTIME_NS);
    }
    for file in session {
        fs::write(file, "rewritten").expect("write");
    }
    one.assert_store_whole();
    edit(&one, 9);
    assert_eq!(one.build_and_run().1, "90", "a damaged session is rustc's to notice");
}

#[test]
fn n04_the_library_before_an_edit_stays_in_the_store() {
    let one = project();
    one.build();
    let two = one.clone_to("elsewhere/two");
    two.build();
    edit(&two, 8);
    assert_eq!(two.build_and_run().1, "80");
    one.assert_store_whole();
    one.assert_noop();
    assert_eq!(one.app_output(), "70");
    let three = one.clone_to("three");
    three.build().hits(&["dep", "mid"]);
}

#[test]
fn n05_private_state_goes_with_the_target_directory() {
    let one = project();
    one.build();
    let before = outside(&one);
    edit(&one, 8);
    one.build();
    assert_eq!(outside(&one), before, "private state outside the target directory");
    // Without sessions and offers, no private state is left.
    one.wipe();
    for kept in ["sessions", "offers"] {
        fs::remove_dir_all(one.cache_dir().join("v1").join(kept)).expect("remove");
    }
    one.build();
    assert_eq!(stored(&one, "dep"), "stored");
}

/// The files of the sandbox outside cargo's target directory, without the logs, stamps, claims, sessions and offers of
/// the cache.
fn outside(project: &Project) -> Vec<PathBuf> {
    let ours = |path: &Path| {
        !path.starts_with(project.target_dir())
            && ["events", "v1/stamps", "v1/claims", "v1/sessions", "v1/offers"]
                .iter()
                .all(|name| !path.starts_with(project.cache_dir().join(name)))
    };
    files_under(&project.sandbox_dir()).into_iter().filter(|path| ours(path)).collect()
}

#[test]
fn n05_a_failed_private_compile_leaves_no_trace() {
    let one = project();
    one.build();
    edit(&one, 8);
    one.build();
    one.file("dep/src/lib.rs", "pub fn value() -> u32 { oops }\n");
    for _ in 0..2 {
        let run = one.try_cargo(&["build"]).must_fail();
        assert!(run.stderr.contains("oops"), "{}", run.stderr);
        run.misses(&["dep"]);
    }
    edit(&one, 7);
    let (run, said) = one.build_and_run();
    run.hits(&["dep", "mid"]);
    assert_eq!((said.as_str(), markers(&one)), ("70", 0));
}

/// A unit of the registry or of a fresh package is never private, whatever its neighbours are.
#[test]
fn n03_what_does_not_stand_on_private_outputs_is_shared() {
    let one = project();
    one.file(
        "Cargo.toml",
        manifest("app", "[dependencies]\nmid = { path = \"mid\" }\nfree = { path = \"free\" }\n[workspace]\n"),
    );
    one.file("free/Cargo.toml", manifest("free", "")).file("free/src/lib.rs", "pub fn free() {}\n");
    one.build();
    edit(&one, 8);
    one.file("free/src/lib.rs", "pub fn free() -> u8 { 1 }\n");
    one.cargo(&["clean", "-p", "free"]);
    one.build();
    assert_eq!((stored(&one, "free").as_str(), stored(&one, "mid").as_str()), ("stored", "private-input"));
}
