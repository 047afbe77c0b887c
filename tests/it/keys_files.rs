//! Inputs in odd places: behind links, outside the workspace, removed (hazards U21, U24), and cargo's own switches
//! (U12).

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{Project, manifest, settle, stat};

const DATA: &str = "pub fn value() -> &'static str { include_str!(\"../data.txt\") }\n";

#[test]
fn u24_an_edit_behind_a_symlink_is_seen() {
    let project = Project::app_over(DATA);
    let [first, second] = ["first.txt", "second.txt"].map(|name| project.sandbox_dir().join(name));
    fs::write(&first, "first").expect("first");
    fs::write(&second, "second").expect("second");
    let link = project.path("dep/data.txt");
    symlink(&first, &link).expect("link");
    project.warm(&["dep"]);
    fs::write(&first, "edited").expect("edit");
    project.rebuild_misses(&["dep"]);
    assert_eq!(project.app_output(), "edited");
    fs::remove_file(&link).expect("repoint");
    symlink(&second, &link).expect("link");
    project.rebuild_misses(&["dep"]);
    assert_eq!(project.app_output(), "second");
}

#[test]
fn u21_a_file_outside_the_workspace_counts_and_is_shared() {
    let one = Project::new();
    let outside = one.sandbox_dir().join("outside.txt");
    fs::write(&outside, "one").expect("outside");
    let project = Project::app_over(&format!("pub fn value() -> &'static str {{ include_str!({outside:?}) }}\n"));
    project.warm(&["dep"]);
    let two = project.clone_to("elsewhere/deeper/two");
    two.build().hits(&["dep"]);
    fs::write(&outside, "two").expect("outside");
    project.rebuild_misses(&["dep"]);
    assert_eq!(project.app_output(), "two");
    two.build().hits(&["dep"]);
    assert_eq!(two.app_output(), "two");
}

#[test]
fn u21_a_module_above_the_workspace_is_each_checkouts_own() {
    let one = Project::app_over("#[path = \"../../../shared.rs\"] mod shared;\npub use shared::value;\n");
    let source_returning = |n: u32| format!("pub fn value() -> u32 {{ {n} }}\n");
    let above = |project: &Project| project.dir().parent().expect("a parent").join("shared.rs");
    fs::write(above(&one), source_returning(1)).expect("shared");
    one.warm(&["dep"]);
    let two = one.clone_to("elsewhere/deeper/two");
    fs::write(above(&two), source_returning(2)).expect("shared");
    assert_eq!(two.build_and_run().1, "2");
    fs::write(above(&two), source_returning(1)).expect("shared");
    assert_eq!(two.wipe().build_and_run().1, "1");
    assert_eq!(one.build_and_run().1, "1");
}

#[test]
fn u21_an_absolute_path_into_another_checkout_is_followed_there() {
    let one = Project::app_over("");
    let data = one.path("dep/data.txt");
    let source = format!("pub fn value() -> &'static str {{ include_str!({data:?}) }}\n");
    one.file("dep/src/lib.rs", source).file("dep/data.txt", "first");
    one.warm(&["dep"]);
    let two = one.clone_to("elsewhere/deeper/two");
    assert_eq!(two.build_and_run().1, "first");
    one.file("dep/data.txt", "other");
    assert_eq!(two.wipe().build_and_run().1, "other", "the text in this checkout names the file in the other one");
    two.file("dep/data.txt", "nobody reads this");
    assert_eq!(two.wipe().build_and_run().1, "other");
    assert_eq!(one.build_and_run().1, "other");
}

#[test]
fn u21_a_missing_input_is_rustcs_error() {
    let project = Project::app_over(DATA);
    project.file("dep/data.txt", "text");
    project.warm(&["dep"]);
    project.remove("dep/data.txt");
    let run = project.wipe().try_cargo(&["build"]).must_fail();
    assert!(run.stderr.contains("data.txt"), "{}", run.stderr);
    project.file("dep/data.txt", "text");
    project.rebuild_hits(&["dep"]);
}

#[test]
fn u21_an_input_that_became_a_directory_or_unreadable_is_rustcs_error() {
    let project = Project::app_over(DATA);
    project.file("dep/data.txt", "text");
    project.warm(&["dep"]);
    project.remove("dep/data.txt").file("dep/data.txt/file", "text");
    project.wipe().try_cargo(&["build"]).must_fail();
    fs::remove_dir_all(project.path("dep/data.txt")).expect("remove");
    symlink("data.txt", project.path("dep/data.txt")).expect("a link to itself");
    project.wipe().try_cargo(&["build"]).must_fail();
}

#[test]
fn u12_features_and_profiles_have_their_own_entries() {
    let project = Project::app_over(
        "pub fn value() -> &'static str { if cfg!(feature = \"loud\") { \"loud\" } else { \"quiet\" } }\n",
    );
    project.file("dep/Cargo.toml", manifest("dep", "[features]\nloud = []\n"));
    project.file(
        "Cargo.toml",
        manifest("app", "[features]\nloud = [\"dep/loud\"]\n[dependencies]\ndep = { path = \"dep\" }\n[workspace]\n"),
    );
    let variants: [&[&str]; 3] =
        [&["build"], &["build", "--features", "loud"], &["build", "--config", "profile.dev.package.dep.opt-level=2"]];
    let said = ["quiet", "loud", "quiet"];
    for (args, said) in variants.iter().zip(said) {
        project.wipe().cargo(args).misses(&["dep"]);
        assert_eq!(project.app_output(), said);
    }
    for (args, said) in variants.iter().zip(said) {
        project.wipe().cargo(args).hits(&["dep"]);
        assert_eq!(project.app_output(), said);
    }
}

#[test]
fn two_versions_of_one_crate_are_two_units() {
    let project = Project::app_over("pub fn value() -> u32 { 1 }\n");
    let rest = "[dependencies]\ndep = { path = \"dep\" }\nother = { path = \"other\", package = \"dep\" }\n[workspace]\nexclude = [\"other\"]\n";
    project.file("Cargo.toml", manifest("app", rest));
    project.file("other/Cargo.toml", manifest("dep", "").replace("0.1.0", "0.2.0"));
    project.file("other/src/lib.rs", "pub fn value() -> u32 { 1 }\n");
    project.file("src/main.rs", "fn main() { println!(\"{}{}\", dep::value(), other::value()); }\n");
    assert_eq!(project.build().compiles_of("dep").len(), 2);
    project.rebuild_hits(&["dep"]);
    project.assert_noop();
    project.file("other/src/lib.rs", "pub fn value() -> u32 { 2 }\n");
    assert_eq!(project.wipe().build().compiles_of("dep").len(), 1);
    assert_eq!(project.app_output(), "12");
}

#[test]
fn the_state_that_was_used_last_is_looked_at_first() {
    let project = Project::lib("pub fn value() -> u32 { 0 }\n");
    let unit = || project.unit("dep", "src/lib.rs");
    let edit = |n: u32| {
        project.file("src/lib.rs", format!("pub fn value() -> u32 {{ {n} }}\n"));
        settle();
    };
    for n in 0..4 {
        edit(n);
        unit().misses();
    }
    let manifest = || {
        let all = project.manifests();
        assert_eq!(all.len(), 1);
        (stat(&all[0]), fs::read(&all[0]).expect("manifest"))
    };
    let lines = |bytes: &[u8]| bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let before = manifest();
    unit().hits();
    assert_eq!(manifest(), before, "a hit in front writes nothing");
    edit(1);
    unit().hits();
    let after = manifest();
    let (before, after_lines) = (lines(&before.1), lines(&after.1));
    assert_eq!(after_lines[0], before[2], "newest first were 3, 2, 1, 0");
    assert_eq!(after_lines[1..], [&before[..2], &before[3..]].concat());
    unit().hits();
    assert_eq!(manifest(), after);
    for n in [0, 2, 3, 1] {
        edit(n);
        unit().hits();
    }
    project.assert_store_whole();
}
