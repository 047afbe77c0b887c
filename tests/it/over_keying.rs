//! Differences that must not affect a key (hazards O01, O05, O06, O10). Layouts of target directories are in
//! `layouts.rs`.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{Project, find};

const DEP: &str = "pub fn value() -> u32 { 7 }\n";

#[test]
fn o01_cargos_own_variables_do_not_matter() {
    let mut project = Project::app_over(DEP);
    project.warm(&["dep"]);
    project.set("CARGO_BUILD_JOBS", "1").set("CARGO_REGISTRIES_PRIVATE_TOKEN", "secret");
    project.set("CARGO_PROFILE_RELEASE_LTO", "true").set("CARGO_TERM_VERBOSE", "false");
    project.rebuild_hits(&["dep"]);
    let home = project.sandbox_dir().join("other-cargo-home");
    fs::create_dir(&home).expect("cargo home");
    project.set("CARGO_HOME", home);
    project.rebuild_hits(&["dep"]);
    project.without_cache_compiles(&["dep"]);
    // Control: a cargo variable that is an input does matter.
    project.set("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
    project.rebuild_misses(&["dep"]);
}

#[test]
fn o01_variables_rustc_does_not_read_do_not_matter() {
    let mut project = Project::app_over(DEP);
    project.warm(&["dep"]);
    project.set("HOME", project.sandbox_dir().join("other-home")).set("TERM", "xterm").set("LANG", "de_DE.UTF-8");
    project.set("RUST_BACKTRACE", "full").set("MAKEFLAGS", "-w").set("SOME_TOKEN", "x");
    project.rebuild_hits(&["dep"]);
}

#[test]
fn o05_spelling_of_rustflags_does_not_matter() {
    let mut project = Project::lib(DEP);
    project.set("RUSTFLAGS", "-Copt-level=1 --cfg extra").warm(&["dep"]);
    project.set("RUSTFLAGS", "  -Copt-level=1   --cfg  extra ");
    project.rebuild_hits(&["dep"]);
    project.set("RUSTFLAGS", "-Copt-level=1 --cfg other");
    project.rebuild_misses(&["dep"]);
}

#[test]
fn o04_the_linker_is_no_part_of_a_library() {
    let project = Project::lib("pub fn value() -> u32 { 7 }\n");
    project.unit("dep", "src/lib.rs").warm();
    project.unit("dep", "src/lib.rs").args(["-Clinker=/one/cc", "-Clink-arg=-s"]).hits();
    // Control: a flag that shapes the library is part of its key.
    project.unit("dep", "src/lib.rs").args(["-Copt-level=1"]).misses();
}

#[test]
fn o11_a_build_scripts_probe_leaves_no_trace() {
    let project = Project::lib("pub fn value() -> u32 { 7 }\n");
    let out_dir = project.target_dir().join("debug/deps");
    // Control: the same call from elsewhere writes an event.
    for (name, value, events) in [("OUT_DIR", out_dir, 0), ("ELSEWHERE", project.target_dir(), 1)] {
        project.unit("probe", "src/lib.rs").emit("metadata").env(name, value).run().must_succeed();
        assert_eq!(project.events().len(), events, "{name}");
    }
    assert!(project.entries().is_empty());
}

#[test]
fn o05_the_order_of_externs_does_not_matter() {
    let project = Project::lib("pub fn value() -> u32 { a::N + b::N }\n");
    project.file("src/one.rs", "pub const N: u32 = 1;\n");
    project.file("src/two.rs", "pub const N: u32 = 2;\n");
    project.unit("one", "src/one.rs").misses();
    project.unit("two", "src/two.rs").misses();
    project.unit("dep", "src/lib.rs").uses("a", "one").uses("b", "two").warm();
    project.unit("dep", "src/lib.rs").uses("b", "two").uses("a", "one").hits();
}

#[test]
fn o06_a_checkout_reached_through_a_symlink_hits() {
    let mut project = Project::app_over(DEP);
    project.warm(&["dep"]);
    let link = project.sandbox_dir().join("link");
    symlink(project.dir(), &link).expect("symlink");
    let manifest = link.join("Cargo.toml");
    let run = project.wipe().cargo(&["build", "--manifest-path", manifest.to_str().expect("utf-8")]);
    run.hits(&["dep"]);
    project.set("CARGO_TARGET_DIR", link.join("target"));
    project.rebuild_hits(&["dep"]);
    project.without_cache_compiles(&["dep"]);
}

#[test]
fn o06_dots_in_the_target_directory_hit() {
    let mut project = Project::app_over(DEP);
    project.warm(&["dep"]);
    project.set("CARGO_TARGET_DIR", project.path("src/../target"));
    project.rebuild_hits(&["dep"]);
    project.assert_noop();
}

#[test]
fn o06_a_checkout_below_the_temporary_directory_or_home_hits() {
    for variable in ["TMPDIR", "HOME"] {
        let mut one =
            Project::app_over("#[inline(never)] pub fn value() -> u32 { [7][std::env::args().count() - 1] }\n");
        one.set(variable, one.sandbox_dir());
        one.warm(&["dep"]);
        let two = one.clone_to("elsewhere/deeper/two");
        two.build().hits(&["dep"]);
        two.assert_noop();
    }
}

#[test]
fn o06_a_checkout_that_is_the_home_directory_hits() {
    let mut one = Project::app_over(DEP);
    let mut two = one.clone_to("elsewhere/deeper/two");
    one.set("HOME", one.path("."));
    two.set("HOME", two.path("."));
    one.warm(&["dep"]);
    two.build().hits(&["dep"]);
    two.assert_noop();
    one.assert_noop();
}

#[test]
fn o06_a_checkout_that_is_the_temporary_directory_hits() {
    let mut project = Project::app_over(DEP);
    project.set("TMPDIR", project.path("."));
    project.warm(&["dep"]);
    project.assert_noop();
}

#[test]
fn o10_check_build_and_release_each_hit_their_own() {
    let project = Project::app_over(DEP);
    project.check().misses(&["dep"]);
    project.build().misses(&["dep"]);
    project.cargo(&["build", "--release"]).misses(&["dep"]);
    project.wipe();
    project.check().hits(&["dep"]);
    assert!(find(&project.target_dir(), "libdep-", ".rlib").is_empty(), "check made an rlib");
    project.build().hits(&["dep"]);
    assert_eq!(project.app_output(), "7");
    project.cargo(&["build", "--release"]).hits(&["dep"]);
    for args in [&["check"][..], &["build"], &["build", "--release"]] {
        project.cargo(args).is_noop();
    }
}
