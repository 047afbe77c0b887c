//! Results of compiles on a session, offered to any build that looks up exactly the same result (`store::offers`).

use std::fs;
use std::path::{Path, PathBuf};

use crate::incremental::{edit, project};
use crate::remote_push_pull::TwoMachines;
use crate::support::s3_server::{S3Server, WRITER};
use crate::support::{Project, find, find_one, settle};

const ALL: &[&str] = &["app", "dep", "mid"];

fn edit_and_run(project: &Project, value: u32) -> String {
    edit(project, value);
    project.build_and_run().1
}

fn offers(project: &Project) -> Vec<PathBuf> {
    find(&project.cache_dir().join("v1/offers"), "offer", ".json")
}

#[test]
fn a_second_checkout_of_an_edited_state_compiles_nothing() {
    let one = project();
    one.build().misses(ALL);
    assert_eq!(edit_and_run(&one, 8), "80");
    let before = (one.entries(), one.blobs());
    assert_eq!(offers(&one).len(), 3);
    let mut two = one.clone_to("elsewhere/deeper/two");
    let (run, said) = two.build_and_run();
    run.hits(ALL);
    assert_eq!(said, "80");
    for name in ALL {
        assert_eq!(two.last_outcome(name).0, "hit.offered", "{name}");
    }
    assert_ne!((one.entries(), one.blobs()), before, "control: entries came of it");
    assert_eq!(offers(&one).len(), 0);
    two.assert_noop();
    one.assert_noop();
    assert_eq!(one.app_output(), "80");
    one.assert_store_whole();
    // From now on the results are ordinary entries.
    let three = one.clone_to("three");
    three.build().hits(ALL);
    assert_eq!(three.last_outcome("mid").0, "hit.local");
    two.without_cache_compiles(ALL);
}

#[test]
fn a_check_of_an_edited_state_is_offered_too() {
    let one = project();
    one.check().misses(ALL);
    edit(&one, 8);
    one.check().misses(ALL);
    let two = one.clone_to("two");
    two.check().hits(ALL);
    assert_eq!(two.last_outcome("dep").0, "hit.offered");
    two.check().is_noop();
    one.check().is_noop();
}

#[test]
fn there_and_back_again_compiles_once() {
    let one = project();
    one.build();
    assert_eq!(edit_and_run(&one, 8), "80");
    for (value, said) in [(7, "70"), (8, "80"), (7, "70"), (8, "80")] {
        edit(&one, value);
        let (run, says) = one.build_and_run();
        run.hits(ALL);
        assert_eq!(says, said);
        one.assert_noop();
    }
}

#[test]
fn one_edit_after_another_keeps_the_last() {
    let one = project();
    one.build();
    for value in 8..12 {
        assert_eq!(edit_and_run(&one, value), (value * 10).to_string());
        assert_eq!(offers(&one).len(), 3);
    }
    let two = one.clone_to("two");
    edit(&two, 9);
    let (run, said) = two.build_and_run();
    run.misses(&["dep"]);
    assert_eq!(said, "90", "control: that state was replaced");
    edit(&two, 11);
    let (run, said) = two.build_and_run();
    run.hits(&["dep"]);
    assert_eq!(said, "110");
}

#[test]
fn what_was_written_to_since_is_not_taken() {
    let one = project();
    one.build();
    assert_eq!(edit_and_run(&one, 8), "80");
    let library = find_one(&one.target_dir().join("debug/deps"), "libdep-", ".rlib");
    settle();
    fs::write(&library, [fs::read(&library).expect("read").as_slice(), b"more"].concat()).expect("write in place");
    let two = one.clone_to("two");
    let (run, said) = two.build_and_run();
    run.misses(&["dep"]);
    assert_eq!(said, "80");
    one.assert_store_whole();
}

/// People write into their programs and set the times back.
#[test]
fn a_program_that_was_written_to_is_not_taken() {
    let one = project();
    let program = one.target_dir().join("debug/app");
    let source = |word: &str| format!("fn main() {{ println!(\"{{}} {word}\", mid::value()); }}\n");
    one.file("src/main.rs", source("one")).build();
    settle();
    one.file("src/main.rs", source("two")).build();
    let older = one.sandbox_dir().join("older");
    fs::copy(&program, &older).expect("copy");
    let damage: [(&str, &dyn Fn()); 3] = [
        ("another program of an older time", &|| {
            let bytes = fs::read(&older).expect("read");
            fs::write(&program, bytes).expect("write in place");
            filetime::set_file_mtime(&program, filetime::FileTime::from_unix_time(1_700_000_000, 0)).expect("time");
        }),
        ("another word, the time put back", &|| {
            let mut bytes = fs::read(&program).expect("read");
            let at = bytes.windows(5).position(|bytes| bytes == b"three").expect("the word");
            bytes[at] = b'X';
            crate::support::rewrite_keeping_mtime(&program, bytes);
        }),
        ("other permissions", &|| {
            fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("chmod");
        }),
    ];
    for (word, (what, damage)) in ["four", "three", "five"].into_iter().zip(damage) {
        settle();
        one.file("src/main.rs", source(word)).build();
        damage();
        let two = one.clone_to(&format!("two {word}"));
        let (_, said) = two.build_and_run();
        assert_eq!(said, format!("70 {word}"), "{what}");
        assert_ne!(two.last_outcome("app").0, "hit.offered", "{what}");
    }
}

#[test]
fn another_input_than_the_compile_had_is_another_state() {
    let mut one = Project::app_over("pub fn value() -> &'static str { option_env!(\"MOOD\").unwrap_or(\"none\") }\n");
    one.set("CARGO_INCREMENTAL", "1").build();
    one.set("MOOD", "glad");
    assert_eq!(one.build_and_run().1, "glad");
    let mut two = one.clone_to("two");
    assert_eq!(two.build_and_run().1, "glad");
    assert_eq!(two.last_outcome("dep").0, "hit.offered");
    assert_eq!(two.set("MOOD", "sad").build_and_run().1, "sad");
    assert_eq!(two.unset("MOOD").build_and_run().1, "none");
}

/// The compile of an edited library does not wait for the next tick of the clock. It notices every change during the
/// compile all the same.
#[test]
#[ignore = "slow"]
fn u23_a_source_that_changes_while_an_edit_is_compiled_is_not_offered() {
    for (when, said) in [("before", "70"), ("after", "80")] {
        let one = project();
        one.build();
        edit(&one, 8);
        one.hook(when, "dep", "sed -i s/8/7/ dep/src/lib.rs\n");
        assert_eq!(one.build_and_run().1, said, "control: the hook runs {when} the compile");
        assert_eq!(offers(&one).iter().filter(|offer| is_of(offer, "dep")).count(), 0, "{when}");
        one.unhook(when, "dep");
        for value in [7, 8] {
            let two = one.clone_to(&format!("{when}-{value}"));
            assert_eq!(edit_and_run(&two, value), format!("{value}0"), "{when}");
        }
    }
    let one = project();
    one.build();
    edit(&one, 8);
    one.build();
    assert_eq!(offers(&one).iter().filter(|offer| is_of(offer, "dep")).count(), 1, "control");
}

/// Whether the record of an offer is that of this crate.
fn is_of(offer: &Path, name: &str) -> bool {
    let record = fs::read(offer).unwrap();
    memchr::memmem::find(&record, format!("\"crate_name\":\"{name}\"").as_bytes()).is_some()
}

/// A path in the outputs ties an offer to its checkout, as it does an entry.
#[test]
fn an_offer_with_a_path_serves_only_there() {
    let source =
        |n: u32| format!("pub fn value() -> String {{ format!(\"{{}} {n}\", env!(\"CARGO_MANIFEST_DIR\")) }}\n");
    let mut one = Project::app_over(&source(1));
    one.set("CARGO_INCREMENTAL", "1").build();
    settle();
    one.file("dep/src/lib.rs", source(2));
    let said = |project: &Project| format!("{} 2", project.path("dep").display());
    assert_eq!(one.build_and_run().1, said(&one));
    let two = one.clone_to("elsewhere/two");
    let (run, says) = two.build_and_run();
    run.misses(&["dep"]);
    assert_eq!(says, said(&two));
}

/// A failing compile leaves the same outputs of earlier compiles as without kache.
#[test]
fn a_failing_edit_leaves_the_outputs_that_cargo_alone_leaves() {
    let left = |project: &Project| {
        project.build();
        edit(project, 8);
        project.file("src/main.rs", "fn main() { println!(\"edited {}\", mid::value()); }\n").build();
        settle();
        project.file("src/main.rs", "fn main() { oops }\n").file("dep/src/lib.rs", "pub fn value() -> u32 { oops }\n");
        project.try_cargo(&["build"]).must_fail();
        let names = fs::read_dir(project.target_dir().join("debug/deps")).expect("deps");
        let names = names.map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"));
        names.filter(|name| !name.starts_with('.')).collect::<std::collections::BTreeSet<_>>()
    };
    let one = project();
    let mut plain = one.clone_to("plain");
    plain.set("KACHE_DISABLED", "1");
    let (ours, theirs) = (left(&one), left(&plain));
    assert_eq!(ours, theirs);
    assert!(ours.iter().any(|name| name.starts_with("app-")), "{ours:?}");
}

/// Without the observer, the inputs of the compile are unknown.
#[test]
fn without_the_observer_nothing_is_offered() {
    for (observe, expected) in [("off", 0), ("on", 1)] {
        let mut one = project();
        one.set("KACHE_OBSERVE", observe).cargo(&["build", "-p", "dep"]);
        edit(&one, 8);
        one.cargo(&["build", "-p", "dep"]).misses(&["dep"]);
        assert_eq!(one.last_outcome("dep").1, "private-incremental", "{observe}");
        assert_eq!(offers(&one).len(), expected, "{observe}");
    }
}

#[test]
fn an_offer_that_was_damaged_is_no_offer() {
    let one = project();
    one.build();
    assert_eq!(edit_and_run(&one, 8), "80");
    for record in offers(&one) {
        let mut bytes = fs::read(&record).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&record, bytes).expect("damage");
    }
    let two = one.clone_to("two");
    let (run, said) = two.build_and_run();
    run.misses(ALL);
    assert_eq!(said, "80");
}

#[test]
fn offers_go_to_other_machines_when_that_is_asked_for() {
    let machines = TwoMachines::new();
    let (mut one, remote) = (project(), S3Server::variables(&machines.proxy.endpoint(), WRITER));
    one.build();
    assert_eq!(edit_and_run(&one, 8), "80");
    one.use_remote(&remote);
    let push = |args: &[&str], said: &[&str]| {
        let run = one.kache(&[&["push"], args].concat()).must_succeed();
        assert!(said.iter().all(|said| run.stdout.contains(said)), "{said:?}: {}", run.stdout);
    };
    push(&["--offered", "--dry-run"], &["would store 3 results of incremental compiles", "would push 3 entries"]);
    push(&[], &["pushed 3 entries"]);
    push(&["--offered", "--crate", "dep"], &["stored 1 result of an incremental compile", "pushed 1 entry"]);
    push(&["--offered"], &["stored 2 results of incremental compiles", "pushed 2 entries"]);
    assert_eq!(offers(&one).len(), 0);
    one.assert_store_whole();
    let mut two = one.other_machine("two");
    two.kache(&["pull", "--all"]).must_succeed();
    two.use_no_remote();
    let (run, said) = two.build_and_run();
    run.hits(ALL);
    assert_eq!(said, "80");
    one.use_no_remote();
    one.assert_noop();
}

#[test]
fn an_offer_that_was_written_to_is_not_uploaded() {
    let machines = TwoMachines::new();
    let mut one = project();
    one.build();
    edit_and_run(&one, 8);
    let library = find_one(&one.target_dir().join("debug/deps"), "libdep-", ".rlib");
    let before = fs::read(&library).expect("the library");
    fs::write(&library, [before, vec![0]].concat()).expect("append");
    one.use_remote(&S3Server::variables(&machines.proxy.endpoint(), WRITER));
    let run = one.kache(&["push", "--offered"]).must_succeed();
    assert!(run.stdout.contains("stored 2 results of incremental compiles"), "{}", run.stdout);
}
