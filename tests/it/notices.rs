//! The notices that cargo receives, and when: pipelining and artifact notices (hazards F09, F10).

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{KACHE, Project, Run, manifest};

/// `app` depends on `mid`, and `mid` on `dep`.
fn chain() -> Project {
    let project = Project::app_over("pub fn value() -> u32 { 7 }\n");
    let rest = "[dependencies]\ndep = { path = \"dep\" }\nmid = { path = \"mid\" }\n[workspace]\n";
    project.file("Cargo.toml", manifest("app", rest));
    project.file("src/main.rs", "fn main() { println!(\"{}\", mid::value()); }\n");
    project.file("mid/Cargo.toml", manifest("mid", "[dependencies]\ndep = { path = \"../dep\" }\n"));
    project.file("mid/src/lib.rs", "pub fn value() -> u32 { dep::value() }\n");
    project
}

fn at(run: &Run, event: &str, krate: &str) -> u64 {
    let call = run.calls.iter().find(|c| c.event == event && c.krate.as_deref() == Some(krate));
    call.unwrap_or_else(|| panic!("no {event} of {krate} in {:?}", run.compiles())).at
}

#[test]
fn f09_a_dependent_starts_before_its_dependency_has_ended() {
    let project = chain();
    project.hook("after", "dep", "sleep 1\n");
    let run = project.build();
    let end = at(&run, "end", "dep");
    assert!(at(&run, "start", "mid") < end, "the notice of dep's metadata came only when its compile had ended");
    // Control: a unit that links waits for the end.
    assert!(at(&run, "start", "app") >= end);
}

/// The paths in the artifact notices of a unit's messages, in order.
fn notices(stderr: &str) -> Vec<String> {
    let values = stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    values
        .filter(|v| v["$message_type"] == "artifact")
        .map(|v| v["artifact"].as_str().expect("path").to_owned())
        .collect()
}

#[test]
fn f10_notices_name_the_files_here_once_each_in_rustcs_order() {
    let one = Project::lib("fn never_called() {}\npub fn value() -> u32 { 7 }\n");
    let two = one.clone_to("elsewhere/deeper/two");
    let first = one.unit("dep", "src/lib.rs").misses();
    let second = two.unit("dep", "src/lib.rs").hits();
    assert_eq!(notices(&first.stderr).len(), 3, "{}", first.stderr);
    let here = |text: &str| text.replace(&*one.dir().to_string_lossy(), &two.dir().to_string_lossy());
    assert_eq!(here(&first.stderr), second.stderr);
    for path in notices(&second.stderr) {
        assert!(Path::new(&path).starts_with(two.dir()) && Path::new(&path).exists(), "{path}");
    }
}

#[test]
fn f10_a_hit_says_what_rustc_itself_would_say() {
    let mut project = Project::lib("fn never_called() {}\npub fn value() -> u32 { 7 }\n");
    project.unit("dep", "src/lib.rs").misses();
    let hit = project.unit("dep", "src/lib.rs").hits();
    project.set("KACHE_DISABLED", "1");
    let plain = project.unit("dep", "src/lib.rs").misses();
    assert_eq!((hit.stdout, hit.stderr), (plain.stdout, plain.stderr));
}

#[test]
fn f09_a_hit_puts_metadata_in_place_before_its_notice() {
    let project = Project::lib("pub fn value() -> u32 { 7 }\n");
    let unit = project.unit("dep", "src/lib.rs");
    unit.warm();
    for _ in 0..3 {
        let mut command = unit.command();
        command.stderr(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().expect("kache starts");
        let mut seen = Vec::new();
        for line in BufReader::new(child.stderr.take().expect("piped")).lines() {
            for path in notices(&line.expect("utf-8")) {
                assert!(Path::new(&path).exists(), "{path} was announced and is not there");
                seen.push(path);
            }
        }
        assert!(child.wait().expect("kache ends").success());
        let has = |kind: &str| seen.iter().any(|p| Path::new(p).extension().is_some_and(|e| e == kind));
        assert!(has("rmeta") && has("rlib"), "{seen:?}");
    }
    assert_eq!(project.last_outcome("dep").0, "hit.local");
}

#[test]
fn f10_a_call_that_asks_for_no_notices_gets_none() {
    let project = Project::lib("pub fn value() -> u32 { 7 }\n");
    let run = || {
        std::fs::create_dir_all(project.path("target/debug/deps")).expect("out-dir");
        let mut command = project.command(KACHE);
        command.arg(project.env_value("RUSTC").expect("set"));
        command.args(["--crate-name", "dep", "--edition=2024", "src/lib.rs", "--crate-type", "lib"]);
        command.args(["--emit=dep-info,metadata,link", "--error-format=json", "--out-dir", "target/debug/deps"]);
        project.finish(command).must_succeed()
    };
    assert_eq!(run().stderr, "");
    assert_eq!(run().stderr, "");
    assert!(project.path("target/debug/deps/libdep.rlib").exists());
}
