//! Answers of git to build scripts and proc macros. git's index counts by the files that it lists and by how the files
//! on disk differ from it, and not by its bytes, which git rewrites whenever it has looked at the files.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::support::{Project, Scripted, has_program, manifest};

fn git(dir: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.current_dir(dir).args(["-c", "user.name=t", "-c", "user.email=t@localhost"]).args(arguments);
    let output = command.output().expect("git");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A committed package whose script returns the output of `git` with these arguments.
fn committed(arguments: &str) -> Scripted {
    let scene = Scripted::new(&format!("format!(\"{{:?}}\", Command::new(\"git\").args({arguments}).output())"));
    scene.file(".gitignore", "target\nCargo.lock\n").file("data.txt", "one");
    commit(scene.project.dir());
    scene
}

fn commit(dir: &Path) {
    git(dir, &["init", "-q"]);
    git(dir, &["add", "-A"]);
    git(dir, &["commit", "-qm", "one"]);
}

/// Asserts that a build into an empty target directory does not run the script and has the same value as without kache.
#[track_caller]
fn assert_hit(scene: &Scripted) {
    let before = scene.project.events().len();
    scene.project.wipe().build();
    let runs: Vec<_> =
        scene.project.events().split_off(before).into_iter().filter(|event| event["kind"] == "run").collect();
    assert!(!runs.is_empty() && runs.iter().all(|event| event["outcome"] == "hit.local"), "{runs:?}");
    assert_eq!(scene.printed().0, scene.plain(&[]));
}

#[test]
#[ignore = "slow"]
fn the_commit() {
    if !has_program("git") {
        return;
    }
    let scene = committed("[\"rev-parse\", \"HEAD\"]");
    scene.runs().restored();
    git(scene.project.dir(), &["commit", "-q", "--allow-empty", "-m", "two"]);
    scene.runs().restored();
    git(scene.project.dir(), &["checkout", "-q", "HEAD~1"]);
    scene.runs().restored();
}

/// These commands rewrite the index, under a lock.
#[test]
#[ignore = "slow"]
fn changed_files() {
    if !has_program("git") {
        return;
    }
    for arguments in ["[\"describe\", \"--always\", \"--dirty\"]", "[\"status\", \"--porcelain\"]"] {
        let scene = committed(arguments);
        scene.runs().restored();
        scene.file("data.txt", "two").runs().restored();
        git(scene.project.dir(), &["checkout", "-q", "."]);
        assert_hit(&scene);
        git(scene.project.dir(), &["rm", "-q", "--cached", "data.txt"]);
        scene.runs().restored();
    }
}

#[test]
fn a_file_that_git_does_not_know() {
    if !has_program("git") {
        return;
    }
    let scene = committed("[\"status\", \"--porcelain\"]");
    scene.runs().restored();
    scene.file("new.txt", "").runs().restored();
}

/// `git diff-index` reports a file as changed if only its time differs, until somebody refreshes the index.
#[test]
#[ignore = "slow"]
fn a_touched_file() {
    if !has_program("git") {
        return;
    }
    let scene = committed("[\"diff-index\", \"--quiet\", \"HEAD\"]");
    scene.runs().restored();
    let file = File::options().write(true).open(scene.project.path("data.txt")).expect("open");
    file.set_modified(SystemTime::now() - Duration::from_secs(1000)).expect("touch");
    scene.runs().restored();
    git(scene.project.dir(), &["status"]);
    assert_hit(&scene);
}

#[test]
#[ignore = "slow"]
fn another_checkout() {
    if !has_program("git") {
        return;
    }
    let one = committed("[\"describe\", \"--always\", \"--dirty\"]");
    one.runs().restored();
    let two = one.clone_to("elsewhere/two");
    fs::remove_dir_all(two.project.dir()).expect("remove");
    git(one.project.dir(), &["clone", "-q", ".", &two.project.dir().to_string_lossy()]);
    // git writes a path into the configuration of a clone, so that it differs from the original's.
    fs::copy(one.project.path(".git/config"), two.project.path(".git/config")).expect("copy");
    two.runs().restored();
    two.file("data.txt", "two").runs().restored();
}

#[test]
fn a_script_that_adds_to_the_index_is_not_stored() {
    if !has_program("git") {
        return;
    }
    let scene = committed("[\"add\", \"new.txt\"]");
    scene.file("new.txt", "").runs();
    assert_ne!(scene.last_run()["stored"], "stored", "{}", scene.project.history());
    assert!(fs::read(scene.project.path(".git/index")).expect("index").windows(7).any(|name| name == b"new.txt"));
}

/// The first command reads the stamps that the second one refreshes.
#[test]
fn a_run_that_saw_the_index_before_it_was_mended_is_not_stored() {
    if !has_program("git") {
        return;
    }
    let scene = committed("[\"rev-parse\", \"HEAD\"]");
    scene.script(
        "let ask = |a: &[&str]| said(Command::new(\"git\").args(a)); \
                  let first = ask(&[\"diff-index\", \"--name-only\", \"HEAD\"]); ask(&[\"status\"]); first",
    );
    git(scene.project.dir(), &["commit", "-qam", "two"]);
    let file = File::options().write(true).open(scene.project.path("data.txt")).expect("open");
    file.set_modified(SystemTime::now() - Duration::from_secs(1000)).expect("touch");
    crate::support::settle();
    scene.project.wipe().build();
    assert_eq!(scene.printed().0, "data.txt");
    assert_eq!(scene.last_run()["stored"], "input-changed", "{}", scene.project.history());
    scene.runs().restored();
}

#[test]
#[ignore = "slow"]
fn an_index_that_is_not_understood_is_not_stored() {
    if !has_program("git") {
        return;
    }
    let compressed = committed("[\"diff-index\", \"--name-only\", \"HEAD\"]");
    git(compressed.project.dir(), &["update-index", "--index-version", "4"]);
    compressed.never_stored("unobserved");
    let mut elsewhere = committed("[\"diff-index\", \"--name-only\", \"HEAD\"]");
    let index = elsewhere.project.path(".git/other-index");
    fs::copy(elsewhere.project.path(".git/index"), &index).expect("copy");
    elsewhere.set("GIT_INDEX_FILE", &index.to_string_lossy()).never_stored("unobserved");
    let named = committed("[\"diff-index\", \"--name-only\", \"HEAD\"]");
    git(named.project.dir(), &["config", "core.worktree", &named.project.dir().to_string_lossy()]);
    named.never_stored("unobserved");
}

#[test]
fn a_macro_that_asks_git() {
    if !has_program("git") {
        return;
    }
    let project = Project::new();
    let depends = "[dependencies]\nversion = { path = \"version\" }\n[workspace]\n";
    project.file("Cargo.toml", manifest("app", depends));
    project.file("src/main.rs", "fn main() { println!(\"{}\", version::version!()); }\n");
    project.file("version/Cargo.toml", manifest("version", "[lib]\nproc-macro = true\n"));
    let source = r#"use proc_macro::TokenStream;
        #[proc_macro]
        pub fn version(_: TokenStream) -> TokenStream {
            let said = std::process::Command::new("git").args(["describe", "--always", "--dirty"]).output().unwrap();
            let said = String::from_utf8(said.stdout).unwrap();
            // As git-version does, so that cargo knows.
            let head = "const _: &[u8] = include_bytes!(\"../.git/HEAD\");";
            format!("{{ {head} {:?} }}", said.trim()).parse().unwrap()
        }"#;
    project.file("version/src/lib.rs", source).file(".gitignore", "target\nCargo.lock\n");
    commit(project.dir());
    let said = |is_hit: bool| {
        crate::support::settle();
        let before = project.events().len();
        project.wipe().build();
        let app = project.events().split_off(before).into_iter().find(|event| event["crate"] == "app").expect("app");
        assert_eq!(app["outcome"] == "hit.local", is_hit, "{app}");
        project.app_output()
    };
    let clean = said(false);
    assert_eq!(said(true), clean);
    project.file("version/README", "").file("README", "");
    assert_eq!(said(true), clean, "git does not know these");
    project.file("Cargo.toml", format!("{}\n", manifest("app", depends)));
    let dirty = said(false);
    assert!(dirty.trim_end().ends_with("-dirty"), "{dirty}");
    git(project.dir(), &["checkout", "-q", "."]);
    assert_eq!(said(true), clean);
}
