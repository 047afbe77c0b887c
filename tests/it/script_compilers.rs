//! Compilers that are scripts (`RUSTC=/path/to/script`): kache caches the compiles of the compiler behind a script. The
//! files and variables that the script reads are inputs.

use std::fs;
use std::path::PathBuf;

use crate::support::{Project, settle};

/// Writes the script that replaces the compiler: it runs `before`, and then `start`, in which `RUSTC` is the real
/// compiler.
fn compiler(project: &mut Project, before: &str, start: &str) {
    let rustc = crate::support::shared_toolchain().join("bin/rustc");
    let start = start.replace("RUSTC", &rustc.display().to_string());
    project.script("own/compiler", &format!("{before}\n{start}"));
    let script = project.sandbox_dir().join("own/compiler");
    project.set("RUSTC", script);
}

fn app() -> Project {
    Project::app_over("pub fn value() -> &'static str { if cfg!(marked) { \"marked\" } else { \"plain\" } }\n")
}

#[test]
fn u15_a_script_that_becomes_the_compiler() {
    let mut project = app();
    compiler(&mut project, "", "exec RUSTC \"$@\"");
    project.settled("plain");
    project.clone_to("elsewhere/deeper/two").fresh_hits("plain");
    project.set("GITHUB_RUN_ID", "2").fresh_hits("plain");
    // Another script, and back.
    compiler(&mut project, "# flags", "exec RUSTC \"$@\" --cfg marked");
    project.fresh_compiles(&["app", "dep"], "marked");
    compiler(&mut project, "", "exec RUSTC \"$@\"");
    project.fresh_hits("plain");
}

#[test]
fn u15_a_script_that_chooses_flags_by_a_variable_or_a_file() {
    let mut project = app();
    let more = project.sandbox_dir().join("more");
    fs::write(&more, "").expect("write");
    compiler(&mut project, &format!("more=$(cat {})", more.display()), "exec RUSTC \"$@\" $more $MORE_FLAGS");
    project.settled("plain");
    project.set("MORE_FLAGS", "--cfg marked").fresh_compiles(&["app", "dep"], "marked");
    project.unset("MORE_FLAGS").fresh_hits("plain");
    fs::write(&more, "--cfg marked").expect("write");
    project.fresh_compiles(&["app", "dep"], "marked");
}

/// The memo of the compiler behind a script may be out of date; the files of the other compiler are inputs all the
/// same.
#[test]
fn u15_a_script_that_chooses_the_compiler() {
    let mut project = app();
    let other = project.sandbox_dir().join("toolchain");
    crate::support::make_toolchain(&other);
    let choose = format!("[ -n \"$OTHER\" ] && exec {}/bin/rustc \"$@\"", other.display());
    compiler(&mut project, &choose, "exec RUSTC \"$@\"");
    project.settled("plain");
    project.set("OTHER", "1").fresh_compiles(&["app", "dep"], "plain");
    project.fresh_hits("plain");
    project.unset("OTHER").fresh_hits("plain");
}

/// rustc as a child of the script: its macros still count as plugins.
#[test]
#[ignore = "slow"]
fn u15_a_script_that_waits_for_the_compiler() {
    let mut project = Project::with_macro("file!(\"data/text\")");
    compiler(&mut project, "", "RUSTC \"$@\"\nexit $?");
    project.file("dep/data/text", "one").settled("one");
    project.file("dep/data/beside", "").fresh_hits("one");
    project.file("dep/data/text", "two").fresh_compiles(&["app", "dep"], "two");
    let mut project = Project::with_macro("variable!(\"TERM\")");
    compiler(&mut project, "", "RUSTC \"$@\"\nexit $?");
    project.set("TERM", "one").settled("one");
    project.set("TERM", "two").fresh_compiles(&["app", "dep"], "two");
}

#[test]
fn u15_a_script_that_keeps_a_log() {
    let mut project = app();
    let log: PathBuf = project.sandbox_dir().join("log");
    compiler(&mut project, &format!("echo \"$@\" >> {}", log.display()), "exec RUSTC \"$@\"");
    project.settled("plain");
    let compiles = || fs::read_to_string(&log).expect("log").lines().filter(|line| line.contains("--emit=")).count();
    let before = compiles();
    assert!(before >= 2, "app and dep");
    project.fresh_hits("plain");
    assert_eq!(compiles(), before);
    // Control: compiles of a script that rewrites its log each time are not stored.
    compiler(&mut project, &format!("echo \"$@\" > {}", log.display()), "exec RUSTC \"$@\"");
    project.never_stored("dep", "plain");
}

#[test]
fn u15_a_script_that_cannot_be_observed_is_passed_by() {
    let mut project = Project::lib("pub fn value() -> u32 { 7 }\n");
    compiler(&mut project, "", "exec RUSTC \"$@\"");
    project.set("KACHE_OBSERVE", "off");
    for _ in 0..2 {
        settle();
        project.wipe().build();
        assert_eq!(project.last_outcome("dep").0, "bypass.compiler-unknown");
    }
    project.unset("KACHE_OBSERVE");
    project.warm(&["dep"]);
}

/// The answer of a program to `-vV` shows that it is not a compiler.
#[test]
fn u15_a_program_that_is_no_compiler_is_passed_by() {
    let mut project = Project::lib("pub fn value() -> u32 { 7 }\n");
    compiler(&mut project, "case $1 in -vV) echo other 1.0; exit;; esac", "exec RUSTC \"$@\"");
    let unit = project.unit("dep", "src/lib.rs");
    unit.run().must_succeed();
    assert_eq!(project.last_outcome("dep").0, "bypass.compiler-unknown");
}

/// Clippy is a separate compiler; the script only replaces the one whose sysroot clippy uses.
#[test]
fn u15_clippy_over_a_script() {
    let mut project = Project::lib("pub fn value() -> u32 { return 7; }\n");
    if !crate::support::shared_toolchain().join("bin/cargo-clippy").exists() {
        crate::support::skip("no clippy");
        return;
    }
    compiler(&mut project, "", "exec RUSTC \"$@\"");
    // Clippy requires that name.
    let named = project.sandbox_dir().join("own/rustc");
    fs::rename(named.with_file_name("compiler"), &named).expect("rename");
    project.set("RUSTC", named);
    let clippy = |project: &Project| {
        settle();
        let mut command = project.wipe().command(crate::support::shared_toolchain().join("bin/cargo-clippy"));
        command.arg("clippy").env("CARGO", crate::support::real_cargo());
        project.finish(command).must_succeed()
    };
    assert!(clippy(&project).stderr.contains("needless_return"));
    let run = clippy(&project);
    assert!(run.stderr.contains("needless_return"));
    assert!(project.last_outcome("dep").0.starts_with("hit"), "{}", project.history());
}

/// The keys do not contain the name of the directory.
#[test]
fn u15_a_script_that_goes_by_its_directory() {
    for ask in ["$PWD", "$(pwd)"] {
        let mut one = app();
        let choose = format!("case {ask} in */deeper/*) more='--cfg marked';; esac");
        compiler(&mut one, &choose, "exec RUSTC \"$@\" $more");
        one.settled("plain");
        let two = one.clone_to("elsewhere/deeper/two");
        two.fresh_compiles(&["app", "dep"], "marked");
        one.fresh_hits("plain");
        two.fresh_hits("marked");
    }
}

/// Nor do the keys contain a file in a directory above.
#[test]
fn u15_a_script_that_searches_upward() {
    let mut one = app();
    let sandbox = one.sandbox_dir();
    for (dir, text) in [("work", ""), ("elsewhere", "--cfg marked")] {
        fs::create_dir_all(sandbox.join(dir)).expect("directory");
        fs::write(sandbox.join(dir).join("flags"), text).expect("write");
    }
    let search = "if [ -f flags ]; then more=$(cat flags); elif [ -f ../flags ]; then more=$(cat ../flags); fi";
    compiler(&mut one, search, "exec RUSTC \"$@\" $more");
    one.settled("plain");
    one.clone_to("elsewhere/two").fresh_compiles(&["app", "dep"], "marked");
    one.fresh_hits("plain");
}

#[test]
fn u15_a_script_that_goes_by_its_own_name() {
    let mut project = app();
    compiler(&mut project, "case $0 in *marked*) more='--cfg marked';; esac", "exec RUSTC \"$@\" $more");
    project.settled("plain");
    let script = project.sandbox_dir().join("own/compiler");
    let link = script.with_file_name("marked-compiler");
    std::os::unix::fs::symlink(&script, &link).expect("link");
    project.set("RUSTC", &link).fresh_compiles(&["app", "dep"], "marked");
    project.set("RUSTC", &script).fresh_hits("plain");
}

#[test]
fn u15_a_script_that_goes_by_a_size() {
    let mut project = app();
    let on = project.sandbox_dir().join("on");
    fs::write(&on, "").expect("write");
    compiler(&mut project, &format!("[ -s {} ] && more='--cfg marked'", on.display()), "exec RUSTC \"$@\" $more");
    project.settled("plain");
    fs::write(&on, "x").expect("write");
    project.fresh_compiles(&["app", "dep"], "marked");
}

/// Cargo asks the compiler, too; and kache stores runs of build scripts as usual.
#[test]
fn u15_a_script_in_a_sysroot() {
    let mut project = Project::app_over("pub fn value() -> &'static str { env!(\"SAID\") }\n");
    let marked = "std::env::var(\"CARGO_CFG_MARKED\").is_ok()";
    project.file("dep/build.rs", format!("fn main() {{ println!(\"cargo:rustc-env=SAID={{}}\", {marked}); }}\n"));
    let toolchain = project.sandbox_dir().join("toolchain");
    crate::support::make_toolchain(&toolchain);
    compiler(&mut project, "", "exec RUSTC \"$@\" $MORE_FLAGS");
    fs::rename(project.sandbox_dir().join("own/compiler"), toolchain.join("bin/rustc")).expect("in place");
    project.use_toolchain(&toolchain).settled("false");
    project.set("MORE_FLAGS", "--cfg marked");
    let (_, said) = project.wipe().build_and_run();
    assert_eq!(said, "true", "{}", project.history());
    project.fresh_hits("true");
    project.unset("MORE_FLAGS").fresh_hits("false");
}
