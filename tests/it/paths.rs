//! Checkouts at any path: the same files elsewhere are all hits, and no path from elsewhere is visible.

use crate::support::{Project, contains, find, find_one, manifest};

/// A small workspace with everything that can hide a path: modules, panics, a generated file, an included text, and a
/// library that depends on other members.
fn workspace() -> Project {
    let project = Project::new();
    let rest = "[dependencies]\ndep = { path = \"crates/dep\" }\n[workspace]\nmembers = [\"crates/*\"]\n[profile.dev]\ndebug = 2\n";
    project.file("Cargo.toml", manifest("app", rest));
    project.file("src/main.rs", "fn main() { println!(\"{}\", dep::value()); }\n");
    let dep =
        "[dependencies]\nbase = { path = \"../base\" }\ngen = { path = \"../generated\", package = \"generated\" }\n";
    project.file("crates/dep/Cargo.toml", manifest("dep", &dep.replace("gen =", "made =")));
    project.file(
        "crates/dep/src/lib.rs",
        "mod inner;\npub fn value() -> String { format!(\"{} {} {}\", inner::text(), base::check(Some(1)), made::NAME) }\n",
    );
    project.file("crates/dep/src/inner.rs", "pub fn text() -> &'static str { include_str!(\"../text.txt\") }\n");
    project.file("crates/dep/text.txt", "included");
    project.file("crates/base/Cargo.toml", manifest("base", ""));
    project.file("crates/base/src/lib.rs", "#[inline(never)] pub fn check(x: Option<u32>) -> u32 { x.unwrap() }\n");
    project.file("crates/generated/Cargo.toml", manifest("generated", ""));
    project.file("crates/generated/src/lib.rs", "include!(concat!(env!(\"OUT_DIR\"), \"/gen.rs\"));\n");
    project.file(
        "crates/generated/build.rs",
        "fn main() {\n    println!(\"cargo:rerun-if-changed=build.rs\");\n    let out = std::env::var(\"OUT_DIR\").unwrap();\n    \
         std::fs::write(format!(\"{out}/gen.rs\"), \"pub const NAME: &str = \\\"generated\\\";\").unwrap();\n}\n",
    );
    project
}

const LIBS: [&str; 3] = ["base", "dep", "generated"];

#[test]
fn another_directory_at_another_depth_with_another_target_is_all_hits() {
    let mut one = workspace();
    one.build().misses(&LIBS);
    let checkouts = ["work/two", "three", "elsewhere/much/deeper/four"].map(|place| one.clone_to(place));
    for two in &checkouts {
        two.build().hits(&LIBS);
        assert_eq!(two.app_output(), "included 1 generated");
        two.assert_noop();
    }
    let [mut two, ..] = checkouts;
    two.set("CARGO_TARGET_DIR", two.sandbox_dir().join("targets/apart"));
    two.build().hits(&LIBS);
    two.assert_noop();
    one.assert_noop();
    one.without_cache_compiles(&LIBS);
}

#[test]
fn a_checkout_inside_another_is_all_hits() {
    // Tools create worktrees there.
    let one = workspace();
    one.build().misses(&LIBS);
    let two = one.clone_to("work/one/.worktrees/two");
    two.build().hits(&LIBS);
    assert_eq!(two.app_output(), "included 1 generated");
    two.assert_noop();
    one.assert_noop();
    two.file("crates/base/src/lib.rs", "pub fn check(x: Option<u32>) -> u32 { x.unwrap() + 1 }\n");
    two.build().misses(&["base", "dep"]);
    assert_eq!(two.app_output(), "included 2 generated");
    one.assert_noop();
    one.rebuild_hits(&LIBS);
    assert_eq!(one.app_output(), "included 1 generated");
}

#[test]
fn a_checkout_inside_anothers_target_directory_is_all_hits() {
    // `cargo package` verifies packages there.
    let one = workspace();
    one.build().misses(&LIBS);
    let two = one.clone_to("work/one/target/package/two");
    two.build().hits(&LIBS);
    two.assert_noop();
    one.assert_noop();
}

#[test]
fn checking_in_another_checkout_is_all_hits() {
    let one = workspace();
    one.cargo(&["check", "--workspace"]).misses(&LIBS);
    let two = one.clone_to("elsewhere/much/deeper/two");
    two.cargo(&["check", "--workspace"]).hits(&LIBS);
    two.cargo(&["check", "--workspace"]).is_noop();
    // Control: an edit in the second checkout counts there and only there.
    two.file("crates/base/src/lib.rs", "pub fn check(x: Option<u32>) -> u32 { x.unwrap() + 1 }\n");
    two.wipe().cargo(&["check", "--workspace"]).misses(&["base", "dep"]).hits(&["generated"]);
    one.wipe().cargo(&["check", "--workspace"]).hits(&LIBS);
}

#[test]
fn release_with_debug_info_in_another_checkout_is_all_hits() {
    let mut one = workspace();
    one.set("CARGO_PROFILE_RELEASE_DEBUG", "2");
    one.cargo(&["build", "--release"]).misses(&LIBS);
    let two = one.clone_to("elsewhere/much/deeper/two");
    two.cargo(&["build", "--release"]).hits(&LIBS);
    two.cargo(&["build", "--release"]).is_noop();
}

#[test]
fn exact_paths_are_each_checkouts_own() {
    let mut one = workspace();
    one.set("KACHE_PATHS", "exact");
    one.build().misses(&LIBS);
    one.rebuild_hits(&LIBS);
    let two = one.clone_to("elsewhere/much/deeper/two");
    two.build().misses(&["base", "dep"]);
    two.rebuild_hits(&LIBS);
    let base = find_one(&two.target_dir().join("debug/deps"), "libbase-", ".rlib");
    assert!(contains(&base, &two.dir().to_string_lossy()), "exact debug info names its checkout");
    assert!(!contains(&base, &one.dir().to_string_lossy()), "it names another checkout");
    one.rebuild_hits(&LIBS);
}

#[test]
fn restored_artifacts_name_no_checkout() {
    let mut one = workspace();
    one.build();
    let two = one.clone_to("elsewhere/much/deeper/two");
    two.build().hits(&LIBS);
    for krate in LIBS {
        for suffix in [".rlib", ".rmeta"] {
            let file = find_one(&two.target_dir().join("debug/deps"), &format!("lib{krate}-"), suffix);
            for place in [one.dir(), two.dir()] {
                assert!(!contains(&file, &place.to_string_lossy()), "{} names {}", file.display(), place.display());
            }
        }
    }
    // Control: without kache, rustc writes the path of the checkout.
    one.set("KACHE_DISABLED", "1").wipe().build();
    let base = find_one(&one.target_dir().join("debug/deps"), "libbase-", ".rlib");
    assert!(contains(&base, &one.dir().to_string_lossy()));
}

#[test]
fn backtraces_of_restored_crates_name_files_that_exist_from_the_workspace_root() {
    let one = workspace();
    one.file("src/main.rs", "fn main() { dep::value(); base_panics(); }\nfn base_panics() { dep::panics(); }\n");
    let dep = std::fs::read_to_string(one.path("crates/dep/src/lib.rs")).expect("dep");
    one.file("crates/dep/src/lib.rs", dep + "#[inline(never)] pub fn panics() -> u32 { base::check(None) }\n");
    one.build();
    let two = one.clone_to("elsewhere/much/deeper/two");
    two.build().hits(&LIBS);
    let mut command = two.command(two.target_dir().join("debug/app"));
    command.env("RUST_BACKTRACE", "1");
    let run = two.finish(command).must_fail();
    assert!(run.stderr.contains("panicked at crates/base/src/lib.rs:1:"), "{}", run.stderr);
    let frames = run.stderr.lines().filter_map(|line| line.trim().strip_prefix("at "));
    let ours: Vec<&str> = frames.filter(|place| place.contains("crates/")).collect();
    assert!(!ours.is_empty(), "the backtrace lacks our frames:\n{}", run.stderr);
    for place in ours {
        let file = place.split(':').next().expect("a path");
        assert!(two.path(file).exists(), "`{file}` is not found from the workspace root:\n{}", run.stderr);
        assert!(!place.contains(&*one.dir().to_string_lossy()), "a frame names the other checkout: {place}");
    }
}

#[test]
fn diagnostics_of_another_checkout_name_the_files_here() {
    let one = Project::app_over("mod inner;\npub use inner::value;\n");
    one.file("dep/src/inner.rs", "fn never_called() {}\npub fn value() -> u32 { 7 }\n");
    let first = one.build();
    let two = one.clone_to("elsewhere/much/deeper/two");
    let second = two.build();
    second.hits(&["dep"]);
    let warning = |text: &str| -> Vec<String> {
        text.lines().skip_while(|l| !l.contains("never_called")).take(8).map(str::to_owned).collect()
    };
    assert!(first.stderr.contains("dep/src/inner.rs:1:4"), "{}", first.stderr);
    assert_eq!(warning(&first.stderr), warning(&second.stderr));
    assert!(!second.stderr.contains(&*one.dir().to_string_lossy()));
}

#[test]
fn a_file_with_the_checkouts_path_in_its_text_keeps_it() {
    let one = Project::app_over("pub fn value() -> &'static str { include_str!(\"../text.txt\") }\n");
    let text = format!("{} {}", one.dir().display(), one.target_dir().display());
    one.file("dep/text.txt", &text);
    one.warm(&["dep"]);
    let two = one.clone_to("elsewhere/much/deeper/two");
    assert_eq!(two.build_and_run().1, text);
    assert_eq!(one.build_and_run().1, text);
}

#[test]
fn the_dep_info_of_another_checkout_names_the_files_here() {
    let one = workspace();
    one.build();
    let two = one.clone_to("elsewhere/much/deeper/two");
    two.build().hits(&LIBS);
    let files = find(&two.target_dir(), "", ".d");
    assert!(!files.is_empty());
    for file in files {
        assert!(!contains(&file, &one.dir().to_string_lossy()), "{} names the other checkout", file.display());
    }
    let made = find_one(&two.target_dir().join("debug/deps"), "generated-", ".d");
    assert!(contains(&made, &format!("{}/debug/build/", two.target_dir().display())), "the generated file is in it");
}

/// A program that uses crates of the registry, on a machine with its own homes.
fn over_registry() -> Project {
    let mut project = Project::new();
    let wants =
        "[dependencies]\nanyhow = \"1\"\nmemchr = \"2\"\nserde = { version = \"1\", features = [\"derive\"] }\n";
    project.file("Cargo.toml", manifest("app", &format!("{wants}[workspace]\n")));
    let source = "#[derive(serde::Serialize)] struct S;\n\
                  fn main() { let _ = S; println!(\"{:?}\", memchr::memchr(b'b', b\"ab\")); }\n";
    project.file("src/main.rs", source).file("Cargo.lock", include_str!("../../Cargo.lock"));
    project.with_registry();
    project
}

#[test]
#[ignore = "slow"]
fn machines_with_other_homes_share_what_is_portable() {
    for (paths, shares) in [("portable", true), ("remap", false)] {
        let (mut one, mut two) = (over_registry(), over_registry());
        one.set("KACHE_PATHS", paths);
        two.set("KACHE_PATHS", paths).set("KACHE_CACHE_DIR", one.cache_dir());
        assert_ne!(one.env_value("CARGO_HOME"), two.env_value("CARGO_HOME"));
        one.build();
        let run = two.build();
        assert_eq!(run.compiles().is_empty(), shares, "{paths}: {:?}\n{}", run.compiles(), two.history());
        assert_eq!(two.app_output(), "Some(1)");
        let rlib = find_one(&two.target_dir().join("debug/deps"), "libmemchr-", ".rlib");
        let home = one.env_value("CARGO_HOME").unwrap().to_string_lossy().into_owned();
        assert!(!contains(&rlib, &home), "it names another machine's home");
    }
}
