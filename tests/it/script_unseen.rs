//! Effects and inputs of a build script besides the files that it opens and the names that it looks up: changes to
//! existing files, libraries that cannot be loaded, and files and variables that the C library reads for itself.

use std::path::Path;

use crate::support::{Scripted, has_program, skip};

#[test]
#[ignore = "slow"]
fn a_source_that_includes_itself() {
    // By an absolute path, as scripts often pass it to the `cc` crate.
    let body = r#"
        let source = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("c/part.c");
        said(Command::new("cc").args(["-g", "-c"]).arg(source).arg("-o").arg(out().join("part.o")));
        "x".into()"#;
    let one = Scripted::new(body);
    let twice = "#ifndef ONCE\n#define ONCE\n#include __FILE__\n#else\nint part(void) { return 7; }\n#endif\n";
    one.file("c/part.c", twice).runs().restored();
    // The value of `__FILE__` remains in objects, so such a run serves only its own checkout.
    one.file("c/part.c", "const char *where = __FILE__;\n").runs().restored();
    one.clone_to("elsewhere/two").runs().restored();
}

#[test]
#[ignore = "slow"]
fn other_modes_and_times_of_files_that_are_there() {
    let effects = [
        "use std::os::unix::fs::PermissionsExt; fs::set_permissions(\"there\", fs::Permissions::from_mode(MODE)).unwrap();",
        "use std::os::unix::fs::PermissionsExt; fs::File::open(\"there\").unwrap().set_permissions(fs::Permissions::from_mode(MODE)).unwrap();",
        "fs::File::open(\"there\").unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();",
        "sh(\"touch -c -d 2001-01-01 there\");",
        "sh(\"chmod a+x there\");",
    ];
    for effect in effects {
        let effect = effect.replace("MODE", "0o755");
        let scene = Scripted::new(&format!("{effect} \"x\".into()"));
        scene.file("there", "").never_stored("side-effects");
    }
}

#[test]
fn modes_and_times_of_what_the_script_makes() {
    let body = r#"
        let made = out().join("made");
        sh(&format!("install -m 755 data.txt {0} && cp -p data.txt {0}.copy && touch -d 2001-01-01 {0}.copy && chmod -w {0}", made.display()));
        sh(&format!("mkdir {0}.dir && tar -cf - data.txt | tar -xpf - -C {0}.dir && chmod 700 {0}.dir", made.display()));
        // A temporary file, which is gone afterwards.
        sh("file=$(mktemp) && chmod 700 $file && touch -d 2001-01-01 $file && rm $file");
        fs::read_to_string(made).unwrap()"#;
    Scripted::new(body).file("data.txt", "one").runs().restored();
}

#[test]
fn a_pipe_that_is_made_elsewhere() {
    Scripted::new("sh(\"rm -f pipe; mkfifo pipe\")").never_stored("side-effects");
}

/// Compiles `source` into a shared library.
fn library(scene: &Scripted, name: &str, source: &str, flags: &[&str]) {
    scene.project.compile_c(name, source, &[&["-shared", "-fPIC"], flags].concat());
}

#[test]
fn a_library_that_is_not_there_yet() {
    let body = |library: &Path| {
        format!(
            "unsafe extern \"C\" {{ fn dlopen(name: *const std::ffi::c_char, mode: i32) -> *mut std::ffi::c_void; }}
            let name = std::ffi::CString::new({library:?}).unwrap();
            (!unsafe {{ dlopen(name.as_ptr(), 2) }}.is_null()).to_string()"
        )
    };
    let scene = Scripted::new("String::new()");
    let found = scene.project.sandbox_dir().join("libraries/libfound.so");
    scene.script(&body(&found)).runs().restored();
    library(&scene, "libraries/libfound.so", "int found(void) { return 1; }\n", &[]);
    scene.runs().restored();
    assert_eq!(scene.printed().0, "true");
}

#[test]
fn a_library_by_the_directories_of_who_loads_it() {
    let scene = Scripted::new("String::new()");
    let dir = scene.project.sandbox_dir();
    let leads_to = |name: &str| format!("-Wl,--enable-new-dtags,-rpath,{}", dir.join(name).display());
    library(&scene, "inner/libbare.so", "int bare(void) { return 1; }\n", &[]);
    let loads = "#include <dlfcn.h>\nint outer(void) { return dlopen(\"libbare.so\", RTLD_NOW) != 0; }\n";
    library(&scene, "outer/libouter.so", loads, &[&leads_to("inner")]);
    let calls =
        "#include <stdio.h>\nint outer(void);\nint main(void) { puts(outer() ? \"found\" : \"none\"); return 0; }\n";
    let outer = dir.join("outer/libouter.so");
    let program = scene.project.compile_c("loads", calls, &[outer.to_str().expect("text"), &leads_to("outer")]);
    scene.script(&format!("said(&mut Command::new({program:?}))")).runs().restored();
    assert_eq!(scene.printed().0, "found");
}

#[test]
#[ignore = "slow"]
fn the_time_zone_in_which_git_tells_times() {
    if !has_program("git") {
        return;
    }
    let mut scene = Scripted::new(r#"said(Command::new("git").args(["log", "-1", "--format=%cd", "--date=local"]))"#);
    scene.file(".gitignore", "target\nCargo.lock\n");
    let identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"];
    for arguments in [&["init", "-q"][..], &["add", "-A"], &["commit", "-qm", "one"]] {
        let status = scene.project.command("git").args(identity).args(arguments).status().expect("git");
        assert!(status.success());
    }
    scene.project.unset("TZ");
    scene.runs().restored();
    scene.set("TZ", "UTC").runs().restored();
    scene.set("TZ", "JST-9").runs().restored();
    scene.set("SCRIPT_OTHER", "beside").restored();
}

#[test]
#[ignore = "slow"]
fn the_locale_by_which_a_program_counts_characters() {
    let mut scene = Scripted::new(r#"said(Command::new("wc").args(["-m", "text"]))"#);
    scene.file("text", "\u{e4}\u{f6}\u{fc}\n");
    let characters = |locale: &str| {
        let output = scene.project.command("wc").args(["-m", "text"]).env("LC_ALL", locale).output();
        String::from_utf8(output.expect("wc").stdout).expect("text")
    };
    if characters("C") == characters("C.UTF-8") {
        skip("there is no locale but C");
        return;
    }
    scene.set("LC_ALL", "C").runs().restored();
    scene.set("LC_ALL", "C.UTF-8").runs().restored();
    scene.set("SCRIPT_OTHER", "beside").restored();
}
