//! Inputs of a run of a build script: a change to any of them runs the script again, as plain cargo does in an empty
//! target directory, and a change to something unrelated does not (hazard X08, U01 to U04 for scripts).
//!
//! The scripts here do not declare anything with `rerun-if-...`, and each is built in an empty target directory, so
//! that cargo always asks.

use std::fs;

use crate::support::{Scripted, manifest, write_program};

#[test]
#[ignore = "slow"]
fn a_variable() {
    let mut scene = Scripted::new("env::var(\"SCRIPT_DATA\").unwrap_or_else(|_| \"unset\".into())");
    scene.runs().restored();
    scene.set("SCRIPT_OTHER", "beside").restored();
    scene.set("SCRIPT_DATA", "one").runs().restored();
    scene.set("SCRIPT_DATA", "").runs();
    scene.project.unset("SCRIPT_DATA");
    scene.set("SCRIPT_OTHER", "beside it");
    // The input set of the first run holds again.
    let before = scene.project.events().len();
    scene.project.wipe().build();
    assert_eq!(scene.printed().0, "unset");
    assert!(scene.project.events()[before..].iter().all(|event| event["outcome"] == "hit.local"));
}

#[test]
#[ignore = "slow"]
fn all_variables() {
    let body = r#"
        let mut found: Vec<_> = env::vars().filter(|(name, _)| name.starts_with("SCRIPT_")).collect();
        found.sort();
        format!("{found:?}")"#;
    let mut scene = Scripted::new(body);
    scene.set("SCRIPT_A", "1").runs().restored();
    scene.set("SCRIPT_B", "2").runs().restored();
    scene.set("SCRIPT_A", "3").runs();
}

#[test]
fn a_variable_that_only_a_shell_knows() {
    let mut scene = Scripted::new("sh(\"echo ${SCRIPT_DATA:-unset}\")");
    scene.runs().restored();
    scene.set("SCRIPT_DATA", "one").runs().restored();
}

#[test]
#[ignore = "slow"]
fn a_file_and_one_that_is_absent() {
    let scene = Scripted::new("fs::read_to_string(\"data.txt\").unwrap_or_else(|_| \"none\".into())");
    scene.file("beside.txt", "1").runs().restored();
    scene.file("data.txt", "one").runs().restored();
    scene.file("beside.txt", "2").restored();
    scene.file("data.txt", "two").runs().restored();
}

#[test]
#[ignore = "slow"]
fn a_link_that_leads_nowhere() {
    let scene = Scripted::new("fs::read_to_string(\"link\").unwrap_or_else(|_| \"none\".into())");
    std::os::unix::fs::symlink("there", scene.project.path("link")).expect("link");
    scene.runs().restored();
    scene.file("there", "one").runs().restored();
    scene.project.remove("there").remove("link");
    std::os::unix::fs::symlink("elsewhere", scene.project.path("link")).expect("link");
    scene.file("there", "two").runs().restored();
    scene.file("elsewhere", "three").runs();
    // Links in a circle.
    scene.project.remove("link").remove("elsewhere");
    std::os::unix::fs::symlink("elsewhere", scene.project.path("link")).expect("link");
    std::os::unix::fs::symlink("link", scene.project.path("elsewhere")).expect("link");
    scene.runs().restored();
}

#[test]
#[ignore = "slow"]
fn directories_in_which_other_units_appear() {
    // Like a script that looks for libclang.
    let body = r#"
        let dirs = env::split_paths(&env::var_os("LD_LIBRARY_PATH").unwrap()).collect::<Vec<_>>();
        let found = dirs.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten();
        found.filter(|entry| entry.as_ref().unwrap().file_name() == "libfound.so").count().to_string()"#;
    let mut scene = Scripted::new(body);
    let own = scene.project.sandbox_dir().join("libraries");
    fs::create_dir_all(&own).expect("directory");
    scene.set("LD_LIBRARY_PATH", own.to_str().expect("text"));
    scene.file("src/lib.rs", "").runs().restored();
    fs::write(own.join("libfound.so"), "").expect("library");
    scene.runs().restored();
}

#[test]
#[ignore = "slow"]
fn a_directory() {
    let body = r#"
        let names = fs::read_dir("data").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names.join(",")"#;
    let scene = Scripted::new(body);
    scene.file("data/a", "").runs().restored();
    scene.file("data/b", "").runs().restored();
    scene.file("other/c", "").restored();
    scene.project.remove("data/a");
    scene.runs().restored();
}

#[test]
#[ignore = "slow"]
fn a_program_that_comes_first_on_the_path() {
    let mut scene = Scripted::new("said(&mut Command::new(\"answers\"))");
    scene.project.script("late/answers", "echo late");
    scene.project.script("early/beside", "echo beside");
    scene.project.path_with(&["early", "late"]);
    scene.runs().restored();
    scene.project.script("early/other", "echo beside");
    scene.restored();
    scene.project.script("early/answers", "echo early");
    scene.runs().restored();
}

#[test]
fn a_program_that_is_changed_in_place() {
    let mut scene = Scripted::new("said(&mut Command::new(\"answers\"))");
    scene.project.script("bin/answers", "echo one");
    scene.project.path_with(&["bin"]);
    scene.runs().restored();
    scene.project.script("bin/answers", "echo two");
    scene.runs().restored();
}

/// A script that runs the preprocessor on `main.c`, with two include directories.
const COMPILES: &str = r#"said(Command::new("cc").args(["-E", "-P", "-Ifirst", "-Isecond", "main.c"]))"#;
const MAIN: &str = "#include <limits.h>\n#include \"answer.h\"\nANSWER\n";

#[test]
#[ignore = "slow"]
fn a_header_and_one_that_comes_earlier_on_the_include_path() {
    let scene = Scripted::new(COMPILES);
    scene.file("main.c", MAIN).file("second/answer.h", "#define ANSWER \"second\"\n");
    scene.file("first/other.h", "").runs().restored();
    scene.file("second/answer.h", "#define ANSWER \"edited\"\n").runs().restored();
    scene.file("first/answer.h", "#define ANSWER \"first\"\n").runs().restored();
    scene.file("main.c", &MAIN.replace("ANSWER", "ANSWER!")).runs().restored();
}

#[test]
#[ignore = "slow"]
fn another_c_compiler_first_on_the_path() {
    let mut scene = Scripted::new(COMPILES);
    scene
        .file("main.c", MAIN)
        .file("second/answer.h", "#define ANSWER NAME\n#ifndef NAME\n#define NAME \"plain\"\n#endif\n");
    scene.file("first/other.h", "");
    scene.project.path_with(&["bin"]);
    fs::create_dir_all(scene.project.sandbox_dir().join("bin")).expect("bin");
    scene.runs().restored();
    scene.project.script("bin/cc", "exec /usr/bin/cc -DNAME='\"other\"' \"$@\"");
    scene.runs().restored();
}

#[test]
#[ignore = "slow"]
fn a_variable_that_only_the_c_compiler_reads() {
    let mut scene = Scripted::new(COMPILES);
    scene.file("main.c", MAIN).file("second/answer.h", "#define ANSWER \"second\"\n").file("first/other.h", "");
    scene.runs();
    scene.set("TERM", "dumb");
    scene.set("COLUMNS", "40").restored();
    let cpath = scene.project.path("third");
    scene.file("third/answer.h", "#define ANSWER \"third\"\n").restored();
    scene.project.remove("second/answer.h");
    scene.set("CPATH", cpath.to_str().expect("text")).runs().restored();
}

#[test]
#[ignore = "slow"]
fn a_shell_that_a_program_starts_by_the_c_library() {
    // awk calls `popen` for a pipe, and `system`.
    let body = r#"said(Command::new("awk").arg("BEGIN { \"cat data.txt\" | getline line; print line; system(\"cat more.txt\") }"))"#;
    let scene = Scripted::new(body);
    scene.file("data.txt", "one\n").file("more.txt", "and").runs().restored();
    scene.file("data.txt", "two\n").runs().restored();
    scene.file("more.txt", "or").runs().restored();
}

#[test]
#[ignore = "slow"]
fn what_make_finds_by_a_pattern() {
    if !crate::support::has_program("make") {
        return;
    }
    let scene =
        Scripted::new("said(Command::new(\"make\").args([\"-s\", \"-f\", \"found.mk\"]).env_remove(\"MAKEFLAGS\"))");
    scene.file("found.mk", "all:\n\t@echo $(sort $(wildcard parts/*.c))\n");
    scene.file("other/kept", "").file("parts/a.c", "").runs().restored();
    scene.file("parts/b.c", "").runs().restored();
    scene.file("other/c.c", "").restored();
}

#[test]
#[ignore = "slow"]
fn what_pkg_config_answers() {
    if !crate::support::has_program("pkg-config") {
        return;
    }
    let mut scene = Scripted::new("said(Command::new(\"pkg-config\").args([\"--cflags\", \"thing\"]))");
    let dir = scene.project.sandbox_dir().join("pc");
    let write = |flags: &str| {
        fs::create_dir_all(&dir).expect("directory");
        fs::write(dir.join("thing.pc"), format!("Name: thing\nDescription: x\nVersion: 1\nCflags: {flags}\n"))
            .expect("pc");
    };
    write("-DONE");
    scene.set("PKG_CONFIG_PATH", dir.to_str().expect("text")).runs().restored();
    write("-DTWO");
    scene.runs().restored();
    // Another directory comes first on the search path.
    let first = scene.project.sandbox_dir().join("first");
    fs::create_dir_all(&first).expect("directory");
    fs::write(first.join("thing.pc"), "Name: thing\nDescription: x\nVersion: 2\nCflags: -DTHREE\n").expect("pc");
    scene.set("PKG_CONFIG_PATH", &format!("{}:{}", first.display(), dir.display())).runs().restored();
}

#[test]
#[ignore = "slow"]
fn what_another_script_hands_on() {
    let scene = Scripted::new("env::var(\"DEP_THING_ANSWER\").unwrap()");
    scene.file("Cargo.toml", &manifest("app", "[dependencies]\nthing = { path = \"thing\" }\n[workspace]\n"));
    scene.file("thing/Cargo.toml", &manifest("thing", "").replace("[package]", "[package]\nlinks = \"thing\""));
    scene.file("thing/src/lib.rs", "");
    let script = |answer: &str| format!("fn main() {{ println!(\"cargo:answer={answer}\"); }}\n");
    scene.file("thing/build.rs", &script("one")).runs().restored();
    scene.file("thing/build.rs", &script("two")).runs().restored();
}

#[test]
#[ignore = "slow"]
fn what_cargo_tells() {
    let scene = Scripted::new("env::var(\"NUM_JOBS\").unwrap()");
    scene.runs_with(&["-j1"]).restored_with(&["-j1"]).runs_with(&["-j2"]).restored_with(&["-j2"]);
    scene.script("format!(\"{:?}\", env::var(\"CARGO_FEATURE_EXTRA\"))");
    scene.runs().restored().runs_with(&["--features", "extra"]).restored_with(&["--features", "extra"]);
    scene.script("format!(\"{} {}\", env::var(\"PROFILE\").unwrap(), env::var(\"OPT_LEVEL\").unwrap())");
    scene.runs().restored().runs_with(&["--release"]).restored_with(&["--release"]);
    let host = ["--target", env!("KACHE_HOST")];
    scene.script("format!(\"{} {}\", env::var(\"TARGET\").unwrap(), env::var(\"HOST\").unwrap())");
    scene.runs().restored().runs_with(&host).restored_with(&host);
}

#[test]
fn what_the_target_can_do() {
    let mut scene = Scripted::new("format!(\"{:?}\", env::var(\"CARGO_CFG_SPECIAL\"))");
    scene.runs().restored();
    scene.set("RUSTFLAGS", "--cfg special --check-cfg cfg(special)").runs().restored();
}

#[test]
#[ignore = "slow"]
fn a_declared_input() {
    let mut scene = Scripted::new("\"constant\".into()");
    scene.file(".kache.toml", "[inputs.build_script_build]\nfiles = [\"schema.sql\"]\nenv = [\"FLAVOUR\"]\n");
    scene.file("schema.sql", "1").runs().restored();
    scene.file("schema.sql", "2").runs().restored();
    scene.set("FLAVOUR", "sweet").runs().restored();
}

#[test]
#[ignore = "slow"]
fn the_compiler_asked_by_the_script() {
    // As autocfg and rustversion do, through the wrapper that cargo names.
    let body = r#"
        let mut rustc = match env::var_os("RUSTC_WRAPPER") {
            Some(wrapper) => { let mut command = Command::new(wrapper); command.arg(env::var_os("RUSTC").unwrap()); command }
            None => Command::new(env::var_os("RUSTC").unwrap()),
        };
        fs::write(out().join("probe.rs"), fs::read_to_string("probe.rs").unwrap()).unwrap();
        let probe = rustc.args(["--crate-name=probe", "--crate-type=lib", "--emit=metadata", "--out-dir"]).arg(out()).arg(out().join("probe.rs"));
        probe.output().unwrap().status.success().to_string()"#;
    let scene = Scripted::new(body);
    scene.file("probe.rs", "pub fn a() {}").runs().restored();
    scene.file("probe.rs", "pub fn a() { nonsense }").runs().restored();
}

#[test]
#[ignore = "slow"]
fn a_file_that_is_searched_for_above_the_checkout() {
    let body = r#"
        let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap());
        let found = package.ancestors().find_map(|dir| fs::read_to_string(dir.join("answer.txt")).ok());
        found.unwrap_or_else(|| "none".into())"#;
    let one = Scripted::new(body);
    let above = one.project.dir().parent().expect("parent").join("answer.txt");
    fs::write(&above, "one").expect("write");
    one.runs().restored();
    fs::write(&above, "another").expect("write");
    one.runs().restored();
    // Another file is above the other checkout.
    let two = one.clone_to("elsewhere/two");
    fs::write(two.project.dir().parent().expect("parent").join("answer.txt"), "two").expect("write");
    two.runs().restored();
    one.project.wipe().build();
    assert_eq!(one.printed().0, "another");
}

#[test]
fn an_edit_while_the_script_runs_is_not_lost() {
    let scene = Scripted::new("let text = fs::read_to_string(\"data.txt\").unwrap(); sh(\"./meanwhile\"); text");
    scene.file("data.txt", "before");
    // Edits the file that the script has read, once, as an editor would.
    let edit = "#!/bin/sh\ntest -e done || { sleep 0.05; echo after > data.txt; touch done; }\n";
    write_program(&scene.project.path("meanwhile"), edit);
    scene.project.build();
    assert_eq!(scene.printed().0, "before");
    assert_ne!(scene.last_run()["stored"], "stored", "{}", scene.project.history());
    scene.file("data.txt", "before").runs().restored();
    scene.file("data.txt", "after").runs().restored();
}

/// `..` leads out of `OUT_DIR`, whatever the path begins with.
#[test]
fn a_file_above_the_directory_of_outputs() {
    let scene = Scripted::new("fs::read_to_string(out().join(\"../../../../../data.txt\")).unwrap()");
    scene.file("data.txt", "one");
    let first = built(&scene);
    scene.file("beside.txt", "1");
    assert_eq!(built(&scene), first);
    scene.file("data.txt", "two");
    assert_eq!((first.0.as_str(), built(&scene).0.as_str()), ("one", "two"));
}

/// Builds into an empty target directory in the workspace. Returns the value, and the number of the run that made it.
/// ([`Scripted::plain`] uses a target directory elsewhere, which makes a difference here.)
fn built(scene: &Scripted) -> (String, String) {
    crate::support::settle();
    scene.project.wipe().build();
    scene.printed()
}

#[test]
fn a_header_that_a_compiler_finds_above_where_it_runs() {
    let body = r#"
        let dir = out().join("build");
        fs::create_dir(&dir).unwrap();
        let mut cc = Command::new("cc");
        cc.current_dir(&dir).args(["-E", "-P", "../../../../../../main.c"]);
        said(&mut cc)"#;
    let scene = Scripted::new(body);
    scene.file("main.c", "#include \"main.h\"\n").file("main.h", "one");
    let first = built(&scene);
    assert_eq!((first.0.as_str(), built(&scene)), ("one", first.clone()));
    let other = scene.clone_to("elsewhere/two");
    assert_eq!(built(&other), first);
    other.file("main.h", "four");
    assert_eq!(built(&other).0, "four");
    scene.file("main.h", "two");
    assert_eq!(built(&scene).0, "two");
    scene.file("main.c", "#include \"main.h\"\nthree\n");
    assert_eq!(built(&scene).0, "two\nthree");
}

#[test]
fn options_for_make() {
    let mut scene = Scripted::new("env::var(\"MAKEFLAGS\").unwrap_or_default().matches(\"MODE\").count().to_string()");
    scene.runs().restored();
    scene.set("MAKEFLAGS", " -- MODE=slow").runs().restored();
}

/// A file next to one checkout is not next to the other.
#[test]
fn a_file_beside_the_checkout() {
    let body = r#"
        let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap());
        fs::read_to_string(package.parent().unwrap().join("answer.txt")).unwrap_or_else(|_| "none".into())"#;
    let one = Scripted::new(body);
    let beside = |scene: &Scripted| scene.project.dir().parent().expect("parent").join("answer.txt");
    fs::write(beside(&one), "one").expect("write");
    one.runs().restored();
    let two = one.clone_to("elsewhere/two");
    fs::write(beside(&two), "two").expect("write");
    two.runs().restored();
}

#[test]
fn a_place_beside_the_checkout_that_is_named() {
    let body = r#"
        let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap());
        package.parent().unwrap().join("sibling").display().to_string()"#;
    let one = Scripted::new(body);
    one.runs().restored();
    one.clone_to("elsewhere/two").runs().restored();
}

/// Whether a script that goes up from `OUT_DIR` finds the workspace depends on the target directory.
#[test]
fn a_target_directory_elsewhere() {
    let mut scene = Scripted::new("out().ancestors().any(|dir| dir.join(\"data.txt\").exists()).to_string()");
    scene.file("data.txt", "");
    assert_eq!(built(&scene).0, "true");
    let elsewhere = scene.project.sandbox_dir().join("elsewhere/target");
    scene.set("CARGO_TARGET_DIR", &elsewhere.to_string_lossy());
    assert_eq!(built(&scene).0, "false");
}
