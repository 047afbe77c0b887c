//! Path variables: shared only where every use is really an include (hazards U09, U10, O03).

use crate::support::Project;

/// Does a second checkout, at another depth, compile `source` itself?
#[track_caller]
fn pinned(source: &str) -> bool {
    let one = Project::lib(source);
    one.file("text.txt", "text")
        .file("code.rs", "pub fn code() {}\n");
    let two = one.clone_to("elsewhere/deeper/two");
    let build = |project: &Project| {
        let unit = project.unit("dep", "src/lib.rs");
        let unit = unit.env("WHERE", project.path("text.txt"));
        unit.run().must_succeed().compiles().len()
    };
    assert_eq!(build(&one), 1, "nothing is cached yet");
    assert_eq!(build(&one), 0, "control: its own checkout hits: {source}");
    build(&two) == 1
}

/// Asserts that each source is compiled by every checkout itself; names all that are not.
#[track_caller]
fn all_pinned<S: AsRef<str>>(sources: impl IntoIterator<Item = S>) {
    let served: Vec<S> = sources
        .into_iter()
        .filter(|source| !pinned(source.as_ref()))
        .collect();
    let list: Vec<&str> = served.iter().map(AsRef::as_ref).collect();
    assert!(
        list.is_empty(),
        "served from another checkout:\n{}",
        list.join("\n")
    );
}

#[test]
fn u09_control_a_crate_that_reads_no_path_is_shared() {
    assert!(!pinned("pub fn value() -> usize { 7 }\n"));
}

#[test]
fn u09_a_path_only_included_is_shared() {
    for source in [
        "pub fn value() -> usize { include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/text.txt\")).len() }\n",
        "pub fn value() -> usize { include_bytes!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/text.txt\",),).len() }\n",
        "include!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/code.rs\"));\n",
        "// env!(\"CARGO_MANIFEST_DIR\") is only mentioned here\npub fn value() -> usize { 7 }\n",
    ] {
        assert!(!pinned(source), "needlessly compiled again: {source}");
    }
}

/// Every way to write the macro that yields a value: `LEN` is what the crate makes of it.
const SPELLINGS: [&str; 14] = [
    "env!(\"CARGO_MANIFEST_DIR\")",
    "env! ( \"CARGO_MANIFEST_DIR\" )",
    "env![\"CARGO_MANIFEST_DIR\"]",
    "env!{\"CARGO_MANIFEST_DIR\"}",
    "env!(\"CARGO_MANIFEST_DIR\", \"must be set\")",
    "env!(r\"CARGO_MANIFEST_DIR\")",
    "env!(r#\"CARGO_MANIFEST_DIR\"#)",
    "env!(\"CARGO_MANIFEST\\u{5f}DIR\")",
    "env!(concat!(\"CARGO_\", \"MANIFEST_DIR\"))",
    "env /* hidden */ !(\"CARGO_MANIFEST_DIR\")",
    "std::env!(\"CARGO_MANIFEST_DIR\")",
    "::core::env!(\"CARGO_MANIFEST_DIR\")",
    "r#env!(\"CARGO_MANIFEST_DIR\")",
    "option_env!(\"CARGO_MANIFEST_DIR\").unwrap()",
];

#[test]
fn u09_a_value_in_any_spelling_is_this_checkouts() {
    all_pinned(SPELLINGS.map(|spelling| format!("pub const LEN: usize = {spelling}.len();\n")));
}

#[test]
fn u09_a_value_beside_an_include_is_this_checkouts() {
    let include = "pub const TEXT: &str = include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/text.txt\"));\n";
    all_pinned(
        SPELLINGS.map(|spelling| format!("{include}pub const LEN: usize = {spelling}.len();\n")),
    );
}

#[test]
fn u09_a_macro_under_another_name_is_seen() {
    all_pinned([
        "use std::env as e;\npub const LEN: usize = e!(\"CARGO_MANIFEST_DIR\").len();\n",
        "macro_rules! m { ($i:ident, $e:tt) => { $i!($e).len() } }\npub const LEN: usize = m!(env, \"CARGO_MANIFEST_DIR\");\n",
        "macro_rules! m { ($($t:tt)*) => { env!($($t)*).len() } }\npub const LEN: usize = m!(\"CARGO_MANIFEST_DIR\");\n",
        "macro_rules! m { ($e:expr) => { $e.len() } }\npub const LEN: usize = m!(env!(\"CARGO_MANIFEST_DIR\"));\n",
    ]);
}

#[test]
fn u09_a_macro_that_only_calls_itself_include_is_not_one() {
    all_pinned([
        "macro_rules! include_str { ($e:expr) => { $e.len() } }\n\
         pub const LEN: usize = include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/text.txt\"));\n",
        "macro_rules! include_bytes { ($e:expr) => { $e.len() } }\n\
         pub const LEN: usize = include_bytes!(env!(\"CARGO_MANIFEST_DIR\"));\n",
        "use stringify as include_str;\nmacro_rules! len { ($e:expr) => { $e.len() } }\n\
         pub const TEXT: &str = include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/text.txt\"));\n\
         pub const LEN: usize = len!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/text.txt\"));\n",
    ]);
}

#[test]
fn u09_an_include_of_a_path_that_computes_is_this_checkouts() {
    // The path that is included is the same; what is computed from the variable beside it is not.
    let source = "pub const LEN: usize = { const P: &str = env!(\"CARGO_MANIFEST_DIR\"); \
                  let _ = include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/text.txt\")); P.len() };\n";
    assert!(pinned(source));
}

#[test]
fn u09_a_path_in_a_variable_of_the_users_is_this_checkouts() {
    assert!(pinned("pub const LEN: usize = env!(\"WHERE\").len();\n"));
}

#[test]
fn o03_a_variable_that_points_into_the_out_dir_and_is_included_is_shared() {
    let one = Project::app_over("include!(env!(\"GENERATED\"));\n");
    one.file(
        "dep/build.rs",
        "fn main() {\n    println!(\"cargo:rerun-if-changed=build.rs\");\n    let out = std::env::var(\"OUT_DIR\").unwrap();\n    \
         println!(\"cargo:rustc-env=GENERATED={out}/gen.rs\");\n    \
         std::fs::write(format!(\"{out}/gen.rs\"), \"pub fn value() -> u32 { 7 }\").unwrap();\n}\n",
    );
    one.warm(&["dep"]);
    let mut two = one.clone_to("elsewhere/deeper/two");
    two.build().hits(&["dep"]);
    assert_eq!(two.app_says(), "7");
    two.assert_noop();
    two.without_cache_compiles(&["dep"]);
}

#[test]
fn o03_a_value_that_points_into_the_out_dir_is_this_checkouts() {
    let one = Project::app_over("pub fn value() -> usize { env!(\"GENERATED\").len() }\n");
    one.file(
        "dep/build.rs",
        "fn main() {\n    println!(\"cargo:rerun-if-changed=build.rs\");\n    \
         println!(\"cargo:rustc-env=GENERATED={}/gen.rs\", std::env::var(\"OUT_DIR\").unwrap());\n}\n",
    );
    one.warm(&["dep"]);
    let two = one.clone_to("elsewhere/deeper/two");
    let length = |project: &Project| project.app_says().parse::<usize>().expect("a length");
    let depth = |project: &Project| project.dir().as_os_str().len();
    two.build();
    assert_eq!(length(&two) - depth(&two), length(&one) - depth(&one));
}
