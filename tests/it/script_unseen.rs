//! What a run of a build script does past what is opened and asked by name: effects on files that are there, libraries that
//! cannot be loaded, and what the C library looks at for itself.

use crate::support::Scripted;

#[test]
fn a_source_that_includes_itself() {
    // By an absolute name, as the `cc` crate is told often enough.
    let body = r#"
        let source = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("c/part.c");
        said(Command::new("cc").args(["-g", "-c"]).arg(source).arg("-o").arg(out().join("part.o")));
        "x".into()"#;
    let one = Scripted::new(body);
    let twice = "#ifndef ONCE\n#define ONCE\n#include __FILE__\n#else\nint part(void) { return 7; }\n#endif\n";
    one.file("c/part.c", twice).runs().restored();
    // What `__FILE__` says is left in objects, so such a run serves its own checkout.
    one.file("c/part.c", "const char *where = __FILE__;\n").runs().restored();
    one.clone_to("elsewhere/two").runs().restored();
}

#[test]
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
