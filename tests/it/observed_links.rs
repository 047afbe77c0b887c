//! Inputs of a linker besides Rust libraries: archives, shared libraries, linker scripts and response files (hazards
//! U05 to U08, X02).

use std::fs;
use std::process::Command;

use crate::support::{Project, manifest};

/// The crates that cargo links again if an input of the linker changes.
const LINKED: &[&str] = &["app"];

/// C source of an `answer()` that returns `number`.
fn answers(number: u32) -> String {
    format!("int answer(void) {{ return {number}; }}\n")
}

/// Writes `lib<name>.a` with this answer into a directory of the sandbox.
fn archive(project: &Project, dir: &str, name: &str, number: u32) {
    let object = project.compile_c(&format!("{dir}/{name}.o"), &answers(number), &["-c"]);
    let archive = object.with_file_name(format!("lib{name}.a"));
    fs::remove_file(&archive).ok();
    assert!(Command::new("ar").arg("crD").arg(archive).arg(&object).status().expect("ar").success());
    fs::remove_file(object).expect("remove the object");
}

/// `app` prints the result of the C function `answer`. Its build script prints these directives, with the path of the
/// sandbox for `$S`.
fn calling_c(attribute: &str, directives: &[&str]) -> Project {
    let project = Project::new();
    project.file("Cargo.toml", manifest("app", "[workspace]\n"));
    let main = "unsafe extern \"C\" { fn answer() -> i32; }\nfn main() { println!(\"{}\", unsafe { answer() }); }\n";
    project.file("src/main.rs", format!("{attribute}\n{main}"));
    directed(&project, directives);
    project
}

/// `app` prints where the linker puts `answer` within a page, so that the page at which the program is loaded does not
/// matter.
fn asking_the_linker(directives: &[&str]) -> Project {
    let project = Project::new();
    project.file("Cargo.toml", manifest("app", "[workspace]\n"));
    let main = "unsafe extern \"C\" { static answer: u8; }\nfn main() { println!(\"{}\", (&raw const answer).addr() & 0xfff); }\n";
    project.file("src/main.rs", main);
    directed(&project, directives);
    project
}

fn directed(project: &Project, directives: &[&str]) {
    let sandbox = project.sandbox_dir().display().to_string();
    let lines = directives.iter().map(|line| format!("println!(\"cargo:{}\");", line.replace("$S", &sandbox)));
    let body = lines.collect::<Vec<_>>().join("\n");
    project.file("build.rs", format!("fn main() {{\nprintln!(\"cargo:rerun-if-changed=build.rs\");\n{body}\n}}\n"));
}

/// Writes a file in the sandbox.
fn text(project: &Project, name: &str, content: &str) {
    let path = project.sandbox_dir().join(name);
    fs::create_dir_all(path.parent().expect("parent")).expect("parents");
    fs::write(path, content).expect("write");
}

fn archive_two_crates_down(kind: &str) {
    let project = Project::app_over("pub fn value() -> i32 { base::get() }\n");
    project.file("dep/Cargo.toml", manifest("dep", "[dependencies]\nbase = { path = \"../base\" }\n"));
    project.file("base/Cargo.toml", manifest("base", "links = \"answer\"\n"));
    project.file(
        "base/src/lib.rs",
        "unsafe extern \"C\" { fn answer() -> i32; }\npub fn get() -> i32 { unsafe { answer() } }\n",
    );
    let script = format!(
        "fn main() {{ let out = std::env::var(\"OUT_DIR\").unwrap();\n\
             let run = |line: String| assert!(std::process::Command::new(\"sh\").arg(\"-c\").arg(line).status().unwrap().success());\n\
             run(format!(\"cc -c answer.c -o {{out}}/answer.o && ar crD {{out}}/libanswer.a {{out}}/answer.o\"));\n\
             println!(\"cargo:rustc-link-search=native={{out}}\"); println!(\"cargo:rustc-link-lib={kind}=answer\");\n\
             println!(\"cargo:rerun-if-changed=answer.c\"); }}\n"
    );
    project.file("base/build.rs", script).file("base/answer.c", answers(1));
    project.settled("1");
    project.file("base/other.c", answers(9)).fresh_hits("1");
    project.file("base/answer.c", answers(2));
    let (run, said) = project.wipe().build_and_run();
    assert_eq!(said, "2", "{kind}: {}", project.history());
    run.misses(LINKED).hits(&["dep", "build_script_build"]);
    project.file("base/other.c", answers(8)).fresh_hits("2");
    project.clone_to("elsewhere/deeper/two").fresh_hits("2");
    project.file("base/answer.c", answers(1)).fresh_hits("1");
}

#[test]
fn u07_an_archive_two_crates_down_that_a_build_script_makes() {
    archive_two_crates_down("static");
}

#[test]
fn u07_an_archive_two_crates_down_that_only_the_linker_sees() {
    archive_two_crates_down("static:-bundle");
}

#[test]
fn u07_an_archive_two_crates_down_of_which_all_is_taken() {
    archive_two_crates_down("static:+whole-archive");
}

#[test]
fn u05_an_archive_elsewhere_that_a_flag_names() {
    let project = calling_c("", &["rustc-link-search=native=$S/native", "rustc-link-lib=static=foo"]);
    archive(&project, "native", "foo", 1);
    project.settled("1");
    archive(&project, "native", "bar", 9);
    text(&project, "native/notes", "beside");
    project.fresh_hits("1");
    archive(&project, "native", "foo", 2);
    project.fresh_compiles(LINKED, "2");
    project.clone_to("elsewhere/deeper/two").fresh_hits("2");
    archive(&project, "native", "foo", 1);
    project.fresh_hits("1");
}

#[test]
fn u06_an_archive_elsewhere_that_the_source_names() {
    let attribute = "#[link(name = \"foo\", kind = \"static\")]";
    let project = calling_c(attribute, &["rustc-link-search=native=$S/native"]);
    archive(&project, "native", "foo", 1);
    project.settled("1");
    archive(&project, "native", "bar", 9);
    project.fresh_hits("1");
    archive(&project, "native", "foo", 2);
    project.fresh_compiles(LINKED, "2");
    archive(&project, "native", "foo", 1);
    project.fresh_hits("1");
}

#[test]
fn u05_an_archive_that_appears_in_an_earlier_directory() {
    for attribute in ["", "#[link(name = \"foo\", kind = \"static\")]"] {
        let named = if attribute.is_empty() { "rustc-link-lib=static=foo" } else { "rustc-cfg=named_in_source" };
        let search = ["rustc-link-search=native=$S/early", "rustc-link-search=native=$S/late", named];
        let project = calling_c(attribute, &search);
        text(&project, "early/notes", "");
        archive(&project, "late", "foo", 1);
        project.settled("1");
        archive(&project, "early", "bar", 9);
        project.fresh_hits("1");
        archive(&project, "early", "foo", 2);
        project.fresh_compiles(LINKED, "2");
        fs::remove_file(project.sandbox_dir().join("early/libfoo.a")).expect("remove");
        project.fresh_hits("1");
    }
}

/// Builds a shared library under its versioned name, and a symbolic link by which the linker finds it.
fn shared(project: &Project, version: u32, number: u32) {
    let real = project.compile_c(
        &format!("native/libfoo.so.{version}"),
        &answers(number),
        &["-shared", "-fPIC", &format!("-Wl,-soname,libfoo.so.{version}")],
    );
    let link = real.with_file_name("libfoo.so");
    fs::remove_file(&link).ok();
    std::os::unix::fs::symlink(real.file_name().expect("name"), link).expect("symlink");
}

#[test]
fn x02_a_shared_library() {
    let path = "rustc-link-arg-bins=-Wl,-rpath,$S/native";
    let project = calling_c("", &["rustc-link-search=native=$S/native", "rustc-link-lib=foo", path]);
    shared(&project, 1, 1);
    project.settled("1");
    text(&project, "native/notes", "beside");
    project.fresh_hits("1");
    // Another name for the loader: the program must be linked again, or it would still load the old library.
    shared(&project, 2, 2);
    project.fresh_compiles(LINKED, "2");
    archive(&project, "native", "bar", 9);
    project.fresh_hits("2");
}

#[test]
fn x02_a_shared_library_that_appears_beside_an_archive() {
    let path = "rustc-link-arg-bins=-Wl,-rpath,$S/native";
    let project = calling_c("", &["rustc-link-search=native=$S/native", "rustc-link-lib=foo", path]);
    archive(&project, "native", "foo", 1);
    project.settled("1");
    archive(&project, "native", "bar", 9);
    project.fresh_hits("1");
    shared(&project, 1, 2);
    project.fresh_compiles(LINKED, "2");
}

/// gcc and ld read these variables themselves: directories to search for libraries, and a run path to write into the
/// program.
#[test]
fn x02_a_variable_that_the_linker_reads() {
    let mut project = calling_c("", &["rustc-link-arg-bins=-lfoo", "rustc-link-arg-bins=-fuse-ld=bfd"]);
    archive(&project, "one", "foo", 1);
    archive(&project, "two", "foo", 2);
    let sandbox = project.sandbox_dir();
    project.set("LIBRARY_PATH", sandbox.join("one")).settled("1");
    project.set("LIBRARY_OTHER", sandbox.join("two")).fresh_hits("1");
    project.set("LIBRARY_PATH", sandbox.join("two"));
    assert_eq!(project.wipe().build_and_run().1, "2", "{}", project.history());
    project.set("LD_RUN_PATH", "/marker-of-a-run-path").wipe().build();
    assert!(crate::support::contains(&project.target_dir().join("debug/app"), "/marker-of-a-run-path"));
    project.unset("LD_RUN_PATH").fresh_hits("2");
}

#[test]
#[ignore = "slow"]
fn x02_a_linker_script() {
    for linker in ["-fuse-ld=lld", "-fuse-ld=bfd"] {
        let flavour = format!("rustc-link-arg-bins={linker}");
        let project = asking_the_linker(&["rustc-link-arg-bins=$S/scripts/main.ld", &flavour]);
        text(&project, "scripts/main.ld", "answer = 1;\n");
        project.settled("1");
        text(&project, "scripts/other.ld", "answer = 9;\n");
        project.fresh_hits("1");
        text(&project, "scripts/main.ld", "answer = 2;\n");
        project.fresh_compiles(LINKED, "2");
        project.clone_to("elsewhere/deeper/two").fresh_hits("2");
        text(&project, "scripts/main.ld", &format!("INCLUDE {}/inner.ld\n", scripts(&project)));
        text(&project, "scripts/inner.ld", "answer = 3;\n");
        project.fresh_compiles(LINKED, "3");
        text(&project, "scripts/inner.ld", "answer = 4;\n");
        project.fresh_compiles(LINKED, "4");
        text(&project, "scripts/other.ld", "answer = 8;\n");
        project.fresh_hits("4");
    }
}

fn scripts(project: &Project) -> String {
    project.sandbox_dir().join("scripts").display().to_string()
}

#[test]
fn x02_a_script_for_the_whole_layout() {
    let project = asking_the_linker(&["rustc-link-arg-bins=-Wl,-T,$S/scripts/main.ld"]);
    text(&project, "scripts/main.ld", "answer = 1; SECTIONS { .note_it : { BYTE(1) } } INSERT AFTER .data;\n");
    project.settled("1");
    text(&project, "scripts/main.ld", "answer = 2; SECTIONS { .note_it : { BYTE(2) } } INSERT AFTER .data;\n");
    project.fresh_compiles(LINKED, "2");
    text(&project, "scripts/other.ld", "answer = 9;\n");
    project.fresh_hits("2");
}

#[test]
fn x02_a_version_script() {
    let project = calling_c("", &["rustc-link-arg-bins=-Wl,--version-script=$S/scripts/main.map"]);
    project.file("src/main.rs", "fn main() { println!(\"7\"); }\n");
    let app = project.target_dir().join("debug/app");
    let holds = |version: &str| crate::support::contains(&app, version);
    text(&project, "scripts/main.map", "KACHE_IT_1 { global: kache_it_*; };\n");
    project.settled("7");
    assert!(holds("KACHE_IT_1"));
    text(&project, "scripts/other.map", "KACHE_IT_9 {};\n");
    project.fresh_hits("7");
    text(&project, "scripts/main.map", "KACHE_IT_2 { global: kache_it_*; };\n");
    project.fresh_compiles(LINKED, "7");
    assert!(holds("KACHE_IT_2") && !holds("KACHE_IT_1"));
}

#[test]
fn x02_a_response_file() {
    let project = asking_the_linker(&["rustc-link-arg-bins=@$S/scripts/args"]);
    text(&project, "scripts/args", "-Wl,--defsym=answer=1\n");
    project.settled("1");
    text(&project, "scripts/other", "-Wl,--defsym=answer=9\n");
    project.fresh_hits("1");
    text(&project, "scripts/args", "-Wl,--defsym=answer=2\n");
    project.fresh_compiles(LINKED, "2");
    text(&project, "scripts/args", &format!("@{}/inner\n", scripts(&project)));
    text(&project, "scripts/inner", "-Wl,--defsym=answer=3\n");
    project.fresh_compiles(LINKED, "3");
    text(&project, "scripts/inner", "-Wl,--defsym=answer=4\n");
    project.fresh_compiles(LINKED, "4");
}

#[test]
fn a_variable_that_a_build_script_sets() {
    let project = Project::app_over("pub fn value() -> &'static str { env!(\"STAMP\") }\n");
    project.file(
        "dep/build.rs",
        "fn main() { println!(\"cargo:rustc-env=STAMP={}\", std::fs::read_to_string(\"stamp\").unwrap()); }\n",
    );
    project.file("dep/stamp", "one").settled("one");
    project.file("dep/beside", "").fresh_hits("one");
    project.file("dep/stamp", "two").fresh_compiles(&["app", "dep"], "two");
    project.clone_to("elsewhere/deeper/two").fresh_hits("two");
    project.file("dep/stamp", "one").fresh_hits("one");
}
