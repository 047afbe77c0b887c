//! Every way to lay out a workspace and its target directory (hazard O07).

use crate::support::{Project, manifest, skip};

/// A library that includes a generated file and has paths in its debug info and panics, so that any root that kache
/// gets wrong is visible.
const SOURCE: &str = "include!(concat!(env!(\"OUT_DIR\"), \"/gen.rs\"));\n\
                      #[inline(never)] pub fn value() -> u32 { std::env::args().next().map(|_| NUMBER).unwrap() }\n";

const SCRIPT: &str = "fn main() {\n\
    println!(\"cargo:rerun-if-changed=build.rs\");\n\
    let out = std::env::var(\"OUT_DIR\").unwrap();\n\
    std::fs::write(format!(\"{out}/gen.rs\"), \"pub const NUMBER: u32 = 7;\").unwrap();\n}\n";

fn project() -> Project {
    let project = Project::app_over(SOURCE);
    project.file("dep/build.rs", SCRIPT);
    project
}

/// Builds with `args` in `one`, then in `two`, a second checkout. `dep` must hit there, and both must stay fresh.
#[track_caller]
fn shared(one: &Project, two: &Project, args: &[&str]) {
    one.cargo(args).misses(&["dep"]);
    two.cargo(args).hits(&["dep"]);
    two.cargo(args).is_noop();
    one.cargo(args).is_noop();
    one.wipe().cargo(args).hits(&["dep"]);
}

#[test]
fn o07_with_an_explicit_target() {
    let one = project();
    let version = one.command(one.env_value("RUSTC").expect("set")).arg("-vV").output().expect("rustc -vV");
    let text = String::from_utf8(version.stdout).expect("utf-8");
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).expect("host").to_owned();
    shared(&one, &one.clone_to("elsewhere/deeper/two"), &["build", "--target", &host]);
}

#[test]
fn o07_with_a_target_directory_elsewhere() {
    let mut one = project();
    let mut two = one.clone_to("elsewhere/deeper/two");
    one.set("CARGO_TARGET_DIR", one.sandbox_dir().join("targets/one"));
    two.set("CARGO_TARGET_DIR", two.sandbox_dir().join("some/other/place/for/targets"));
    shared(&one, &two, &["build"]);
}

/// rustc uses both names for its temporary files.
#[test]
fn o07_with_a_target_directory_behind_a_link() {
    let mut one = project();
    let mut two = one.clone_to("elsewhere/deeper/two");
    for (checkout, disk) in [(&mut one, "disk/one"), (&mut two, "another/disk/two")] {
        let disk = checkout.sandbox_dir().join(disk);
        std::fs::create_dir_all(&disk).expect("a disk");
        std::os::unix::fs::symlink(disk, checkout.path("link")).expect("a link");
        checkout.set("CARGO_TARGET_DIR", "link/target");
    }
    shared(&one, &two, &["build"]);
    // Programs too, which are linked from temporary files.
    one.wipe().cargo(&["build"]).hits(&["app"]);
}

#[test]
fn o07_one_checkout_with_the_target_inside_the_other_outside() {
    let one = project();
    let mut two = one.clone_to("elsewhere/deeper/two");
    two.set("CARGO_TARGET_DIR", two.sandbox_dir().join("targets/two"));
    shared(&one, &two, &["build"]);
}

#[test]
fn o07_with_a_build_directory_apart_from_the_target_directory() {
    let mut one = project();
    let mut two = one.clone_to("elsewhere/deeper/two");
    one.set("CARGO_BUILD_BUILD_DIR", one.sandbox_dir().join("builds/one"));
    two.set("CARGO_BUILD_BUILD_DIR", two.sandbox_dir().join("deeper/builds/two"));
    one.build().misses(&["dep"]);
    two.build().hits(&["dep"]);
    two.assert_noop();
    one.assert_noop();
    assert_eq!(two.app_output(), "7");
}

#[test]
fn o07_with_release_and_a_custom_profile() {
    let one = project();
    one.file("Cargo.toml", manifest("app", "[dependencies]\ndep = { path = \"dep\" }\n[workspace]\n[profile.mine]\ninherits = \"release\"\ndebug = true\n"));
    shared(&one, &one.clone_to("elsewhere/deeper/two"), &["build", "--profile", "mine"]);
}

#[test]
fn o07_with_check() {
    let one = project();
    shared(&one, &one.clone_to("elsewhere/deeper/two"), &["check"]);
}

#[test]
fn o07_run_from_a_member_directory() {
    let one = project();
    let two = one.clone_to("elsewhere/deeper/two");
    one.build().misses(&["dep"]);
    let mut command = two.command(crate::support::real_cargo());
    command.arg("build").current_dir(two.path("dep/src"));
    two.finish(command).must_succeed().hits(&["dep"]);
}

#[test]
fn o07_a_virtual_workspace_with_nested_members() {
    let one = Project::new();
    one.file("Cargo.toml", "[workspace]\nmembers = [\"crates/*\"]\nresolver = \"3\"\n");
    one.file("crates/app/Cargo.toml", manifest("app", "[dependencies]\ndep = { path = \"../dep\" }\n"));
    one.file("crates/app/src/main.rs", "fn main() { println!(\"{}\", dep::value()); }\n");
    one.file("crates/dep/Cargo.toml", manifest("dep", ""));
    one.file("crates/dep/src/lib.rs", SOURCE).file("crates/dep/build.rs", SCRIPT);
    let two = one.clone_to("elsewhere/deeper/two");
    shared(&one, &two, &["build"]);
    assert_eq!(two.app_output(), "7");
}

#[test]
fn o07_a_path_dependency_outside_the_workspace() {
    let one = Project::app_over(SOURCE);
    let outside = one.sandbox_dir().join("outside/dep");
    std::fs::create_dir_all(outside.join("src")).expect("outside");
    std::fs::write(outside.join("Cargo.toml"), manifest("dep", "[workspace]\n")).expect("manifest");
    std::fs::write(outside.join("src/lib.rs"), SOURCE).expect("source");
    std::fs::write(outside.join("build.rs"), SCRIPT).expect("script");
    let rest = format!("[dependencies]\ndep = {{ path = {outside:?} }}\n[workspace]\n");
    one.file("Cargo.toml", manifest("app", &rest));
    let two = one.clone_to("elsewhere/deeper/two");
    shared(&one, &two, &["build"]);
    assert_eq!(two.app_output(), "7");
    std::fs::write(outside.join("src/lib.rs"), SOURCE.replace("NUMBER)", "NUMBER + 1)")).expect("edit");
    one.rebuild_misses(&["dep"]);
    assert_eq!(one.app_output(), "8");
}

fn vendored() -> Project {
    let one = Project::new();
    one.file("Cargo.toml", manifest("app", "[dependencies]\ndep = \"0.1\"\n[workspace]\n"));
    one.file("src/main.rs", "fn main() { println!(\"{}\", dep::value()); }\n");
    one.file(
        ".cargo/config.toml",
        "[source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = \"vendor\"\n",
    );
    one.file("vendor/dep/Cargo.toml", manifest("dep", ""));
    one.file("vendor/dep/.cargo-checksum.json", "{\"files\":{},\"package\":null}");
    one.file("vendor/dep/src/lib.rs", SOURCE).file("vendor/dep/build.rs", SCRIPT);
    one
}

#[test]
fn o07_a_vendored_dependency() {
    let one = vendored();
    let two = one.clone_to("elsewhere/deeper/two");
    shared(&one, &two, &["build"]);
    assert_eq!(two.app_output(), "7");
}

#[test]
fn o07_a_vendored_dependency_with_a_target_directory_elsewhere() {
    let mut one = vendored();
    one.cargo(&["generate-lockfile", "--offline"]);
    let mut two = one.clone_to("elsewhere/deeper/two");
    for (project, name) in [(&mut one, "out-one"), (&mut two, "further/out-two")] {
        let target = project.sandbox_dir().join(name);
        project.set("CARGO_TARGET_DIR", target);
    }
    one.build().misses(&["dep"]);
    two.build().hits(&["dep"]);
}

#[test]
fn o07_a_crate_of_the_registry() {
    let mut one = Project::new();
    one.with_registry();
    one.file("Cargo.toml", manifest("app", "[dependencies]\ncfg-if = \"1\"\n[workspace]\n"));
    one.file(
        "src/main.rs",
        "cfg_if::cfg_if! { if #[cfg(unix)] { fn main() { println!(\"unix\"); } } else { fn main() {} } }\n",
    );
    if one.try_cargo(&["generate-lockfile"]).code != 0 {
        skip("cfg-if is not in this machine's registry");
        return;
    }
    let two = one.clone_to("elsewhere/deeper/two");
    one.build().misses(&["cfg_if"]);
    two.build().hits(&["cfg_if"]);
    two.assert_noop();
    one.rebuild_hits(&["cfg_if"]);
    assert_eq!(two.app_output(), "unix");
}
