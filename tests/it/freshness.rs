//! Freshness after a restore as cargo judges it, in this checkout and in every other one (hazards F01 to F04, F12,
//! F14).

use std::fs;

use crate::support::{CANONICAL_MTIME_NS, Project, Stat, find_one, manifest, stat};

/// A chain of three libraries below `app`, the lowest with a build script. This shape exposes stale times.
fn chain() -> Project {
    let project = Project::app_over("pub fn value() -> u32 { mid::value() }\n");
    project.file("dep/Cargo.toml", manifest("dep", "[dependencies]\nmid = { path = \"../mid\" }\n"));
    project.file("mid/Cargo.toml", manifest("mid", "[dependencies]\nlow = { path = \"../low\" }\n"));
    project.file("mid/src/lib.rs", "pub fn value() -> u32 { low::value() }\n");
    project.file("low/Cargo.toml", manifest("low", ""));
    project.file("low/build.rs", "fn main() { println!(\"cargo:rerun-if-changed=build.rs\"); }\n");
    project.file("low/src/lib.rs", "pub fn value() -> u32 { 7 }\n");
    project
}

/// The libraries of the chain.
const CHAIN: [&str; 3] = ["dep", "mid", "low"];

fn artifact(project: &Project, krate: &str, suffix: &str) -> Stat {
    stat(&find_one(&project.target_dir().join("debug/deps"), &format!("lib{krate}-"), suffix))
}

#[test]
fn f11_a_dependency_that_gets_another_link_meanwhile_is_no_change() {
    let project = Project::lib("pub fn value() -> u32 { one::N }\n");
    project.file("src/one.rs", "pub const N: u32 = 1;\n");
    project.unit("one", "src/one.rs").misses();
    project.hook("after", "dep", "for f in target/debug/deps/libone-*.rmeta; do ln $f $f.link; done\n");
    let unit = project.unit("dep", "src/lib.rs").uses("one", "one");
    unit.misses();
    assert!(!crate::support::find(&project.target_dir(), "libone", ".link").is_empty(), "the hook ran");
    unit.hits();
}

#[test]
fn f01_a_restored_build_is_fresh() {
    let mut project = chain();
    project.warm(&CHAIN);
    project.assert_noop();
    project.check();
    project.check().is_noop();
    project.assert_noop();
    project.without_cache_compiles(&CHAIN);
}

#[test]
fn f01_control_cargo_does_notice_an_old_output() {
    let project = chain();
    project.warm(&CHAIN);
    let old = filetime::FileTime::from_unix_time(946_684_800, 42);
    for suffix in [".rmeta", ".rlib"] {
        let file = find_one(&project.target_dir().join("debug/deps"), "libmid-", suffix);
        filetime::set_file_mtime(file, old).expect("old");
    }
    assert!(!project.build().dirty().is_empty(), "outputs older than a dependency's must be dirty");
}

#[test]
fn f02_restores_are_fresh_every_time() {
    let project = chain();
    project.warm(&CHAIN);
    for round in 0..4 {
        project.rebuild_hits(&CHAIN);
        assert!(project.build().dirty().is_empty(), "round {round}: an output was stamped from another clock");
    }
}

#[test]
fn f03_second_checkout_leaves_first_fresh() {
    let one = chain();
    one.build().misses(&CHAIN);
    let two = one.clone_to("elsewhere/deeper/two");
    let before: Vec<Stat> = CHAIN.iter().map(|krate| artifact(&one, krate, ".rlib")).collect();
    two.build().hits(&CHAIN);
    two.assert_noop();
    one.assert_noop();
    for (krate, before) in CHAIN.iter().zip(before) {
        let after = artifact(&one, krate, ".rlib");
        assert_eq!(
            (after.id, after.mtime_ns),
            (before.id, before.mtime_ns),
            "{krate} was touched in the first checkout"
        );
    }
    one.rebuild_hits(&CHAIN);
    one.assert_noop();
    two.assert_noop();
}

#[test]
fn f03_an_edit_in_one_checkout_is_nothing_to_the_other() {
    let one = chain();
    one.build();
    let two = one.clone_to("elsewhere/deeper/two");
    two.build().hits(&CHAIN);
    two.file("low/src/lib.rs", "pub fn value() -> u32 { 8 }\n");
    two.build().misses(&CHAIN);
    assert_eq!(two.app_output(), "8");
    one.assert_noop();
    assert_eq!(one.app_output(), "7");
    two.file("low/src/lib.rs", "pub fn value() -> u32 { 7 }\n");
    two.build().hits(&CHAIN);
    assert_eq!(two.app_output(), "7");
    two.assert_noop();
    one.assert_noop();
}

#[test]
fn f03_metadata_is_private_and_libraries_have_the_canonical_time() {
    let one = chain();
    one.build();
    let two = one.clone_to("elsewhere/deeper/two");
    two.build().hits(&CHAIN);
    for krate in CHAIN {
        for project in [&one, &two] {
            let rmeta = artifact(project, krate, ".rmeta");
            assert_eq!(rmeta.nlink, 1, "{krate}'s metadata is shared");
            assert_ne!(rmeta.mtime_ns, CANONICAL_MTIME_NS);
            assert_eq!(rmeta.mode & 0o200, 0o200, "{krate}'s metadata is read-only");
        }
        let rlib = artifact(&two, krate, ".rlib");
        assert_eq!(rlib.mtime_ns, CANONICAL_MTIME_NS, "{krate}");
        assert_eq!(rlib.mode & 0o200, 0o200, "{krate}'s library is read-only");
    }
}

#[test]
fn f04_a_partly_cleaned_target_settles_at_once() {
    let project = chain();
    project.build();
    project.cargo(&["clean", "-p", "mid"]);
    project.build().hits(&CHAIN);
    project.assert_noop();
    let low = find_one(&project.target_dir().join("debug/deps"), "liblow-", ".rlib");
    fs::remove_file(low).expect("remove a library");
    project.build().hits(&CHAIN);
    project.assert_noop();
    assert_eq!(project.app_output(), "7");
}

#[test]
fn f04_touching_a_source_is_a_hit_and_settles() {
    let project = chain();
    project.build();
    for file in ["low/src/lib.rs", "dep/src/lib.rs", "mid/src/lib.rs"] {
        crate::support::touch_later(&project.path(file));
        std::thread::sleep(std::time::Duration::from_millis(30));
        let run = project.build();
        assert!(!run.dirty().is_empty(), "control: cargo sees the touch of {file}");
        run.hits(&CHAIN);
        project.assert_noop();
    }
}

#[test]
fn f08_a_generated_file_that_is_not_made_here_is_missed() {
    let script = |name: &str| {
        format!(
            "fn main() {{ println!(\"cargo:rerun-if-changed=build.rs\"); let out = std::env::var(\"OUT_DIR\").unwrap();\n\
             std::fs::write(format!(\"{{out}}/{name}\"), \"pub fn value() -> u32 {{ 7 }}\").unwrap(); }}\n"
        )
    };
    let one = Project::app_over("include!(concat!(env!(\"OUT_DIR\"), \"/gen.rs\"));\n");
    one.file("dep/build.rs", script("gen.rs"));
    one.build();
    let two = one.clone_to("elsewhere/deeper/two");
    two.file("dep/build.rs", script("other.rs"));
    let run = two.try_cargo(&["build"]).must_fail();
    assert!(run.stderr.contains("gen.rs"), "rustc should miss the generated file:\n{}", run.stderr);
    two.file("dep/build.rs", script("gen.rs"));
    two.build().hits(&["dep"]);
    two.assert_noop();
}

#[test]
fn f12_empty_metadata_of_binaries_and_tests_is_cached() {
    let mut project = chain();
    let all = &["check", "--workspace", "--all-targets"];
    assert!(project.cargo(all).compiles().contains(&"app"));
    project.wipe();
    let run = project.cargo(all);
    let compiled: Vec<&str> = run.compiles().into_iter().filter(|name| *name != "build_script_build").collect();
    assert_eq!(compiled, Vec::<&str>::new(), "checking a binary or a test only makes metadata");
    project.cargo(all).is_noop();
    project.set("KACHE_DISABLED", "1").wipe();
    assert!(project.cargo(all).compiles().len() > 4, "control");
}

#[test]
fn f14_every_requested_kind_of_output_is_there_after_a_hit() {
    let project = Project::lib("#[inline(never)] pub fn value() -> u32 { 7 }\n");
    let kinds = |emit: &str| {
        let unit = project.unit("dep", "src/lib.rs").emit(emit);
        unit.run().must_succeed();
        unit.run().must_succeed();
        let out = project.target_dir().join("debug/deps");
        let mut names: Vec<String> = crate::support::files_under(&out)
            .iter()
            .filter_map(|p| p.file_name().map(|n| n.to_string_lossy().into_owned()))
            .filter(|name| name.contains("dep-0000"))
            .map(|name| name.rsplit('.').next().expect("an extension").to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(kinds("dep-info,metadata"), ["d", "rmeta"]);
    assert_eq!(kinds("dep-info,metadata,link"), ["d", "rlib", "rmeta"]);
    assert_eq!(kinds("dep-info,link"), ["d", "rlib"]);
    assert_eq!(kinds("dep-info,link,asm"), ["d", "rlib", "s"]);
    assert_eq!(kinds("dep-info,link,obj"), ["d", "o", "rlib"]);
    assert_eq!(kinds("metadata,link"), ["rlib", "rmeta"]);
}

#[test]
fn f14_an_absent_output_directory_is_made() {
    let project = Project::lib("pub fn value() -> u32 { 7 }\n");
    let unit = project.unit("dep", "src/lib.rs");
    unit.warm();
    project.wipe();
    let elsewhere = project.unit("dep", "src/lib.rs").without_out_dir();
    elsewhere.hits();
}
