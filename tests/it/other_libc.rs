//! Programs and libraries of machines with a newer C library: they are misses before cargo loads them.
//!
//! The entries come from this machine, and their recorded requirement is raised in the store. The control of each test:
//! the same entries are hits before that.

use std::process::Command;

use kache::model::{ArtifactKind, Digest, EntryKey, GlibcVersion};
use kache::rustc::linked;
use kache::store::{Entry, Store};

use crate::support::s3_server::{S3Server, WRITER};
use crate::support::{Project, find_one, has_program, skip};
use crate::whole_builds;

/// A version that no machine has.
const NEWER: &str = "GLIBC_9.99";
const NEWER_LIBC: &str = "miss.newer-libc";

/// Changes the entries of a crate with this kind.
fn edit(project: &Project, crate_name: &str, kind: &str, change: impl Fn(&mut Entry)) {
    let store = Store::open(&project.cache_dir());
    let mut edited = 0;
    for path in project.entries() {
        let key: Digest = path.file_stem().and_then(|name| name.to_str()).expect("a name").parse().expect("a digest");
        let mut entry = store.entry(EntryKey(key)).expect("an entry");
        if (entry.crate_name.as_str(), entry.kind.as_str()) == (crate_name, kind) {
            change(&mut entry);
            store.put_entry(EntryKey(key), &entry).expect("written");
            edited += 1;
        }
    }
    assert_eq!(edited, 1, "{crate_name} {kind}");
}

/// Raises the requirement of every output that has one.
fn raise(project: &Project, crate_name: &str, kind: &str) {
    edit(project, crate_name, kind, |entry| {
        let outputs = entry.outputs.iter_mut().filter(|output| output.needs_glibc.is_some());
        let raised = outputs.map(|output| output.needs_glibc = NEWER.parse().ok()).count();
        assert!(raised > 0, "{crate_name} needs no glibc");
    });
}

/// The outcomes of the newest events of a crate, by its kind, of which there is one for each call.
fn last(project: &Project, crate_name: &str, kind: &str) -> String {
    let events = project.events();
    let newest = events.iter().rev().find(|event| event["crate"] == crate_name && event["kind"] == kind);
    newest.expect("an event")["outcome"].as_str().expect("an outcome").to_owned()
}

#[test]
fn x14_what_needs_a_newer_libc_is_compiled_before_cargo_loads_it() {
    let mut project = whole_builds::workspace();
    project.set("KACHE_BULK", "off");
    // A program in OUT_DIR, which a later step may start.
    let script = "fn main() { std::fs::copy(\"/bin/true\", std::env::var(\"OUT_DIR\").unwrap() + \"/tool\").unwrap(); ";
    project.file("app/build.rs", whole_builds::BUILD.replace("fn main() {", script));
    project.build();
    let units = [
        ("mac", "proc-macro"),
        ("build_script_build", "bin"),
        ("build_script_build", "run"),
        ("app", "bin"),
        ("dep", "lib"),
    ];
    project.wipe().build();
    for (name, kind) in units {
        assert_eq!(last(&project, name, kind), "hit.local", "{name} {kind}");
    }
    for (name, kind) in &units[..4] {
        raise(&project, name, kind);
        project.wipe().build();
        for (other, other_kind) in units {
            let expected = if (other, other_kind) == (*name, *kind) { NEWER_LIBC } else { "hit.local" };
            assert_eq!(last(&project, other, other_kind), expected, "{other} {other_kind} after {name} {kind}");
        }
        let event = project.events().into_iter().rev().find(|event| event["outcome"] == NEWER_LIBC).expect("an event");
        assert!(event["detail"].as_str().is_some_and(|detail| detail.contains(NEWER)), "{event}");
        assert_eq!(event["stored"], "stored", "{event}");
        // What was compiled here replaces the entry.
        project.wipe().build();
        assert_eq!(last(&project, name, kind), "hit.local");
    }
    assert_eq!(project.app_output(), "1||input 1|env 1|readme 1");
}

#[test]
fn x14_a_whole_build_leaves_what_needs_a_newer_libc_to_cargo() {
    let one = whole_builds::workspace();
    one.recorded(&["build"]);
    raise(&one, "mac", "proc-macro");
    let two = one.clone_to("work/two");
    two.builds_only(&["app", "mac"]);
    assert_eq!(last(&two, "mac", "proc-macro"), NEWER_LIBC);
    assert!(two.restored().contains(&"dep lib".to_owned()), "{:?}", two.restored());
    // The control: with the entry that was compiled here, nothing is left to cargo.
    one.clone_to("work/three").build().is_noop();
}

#[test]
fn x14_the_requirement_travels_with_the_pack() {
    let server = S3Server::start();
    let mut one = whole_builds::workspace();
    one.set("KACHE_BULK", "off");
    let mut two = one.other_machine("two");
    one.build();
    raise(&one, "mac", "proc-macro");
    for machine in [&mut one, &mut two] {
        machine.use_remote(&S3Server::variables(&server.endpoint(), WRITER));
    }
    one.kache(&["push"]).must_succeed();
    two.kache(&["pull", "--all"]).must_succeed();
    two.use_no_remote().build();
    assert_eq!(last(&two, "mac", "proc-macro"), NEWER_LIBC);
    // The control: what came with it is used.
    assert_eq!(last(&two, "dep", "lib"), "hit.remote");
}

/// The versions of glibc that `objdump` lists as needed, without weak ones.
fn listed_by_objdump(path: &std::path::Path) -> Vec<GlibcVersion> {
    let ran = Command::new("objdump").arg("-p").arg(path).output().expect("objdump");
    let text = String::from_utf8(ran.stdout).expect("text");
    let (_, references) = text.split_once("Version References:").unwrap_or_default();
    // Hash, flags, index, name.
    let lines = references.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|words| words.len() == 4 && words[1] == "0x00")
        .filter_map(|words| GlibcVersion::of_symbol(words[3]))
        .collect()
}

#[test]
fn x14_the_recorded_requirement_is_what_the_file_needs() {
    if !has_program("objdump") {
        return skip("no objdump");
    }
    let mut project = whole_builds::workspace();
    project.set("KACHE_BULK", "off");
    project.build();
    let store = Store::open(&project.cache_dir());
    let mut linked_outputs = 0;
    for path in project.entries() {
        let key: Digest = path.file_stem().and_then(|name| name.to_str()).expect("a name").parse().expect("a digest");
        let entry = store.entry(EntryKey(key)).expect("an entry");
        for output in &entry.outputs {
            let needed = listed_by_objdump(&store.layout().blob(output.blob)).into_iter().max();
            assert_eq!(output.needs_glibc, needed, "{}", output.name);
            assert_eq!(needed.is_some(), output.kind == ArtifactKind::Linked, "{}", output.name);
            linked_outputs += usize::from(needed.is_some());
        }
    }
    assert_eq!(linked_outputs, 3, "the macro, the build script and the program");
    let macro_file = find_one(&project.target_dir().join("debug/deps"), "libmac", ".so");
    let bytes = std::fs::read(&macro_file).expect("the macro");
    // A damaged file needs nothing that can be known, and no damage is a panic.
    for length in (0..bytes.len()).step_by(1009) {
        let torn = project.path("torn.so");
        std::fs::write(&torn, &bytes[..length]).expect("written");
        let _ = linked::needed_glibc(&torn);
    }
    std::fs::write(project.path("torn.so"), &bytes[..40]).expect("written");
    assert_eq!(linked::needed_glibc(&project.path("torn.so")), None);
}
