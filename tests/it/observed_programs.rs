//! Proc macros that run programs, write files or open connections (hazards U02, X09), and programs that kache cannot
//! observe.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::support::{Project, has_program, settle, skip};

/// The crates that cargo recompiles if an input of a macro changes: the consumer and everything above it.
const CHANGED: &[&str] = &["app", "dep"];

#[test]
fn u02_a_shell_that_reads_a_file() {
    let project = Project::with_program_macro("shell!(\"cat data/text 2>/dev/null || echo none\")");
    project.file("dep/data/text", "one").settled("one");
    project.file("dep/data/beside", "").fresh_hits("one");
    project.file("dep/data/text", "two").fresh_compiles(CHANGED, "two");
    project.remove("dep/data/text").fresh_compiles(CHANGED, "none");
    project.file("dep/data/text", "one").fresh_hits("one");
}

/// Code that starts programs refers to the whole environment. A macro that contains such code but does not start a
/// program has not read the environment.
#[test]
fn u01_a_macro_that_could_run_programs() {
    let mut project = Project::with_program_macro("variable!(\"MACRO_DATA\")");
    project.settled("unset");
    project.set("MACRO_OTHER", "beside").fresh_hits("unset");
    project.set("MACRO_DATA", "one").fresh_compiles(CHANGED, "one");
}

/// A shell walks the environment itself and does not call `getenv`.
#[test]
fn u01_a_shell_that_reads_a_variable() {
    let mut project = Project::with_program_macro("shell!(\"printf %s $MACRO_DATA\")");
    project.set("MACRO_DATA", "one").wipe().build();
    assert_eq!(project.app_output(), "one");
    project.set("MACRO_DATA", "two");
    assert_eq!(project.wipe().build_and_run().1, "two", "{}", project.history());
    project.unset("MACRO_DATA");
    assert_eq!(project.wipe().build_and_run().1, "", "{}", project.history());
    project.set("MACRO_DATA", "one").file("dep/beside", "");
    project.wipe().build();
    project.fresh_hits("one");
}

/// An unknown program may read any variable, `PATH` included, so only changes to files can be irrelevant.
#[test]
fn u18_a_program_found_through_path() {
    let mut project = Project::with_program_macro("tool!(\"kache-it-tool\")");
    let anew = |project: &Project, said: &str| {
        settle();
        assert_eq!(project.wipe().build_and_run().1, said, "{}", project.history());
        project.fresh_hits(said);
    };
    project.script("bin/kache-it-tool", "echo one").script("nowhere/another", "true");
    project.path_with(&["bin"]).settled("one");
    project.script("bin/other-tool", "echo beside").fresh_hits("one");
    project.script("bin/kache-it-tool", "echo two").fresh_compiles(CHANGED, "two");
    // Another one in front of it, in a directory that was not on PATH.
    project.script("first/kache-it-tool", "echo three").fresh_hits("two");
    anew(project.path_with(&["first", "bin"]), "three");
    // And in a directory that was on PATH, but did not contain the program.
    anew(project.path_with(&["nowhere", "bin"]), "two");
    project.script("nowhere/other-tool", "echo beside").fresh_hits("two");
    project.script("nowhere/kache-it-tool", "echo four").fresh_compiles(CHANGED, "four");
}

#[test]
fn u02_the_commit_that_git_says() {
    if !has_program("git") {
        return;
    }
    let project = Project::with_program_macro("shell!(\"git rev-parse HEAD\")");
    let git = |args: &[&str]| -> String {
        let identity = ["-c", "user.name=it", "-c", "user.email=it@localhost"];
        let output = project.command("git").args(identity).args(args).output().expect("git");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    };
    project.file(".gitignore", "target\n");
    git(&["init", "-q"]);
    git(&["commit", "-q", "--allow-empty", "-m", "one"]);
    let first = git(&["rev-parse", "HEAD"]);
    project.settled(&first);
    project.file("notes/beside", "").fresh_hits(&first);
    git(&["commit", "-q", "--allow-empty", "-m", "two"]);
    let second = git(&["rev-parse", "HEAD"]);
    assert_ne!(first, second);
    project.fresh_compiles(CHANGED, &second);
    project.fresh_hits(&second);
}

#[test]
fn x09_a_macro_that_writes_is_not_stored() {
    let project = Project::with_macro("put!(\"written\")");
    let written = || std::fs::read_to_string(project.path("dep/written")).unwrap_or_default();
    project.never_stored("dep", "put");
    assert_eq!(written(), "xx", "each build wrote");
    // Control: the same packages with a macro that does not write.
    project.file("dep/src/lib.rs", crate::support::value_of("mac", "exists!(\"written\")")).settled("true");
}

#[test]
fn x09_a_macro_that_runs_a_program_that_writes_is_not_stored() {
    let project = Project::with_program_macro("shell!(\"echo x >> written; echo put\")");
    project.never_stored("dep", "put");
    assert_eq!(std::fs::read_to_string(project.path("dep/written")).expect("written"), "x\nx\n");
}

#[test]
fn x09_a_macro_that_removes_a_file_is_not_stored() {
    let project = Project::with_macro("take_away!(\"taken\")");
    for _ in 0..2 {
        project.file("dep/taken", "");
        settle();
        assert_eq!(project.wipe().build_and_run().1, "true", "{}", project.history());
        assert!(!project.path("dep/taken").exists(), "a hit left the file: {}", project.history());
    }
}

#[test]
fn x09_a_macro_that_finds_nobody_to_ask_is_not_stored() {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("address").port();
    let project = Project::with_macro(&format!("ask!(\"{port}\")"));
    project.never_stored("dep", "nobody");
}

#[test]
fn x09_a_macro_that_asks_somebody_is_not_stored() {
    let answer = Arc::new(Mutex::new("one"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("address").port();
    let shared = Arc::clone(&answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let text = *shared.lock().expect("no panic");
            stream.expect("a caller").write_all(text.as_bytes()).expect("answer");
        }
    });
    let project = Project::with_macro(&format!("ask!(\"{port}\")"));
    project.never_stored("dep", "one");
    *answer.lock().expect("no panic") = "two";
    project.never_stored("dep", "two");
}

/// C source of a program that prints the first line of a file.
fn reader(file: &Path) -> String {
    format!(
        "#include <stdio.h>\nint main(void) {{ char line[64]; FILE *f = fopen(\"{}\", \"r\");\n\
         if (f && fgets(line, 64, f)) fputs(line, stdout); return 0; }}\n",
        file.display()
    )
}

#[test]
fn u02_a_program_linked_statically_is_not_observed() {
    let mut project = Project::with_program_macro("tool!(\"kache-it-tool\")");
    let data = project.path("dep/data");
    // Control: the same program, linked dynamically.
    project.compile_c("bin/kache-it-tool", &reader(&data), &[]);
    project.path_with(&["bin"]);
    project.file("dep/data", "one").settled("one");
    project.file("dep/data", "two").fresh_compiles(CHANGED, "two");
    project.compile_c("bin/kache-it-tool", &reader(&data), &["-static"]);
    project.never_stored("dep", "two");
    project.file("dep/data", "three").never_stored("dep", "three");
}

#[test]
fn u02_a_program_that_changes_its_group_is_not_observed() {
    let mut project = Project::with_program_macro("tool!(\"kache-it-tool\")");
    // The loader does not preload libraries into a program that runs with other rights than its caller. Root may give
    // files to any group.
    let asks = "#include <stdio.h>\n#include <sys/auxv.h>\nint main(void) { printf(\"%lu\", getauxval(AT_SECURE)); return 0; }\n";
    let secured = |program: &Path| {
        let run = |name: &str, arg: &str| Command::new(name).arg(arg).arg(program).status().expect(name).success();
        run("chgrp", "1") && run("chmod", "g+s")
    };
    let probe = project.compile_c("bin/probe", asks, &[]);
    if !secured(&probe) || Command::new(&probe).output().expect("the probe").stdout != b"1" {
        skip("no program can be given other rights here");
        return;
    }
    let data = project.path("dep/data");
    let program = project.compile_c("bin/kache-it-tool", &reader(&data), &[]);
    project.path_with(&["bin"]);
    // Control: without special rights, it is a program like any other.
    project.file("dep/data", "one").settled("one");
    assert!(secured(&program));
    project.file("dep/data", "two").never_stored("dep", "two");
    project.file("dep/data", "three").never_stored("dep", "three");
}
