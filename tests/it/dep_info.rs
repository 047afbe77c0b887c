//! The `.d` files of restored units, with paths of this checkout and in cargo's grammar (hazards F06, F07).

use std::fs;

use crate::support::{Project, contains, find, find_one};

const DEP: &str = "mod inner;\npub use inner::value;\n";
const INNER: &str = "pub fn value() -> u32 { 7 }\n";

fn project() -> Project {
    let project = Project::app_over(DEP);
    project.file("dep/src/inner.rs", INNER);
    project
}

#[test]
fn f06_the_first_checkout_may_go_away() {
    let one = project();
    one.build();
    let two = one.clone_to("elsewhere/deeper/two");
    two.build().hits(&["dep"]);
    fs::remove_dir_all(one.dir()).expect("remove the first checkout");
    two.assert_noop();
    two.rebuild_hits(&["dep"]);
    two.assert_noop();
}

#[test]
fn f06_an_edit_here_is_seen_here() {
    let one = project();
    one.build();
    let two = one.clone_to("elsewhere/deeper/two");
    two.build().hits(&["dep"]);
    two.file("dep/src/inner.rs", INNER.replace('7', "8"));
    two.build().misses(&["dep"]);
    assert_eq!(two.app_output(), "8");
    one.file("dep/src/inner.rs", INNER.replace('7', "9"));
    two.assert_noop();
    one.build().misses(&["dep"]);
    assert_eq!(one.app_output(), "9");
}

#[test]
fn f06_a_restored_dep_info_says_what_rustc_would_say() {
    let one = project();
    one.build();
    let mut two = one.clone_to("elsewhere/deeper/two");
    two.build().hits(&["dep"]);
    let read =
        |p: &Project| fs::read_to_string(find_one(&p.target_dir().join("debug/deps"), "dep-", ".d")).expect("a .d");
    let restored = read(&two);
    two.set("KACHE_DISABLED", "1").wipe().build();
    assert_eq!(restored, read(&two));
}

/// Builds in two checkouts with awkward names; the second one hits, is fresh, and rebuilds after its own edits.
fn awkward(names: [&str; 2]) {
    let one = project();
    let [one, two] = names.map(|name| one.clone_to(&format!("work/{name}")));
    one.build().misses(&["dep"]);
    one.assert_noop();
    one.rebuild_hits(&["dep"]);
    one.assert_noop();
    two.build().hits(&["dep"]);
    two.assert_noop();
    two.file("dep/src/inner.rs", INNER.replace('7', "8"));
    two.build().misses(&["dep"]);
    assert_eq!(two.app_output(), "8");
    one.assert_noop();
}

#[test]
fn f07_paths_with_spaces() {
    awkward(["a checkout  with spaces", " another one "]);
}

#[test]
fn f07_paths_with_signs_make_and_shells_care_about() {
    awkward(["p$rice #1 'x' \"y\"", "a & (more); [z]* b"]);
}

#[test]
fn f07_paths_with_letters_of_the_world() {
    awkward(["größe-日本-é", "e\u{301}-🦀"]);
}

#[test]
fn f07_paths_with_backslashes() {
    awkward(["back\\slash", "two\\\\of n\\n"]);
}

#[test]
fn f07_sources_with_awkward_names() {
    let one = Project::app_over(
        "#[path = \"sp ace $x #y.rs\"] mod a;\npub fn value() -> String { format!(\"{}{}\", a::N, include_str!(\"../ü \\\\.txt\")) }\n",
    );
    one.file("dep/src/sp ace $x #y.rs", "pub const N: u32 = 1;\n").file("dep/ü \\.txt", "text");
    one.warm(&["dep"]);
    one.assert_noop();
    let two = one.clone_to("work/a b/two");
    two.build().hits(&["dep"]);
    two.assert_noop();
    two.file("dep/ü \\.txt", "edited");
    two.build().misses(&["dep"]);
    assert_eq!(two.app_output(), "1edited");
}

#[test]
#[ignore = "slow"]
fn f07_values_with_backslashes_and_newlines() {
    let mut project = Project::app_over("pub fn value() -> &'static str { env!(\"TRICKY\") }\n");
    let values = ["a\\b", "a\\\\b", "a\nb", "a\\nb", "a\rb", "tail\\", "= #x", "ümlaut", " padded "];
    for value in values {
        project.set("TRICKY", value);
        project.wipe().build().misses(&["dep"]);
        project.assert_noop();
        project.rebuild_hits(&["dep"]);
        project.assert_noop();
        let output = project.command(project.target_dir().join("debug/app")).output().expect("app");
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{value}\n"));
    }
}

#[test]
fn f07_a_variable_kept_in_dep_info_still_dirties_the_unit() {
    let mut project = Project::app_over("pub fn value() -> &'static str { env!(\"MOOD\") }\n");
    project.set("MOOD", "glad\\er");
    project.warm(&["dep"]);
    let file = find_one(&project.target_dir().join("debug/deps"), "dep-", ".d");
    assert!(contains(&file, "# env-dep:MOOD=glad\\\\er"), "{}", fs::read_to_string(&file).expect("a .d"));
    project.set("MOOD", "sad");
    project.build().misses(&["dep"]);
    assert_eq!(project.app_output(), "sad");
}

#[test]
fn f06_dep_info_is_a_private_writable_file() {
    let one = project();
    one.build();
    let two = one.clone_to("elsewhere/deeper/two");
    two.build().hits(&["dep"]);
    for file in find(&two.target_dir().join("debug/deps"), "dep-", ".d") {
        let stat = crate::support::stat(&file);
        assert_eq!((stat.nlink, stat.mode & 0o200), (1, 0o200));
    }
}
