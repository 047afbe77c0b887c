//! Compilers that lead back to kache (hazard T05): they soon end in an error, not in a fork bomb.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{KACHE, Project, real_cargo, signal, write_program};

const DEP: &str = "pub fn value() -> u32 { 7 }\n";

/// Writes a program that logs each start and then runs `rest`. Returns the program and the log.
fn shim(project: &Project, name: &str, rest: &str) -> (PathBuf, PathBuf) {
    let path = project.sandbox_dir().join("shims").join(name);
    let log = project.sandbox_dir().join("starts");
    write_program(&path, &format!("#!/bin/sh\necho x >> '{}'\n{rest}\n", log.display()));
    (path, log)
}

/// Asserts that `cargo build` fails within a few seconds and starts the shim only a few times.
#[track_caller]
fn ends(project: &Project, log: &Path) {
    let mut command = project.command(real_cargo());
    command.arg("build").stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut cargo = command.spawn().expect("cargo starts");
    let began = Instant::now();
    let mut ended = None;
    while ended.is_none() && began.elapsed() < Duration::from_secs(15) {
        std::thread::sleep(Duration::from_millis(20));
        ended = cargo.try_wait().expect("wait");
    }
    signal("KILL", &format!("-{}", cargo.id()));
    cargo.wait().expect("cargo ended");
    let starts = fs::read_to_string(log).map_or(0, |text| text.lines().count());
    let ended = ended.unwrap_or_else(|| panic!("no end; the shim was started {starts} times"));
    assert!(!ended.success(), "there is no compiler here");
    assert!(starts < 200, "started {starts} times");
}

#[test]
fn t05_a_rustc_that_starts_kache_with_itself() {
    for name in ["rustc", "rustc-1.95", "my-compiler"] {
        let mut project = Project::app_over(DEP);
        let (path, log) = shim(&project, name, &format!("exec '{KACHE}' \"$0\" \"$@\""));
        project.set("RUSTC", &path);
        ends(&project, &log);
    }
}

#[test]
fn t05_a_rustc_that_starts_kache_as_a_child() {
    let mut project = Project::app_over(DEP);
    let (path, log) = shim(&project, "rustc", &format!("'{KACHE}' \"$0\" \"$@\""));
    project.set("RUSTC", &path);
    ends(&project, &log);
    project.set("KACHE_DISABLED", "1");
    ends(&project, &log);
}

#[test]
fn t05_a_rustc_found_on_the_path_that_starts_kache() {
    let mut project = Project::app_over(DEP);
    let (path, log) = shim(&project, "rustc", &format!("exec '{KACHE}' rustc \"$@\""));
    let old = project.env_value("PATH").expect("always set").to_owned();
    let mut dirs = vec![path.parent().expect("a directory").to_owned()];
    dirs.extend(std::env::split_paths(&old));
    project.set("PATH", std::env::join_paths(dirs).expect("a path"));
    project.set("RUSTC", "rustc");
    ends(&project, &log);
}

#[test]
fn t05_kache_as_the_compiler_of_kache() {
    let mut project = Project::app_over(DEP);
    let none = project.sandbox_dir().join("none");
    project.set("RUSTC", KACHE);
    ends(&project, &none);
    for name in ["rustc", "kache", "another-name"] {
        let link = project.sandbox_dir().join(name);
        symlink(KACHE, &link).expect("symlink");
        project.set("RUSTC", &link);
        ends(&project, &none);
    }
}

#[test]
fn t05_kache_as_wrapper_and_workspace_wrapper() {
    let mut project = Project::app_over(DEP);
    project.set("RUSTC_WORKSPACE_WRAPPER", KACHE);
    let (run, said) = project.build_and_run();
    run.misses(&["dep"]);
    assert_eq!(said, "7");
    assert_eq!(project.wipe().build_and_run().1, "7");
}

/// A script around the real compiler is not a loop: it works at every depth.
#[test]
fn t05_control_a_script_around_the_compiler_works() {
    let mut project = Project::app_over(DEP);
    let real = project.env_value("RUSTC").expect("always set").to_owned();
    for name in ["rustc", "my-compiler"] {
        let (path, _) = shim(&project, name, &format!("exec '{}' \"$@\"", real.to_string_lossy()));
        project.set("RUSTC", &path);
        assert_eq!(project.wipe().build_and_run().1, "7", "{name}");
    }
}
