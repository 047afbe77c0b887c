//! Incremental sessions of other checkouts (`rustc::alias`, `store::sessions`). rustc alone decides which parts of a
//! session still count, so the output of a program is right in any case. The object files that the next session has in
//! common with a session show whether that session was of use.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{
    CANONICAL_MTIME_NS, KACHE, Project, RawOutput, contains, files_under, find, find_one, manifest, settle, stat,
    value_of,
};

const ALIAS: &str = "/proc/self/task/../cwd";

/// The source of `dep`: modules, each of which is a codegen unit, and a value that edits change.
fn source(value: u32) -> String {
    let module =
        |n: u32| format!("pub mod m{n} {{ #[inline(never)] pub fn f(x: u32) -> u32 {{ x.rotate_left({n}) }} }}\n");
    let modules: String = (0..6).map(module).collect();
    format!("{modules}#[inline(never)] pub fn value() -> u32 {{ {value} }}\n")
}

/// `app` depends on `dep`. Incremental compilation is on, as it is in cargo by default.
fn project() -> Project {
    let mut project = Project::app_over(&source(7));
    // `dep` depends on a library that the program itself does not name.
    project.file("dep/Cargo.toml", manifest("dep", "[dependencies]\nbase = { path = \"../base\" }\n"));
    project.file("base/Cargo.toml", manifest("base", "")).file("base/src/lib.rs", "pub fn base() {}\n");
    let module = |n: u32| format!("mod m{n} {{ #[inline(never)] pub fn f(x: u32) -> u32 {{ dep::m{n}::f(x) }} }}\n");
    let calls = ["m0::f(1);", "m1::f(1);", "m2::f(1);", "m3::f(1);", "m4::f(1);", "m5::f(1);"].concat();
    let main = format!("fn main() {{ {calls} println!(\"{{}}\", dep::value()); }}\n");
    project.file("src/main.rs", (0..6).map(module).collect::<String>() + &main);
    project.set("CARGO_INCREMENTAL", "1");
    project
}

fn edit(project: &Project, value: u32) {
    settle();
    project.file("dep/src/lib.rs", source(value));
}

/// The object files in the newest session of `dep`. (The session before it may still exist.)
fn objects(project: &Project) -> BTreeSet<(u64, u64)> {
    objects_of(project, "dep-")
}

fn objects_of(project: &Project, prefix: &str) -> BTreeSet<(u64, u64)> {
    let incremental = project.target_dir().join("debug/incremental");
    let is_of_dep = |file: &PathBuf| {
        let below = file.strip_prefix(&incremental).expect("below");
        below.to_string_lossy().starts_with(prefix) && below.extension().is_some_and(|extension| extension == "o")
    };
    let files: Vec<PathBuf> = files_under(&incremental).into_iter().filter(is_of_dep).collect();
    let newest = files.iter().filter_map(|file| file.parent()).max().map(Path::to_owned);
    files.iter().filter(|file| file.parent() == newest.as_deref()).map(|file| stat(file).id).collect()
}

/// The number of object files that both have in common.
fn common(one: &BTreeSet<(u64, u64)>, other: &BTreeSet<(u64, u64)>) -> usize {
    one.intersection(other).count()
}

fn kept_sessions(project: &Project) -> PathBuf {
    project.cache_dir().join("v1/sessions")
}

/// The directories of the kept sessions, one for each unit.
fn dirs_of_units(project: &Project) -> Vec<PathBuf> {
    let shards =
        fs::read_dir(kept_sessions(project)).expect("sessions are kept").map(|shard| shard.expect("entry").path());
    shards.flat_map(|shard| fs::read_dir(shard).expect("list")).map(|unit| unit.expect("entry").path()).collect()
}

fn stored(project: &Project, krate: &str) -> String {
    project.last_outcome(krate).1
}

#[test]
fn a_first_edit_elsewhere_builds_on_the_session_of_the_first_checkout() {
    let one = project();
    one.build().misses(&["dep"]);
    let (first, programs) = (objects(&one), objects_of(&one, "app-"));
    assert!(first.len() >= 6, "{first:?}");
    let two = one.clone_to("elsewhere/deeper/two");
    two.build().hits(&["app", "dep"]);
    assert!(objects(&two).is_empty(), "a restored unit has no session until it is edited");
    edit(&two, 8);
    let (run, said) = two.build_and_run();
    run.misses(&["app", "dep"]);
    assert_eq!((said.as_str(), stored(&two, "dep").as_str()), ("8", "private-incremental"));
    assert!(common(&first, &objects(&two)) >= 5, "{first:?} and {:?}", objects(&two));
    // The session of a program too: rustc links it with libraries that have other real paths here.
    assert!(common(&programs, &objects_of(&two, "app-")) >= 5, "{programs:?} and {:?}", objects_of(&two, "app-"));
    two.assert_noop();
    // The next edit builds on that session, and the first checkout is unchanged.
    let second = objects(&two);
    edit(&two, 9);
    assert_eq!(two.build_and_run().1, "9");
    assert!(common(&second, &objects(&two)) >= 5);
    one.assert_noop();
    assert_eq!((objects(&one), one.app_output().as_str()), (first.clone(), "7"));
    // Control: without the kept sessions, the two have nothing in common.
    fs::remove_dir_all(kept_sessions(&one)).expect("remove");
    let three = one.clone_to("three");
    three.build().hits(&["app", "dep"]);
    edit(&three, 8);
    assert_eq!(three.build_and_run().1, "8");
    assert_eq!(common(&first, &objects(&three)), 0);
}

#[test]
fn a_session_outlives_the_target_directory_that_it_was_made_in() {
    let one = project();
    one.build();
    let first = objects(&one);
    one.wipe();
    // A later file cannot reuse the inode of a removed one, because the store still has a link to it.
    one.build().hits(&["app", "dep"]);
    edit(&one, 8);
    assert_eq!(one.build_and_run().1, "8");
    assert!(common(&first, &objects(&one)) >= 5);
}

/// A function that damages a file of a session.
type Damage = fn(&Path);

/// Whatever rustc does with the damaged session, the program is right, and kache does not share anything that comes
/// from a wrong session.
#[test]
#[ignore = "slow"]
fn a_session_that_does_not_fit_costs_time_and_nothing_else() {
    let one = project();
    one.build();
    let is_of_dep = |dir: &PathBuf| files_under(dir).iter().any(|file| file.to_string_lossy().contains("/dep-"));
    let of_dep = dirs_of_units(&one).into_iter().find(is_of_dep).expect("dep has a session");
    let two = one.clone_to("two");
    let damage: [(&str, Damage); 4] = [
        ("cut", |file| fs::write(file, &fs::read(file).expect("read")[..100]).expect("write")),
        ("empty", |file| fs::write(file, b"").expect("write")),
        ("other bytes", |file| fs::write(file, [7; 9999]).expect("write")),
        ("gone", |file| fs::remove_file(file).expect("remove")),
    ];
    for (at, (what, damage)) in damage.into_iter().enumerate() {
        let value = 10 + u32::try_from(at).expect("few");
        for name in ["dep-graph", "query-cache", "work-products"] {
            two.file("dep/src/lib.rs", source(7)).wipe().build().hits(&["dep"]);
            edit(&two, value);
            // rustc's own directory gets the damaged session; the store's copy stays whole.
            let kept = find_one(&kept_sessions(&one).join(&of_dep), "dep-graph", ".bin");
            let kept = kept.parent().expect("a session").to_owned();
            let crate_dir = kept.parent().expect("a crate").file_name().expect("name").to_owned();
            let session =
                two.target_dir().join("debug/incremental").join(crate_dir).join(kept.file_name().expect("name"));
            crate::support::copy_tree(&kept, &session, &|_| true);
            damage(&session.join(format!("{name}.bin")));
            let (_, said) = two.build_and_run();
            assert_eq!(said, value.to_string(), "{name} {what}");
        }
    }
    one.assert_noop();
}

#[test]
fn a_kept_session_that_was_written_to_is_not_handed_out() {
    let one = project();
    one.build();
    for file in find(&kept_sessions(&one), "", ".o") {
        fs::write(file, "written to by somebody").expect("write");
    }
    let two = one.clone_to("two");
    two.build().hits(&["app", "dep"]);
    edit(&two, 8);
    assert_eq!(two.build_and_run().1, "8");
    assert_eq!(common(&objects(&one), &objects(&two)), 0);
}

#[test]
fn a_session_of_other_flags_is_another_one() {
    let mut one = project();
    one.build();
    let first = objects(&one);
    one.set("RUSTFLAGS", "-Copt-level=1");
    let two = one.clone_to("two");
    two.build().misses(&["app", "dep"]);
    edit(&two, 8);
    assert_eq!(two.build_and_run().1, "8");
    assert_eq!(common(&first, &objects(&two)), 0);
}

#[test]
fn a_failed_first_build_spoils_nothing() {
    let one = project();
    edit(&one, 7);
    one.file("dep/src/lib.rs", "pub fn value() -> u32 { oops }\n");
    for _ in 0..2 {
        one.try_cargo(&["build"]).must_fail();
    }
    one.file("dep/src/lib.rs", source(7));
    settle();
    one.build().misses(&["dep"]);
    assert_eq!((stored(&one, "dep").as_str(), stored(&one, "app").as_str()), ("stored", "stored"));
    one.clone_to("two").build().hits(&["app", "dep"]);
}

#[test]
fn an_interrupted_first_compile_spoils_nothing() {
    let one = project();
    // rustc has written metadata and dep-info, and is killed before the library exists.
    one.hook(
        "after",
        "dep",
        "rm -f target/debug/deps/libdep-*.rlib; rm -rf target/debug/incremental/dep-*/s-*; kill -9 $$\n",
    );
    one.try_cargo(&["build"]).must_fail();
    assert_eq!(find(&one.target_dir().join("debug/deps"), "dep-", ".d").len(), 1, "control");
    one.unhook("after", "dep");
    one.build().misses(&["dep"]);
    assert_eq!(stored(&one, "dep"), "stored");
    one.clone_to("two").build().hits(&["app", "dep"]);
}

#[test]
fn no_output_holds_the_alias() {
    let one = project();
    one.build();
    edit(&one, 8);
    one.build();
    let two = one.clone_to("two");
    two.file("dep/src/lib.rs", source(7)).build().hits(&["dep"]);
    edit(&two, 9);
    two.build();
    let mut looked_at = 0;
    for file in files_under(&one.target_dir()).into_iter().chain(files_under(&two.target_dir())) {
        if !file.starts_with(one.target_dir().join("debug/incremental")) {
            assert!(!contains(&file, "/proc/self/task"), "{}", file.display());
            looked_at += 1;
        }
    }
    assert!(looked_at > 20);
}

/// A call with `-C incremental`, with kache and without: its messages, dep-info and library.
fn both(project: &Project, name: &str) -> [(RawOutput, String, Vec<u8>); 2] {
    let call = |disabled: bool| {
        let session = format!("-Cincremental={}", project.path("session").display());
        let _ = fs::remove_dir_all(project.path("session"));
        let unit = project.unit(name, "src/lib.rs").args([session]);
        let mut command = unit.command();
        if disabled {
            command.env("KACHE_DISABLED", "1");
        }
        let said: RawOutput = command.output().expect("it starts").into();
        let info = find(&project.target_dir().join("debug/deps"), &format!("{name}-"), ".d");
        let info = info.first().map(|file| fs::read_to_string(file).expect("dep-info")).unwrap_or_default();
        (said, info, fs::read(unit.rlib()).unwrap_or_default())
    };
    [call(false), call(true)]
}

#[test]
fn rustc_says_the_same_under_the_alias() {
    let project = Project::lib("#[warn(dead_code)]\nfn never() {}\npub fn file() -> &'static str { file!() }\n");
    settle();
    let [ours, plain] = both(&project, "dep");
    assert_eq!((&ours.0, &ours.1), (&plain.0, &plain.1));
    assert_eq!(project.last_outcome("dep").1, "stored", "control: it was compiled through kache");
    let text = String::from_utf8_lossy(&ours.0.stderr).into_owned();
    assert!(text.contains(project.dir().to_str().expect("UTF-8")) && text.contains("never"), "{text}");
    // A source file that does not exist.
    project.file("src/lib.rs", "mod absent;\n");
    let [ours, plain] = both(&project, "other");
    assert_eq!((&ours.0, ours.0.code), (&plain.0, 1));
}

#[test]
fn the_directory_with_a_quote_in_its_name() {
    let project = Project::lib("fn never() {}\n").clone_to("a \"quoted\" name");
    settle();
    let [ours, plain] = both(&project, "dep");
    assert_eq!((&ours.0, &ours.1), (&plain.0, &plain.1));
    assert_eq!(project.last_outcome("dep").1, "stored");
}

#[test]
fn macros_and_their_children_see_the_working_directory() {
    let mut project = Project::app_over(&value_of("mac", "here!()"));
    project.file("dep/Cargo.toml", manifest("dep", "[dependencies]\nmac = { path = \"../mac\" }\n"));
    project.file("mac/Cargo.toml", manifest("mac", "[lib]\nproc-macro = true\n"));
    project.file(
        "mac/src/lib.rs",
        r#"
        #[proc_macro]
        pub fn here(_: proc_macro::TokenStream) -> proc_macro::TokenStream {
            let own = std::env::current_dir().unwrap();
            let child = std::process::Command::new("/bin/pwd").output().unwrap().stdout;
            let child = String::from_utf8(child).unwrap();
            format!("{:?}", format!("{} {}", own.display(), child.trim())).parse().unwrap()
        }
        "#,
    );
    project.set("CARGO_INCREMENTAL", "1");
    let expected = |project: &Project| format!("{0} {0}", project.dir().display());
    assert_eq!(project.build_and_run().1, expected(&project));
    let two = project.clone_to("elsewhere/two");
    assert_eq!(two.build_and_run().1, expected(&two));
}

/// The outputs of a macro must not contain the alias: the path would lead elsewhere in every program.
#[test]
fn a_macro_that_looks_at_rustcs_arguments_has_the_directorys_own_name() {
    let mut one = Project::app_over(&value_of("mac", "out_dir!()"));
    one.file("dep/Cargo.toml", manifest("dep", "[dependencies]\nmac = { path = \"../mac\" }\n"));
    one.file("mac/Cargo.toml", manifest("mac", "[lib]\nproc-macro = true\n"));
    let source = "#[proc_macro]\npub fn out_dir(_: proc_macro::TokenStream) -> proc_macro::TokenStream {\n\
        let dir = std::env::args().skip_while(|arg| arg != \"--out-dir\").nth(1).unwrap();\n\
        format!(\"{dir:?}\").parse().unwrap()\n}\n";
    one.set("CARGO_INCREMENTAL", "1").file("mac/src/lib.rs", source);
    one.build();
    assert_eq!(stored(&one, "dep"), "holds-alias");
    let two = one.clone_to("elsewhere/two");
    for project in [&one, &two] {
        let (run, said) = project.wipe().build_and_run();
        run.misses(&["dep"]);
        assert_eq!(said, project.target_dir().join("debug/deps").display().to_string());
    }
    one.wipe().build().hits(&["dep"]);
}

/// A linker may change its directory, so that the alias leads elsewhere, and may write its arguments to a file.
#[test]
fn a_linker_that_changes_its_directory_links() {
    let mut one = project();
    one.script("own/cc", "map=$PWD/out.map; cd / && exec cc \"$@\" -Wl,-Map=$map");
    one.set("RUSTFLAGS", format!("-Clinker={}", one.sandbox_dir().join("own/cc").display()));
    assert_eq!(one.build_and_run().1, "7");
    edit(&one, 8);
    assert_eq!(one.build_and_run().1, "8");
    let map = one.path("out.map");
    assert!(contains(&map, one.target_dir().to_str().expect("UTF-8")), "control: the map names files");
    assert!(!contains(&map, "/proc/self/task"), "the map names files by the alias");
}

#[test]
fn a_checked_library_has_a_session_in_another_checkout() {
    let one = project();
    one.check().misses(&["dep"]);
    let two = one.clone_to("two");
    two.check().hits(&["app", "dep"]);
    edit(&two, 8);
    two.check().misses(&["dep"]);
    assert_eq!(stored(&two, "dep"), "private-incremental");
    one.check().is_noop();
}

/// Cargo changes the times of metadata files and compares them.
#[test]
fn no_two_checkouts_share_metadata() {
    let one = project();
    one.build();
    let two = one.clone_to("two");
    two.build();
    for project in [&one, &two] {
        settle();
        project.file("dep/src/lib.rs", source(7) + "// a comment\n").build();
    }
    let metadata = |project: &Project| {
        let files = files_under(&project.target_dir()).into_iter();
        let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "rmeta"));
        files.map(|file| stat(&file).id).collect::<BTreeSet<_>>()
    };
    assert!(!metadata(&one).is_empty(), "control");
    assert_eq!(common(&metadata(&one), &metadata(&two)), 0);
}

/// The alias does not remap such a path, so kache compiles such a unit without the alias.
#[test]
fn a_source_that_is_included_by_an_absolute_path_is_shared() {
    let mut one = Project::app_over(
        "include!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/src/value.rs\"));\npub mod m { pub fn f() {} }\n",
    );
    one.set("CARGO_INCREMENTAL", "1").file("dep/src/value.rs", "pub fn value() -> u32 { 7 }\n");
    one.build().misses(&["dep"]);
    let two = one.clone_to("elsewhere/two");
    let (run, said) = two.build_and_run();
    run.hits(&["app", "dep"]);
    assert_eq!(said, "7");
    two.file("dep/src/value.rs", "pub fn value() -> u32 { 8 }\n");
    assert_eq!(two.build_and_run().1, "8");
}

#[test]
fn a_target_directory_elsewhere_has_sessions_of_its_own() {
    let mut one = project();
    one.set("CARGO_TARGET_DIR", one.sandbox_dir().join("target-elsewhere"));
    one.build().misses(&["dep"]);
    edit(&one, 8);
    assert_eq!(one.build_and_run().1, "8");
    assert_eq!(stored(&one, "dep"), "private-incremental");
    one.assert_noop();
}

#[test]
fn a_purge_removes_kept_sessions_and_a_collection_trims_them() {
    let mut one = project();
    one.build();
    assert!(!find(&kept_sessions(&one), "dep-graph", ".bin").is_empty());
    one.set("KACHE_MAX_SIZE", "1KiB");
    one.kache(&["gc"]);
    assert!(find(&kept_sessions(&one), "dep-graph", ".bin").is_empty());
    one.unset("KACHE_MAX_SIZE");
    let two = one.clone_to("two");
    two.build();
    assert!(!find(&kept_sessions(&one), "dep-graph", ".bin").is_empty());
    two.kache(&["purge"]);
    assert!(files_under(&kept_sessions(&one)).is_empty());
    // The files in the target directories are intact.
    edit(&two, 8);
    assert_eq!(two.build_and_run().1, "8");
}

#[test]
fn no_session_file_bears_the_time_of_a_blob() {
    let one = project();
    one.build();
    for file in files_under(&kept_sessions(&one)) {
        assert_ne!(stat(&file).mtime_ns, CANONICAL_MTIME_NS);
    }
    let mut command = one.command(KACHE);
    command.arg("stats");
    assert!(!one.finish(command).must_succeed().stdout.contains(ALIAS));
}
