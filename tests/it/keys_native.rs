//! Native archives that end up inside an rlib (hazards U05, U06, U08).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Project, Unit, contains, skip};

/// Compiles `marker` into an object and archives it as `native/libfoo.a`; `flags` are those of `ar`.
fn archive(project: &Project, marker: &str, flags: &str) {
    let source = format!("const char foo_marker[] = \"{marker}\"; int foo(void) {{ return foo_marker[0]; }}\n");
    project.file("native/foo.c", source);
    let dir = project.path("native");
    let run = |program: &str, args: &[&str]| {
        let status = Command::new(program).args(args).current_dir(&dir).status().expect(program);
        assert!(status.success(), "{program} {args:?}");
    };
    run("cc", &["-c", "foo.c", "-o", "foo.o"]);
    std::fs::remove_file(dir.join("libfoo.a")).ok();
    run("ar", &[flags, "libfoo.a", "foo.o"]);
}

const EXTERN: &str = "unsafe extern \"C\" { fn foo() -> i32; }\npub fn value() -> i32 { unsafe { foo() } }\n";

fn with_flag(project: &Project) -> Unit<'_> {
    let search = format!("native={}", project.path("native").display());
    project.unit("dep", "src/lib.rs").args(["-L", &search, "-l", "static=foo"])
}

fn with_attribute(project: &Project) -> Unit<'_> {
    let search = format!("native={}", project.path("native").display());
    project.unit("dep", "src/lib.rs").args(["-L", &search])
}

#[test]
fn u05_an_archive_named_by_a_flag_counts_by_content() {
    let project = Project::lib(EXTERN);
    archive(&project, "marker-one", "crD");
    with_flag(&project).warm();
    archive(&project, "marker-two", "crD");
    let unit = with_flag(&project);
    unit.misses();
    assert!(contains(&unit.rlib(), "marker-two"));
    archive(&project, "marker-one", "crD");
    unit.hits();
    assert!(contains(&unit.rlib(), "marker-one") && !contains(&unit.rlib(), "marker-two"));
}

#[test]
fn u05_an_archive_in_an_earlier_search_directory_wins() {
    let project = Project::lib(EXTERN);
    archive(&project, "marker-late", "crD");
    let late = project.path("native");
    let early = project.path("early");
    std::fs::create_dir(&early).expect("early");
    let unit = project.unit("dep", "src/lib.rs").args([
        format!("-Lnative={}", early.display()),
        format!("-Lnative={}", late.display()),
        "-lstatic=foo".to_owned(),
    ]);
    unit.warm();
    assert!(contains(&unit.rlib(), "marker-late"));
    let kept = std::fs::read(late.join("libfoo.a")).expect("late archive");
    archive(&project, "marker-early", "crD");
    std::fs::rename(late.join("libfoo.a"), early.join("libfoo.a")).expect("move");
    std::fs::write(late.join("libfoo.a"), kept).expect("put back");
    unit.run().must_succeed();
    assert!(contains(&unit.rlib(), "marker-early"), "the archive that rustc finds first was not the one linked");
}

#[test]
fn u05_a_build_script_that_makes_another_archive_is_noticed() {
    let project = Project::lib(EXTERN);
    let script = "fn main() { println!(\"cargo:rustc-link-search=native=native\"); \
                  println!(\"cargo:rustc-link-lib=static=foo\"); println!(\"cargo:rerun-if-changed=build.rs\"); }\n";
    project.file("build.rs", script);
    archive(&project, "marker-one", "crD");
    project.warm(&["dep"]);
    archive(&project, "marker-two", "crD");
    project.rebuild_misses(&["dep"]);
    assert!(contains(&rlib(&project), "marker-two"));
}

fn rlib(project: &Project) -> PathBuf {
    crate::support::find_one(&project.target_dir().join("debug/deps"), "libdep-", ".rlib")
}

#[test]
fn u06_an_archive_named_in_the_source_is_never_stale() {
    let project = Project::lib("");
    project.file("src/lib.rs", format!("#[link(name = \"foo\", kind = \"static\")]\n{EXTERN}"));
    archive(&project, "marker-one", "crD");
    let unit = with_attribute(&project);
    unit.misses();
    let again = unit.run().must_succeed();
    let (outcome, stored) = project.last_outcome("dep");
    assert!(
        again.compiles().is_empty() || stored == "unkeyed-archive" || outcome == "bypass.native-library",
        "neither a hit nor refused for its archive: {outcome} {stored}"
    );
    archive(&project, "marker-two", "crD");
    unit.misses();
    assert!(contains(&unit.rlib(), "marker-two"));
    // Control: the same call without the attribute is cacheable.
    project.file("src/lib.rs", EXTERN);
    unit.warm();
}

#[test]
fn u08_a_thin_archive_is_refused_or_seen_through() {
    let project = Project::lib(EXTERN);
    archive(&project, "marker-one", "crDT");
    if !is_thin(&project.path("native/libfoo.a")) {
        skip("this ar makes no thin archives");
        return;
    }
    let unit = with_flag(&project);
    unit.misses();
    // The archive itself stays the same byte for byte; the object that it points to changes.
    let before = std::fs::read(project.path("native/libfoo.a")).expect("thin archive");
    archive(&project, "marker-two", "crDT");
    assert_eq!(before, std::fs::read(project.path("native/libfoo.a")).expect("thin archive"));
    unit.misses();
    assert!(contains(&unit.rlib(), "marker-two"));
    // Control: an ordinary archive is cacheable.
    archive(&project, "marker-two", "crD");
    unit.warm();
}

fn is_thin(archive: &Path) -> bool {
    std::fs::read(archive).is_ok_and(|bytes| bytes.starts_with(b"!<thin>\n"))
}

#[test]
fn u08_members_that_change_names_change_the_key() {
    let project = Project::lib(EXTERN);
    archive(&project, "marker-one", "crD");
    let unit = with_flag(&project);
    unit.warm();
    let dir = project.path("native");
    std::fs::rename(dir.join("foo.o"), dir.join("bar.o")).expect("rename");
    std::fs::remove_file(dir.join("libfoo.a")).expect("remove");
    let status = Command::new("ar").args(["crD", "libfoo.a", "bar.o"]).current_dir(&dir).status().expect("ar");
    assert!(status.success());
    unit.misses();
    assert!(contains(&unit.rlib(), "bar.o"));
}
