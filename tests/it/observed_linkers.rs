//! The linker itself: another `cc`, another `ld`, wrappers and their inputs (hazard U18), and calls of a linker that
//! kache cannot observe.
//!
//! Each linker of these tests leaves its mark in the program: a run path that no loader ever needs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Project, contains, skip};

const DEP: &str = "pub fn value() -> u32 { 7 }\n";

/// The crates that cargo links again if the linker changes.
const LINKED: &[&str] = &["app"];

/// The machine's own program of this name, the first one on `PATH`.
fn system_program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").expect("PATH");
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("no {name} on PATH"))
}

/// Writes a script as `cc` that calls the machine's own `cc` with one more argument.
fn cc(project: &Project, name: &str, mark: &str) {
    project.script(name, &format!("exec {} \"$@\" -Wl,-rpath,/mark-{mark}", system_program("cc").display()));
}

/// The same for `ld`, the linker proper.
fn ld(project: &Project, name: &str, mark: &str) {
    project.script(name, &format!("exec {} \"$@\" -rpath /mark-{mark}", system_program("ld.bfd").display()));
}

/// C source of a `cc` whose mark is the text that `statements` write into `mark`.
fn cc_in_c(statements: &str) -> String {
    let cc = system_program("cc").display().to_string();
    format!(
        "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n\
         int main(int n, char **args) {{ char mark[99] = \"none\", flag[199]; {statements}\n\
         char **more = malloc((n + 2) * sizeof *more); memcpy(more, args, n * sizeof *more);\n\
         snprintf(flag, 199, \"-Wl,-rpath,/mark-%s\", mark); more[0] = \"{cc}\"; more[n] = flag; more[n + 1] = 0;\n\
         execv(more[0], more); return 127; }}\n"
    )
}

/// The same as a compiled program; such a program is known to read variables by name.
fn compiled_cc(project: &Project, name: &str, mark: &str) {
    project.compile_c(name, &cc_in_c(&format!("strcpy(mark, \"{mark}\");")), &[]);
}

fn is_marked(project: &Project, mark: &str) -> bool {
    contains(&project.target_dir().join("debug/app"), &format!("/mark-{mark}"))
}

/// Asserts that a build in a fresh target directory links the program again, by the linker with this mark.
#[track_caller]
fn assert_relinks_with_mark(project: &Project, mark: &str) {
    project.fresh_compiles(LINKED, "7");
    assert!(is_marked(project, mark), "not linked by {mark}: {}", project.history());
}

/// Asserts that a build in a fresh target directory restores the program of the linker with this mark.
#[track_caller]
fn assert_hits_with_mark(project: &Project, mark: &str) {
    project.fresh_hits("7");
    assert!(is_marked(project, mark), "the program of another linker was served instead of {mark}'s");
}

#[test]
fn u18_another_cc_first_on_path() {
    let mut project = Project::app_over(DEP);
    project.settled("7");
    // Directories without a `cc` do not change anything, whether at the front or at the back.
    project.script("tools/other", "true");
    project.path_with(&["tools", "nowhere"]).fresh_hits("7");
    assert!(!is_marked(&project, ""));
    // A `cc` appears in a directory that was searched before.
    compiled_cc(&project, "tools/cc", "one");
    assert_relinks_with_mark(&project, "one");
    project.script("tools/another", "true");
    assert_hits_with_mark(&project, "one");
    compiled_cc(&project, "tools/cc", "two");
    assert_relinks_with_mark(&project, "two");
    // A directory that was not on PATH before.
    compiled_cc(&project, "first/cc", "three");
    assert_hits_with_mark(&project, "two");
    project.path_with(&["first", "tools", "nowhere"]);
    assert_relinks_with_mark(&project, "three");
    project.path_with(&["nowhere", "tools"]);
    assert_hits_with_mark(&project, "two");
    project.path_with(&[]).fresh_hits("7");
    assert!(!is_marked(&project, ""));
}

#[test]
fn u18_a_cc_that_is_a_link() {
    let mut project = Project::app_over(DEP);
    cc(&project, "real/one", "one");
    cc(&project, "real/two", "two");
    let link = project.sandbox_dir().join("tools/cc");
    let point = |to: &str| {
        fs::create_dir_all(link.parent().expect("parent")).expect("parent");
        fs::remove_file(&link).ok();
        std::os::unix::fs::symlink(Path::new("../real").join(to), &link).expect("symlink");
    };
    point("one");
    project.path_with(&["tools"]).settled("7");
    assert_hits_with_mark(&project, "one");
    point("two");
    assert_relinks_with_mark(&project, "two");
    cc(&project, "real/one", "beside");
    assert_hits_with_mark(&project, "two");
    cc(&project, "real/two", "three");
    assert_relinks_with_mark(&project, "three");
}

#[test]
fn u18_a_cc_that_reads_a_variable() {
    let mut project = Project::app_over(DEP);
    let source = cc_in_c("const char *value = getenv(\"CC_MARK\"); if (value) strcpy(mark, value);");
    project.compile_c("tools/cc", &source, &[]);
    project.path_with(&["tools"]).settled("7");
    assert!(is_marked(&project, "none"));
    project.set("CC_MARK", "one");
    assert_relinks_with_mark(&project, "one");
    project.set("CC_OTHER", "beside");
    assert_hits_with_mark(&project, "one");
    project.set("CC_MARK", "two");
    assert_relinks_with_mark(&project, "two");
    project.unset("CC_MARK");
    assert_hits_with_mark(&project, "none");
}

#[test]
fn u18_a_cc_that_is_a_script_and_reads_a_variable() {
    let mut project = Project::app_over(DEP);
    cc(&project, "tools/cc", "$CC_MARK");
    project.path_with(&["tools"]).set("CC_MARK", "one").settled("7");
    assert_hits_with_mark(&project, "one");
    // Variables that the script does not name differ between jobs and do not count.
    project.set("GITHUB_RUN_ID", "2").set("SSH_CONNECTION", "1 2 3 4");
    assert_hits_with_mark(&project, "one");
    project.set("CC_MARK", "two");
    assert_relinks_with_mark(&project, "two");
    project.set("CC_MARK", "one");
    assert_hits_with_mark(&project, "one");
}

#[test]
fn u18_a_cc_that_is_a_script_and_compares_times() {
    let mut project = Project::app_over(DEP);
    let file = |name: &str| project.sandbox_dir().join(name);
    let (old, new) = (file("old"), file("new"));
    fs::write(&old, "").expect("write");
    crate::support::settle();
    fs::write(&new, "").expect("write");
    cc(&project, "tools/cc", &format!("$([ {} -nt {} ] && echo new)", new.display(), old.display()));
    project.path_with(&["tools"]);
    project.never_stored("app", "7");
    assert!(is_marked(&project, "new"));
}

/// The keys do not contain the name of the directory.
#[test]
fn u18_a_cc_that_is_a_script_and_goes_by_its_directory() {
    let mut one = Project::app_over(DEP);
    cc(&one, "tools/cc", "$(basename $PWD)");
    one.path_with(&["tools"]).settled("7");
    assert_hits_with_mark(&one, "one");
    let two = one.clone_to("elsewhere/deeper/two");
    assert_relinks_with_mark(&two, "two");
    // Control: the results of a `cc` that ignores its directory are shared.
    cc(&one, "tools/cc", "three");
    assert_relinks_with_mark(&one, "three");
    assert_hits_with_mark(&two, "three");
}

#[test]
fn u18_a_cc_that_reads_a_file() {
    let mut project = Project::app_over(DEP);
    let mark = project.sandbox_dir().join("mark");
    fs::write(&mark, "one").expect("write");
    cc(&project, "tools/cc", &format!("$(cat {})", mark.display()));
    project.path_with(&["tools"]).settled("7");
    assert_hits_with_mark(&project, "one");
    fs::write(mark.with_file_name("beside"), "nine").expect("write");
    assert_hits_with_mark(&project, "one");
    fs::write(mark, "two").expect("write");
    assert_relinks_with_mark(&project, "two");
}

/// A shell looks for `cc` by trying to start it in each directory of `PATH`.
#[test]
fn a_script_that_looks_for_the_linker_on_the_path_is_stored() {
    let mut project = Project::app_over(DEP);
    project.script("own/my-cc", "exec cc \"$@\" -Wl,-rpath,/mark-mine");
    fs::create_dir_all(project.sandbox_dir().join("empty")).expect("directory");
    let linker = project.sandbox_dir().join("own/my-cc");
    project.path_with(&["empty"]).set("RUSTFLAGS", format!("-Clinker={}", linker.display())).settled("7");
    // A `cc` that comes first on the path counts.
    project.script("empty/cc", &format!("exec {} \"$@\" -Wl,-rpath,/mark-first", system_program("cc").display()));
    assert_relinks_with_mark(&project, "first");
}

#[test]
fn u18_a_linker_named_by_a_flag() {
    let mut project = Project::app_over(DEP);
    compiled_cc(&project, "own/my-cc", "one");
    let linker = project.sandbox_dir().join("own/my-cc");
    project.set("RUSTFLAGS", format!("-Clinker={}", linker.display())).settled("7");
    assert_hits_with_mark(&project, "one");
    compiled_cc(&project, "own/other", "nine");
    project.path_with(&["own"]);
    assert_hits_with_mark(&project, "one");
    compiled_cc(&project, "own/my-cc", "two");
    assert_relinks_with_mark(&project, "two");
    compiled_cc(&project, "own/my-cc", "one");
    assert_hits_with_mark(&project, "one");
    // By a name that is looked up on `PATH`.
    project.set("RUSTFLAGS", "-Clinker=my-cc").path_with(&["early", "own"]).settled("7");
    assert_hits_with_mark(&project, "one");
    compiled_cc(&project, "early/my-cc", "three");
    assert_relinks_with_mark(&project, "three");
}

#[test]
fn u18_another_ld_that_cc_finds() {
    let mut project = Project::app_over(DEP);
    let dir = project.sandbox_dir().join("own");
    fs::create_dir(&dir).expect("own");
    project.set("RUSTFLAGS", format!("-Clink-arg=-fuse-ld=bfd -Clink-arg=-B{}", dir.display())).settled("7");
    assert!(!is_marked(&project, ""));
    ld(&project, "own/other", "nine");
    project.fresh_hits("7");
    ld(&project, "own/ld.bfd", "one");
    assert_relinks_with_mark(&project, "one");
    ld(&project, "own/other", "eight");
    assert_hits_with_mark(&project, "one");
    ld(&project, "own/ld.bfd", "two");
    assert_relinks_with_mark(&project, "two");
    fs::remove_file(dir.join("ld.bfd")).expect("remove");
    project.fresh_hits("7");
    assert!(!is_marked(&project, ""));
}

#[test]
fn u18_another_ld_first_on_path() {
    let mut project = Project::app_over(DEP);
    project.set("RUSTFLAGS", "-Clink-arg=-fuse-ld=bfd").settled("7");
    ld(&project, "own/ld.bfd", "one");
    project.fresh_hits("7");
    project.path_with(&["own"]);
    // Which directories cc searches before PATH depends on cc; kache must only link the same program as plain cargo.
    project.set("KACHE_DISABLED", "1").wipe().build();
    let is_asked = is_marked(&project, "one");
    project.unset("KACHE_DISABLED");
    if !is_asked {
        skip("this cc does not look for ld on PATH");
        project.fresh_hits("7");
        return;
    }
    assert_relinks_with_mark(&project, "one");
    ld(&project, "own/ld.bfd", "two");
    assert_relinks_with_mark(&project, "two");
}

#[test]
fn u18_a_cc_linked_statically_is_not_observed() {
    let mut project = Project::app_over(DEP);
    let mark = project.sandbox_dir().join("mark");
    fs::write(&mark, "one").expect("write");
    let read = format!("FILE *f = fopen(\"{}\", \"r\"); if (f) fgets(mark, 99, f);", mark.display());
    let source = cc_in_c(&read);
    project.compile_c("tools/cc", &source, &["-static"]);
    project.path_with(&["tools"]);
    project.never_stored("app", "7");
    assert!(is_marked(&project, "one"));
    fs::write(&mark, "two").expect("write");
    project.never_stored("app", "7");
    assert!(is_marked(&project, "two"));
    // Units that do not link hit as before, and so does the same `cc` if it is linked dynamically.
    project.wipe().build().hits(&["dep"]);
    project.compile_c("tools/cc", &source, &[]);
    project.settled("7");
}

#[test]
#[ignore = "slow"]
fn u18_without_the_observer_nothing_that_links_is_stored() {
    let mut project = Project::with_macro("variable!(\"MACRO_DATA\")");
    project.set("KACHE_OBSERVE", "off").set("MACRO_DATA", "one");
    project.never_stored("app", "one");
    project.never_stored("mac", "one");
    project.set("MACRO_DATA", "two").never_stored("dep", "two");
    // Control: a library without macros is stored all the same, and with the observer everything is.
    project.file("dep/src/lib.rs", "pub fn value() -> u32 { 7 }\n");
    project.file("dep/Cargo.toml", crate::support::manifest("dep", ""));
    project.wipe().build();
    project.wipe().build().hits(&["dep"]).misses(&["app"]);
    project.unset("KACHE_OBSERVE").settled("7");
}
