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
