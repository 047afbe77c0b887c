//! `cargo clippy` through the cache (hazard U29).

use crate::support::{Project, Run, manifest, real_cargo, shared_toolchain, skip};

/// Runs `cargo clippy`. Returns `None` if it is not installed.
fn clippy(project: &Project, args: &[&str]) -> Option<Run> {
    let program = shared_toolchain().join("bin/cargo-clippy");
    if !program.exists() {
        skip("cargo-clippy is not installed");
        return None;
    }
    let mut command = project.command(program);
    command.arg("clippy").args(args).env("CARGO", real_cargo());
    Some(project.finish(command))
}

const LINTED: &str = "pub fn value(x: Option<u32>) -> u32 { match x { Some(n) => n, None => return 0 } }\n\
                      pub fn many(a: u8, b: u8, c: u8) -> u8 { a + b + c }\n";

#[test]
fn u29_clippy_hits_and_says_the_same_again() {
    let project = Project::lib(LINTED);
    let Some(first) = clippy(&project, &[]) else {
        return;
    };
    first.must_succeed_ref().misses(&["dep"]);
    assert!(first.stderr.contains("needless_return"), "{}", first.stderr);
    project.wipe();
    let second = clippy(&project, &[]).expect("still there");
    second.must_succeed_ref().hits(&["dep"]);
    let warnings = |run: &Run| run.stderr.lines().filter(|l| !l.contains("Finished")).collect::<Vec<_>>().join("\n");
    assert_eq!(warnings(&first), warnings(&second));
}

#[test]
fn u29_clippy_and_rustc_do_not_answer_for_each_other() {
    let project = Project::lib(LINTED);
    project.check();
    project.wipe();
    let Some(run) = clippy(&project, &[]) else {
        return;
    };
    run.must_succeed_ref().misses(&["dep"]);
    assert!(run.stderr.contains("needless_return"), "{}", run.stderr);
    project.wipe().check().hits(&["dep"]);
    project.wipe();
    let again = clippy(&project, &[]).expect("still there");
    again.hits(&["dep"]);
    assert!(again.stderr.contains("needless_return"));
}

#[test]
fn u29_clippy_arguments_count() {
    let project = Project::lib(LINTED);
    let Some(run) = clippy(&project, &[]) else {
        return;
    };
    run.must_succeed_ref();
    project.wipe();
    let denied = clippy(&project, &["--", "-Dclippy::needless_return"]).expect("still there");
    assert!(denied.must_fail().stderr.contains("needless_return"));
    project.wipe();
    let allowed = clippy(&project, &["--", "-Aclippy::needless_return"]).expect("still there").must_succeed();
    assert!(!allowed.stderr.contains("needless_return"), "{}", allowed.stderr);
    project.wipe();
    clippy(&project, &[]).expect("still there").must_succeed().hits(&["dep"]);
}

#[test]
fn u29_clippy_configuration_counts() {
    let project = Project::lib(LINTED);
    let Some(run) = clippy(&project, &[]) else {
        return;
    };
    assert!(!run.must_succeed().stderr.contains("too_many_arguments"));
    project.file("clippy.toml", "too-many-arguments-threshold = 2\n").wipe();
    let strict = clippy(&project, &[]).expect("still there").must_succeed();
    assert!(strict.stderr.contains("too_many_arguments"), "{}", strict.stderr);
    project.file("clippy.toml", "too-many-arguments-threshold = 9\n").wipe();
    let loose = clippy(&project, &[]).expect("still there").must_succeed();
    assert!(!loose.stderr.contains("too_many_arguments"), "{}", loose.stderr);
    project.file("clippy.toml", "too-many-arguments-threshold = 2\n").wipe();
    let again = clippy(&project, &[]).expect("still there").must_succeed();
    assert!(again.stderr.contains("too_many_arguments"), "{}", again.stderr);
}

#[test]
fn u29_a_configuration_above_the_workspace_counts() {
    let project = Project::lib(LINTED);
    let Some(run) = clippy(&project, &[]) else {
        return;
    };
    assert!(!run.must_succeed().stderr.contains("too_many_arguments"));
    let above = project.dir().parent().expect("a parent").join(".clippy.toml");
    std::fs::write(&above, "too-many-arguments-threshold = 2\n").expect("configuration");
    project.wipe();
    let strict = clippy(&project, &[]).expect("still there").must_succeed();
    assert!(strict.stderr.contains("too_many_arguments"), "{}", strict.stderr);
    std::fs::remove_file(above).expect("remove");
    project.wipe();
    let loose = clippy(&project, &[]).expect("still there").must_succeed();
    assert!(!loose.stderr.contains("too_many_arguments"), "{}", loose.stderr);
}

#[test]
fn u29_the_minimum_rust_version_counts() {
    let project = Project::lib("pub fn value(x: u32, y: u32) -> u32 { (x + (y - 1)) / y }\n");
    let since = |version: &str| {
        let rest = format!("rust-version = \"{version}\"\n[workspace]\n");
        let manifest = manifest("dep", &rest).replace("2024", "2021"); // an edition that older compilers support
        project.file("Cargo.toml", manifest).wipe();
    };
    // `manual_div_ceil` is for compilers that have `div_ceil`, from 1.73 on.
    for (version, warned) in [("1.85", true), ("1.60", false), ("1.85", true)] {
        since(version);
        let Some(run) = clippy(&project, &[]) else {
            return;
        };
        assert_eq!(run.must_succeed_ref().stderr.contains("manual_div_ceil"), warned, "{version}: {}", run.stderr);
    }
}

#[test]
fn u29_clippy_hits_in_another_checkout() {
    let one = Project::lib(LINTED);
    let Some(first) = clippy(&one, &[]) else {
        return;
    };
    first.must_succeed_ref().misses(&["dep"]);
    let two = one.clone_to("elsewhere/deeper/two");
    let second = clippy(&two, &[]).expect("still there").must_succeed();
    second.hits(&["dep"]);
    assert!(second.stderr.contains("needless_return"));
    two.file("clippy.toml", "too-many-arguments-threshold = 2\n").wipe();
    let strict = clippy(&two, &[]).expect("still there").must_succeed();
    assert!(strict.stderr.contains("too_many_arguments"), "{}", strict.stderr);
}

#[test]
fn u29_a_configuration_directory_in_the_environment_counts() {
    let mut project = Project::lib(LINTED);
    project.file("strict/clippy.toml", "too-many-arguments-threshold = 2\n");
    let Some(run) = clippy(&project, &[]) else {
        return;
    };
    assert!(!run.must_succeed().stderr.contains("too_many_arguments"));
    let strict_dir = project.path("strict");
    project.set("CLIPPY_CONF_DIR", strict_dir).wipe();
    let strict = clippy(&project, &[]).expect("still there").must_succeed();
    assert!(strict.stderr.contains("too_many_arguments"), "{}", strict.stderr);
    project.unset("CLIPPY_CONF_DIR").wipe();
    assert!(!clippy(&project, &[]).expect("still there").stderr.contains("too_many_arguments"));
}

#[test]
fn u29_an_unknown_workspace_wrapper_runs_uncached() {
    let mut project = Project::app_over("pub fn value() -> u32 { 7 }\n");
    let wrapper = project.sandbox_dir().join("some-driver");
    let seen = project.sandbox_dir().join("driver-ran");
    let script = format!("#!/bin/sh\necho x >> '{}'\nexec \"$@\"\n", seen.display());
    write_program(&wrapper, &script);
    project.set("RUSTC_WORKSPACE_WRAPPER", &wrapper);
    project.build().misses(&["app", "dep"]);
    let runs = || std::fs::read_to_string(&seen).map_or(0, |text| text.lines().count());
    let before = runs();
    project.rebuild_misses(&["app", "dep"]);
    assert!(runs() > before, "the wrapper was left out");
    // Control: without the workspace wrapper, `dep` is cacheable.
    project.unset("RUSTC_WORKSPACE_WRAPPER").warm(&["dep"]);
}

/// Writes a program from a child process, so that a descriptor of this process does not make the program "text file
/// busy".
fn write_program(path: &std::path::Path, script: &str) {
    let staged = path.with_extension("staged");
    std::fs::write(&staged, script).expect("stage");
    let run = "cp \"$1\" \"$2\" && chmod 755 \"$2\"";
    let status = std::process::Command::new("/bin/sh").args(["-c", run, "sh"]).arg(&staged).arg(path).status();
    assert!(status.expect("sh").success());
}
