//! Inputs that a macro or a linker reads in roundabout ways count too (hazards U04, U19).

use std::fs;

use crate::support::{Project, has_program, manifest, settle, skip, write_program};

/// A library `dep` whose value is that of `body`, a displayable expression that the macro `look` evaluates.
fn with_evaluating_macro(body: &str) -> Project {
    let project = Project::app_over("pub fn value() -> &'static str { mac::look!() }\n");
    project.file("dep/Cargo.toml", manifest("dep", "[dependencies]\nmac = { path = \"../mac\" }\n"));
    project.file("mac/Cargo.toml", manifest("mac", "[lib]\nproc-macro = true\n"));
    project.file(
        "mac/src/lib.rs",
        format!(
            "use proc_macro::TokenStream;\n#[proc_macro]\npub fn look(_: TokenStream) -> TokenStream {{\n\
             format!(\"{{:?}}\", {{ {body} }}.to_string()).parse().unwrap()\n}}\n"
        ),
    );
    project.file("data/f", "one").file("data/g", "two");
    settle();
    project
}

/// Asserts that `change` makes the app print something else after a build in a fresh target directory.
#[track_caller]
fn assert_is_input(project: &Project, change: impl FnOnce(&Project)) {
    project.wipe().build();
    let before = project.app_output();
    change(project);
    settle();
    project.rebuild_misses(&["dep"]);
    assert_ne!(project.app_output(), before);
}

#[test]
fn u04_a_file_in_shared_memory_counts() {
    let path = std::path::PathBuf::from(format!("/dev/shm/kache-test-{}", std::process::id()));
    if fs::write(&path, "one").is_err() {
        return skip("no /dev/shm");
    }
    let project = with_evaluating_macro(&format!("std::fs::read_to_string({path:?}).unwrap()"));
    project.warm(&["dep", "mac"]);
    assert_is_input(&project, |_| fs::write(&path, "two").unwrap());
    fs::remove_file(&path).unwrap();
}

#[test]
fn u04_what_is_read_through_proc_is_not_stored() {
    let project = with_evaluating_macro("std::fs::read_to_string(\"/proc/self/cwd/data/f\").unwrap()");
    assert_is_input(&project, |project| {
        project.file("data/f", "other");
    });
}

#[test]
fn u04_what_is_read_through_a_link_that_the_macro_made_is_not_stored() {
    let project = with_evaluating_macro(
        "let link = std::env::temp_dir().join(\"link\"); \
         std::os::unix::fs::symlink(std::env::current_dir().unwrap().join(\"data\"), &link).unwrap(); \
         let text = std::fs::read_to_string(link.join(\"f\")).unwrap(); std::fs::remove_file(link).unwrap(); text",
    );
    assert_is_input(&project, |project| {
        project.file("data/f", "other");
    });
}

#[test]
fn u04_what_stands_in_the_way_counts() {
    let make = with_evaluating_macro(
        "let made = std::fs::create_dir(\"data/new\").is_ok(); let _ = std::fs::remove_dir(\"data/new\"); made",
    );
    make.file("data/new", "in the way");
    assert_is_input(&make, |project| {
        project.remove("data/new");
    });
}

#[test]
fn u19_the_search_of_a_program_on_another_path_counts() {
    let project = with_evaluating_macro(
        "let out = std::process::Command::new(\"tool\").env(\"PATH\", \"first:second\").output(); \
         String::from_utf8(out.unwrap().stdout).unwrap()",
    );
    fs::create_dir_all(project.path("second")).unwrap();
    write_program(&project.path("second/tool"), "#!/bin/sh\necho second\n");
    settle();
    project.warm(&["dep", "mac"]);
    assert_is_input(&project, |project| {
        fs::create_dir_all(project.path("first")).unwrap();
        write_program(&project.path("first/tool"), "#!/bin/sh\necho first\n");
    });
}

#[test]
fn u19_a_program_that_nobody_sees_is_not_hidden_by_what_it_runs() {
    let project = with_evaluating_macro(
        "let out = std::process::Command::new(\"./tool\").output().unwrap(); String::from_utf8(out.stdout).unwrap()",
    );
    project.file(
        "tool.c",
        "#include <stdio.h>\n#include <unistd.h>\nint main(void) {\n  char text[9] = \"\";\n\
         FILE *file = fopen(\"data/f\", \"r\");\n  fgets(text, sizeof text, file);\n\
         return execl(\"/bin/echo\", \"echo\", text, (char *)0);\n}\n",
    );
    let built = project.command("cc").args(["-static", "-o", "tool", "tool.c"]).output();
    if !built.is_ok_and(|output| output.status.success()) {
        return skip("no static C library");
    }
    assert_is_input(&project, |project| {
        project.file("data/f", "other");
    });
}

#[test]
fn u09_what_a_macro_computes_from_a_path_is_nobody_elses() {
    let project = with_evaluating_macro("std::env::var(\"CARGO_MANIFEST_DIR\").unwrap().len()");
    project.warm(&["dep", "mac"]);
    let elsewhere = project.clone_to("work/a-longer-name");
    let (run, says) = elsewhere.build_and_run();
    run.misses(&["dep"]);
    assert_ne!(says, project.app_output());
}

#[test]
fn u09_a_macro_that_opens_files_below_a_path_is_shared() {
    let project = with_evaluating_macro(
        "let dir = std::env::var(\"CARGO_MANIFEST_DIR\").unwrap(); \
         std::fs::read_to_string(std::path::Path::new(&dir).join(\"src/lib.rs\")).unwrap().len()",
    );
    project.warm(&["dep", "mac"]);
    project.clone_to("work/a-longer-name").build().hits(&["dep", "mac"]);
}

/// The changed library is two crates down, and its name begins with the name of the linked one.
#[test]
fn u01_a_linked_library_does_not_take_others_for_its_own() {
    if !has_program("cc") || !has_program("ar") {
        return skip("no C compiler");
    }
    let project = Project::new();
    project.file("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"foo\", \"foo_core\", \"foo_sys\"]\n");
    let over = |name: &str, dep: &str, rest: &str| {
        let deps = format!("{rest}[dependencies]\n{dep} = {{ path = \"../{dep}\" }}\n");
        project.file(&format!("{name}/Cargo.toml"), manifest(name, &deps));
    };
    over("foo", "foo_core", "[lib]\ncrate-type = [\"cdylib\"]\n");
    over("foo_core", "foo_sys", "");
    project.file("foo/src/lib.rs", "#[unsafe(no_mangle)] pub extern \"C\" fn get() -> i32 { foo_core::get() }\n");
    project.file("foo_core/src/lib.rs", "pub fn get() -> i32 { unsafe { foo_sys::val() } }\n");
    project.file("foo_sys/Cargo.toml", manifest("foo_sys", ""));
    project.file("foo_sys/src/lib.rs", "unsafe extern \"C\" { pub fn val() -> i32; }\n");
    project.file(
        "foo_sys/build.rs",
        "fn main() { let dir = std::env::current_dir().unwrap();\n\
         println!(\"cargo::rustc-link-search=native={}\", dir.display());\n\
         println!(\"cargo::rustc-link-lib=static=x\"); println!(\"cargo::rerun-if-changed=libx.a\"); }\n",
    );
    let library = |value: u32| {
        project.file("foo_sys/x.c", format!("int val(void) {{ return {value}; }}\n"));
        let script = "cc -fPIC -c x.c -o x.o && rm -f libx.a && ar crs libx.a x.o";
        let mut command = project.command("sh");
        command.args(["-c", script]).current_dir(project.path("foo_sys"));
        assert!(command.status().expect("sh").success());
        settle();
    };
    library(1);
    project.warm(&["foo", "foo_core", "foo_sys"]);
    library(2);
    let run = project.rebuild_misses(&["foo", "foo_sys"]);
    run.hits(&["foo_core"]);
}
