//! Every kind of linked output, restored in a second checkout, must exist, be complete and executable, and work
//! (hazards X01 to X06).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{
    Project, Run, files_under, find, manifest, real_cargo, real_sysroot, settle, shared_toolchain, skip,
};

/// One package of each kind; the values that they print all come from `dep::value()`.
fn kinds() -> Project {
    let project = Project::with_macro("file!(\"text\")");
    project.file("dep/text", "one");
    project.file(
        "Cargo.toml",
        manifest(
            "app",
            "[dependencies]\ndep = { path = \"dep\" }\n[[bench]]\nname = \"measure\"\nharness = false\n\
             [[test]]\nname = \"own\"\nharness = false\n[workspace]\nmembers = [\"dy\", \"cdy\", \"st\"]\n",
        ),
    );
    project.file("build.rs", "fn main() { println!(\"cargo:rustc-env=BUILT=built\"); }\n");
    let main = "fn main() { println!(\"{} {}\", dep::value(), env!(\"BUILT\")); }\n#[test] fn inner() { assert_eq!(dep::value().len(), 3); }\n";
    project.file("src/main.rs", main);
    project.file("tests/outer.rs", "#[test] fn outer() { assert_eq!(dep::value().len(), 3); }\n");
    project.file("tests/own.rs", "fn main() { println!(\"own harness {}\", dep::value()); }\n");
    project.file("benches/measure.rs", "fn main() { println!(\"bench {}\", dep::value()); }\n");
    project.file("examples/show.rs", "fn main() { println!(\"example {}\", dep::value()); }\n");
    let over_dep = |name: &str, rest: &str| {
        let body = format!("{rest}[dependencies]\ndep = {{ path = \"../dep\" }}\n");
        project.file(&format!("{name}/Cargo.toml"), manifest(name, &body));
    };
    let exported = "#[unsafe(no_mangle)] pub extern \"C\" fn length() -> usize { dep::value().len() }\n";
    over_dep("dy", "[lib]\ncrate-type = [\"dylib\"]\n");
    project.file("dy/src/lib.rs", "pub fn value() -> String { format!(\"dylib {}\", dep::value()) }\n");
    over_dep("cdy", "[lib]\ncrate-type = [\"cdylib\"]\n");
    project.file("cdy/src/lib.rs", exported);
    over_dep("st", "[lib]\ncrate-type = [\"staticlib\"]\n");
    project.file("st/src/lib.rs", exported);
    project
}

/// Runs a program of the target directory and returns its output.
#[track_caller]
fn output_of(project: &Project, program: &Path) -> String {
    let mut command = project.command(program);
    let target = project.target_dir().join("debug");
    let std = find(&real_sysroot().join("lib"), "libstd-", ".so").pop().expect("a shared std");
    let libraries = [std.parent().expect("parent"), &target, &target.join("deps")];
    let output = command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries).expect("paths")).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    assert!(output.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
}

/// The one executable of this unit in `dir` (not its `.d` file).
fn program(dir: &Path, name: &str) -> PathBuf {
    let found = find(dir, &format!("{name}-"), "").into_iter().find(|path| path.extension().is_none());
    found.unwrap_or_else(|| panic!("no {name} in {}", dir.display()))
}

/// The files below `target/debug` with their modes, without those of cargo's `.fingerprint` directory.
fn modes(project: &Project) -> BTreeMap<PathBuf, u32> {
    let debug = project.target_dir().join("debug");
    let is_output = |path: &PathBuf| !path.components().any(|part| part.as_os_str() == ".fingerprint");
    let relative = |path: &PathBuf| path.strip_prefix(&debug).expect("below").to_owned();
    let files = files_under(&debug).into_iter().filter(is_output);
    files.map(|path| (relative(&path), crate::support::stat(&path).mode)).collect()
}

#[track_caller]
fn is_all_hits(run: &Run, project: &Project) {
    assert_eq!(run.compiles(), Vec::<&str>::new(), "{}", project.history());
}

/// Links a C program with a library that exports `length`, and runs it.
fn length_in_c(project: &Project, library: &Path) -> String {
    let source =
        "#include <stdio.h>\nunsigned long length(void);\nint main(void) { printf(\"%lu\", length()); return 0; }\n";
    let library = library.to_str().expect("text");
    let program = project.compile_c("c/length", source, &[library, "-lpthread", "-ldl", "-lm"]);
    output_of(project, &program)
}

#[test]
#[ignore = "slow"]
fn x01_every_kind_is_restored_in_a_second_checkout() {
    let one = kinds();
    let all = ["build", "--workspace", "--all-targets"];
    one.cargo(&all).misses(&["app", "build_script_build", "mac", "dy", "cdy", "st", "outer", "own", "measure"]);
    let two = one.clone_to("elsewhere/deeper/two");
    settle();
    is_all_hits(&two.cargo(&all), &two);
    assert_eq!(modes(&two), modes(&one), "the same files with the same modes");
    two.cargo(&all).is_noop();
    one.cargo(&all).is_noop();
    let debug = two.target_dir().join("debug");
    assert_eq!(two.app_output(), "one built");
    assert_eq!(output_of(&two, &debug.join("examples/show")), "example one");
    assert_eq!(output_of(&two, &program(&debug.join("deps"), "measure")), "bench one");
    assert_eq!(output_of(&two, &program(&debug.join("deps"), "own")), "own harness one");
    assert!(output_of(&two, &program(&debug.join("deps"), "outer")).contains("1 passed"));
    assert_eq!(length_in_c(&two, &debug.join("libcdy.so")), "3");
    assert_eq!(length_in_c(&two, &debug.join("libst.a")), "3");
    // The next build runs the restored proc macro. Its build script is new.
    two.file("dep/text", "two").file("build.rs", "fn main() { println!(\"cargo:rustc-env=BUILT=anew\"); }\n");
    two.wipe().cargo(&all).hits(&["mac"]).misses(&["app", "build_script_build"]);
    assert_eq!(
        (two.app_output(), output_of(&two, &debug.join("examples/show"))),
        ("two anew".to_owned(), "example two".to_owned())
    );
    is_all_hits(&one.wipe().cargo(&all), &one);
    assert_eq!(one.app_output(), "one built");
}

#[test]
fn x01_a_program_over_a_dylib_is_restored() {
    let mut one = Project::app_over("pub fn value() -> u32 { base::N }\n");
    one.file(
        "dep/Cargo.toml",
        manifest("dep", "[lib]\ncrate-type = [\"dylib\"]\n[dependencies]\nbase = { path = \"../base\" }\n"),
    );
    one.file("base/Cargo.toml", manifest("base", "")).file("base/src/lib.rs", "pub const N: u32 = 7;\n");
    one.set("RUSTFLAGS", "-Cprefer-dynamic").build();
    let app = |project: &Project| output_of(project, &project.target_dir().join("debug/app"));
    let two = one.clone_to("elsewhere/deeper/two");
    settle();
    is_all_hits(&two.build(), &two);
    assert_eq!((app(&one), app(&two)), ("7".to_owned(), "7".to_owned()));
    assert_eq!(modes(&two), modes(&one));
    two.file("base/src/lib.rs", "pub const N: u32 = 8;\n").wipe().build().misses(&["base", "dep"]);
    assert_eq!(app(&two), "8");
}

#[test]
#[ignore = "slow"]
fn x01_tests_from_a_restored_target_pass_here_and_elsewhere() {
    let one = kinds();
    let first = one.cargo(&["test", "--workspace"]);
    let passed = |run: &Run| run.stdout.matches(" 1 passed").count();
    assert_eq!(passed(&first), 2, "{}", first.stdout);
    let two = one.clone_to("elsewhere/deeper/two");
    for project in [&one, &two] {
        let run = project.wipe().cargo(&["test", "--workspace"]);
        // rustdoc runs documentation tests and does not call a wrapper.
        is_all_hits(&run, project);
        assert_eq!(passed(&run), 2, "{}", run.stdout);
        assert!(run.stdout.contains("own harness one"), "{}", run.stdout);
    }
    two.file("tests/outer.rs", "#[test] fn outer() { assert_eq!(dep::value().len(), 4); }\n");
    assert!(two.wipe().try_cargo(&["test", "--workspace"]).must_fail().stdout.contains("outer"));
    two.file("dep/text", "four").wipe().cargo(&["test", "--test", "outer"]);
}

#[test]
fn other_verbs_find_everything_too() {
    let mut project = kinds();
    // rustc reads every library in the directory that has a crate's name, so its reads of the second `mac` depend on
    // how far that compile is.
    project.set("CARGO_BUILD_JOBS", "1");
    let verbs: [&[&str]; 4] = [
        &["clippy", "--workspace", "--all-targets"],
        &["build", "--release", "--workspace"],
        &["doc", "--workspace", "--no-deps"],
        &["check", "--workspace", "--all-targets"],
    ];
    let run = |verb: &[&str]| -> Run {
        let is_clippy = verb[0] == "clippy";
        let program = if is_clippy { shared_toolchain().join("bin/cargo-clippy") } else { real_cargo() };
        let mut command = project.command(program);
        command.args(verb).env("CARGO", real_cargo());
        project.finish(command).must_succeed()
    };
    for verb in verbs {
        if verb[0] == "clippy" && !shared_toolchain().join("bin/cargo-clippy").exists() {
            skip("clippy is not installed");
            continue;
        }
        project.wipe();
        assert!(!run(verb).compiles().is_empty(), "{verb:?}");
        settle();
        project.wipe();
        is_all_hits(&run(verb), &project);
        run(verb).is_noop();
    }
    project.wipe().cargo(&["build", "--release"]);
    assert_eq!(output_of(&project, &project.target_dir().join("release/app")), "one built");
}

#[test]
fn a_static_target_is_restored() {
    const MUSL: &str = "x86_64-unknown-linux-musl";
    if !real_sysroot().join("lib/rustlib").join(MUSL).join("lib").exists() {
        skip("the standard library for x86_64-unknown-linux-musl is not installed");
        return;
    }
    let project = kinds();
    let verb = ["build", "--target", MUSL];
    project.cargo(&verb);
    settle();
    is_all_hits(&project.wipe().cargo(&verb), &project);
    assert_eq!(output_of(&project, &project.target_dir().join(MUSL).join("debug/app")), "one built");
}

/// The paths of all files with this suffix, relative to the target directory.
fn named(project: &Project, suffix: &str) -> Vec<String> {
    let target = project.target_dir();
    let files = find(&target, "", suffix).into_iter();
    files.map(|path| path.strip_prefix(&target).expect("below").display().to_string()).collect()
}

#[test]
fn x03_split_debug_info_is_complete_or_not_cached() {
    for (how, suffix) in [("packed", ".dwp"), ("unpacked", ".dwo")] {
        let mut one = Project::app_over("pub fn value() -> u32 { 7 }\n");
        one.set("CARGO_PROFILE_DEV_SPLIT_DEBUGINFO", how).set("CARGO_PROFILE_DEV_DEBUG", "2");
        one.set("KACHE_DISABLED", "1").build();
        let expected = named(&one, suffix);
        assert!(!expected.is_empty(), "plain cargo makes no {suffix}");
        one.unset("KACHE_DISABLED").wipe().build();
        assert_eq!(named(&one, suffix), expected);
        settle();
        one.wipe().build();
        assert_eq!(named(&one, suffix), expected, "{how}: {}", one.history());
        let two = one.clone_to("elsewhere/deeper/two");
        assert_eq!(two.build_and_run().1, "7");
        assert_eq!(named(&two, suffix), expected, "{how}: {}", two.history());
        two.assert_noop();
    }
}

#[test]
fn x03_a_lost_part_of_a_set_is_not_served() {
    let mut project = Project::app_over("pub fn value() -> u32 { 7 }\n");
    project.set("CARGO_PROFILE_DEV_SPLIT_DEBUGINFO", "packed").set("CARGO_PROFILE_DEV_DEBUG", "2");
    project.settled("7");
    let packages = || find(&project.target_dir().join("debug/deps"), "app", ".dwp");
    let package = fs::read(&packages()[0]).expect("a package");
    let is_package = |path: &PathBuf| fs::read(path).expect("a blob") == package;
    let blobs: Vec<PathBuf> = project.blobs().into_iter().filter(is_package).collect();
    for blob in &blobs {
        fs::remove_file(blob).expect("remove");
    }
    assert!(!blobs.is_empty(), "the store holds no such file");
    project.wipe().build().misses(&["app"]);
    assert_eq!(packages().len(), 1);
    project.fresh_hits("7");
}

#[test]
#[ignore = "slow"]
fn profiles_that_change_how_linking_goes() {
    let settings: [&[(&str, &str)]; 5] = [
        &[("LTO", "fat"), ("OPT_LEVEL", "1")],
        &[("LTO", "thin"), ("CODEGEN_UNITS", "4")],
        &[("STRIP", "symbols")],
        &[("STRIP", "debuginfo"), ("DEBUG", "2")],
        &[("PANIC", "abort"), ("DEBUG", "line-tables-only")],
    ];
    for setting in settings {
        let mut project = Project::app_over("pub fn value() -> u32 { 7 }\n");
        for (name, value) in setting {
            project.set(&format!("CARGO_PROFILE_DEV_{name}"), value);
        }
        project.settled("7");
        let program = fs::read(project.target_dir().join("debug/app")).expect("the program");
        let two = project.clone_to("elsewhere/deeper/two");
        two.fresh_hits("7");
        assert!(program == fs::read(two.target_dir().join("debug/app")).expect("the program"), "{setting:?}");
        project.file("dep/src/lib.rs", "pub fn value() -> u32 { 8 }\n").fresh_compiles(&["app", "dep"], "8");
    }
}

/// A laptop and a CI runner: none of the differences between their environments affects the outputs.
#[test]
#[ignore = "slow"]
fn two_machines_share() {
    let mut one = kinds();
    let all = ["build", "--workspace", "--all-targets"];
    one.set("HOME", one.sandbox_dir().join("home")).set("TERM", "xterm-256color").set("LANG", "en_GB.UTF-8");
    one.set("COLORTERM", "truecolor").set("SHELL", "/bin/zsh").set("USER", "me").set("DISPLAY", ":0");
    one.cargo(&all);
    let mut two = one.clone_to("elsewhere/deeper/two");
    let sandbox = two.sandbox_dir();
    for (name, dir) in [("HOME", "other/home"), ("TMPDIR", "other/tmp"), ("XDG_CACHE_HOME", "other/xdg")] {
        fs::create_dir_all(sandbox.join(dir)).expect("a directory");
        two.set(name, sandbox.join(dir));
    }
    for name in ["COLORTERM", "SHELL", "DISPLAY"] {
        two.unset(name);
    }
    let runner =
        [("CI", "true"), ("TERM", "dumb"), ("LANG", "C.UTF-8"), ("USER", "runner"), ("GITHUB_ACTIONS", "true")];
    for (name, value) in runner.into_iter().chain([("RUST_BACKTRACE", "full"), ("NO_COLOR", "1"), ("LC_ALL", "C")]) {
        two.set(name, value);
    }
    // A longer PATH, with directories that do not exist.
    let machine: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").expect("PATH")).collect();
    let longer = [sandbox.join("nowhere")].into_iter().chain(machine).chain([sandbox.join("neither")]);
    two.set("PATH", std::env::join_paths(longer).expect("PATH"));
    settle();
    is_all_hits(&two.cargo(&["build", "--workspace", "--all-targets", "-j", "1"]), &two);
    assert_eq!(two.app_output(), "one built");
    // The same build started by a make, which has its own jobserver.
    if Command::new("make").arg("--version").output().is_err() {
        skip("make is not installed");
        return;
    }
    two.file("Makefile", format!("all:\n\t+{} build --workspace --all-targets\n", real_cargo().display()));
    let mut make = two.command("make");
    make.args(["-j", "3"]);
    two.wipe();
    is_all_hits(&two.finish(make).must_succeed(), &two);
    // Control: a setting that affects the outputs leads to compiles.
    assert!(!two.wipe().cargo(&["build", "--config", "profile.dev.opt-level=1"]).compiles().is_empty());
}
