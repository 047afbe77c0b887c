//! The inputs that a compile really read: files, environment, and the moment of reading (hazards U21 to U25, U28, U31).

use std::fs;

use crate::support::{Project, rewrite_keeping_mtime};

/// A source whose `value()` is `text`.
fn source_returning(text: &str) -> String {
    format!("pub fn value() -> &'static str {{ \"{text}\" }}\n")
}

#[test]
fn reverting_an_edit_is_a_hit() {
    let project = Project::app_over(&source_returning("one"));
    project.warm(&["dep"]);
    project.file("dep/src/lib.rs", source_returning("two"));
    project.rebuild_misses(&["dep"]);
    assert_eq!(project.app_output(), "two");
    project.file("dep/src/lib.rs", source_returning("one"));
    project.rebuild_hits(&["dep"]);
    assert_eq!(project.app_output(), "one");
    project.file("dep/src/lib.rs", source_returning("two"));
    project.rebuild_hits(&["dep"]);
    assert_eq!(project.app_output(), "two");
}

#[test]
fn a_changed_dependency_reaches_its_dependents() {
    let project = Project::app_over("pub fn value() -> u32 { base::N }\n");
    project.file("dep/Cargo.toml", crate::support::manifest("dep", "[dependencies]\nbase = { path = \"../base\" }\n"));
    project.file("base/Cargo.toml", crate::support::manifest("base", ""));
    project.file("base/src/lib.rs", "pub const N: u32 = 1;\n");
    project.warm(&["base", "dep"]);
    project.file("base/src/lib.rs", "pub const N: u32 = 2;\n");
    project.rebuild_misses(&["base", "dep"]);
    assert_eq!(project.app_output(), "2");
    project.file("base/src/lib.rs", "pub const N: u32 = 1;\n");
    project.rebuild_hits(&["base", "dep"]);
    assert_eq!(project.app_output(), "1");
}

#[test]
fn u21_files_named_by_path_and_include_count() {
    let project = Project::app_over(
        "#[path = \"odd place/elsewhere.rs\"] mod inner;\n\
         pub fn value() -> String { format!(\"{} {} {:?}\", inner::NAME, include_str!(\"../data.txt\"), include_bytes!(\"raw\")) }\n",
    );
    let inner = |n: u32| format!("pub const NAME: &str = \"inner-{n}\";\n");
    project.file("dep/src/odd place/elsewhere.rs", inner(1)).file("dep/data.txt", "data-1").file("dep/src/raw", [1]);
    project.warm(&["dep"]);
    project.file("dep/src/odd place/elsewhere.rs", inner(2));
    project.rebuild_misses(&["dep"]);
    project.file("dep/data.txt", "data-2");
    project.rebuild_misses(&["dep"]);
    project.file("dep/src/raw", [2]);
    project.rebuild_misses(&["dep"]);
    assert_eq!(project.app_output(), "inner-2 data-2 [2]");
}

#[test]
fn u22_a_module_moved_to_its_own_directory_is_read_there() {
    let project = Project::app_over("mod m;\npub use m::value;\n");
    project.file("dep/src/m.rs", source_returning("from m.rs"));
    project.warm(&["dep"]);
    project.remove("dep/src/m.rs").file("dep/src/m/mod.rs", source_returning("from m/mod.rs"));
    project.rebuild_misses(&["dep"]);
    assert_eq!(project.app_output(), "from m/mod.rs");
    project.rebuild_hits(&["dep"]);
    project.remove("dep/src/m/mod.rs").file("dep/src/m.rs", source_returning("from m.rs"));
    project.wipe().build();
    assert_eq!(project.app_output(), "from m.rs");
}

#[test]
fn u22_a_new_file_that_makes_a_module_ambiguous_is_no_hit() {
    let project = Project::app_over("mod m;\npub use m::value;\n");
    project.file("dep/src/m.rs", source_returning("from m.rs"));
    project.warm(&["dep"]);
    project.file("dep/src/m/mod.rs", source_returning("from m/mod.rs"));
    let run = project.wipe().try_cargo(&["build"]).must_fail();
    assert!(run.stderr.contains("E0761"), "rustc should refuse the ambiguity:\n{}", run.stderr);
    project.remove("dep/src/m/mod.rs");
    project.rebuild_hits(&["dep"]);
}

#[test]
fn u23_an_edit_before_rustc_reads_is_not_stored_under_the_old_text() {
    let project = Project::app_over(&source_returning("one"));
    project.hook("before", "dep", "printf 'pub fn value() -> &'\"'\"'static str { \"mid\" }\\n' > dep/src/lib.rs\n");
    project.build();
    assert_eq!(project.app_output(), "mid", "the hook is what makes this test one");
    project.unhook("before", "dep").file("dep/src/lib.rs", source_returning("one"));
    project.rebuild_misses(&["dep"]);
    assert_eq!(project.app_output(), "one");
    project.rebuild_hits(&["dep"]);
}

#[test]
fn u23_an_edit_after_rustc_read_is_not_stored_under_the_new_text() {
    let project = Project::app_over(&source_returning("one"));
    project.hook("after", "dep", "sed -i s/one/two/ dep/src/lib.rs\n");
    project.build();
    assert_eq!(project.app_output(), "one");
    assert_eq!(project.last_outcome("dep").1, "input-changed");
    project.unhook("after", "dep");
    project.rebuild_misses(&["dep"]);
    assert_eq!(project.app_output(), "two");
    project.file("dep/src/lib.rs", source_returning("one"));
    project.wipe().build();
    assert_eq!(project.app_output(), "one");
    project.rebuild_hits(&["dep"]);
}

#[test]
fn u23_an_edit_undone_before_rustc_ended_is_still_noticed() {
    let project = Project::app_over(&source_returning("one"));
    project.file("dep/src/keep.rs", source_returning("one"));
    project.hook("before", "dep", "cp -p dep/src/lib.rs saved; sed -i s/one/mid/ dep/src/lib.rs\n");
    project.hook("after", "dep", "cat saved > dep/src/lib.rs; touch -r saved dep/src/lib.rs\n");
    project.build();
    assert_eq!(project.app_output(), "mid");
    project.unhook("before", "dep").unhook("after", "dep");
    project.rebuild_misses(&["dep"]);
    assert_eq!(project.app_output(), "one");
}

#[test]
fn u23_an_included_file_edited_while_rustc_runs_is_not_stored() {
    let project = Project::app_over("pub fn value() -> &'static str { include_str!(\"../data.txt\") }\n");
    project.file("dep/data.txt", "one").hook("after", "dep", "echo two > dep/data.txt\n");
    project.build();
    assert_eq!(project.app_output(), "one");
    project.unhook("after", "dep");
    project.rebuild_misses(&["dep"]);
    assert_eq!(project.app_output(), "two");
    project.rebuild_hits(&["dep"]);
}

#[test]
fn u23_a_directory_swapped_while_rustc_runs_is_not_stored() {
    let project = Project::app_over(&source_returning("one"));
    project.file("dep/other/lib.rs", source_returning("two"));
    // Lets the stamps of the files in both directories settle, so that the files count as old.
    std::thread::sleep(std::time::Duration::from_millis(50));
    project.hook("after", "dep", "mv dep/src dep/old; mv dep/other dep/src\n");
    project.build();
    assert_eq!(project.app_output(), "one");
    assert_eq!(project.last_outcome("dep").1, "input-changed");
    project.unhook("after", "dep").rebuild_misses(&["dep"]);
    assert_eq!(project.app_output(), "two");
}

#[test]
fn u24_edits_of_the_same_size_and_time_are_seen() {
    let project = Project::app_over(&source_returning("aaa"));
    project.warm(&["dep"]);
    let source = project.path("dep/src/lib.rs");
    for text in ["bbb", "ccc", "ddd"] {
        rewrite_keeping_mtime(&source, source_returning(text));
        project.rebuild_misses(&["dep"]);
        assert_eq!(project.app_output(), text);
        project.rebuild_hits(&["dep"]);
    }
    rewrite_keeping_mtime(&source, source_returning("bbb"));
    project.rebuild_hits(&["dep"]);
    assert_eq!(project.app_output(), "bbb");
}

#[test]
fn u24_a_file_replaced_by_rename_with_the_same_size_and_time_is_seen() {
    let project = Project::app_over(&source_returning("aaa"));
    project.warm(&["dep"]);
    let source = project.path("dep/src/lib.rs");
    let staged = project.path("dep/src/.staged");
    fs::write(&staged, source_returning("bbb")).expect("stage");
    let mtime = filetime::FileTime::from_last_modification_time(&fs::metadata(&source).expect("stat"));
    filetime::set_file_mtime(&staged, mtime).expect("same mtime");
    fs::rename(staged, source).expect("rename");
    project.rebuild_misses(&["dep"]);
    assert_eq!(project.app_output(), "bbb");
}

#[test]
fn u25_swapping_two_module_bodies_is_another_input() {
    let project = Project::app_over("mod a;\nmod b;\npub fn value() -> String { format!(\"{} {}\", a::N, b::N) }\n");
    let body = |n: u32| format!("pub const N: u32 = {n};\n");
    project.file("dep/src/a.rs", body(1)).file("dep/src/b.rs", body(2));
    project.warm(&["dep"]);
    assert_eq!(project.app_output(), "1 2");
    project.file("dep/src/a.rs", body(2)).file("dep/src/b.rs", body(1));
    project.rebuild_misses(&["dep"]);
    assert_eq!(project.app_output(), "2 1");
}

#[test]
fn u28_the_environment_of_this_very_call_counts() {
    let mut project = Project::app_over("pub fn value() -> String { format!(\"{:?}\", option_env!(\"MOOD\")) }\n");
    project.warm(&["dep"]);
    assert_eq!(project.app_output(), "None");
    for (mood, seen) in [("glad", 0), ("sad", 0), ("", 0), ("glad", 1), ("sad", 1)] {
        project.set("MOOD", mood);
        let run = project.wipe().build();
        assert_eq!(project.app_output(), format!("Some({mood:?})"));
        assert_eq!(run.compiles_of("dep").len(), 1 - seen, "{mood}");
    }
    project.unset("MOOD");
    project.rebuild_hits(&["dep"]);
    assert_eq!(project.app_output(), "None");
}

#[test]
fn u31_a_neighbour_that_shares_a_prefix_is_not_this_checkout() {
    let source = "pub fn value() -> &'static str { env!(\"DATA\") }\n";
    let mut one = Project::app_over(source);
    let mut two = one.clone_to("work/two");
    let beside_one = one.sandbox_dir().join("work/one-extra/x");
    let beside_two = one.sandbox_dir().join("work/two-extra/x");
    one.set("DATA", &beside_one);
    two.set("DATA", &beside_two);
    one.warm(&["dep"]);
    two.build();
    assert_eq!(two.app_output(), beside_two.to_string_lossy());
    assert_eq!(one.app_output(), beside_one.to_string_lossy());
    for project in [&one, &two] {
        project.rebuild_hits(&["dep"]);
    }
    assert_eq!(one.app_output(), beside_one.to_string_lossy());
    assert_eq!(two.app_output(), beside_two.to_string_lossy());
}
