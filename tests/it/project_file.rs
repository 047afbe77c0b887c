//! Inputs that a `.kache.toml` declares (hazard U04).

use std::fs;

use crate::support::{Project, contains, find_one, manifest, settle};

const LIB: &str = "pub fn value() -> u32 { 7 }\n";

/// A workspace of the libraries `named` and `other`, with a `.kache.toml`.
fn workspace(declared: &str) -> Project {
    let project = Project::new();
    project.file("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"named\", \"other\"]\n");
    for name in ["named", "other"] {
        project.file(&format!("{name}/Cargo.toml"), manifest(name, ""));
        project.file(&format!("{name}/src/lib.rs"), LIB);
    }
    project.file(".kache.toml", declared);
    project
}

const FILES: &str = "[inputs.named]\nfiles = [\"db/schema.sql\", \"assets/**/*.json\"]\n";

fn with_files() -> Project {
    let project = workspace(FILES);
    project.file("db/schema.sql", "one").file("assets/a.json", "{}").file("assets/deep/b.json", "{}");
    project.file("notes.txt", "one").file("assets/a.txt", "one");
    settle();
    project
}

/// Asserts that `change` makes cargo compile `named` again and not `other`, in the same target directory, and that both
/// hit in a fresh target directory of another checkout with the same change.
#[track_caller]
fn assert_is_input(project: &Project, what: &str, change: impl Fn(&Project)) {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    project.build();
    project.assert_noop();
    change(project);
    settle();
    let same = project.build();
    same.misses(&["named"]).hits(&["other"]);
    assert!(same.dirty().iter().all(|line| !line.contains("other")), "{what}: {}", same.stderr);
    project.assert_noop();
    // The entry of the changed state hits elsewhere; an entry of the earlier state would not.
    let elsewhere = project.clone_to(&format!("work/clone-{number}"));
    elsewhere.build().hits(&["named", "other"]);
    elsewhere.assert_noop();
}

/// Asserts that `change` does not make cargo compile either crate again, in this target directory or in a fresh one.
#[track_caller]
fn assert_is_no_input(project: &Project, change: impl FnOnce(&Project)) {
    project.build();
    change(project);
    settle();
    project.build().hits(&["named", "other"]);
    project.assert_noop();
    project.rebuild_hits(&["named", "other"]);
}

#[test]
fn u04_declared_files_count() {
    let project = with_files();
    project.warm(&["named", "other"]);
    project.assert_noop();
    assert_is_input(&project, "content", |project| {
        project.file("db/schema.sql", "two");
    });
    assert_is_input(&project, "content under a glob", |project| {
        project.file("assets/deep/b.json", "{ }");
    });
    assert_is_input(&project, "a new file under a glob", |project| {
        project.file("assets/c.json", "{}");
    });
    assert_is_input(&project, "a new file in a new directory", |project| {
        project.file("assets/deeper/still/d.json", "{}");
    });
    assert_is_input(&project, "a renamed file", |project| {
        fs::rename(project.path("assets/c.json"), project.path("assets/e.json")).expect("rename");
    });
    assert_is_input(&project, "two that swap their contents", |project| {
        project.file("assets/a.json", "{ }").file("assets/deep/b.json", "{}");
    });
    assert_is_no_input(&project, |project| {
        project.file("notes.txt", "two").file("assets/a.txt", "two").file("named/data.json", "{}");
    });
}

#[test]
fn u04_a_file_that_goes_and_comes_back() {
    let project = with_files();
    project.warm(&["named", "other"]);
    for name in ["db/schema.sql", "assets/a.json"] {
        let content = fs::read(project.path(name)).expect("read");
        project.remove(name);
        settle();
        project.build().misses(&["named"]).hits(&["other"]);
        project.assert_noop();
        // An absent file differs from an empty one, and cargo detects when it appears.
        project.file(name, "");
        settle();
        project.build().misses(&["named"]).hits(&["other"]);
        project.assert_noop();
        project.file(name, content);
        settle();
        let run = project.build();
        run.hits(&["named", "other"]);
        assert!(run.dirty().iter().any(|line| line.contains("named")), "cargo asks: {}", run.stderr);
        project.assert_noop();
    }
}

#[test]
fn u04_declared_variables_count() {
    let mut project = workspace("[inputs.named]\nenv = [\"BUILD_FLAVOUR\"]\n");
    project.warm(&["named", "other"]);
    let mut seen = Vec::new();
    for value in [Some(""), Some("sweet"), Some("a\\b\nc=d")] {
        match value {
            Some(value) => project.set("BUILD_FLAVOUR", value),
            None => project.unset("BUILD_FLAVOUR"),
        };
        project.build().misses(&["named"]).hits(&["other"]);
        project.assert_noop();
        project.rebuild_hits(&["named", "other"]);
        seen.push(fs::read(find_one(&project.target_dir(), "named-", ".d")).expect("read"));
    }
    seen.dedup();
    assert_eq!(seen.len(), 3);
    project.set("OTHER_FLAVOUR", "x");
    project.assert_noop();
    project.rebuild_hits(&["named", "other"]);
    project.unset("BUILD_FLAVOUR");
    let run = project.build();
    run.hits(&["named", "other"]);
    assert!(run.dirty().iter().any(|line| line.contains("named")), "unset differs from any value: {}", run.stderr);
}

#[test]
fn u04_what_a_macro_reads_unseen_is_right() {
    let project = workspace("[inputs.named]\nfiles = [\"schema.sql\"]\nenv = [\"BUILD_FLAVOUR\"]\n");
    project.file("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"named\", \"other\", \"mac\", \"app\"]\n");
    project.file("mac/Cargo.toml", manifest("mac", "[lib]\nproc-macro = true\n"));
    let mac = "#[proc_macro]\npub fn said(_: proc_macro::TokenStream) -> proc_macro::TokenStream {\n\
               let text = std::fs::read_to_string(\"schema.sql\").unwrap_or_default();\n\
               format!(\"{:?}\", text).parse().unwrap()\n}\n";
    project.file("mac/src/lib.rs", mac);
    project.file("named/Cargo.toml", manifest("named", "[dependencies]\nmac = { path = \"../mac\" }\n"));
    project.file("named/src/lib.rs", "pub fn value() -> &'static str { mac::said!() }\n");
    project.file("app/Cargo.toml", manifest("app", "[dependencies]\nnamed = { path = \"../named\" }\n"));
    project.file("app/src/main.rs", "fn main() { println!(\"{}\", named::value()); }\n");
    for (text, fresh) in [("one", true), ("two", false), ("three", true), ("one", false), ("two", true)] {
        project.file("schema.sql", text);
        settle();
        if fresh {
            project.wipe();
        }
        assert_eq!(project.build_and_run().1, text);
        project.assert_noop();
    }
    assert_eq!(project.compiled("named"), 3);
}

#[test]
fn u04_a_star_is_every_crate() {
    let project = workspace("[inputs.\"*\"]\nfiles = [\"schema.sql\"]\n\n[inputs.other]\nenv = [\"ONLY_OTHER\"]\n");
    project.file("schema.sql", "one");
    settle();
    project.warm(&["named", "other"]);
    project.file("schema.sql", "two");
    settle();
    project.rebuild_misses(&["named", "other"]);
    project.rebuild_hits(&["named", "other"]);
    let mut command = project.command(crate::support::real_cargo());
    command.arg("build").env("ONLY_OTHER", "1");
    project.finish(command).must_succeed().misses(&["other"]).hits(&["named"]);
}

#[test]
fn u04_the_nearest_file_above_a_package() {
    // The workspace is in a directory below the file.
    let top = with_files();
    top.file("inner/Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"named\", \"own\"]\n");
    for name in ["named", "own"] {
        top.file(&format!("inner/{name}/Cargo.toml"), manifest(name, ""));
        top.file(&format!("inner/{name}/src/lib.rs"), LIB);
    }
    // A package with its own file: the file above does not count for it.
    top.file("inner/own/.kache.toml", "[inputs.own]\nfiles = [\"own.sql\"]\n");
    top.file(".kache.toml", format!("{FILES}[inputs.own]\nfiles = [\"db/schema.sql\"]\n"));
    settle();
    let build = |project: &Project| {
        let mut command = project.command(crate::support::real_cargo());
        command.arg("build").current_dir(project.path("inner"));
        project.finish(command).must_succeed()
    };
    let wipe = |project: &Project| fs::remove_dir_all(project.path("inner/target")).expect("wipe");
    build(&top).misses(&["named", "own"]);
    wipe(&top);
    build(&top).hits(&["named", "own"]);
    build(&top).is_noop();
    let second = top.clone_to("some/where/else");
    fs::remove_dir_all(second.path("inner/target")).ok();
    build(&second).hits(&["named", "own"]);
    build(&second).is_noop();
    top.file("db/schema.sql", "two");
    settle();
    build(&top).misses(&["named"]).hits(&["own"]);
    second.file("inner/own/own.sql", "now it is there");
    settle();
    build(&second).misses(&["own"]).hits(&["named"]);
    build(&second).is_noop();
}

#[test]
fn u04_a_second_checkout_hits_and_is_told_of_its_own_files() {
    let project = with_files();
    project.warm(&["named", "other"]);
    let dep_info = |project: &Project| {
        let text = fs::read_to_string(find_one(&project.target_dir(), "named-", ".d")).expect("read");
        text.replace(project.dir().to_str().expect("text"), "<checkout>")
    };
    let told = dep_info(&project);
    for name in ["db/schema.sql", "assets/deep/b.json", "assets", ".kache.toml"] {
        assert!(told.contains(&format!("\n{name}:\n")), "{name} in {told}");
    }
    // The same after a hit as after a miss, here and elsewhere.
    fs::remove_dir_all(project.cache_dir()).expect("forget");
    project.wipe().build().misses(&["named"]);
    assert_eq!(dep_info(&project), told);
    let second = project.clone_to("else/where");
    second.build().hits(&["named", "other"]);
    assert_eq!(dep_info(&second), told);
    second.assert_noop();
    second.file("assets/a.json", "{ }");
    settle();
    second.build().misses(&["named"]).hits(&["other"]);
    project.assert_noop();
    project.rebuild_hits(&["named", "other"]);
}

#[test]
fn u04_a_variable_that_names_a_checkout_serves_only_there() {
    let mut project = workspace("[inputs.named]\nenv = [\"SCHEMA\"]\n");
    project.set("SCHEMA", project.path("schema.sql"));
    project.warm(&["named", "other"]);
    let mut second = project.clone_to("else/where");
    second.set("SCHEMA", second.path("schema.sql"));
    second.build().misses(&["named"]).hits(&["other"]);
    second.rebuild_hits(&["named", "other"]);
    project.rebuild_hits(&["named", "other"]);
}

#[test]
fn u04_a_file_that_cannot_be_used_is_no_reason_to_fail() {
    let project = with_files();
    project.warm(&["named", "other"]);
    let reason = |project: &Project, krate: &str| project.last_outcome(krate).0;
    for bad in [
        "[inputs",
        "[inputs.named]\nfile = [\"db/schema.sql\"]\n",
        "[input.named]\n",
        "[inputs.named]\nfiles = [\"assets/[\"]\n",
        "[inputs.named]\nenv = [\"A=B\"]\n",
    ] {
        project.file(".kache.toml", bad);
        let entries = project.entries().len();
        project.rebuild_misses(&["named", "other"]);
        assert_eq!(reason(&project, "named"), "bypass.project-file", "{bad}");
        assert_eq!(reason(&project, "other"), "bypass.project-file", "{bad}");
        assert_eq!(project.entries().len(), entries);
        let doctor = project.kache(&["doctor"]);
        assert!(doctor.code == 3 && doctor.stdout.contains(".kache.toml"), "{bad}: {}", doctor.stdout);
    }
    // A declaration for one crate does not affect the other.
    project.file(".kache.toml", "[inputs.named]\nfiles = [\"assets\"]\n");
    project.wipe().build().misses(&["named"]).hits(&["other"]);
    assert_eq!(reason(&project, "named"), "bypass.project-file");
    let stats = project.kache(&["stats"]).must_succeed();
    assert!(stats.stdout.contains("kache.toml"), "{}", stats.stdout);
    project.file(".kache.toml", FILES);
    project.rebuild_hits(&["named", "other"]);
    let doctor = project.kache(&["doctor"]);
    assert!(doctor.stdout.contains("inputs for: named"), "{}", doctor.stdout);
}

#[test]
fn u04_edits_while_rustc_runs_are_not_stored() {
    let edits = [
        "echo two > db/schema.sql",
        // There and back again: rustc may have read the content in between.
        "cp -p db/schema.sql /tmp/kept.$$; echo two > db/schema.sql; mv /tmp/kept.$$ db/schema.sql",
        "echo '{}' > assets/new.json",
        "echo '{}' > assets/new.json; rm assets/new.json",
        "rm db/schema.sql",
    ];
    for edit in edits {
        let project = with_files();
        project.hook("before", "named", edit);
        project.build().misses(&["named", "other"]);
        assert_eq!(project.last_outcome("named").1, "input-changed", "{edit}");
        assert_eq!(project.last_outcome("other").1, "stored");
        project.unhook("before", "named");
        settle();
        project.rebuild_misses(&["named"]);
        assert_eq!(project.last_outcome("named").1, "stored", "control");
        project.rebuild_hits(&["named", "other"]);
    }
    // Files that are not declared may change.
    let project = with_files();
    project.hook("before", "named", "echo two > notes.txt; echo > assets/a.txt");
    project.build().misses(&["named"]);
    assert_eq!(project.last_outcome("named").1, "stored");
}

#[test]
fn u04_incremental_compiles_are_told_too() {
    let mut project = with_files();
    project.set("CARGO_INCREMENTAL", "1");
    project.warm(&["named", "other"]);
    for text in ["two", "three"] {
        project.file("db/schema.sql", text);
        settle();
        project.build().misses(&["named"]).hits(&["other"]);
        assert_eq!(project.last_outcome("named").1, "private-incremental");
        assert!(contains(&find_one(&project.target_dir(), "named-", ".d"), "schema.sql"));
        project.assert_noop();
    }
    project.file("db/schema.sql", "one");
    settle();
    project.build().hits(&["named", "other"]);
}

#[test]
fn u04_globs_do_not_watch_what_builds_write() {
    let project = workspace("[inputs.named]\nfiles = [\"**/*.json\", \"*.sql\", \"root.txt\", \"*/Cargo.toml\"]\n");
    project.file("a.json", "{}").file("sub/CACHEDIR.TAG", "").file("sub/b.json", "{}");
    settle();
    project.build();
    project.assert_noop();
    project.file("target/debug/x.json", "{}").file("sub/b.json", "{ }").file("sub/c.json", "");
    settle();
    project.assert_noop();
    project.rebuild_hits(&["named", "other"]);
    for seen in ["other/new.json", "other/src/deep/new.json", "a.json"] {
        project.file(seen, "[]");
        settle();
        project.build().misses(&["named"]).hits(&["other"]);
        project.assert_noop();
    }
    // Cargo does not watch anything next to the target directory; a build in a fresh target directory is right all the
    // same.
    for unseen in ["root.txt", "new.sql", "deep/er/new.json"] {
        project.file(unseen, "new");
        settle();
        project.rebuild_misses(&["named"]);
        project.rebuild_hits(&["named", "other"]);
        project.assert_noop();
    }
}

#[test]
fn u04_why_names_what_is_declared() {
    let mut project = with_files();
    project.file(".kache.toml", format!("{FILES}env = [\"BUILD_FLAVOUR\"]\n"));
    project.warm(&["named"]);
    project.file("db/schema.sql", "two");
    settle();
    project.rebuild_misses(&["named"]);
    let why = || project.kache(&["why", "named"]).must_succeed().stdout;
    assert!(why().contains("db/schema.sql") && !why().contains("BUILD_FLAVOUR"), "{}", why());
    project.remove("db/schema.sql");
    project.rebuild_misses(&["named"]);
    let said = why();
    assert!(said.contains("file  db/schema.sql"), "{said}");
    project.set("BUILD_FLAVOUR", "sweet");
    project.rebuild_misses(&["named"]);
    let said = project.kache(&["why", "named"]).must_succeed().stdout;
    assert!(said.contains("variable  BUILD_FLAVOUR") && !said.contains("schema"), "{said}");
}

#[test]
fn u04_what_is_linked_is_told_too_and_verified_hits_do_not_differ() {
    let mut project = Project::app_over(LIB);
    project
        .file(".kache.toml", "[inputs.app]\nfiles = [\"db/schema.sql\", \"db/more/*\"]\nenv = [\"BUILD_FLAVOUR\"]\n");
    project.file("db/schema.sql", "one");
    settle();
    project.warm(&["app", "dep"]);
    project.assert_noop();
    project.set("KACHE_VERIFY", "hits");
    project.wipe().build().misses(&["app", "dep"]);
    assert_eq!(project.last_outcome("app").0, "hit.verified");
    project.assert_noop();
    project.unset("KACHE_VERIFY");
    for (file, text) in [("db/schema.sql", "two"), ("db/more/new", "")] {
        project.file(file, text);
        settle();
        project.build().misses(&["app"]).hits(&["dep"]);
        project.assert_noop();
    }
    project.rebuild_hits(&["app", "dep"]);
}
