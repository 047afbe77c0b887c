//! Path variables: kache shares a unit only if every use of the variable is really an include (hazards U09, U10, O03).

use crate::support::{Project, contains};

/// A function that returns `expression`. The compiler evaluates it to a number, so that a scan of the output cannot
/// find the path.
fn hidden(expression: &str) -> String {
    format!("#[inline(never)] pub fn value() -> usize {{ {expression} }}\n")
}

/// An include that uses the same variable. A crate with this include alone is shared.
const INCLUDE: &str = "pub const TEXT: &str = include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/text.txt\"));\n";

/// Returns whether a second checkout, at another depth, compiles `source` itself.
#[track_caller]
fn pinned(source: &str) -> bool {
    let one = Project::lib(source);
    one.file("text.txt", "text").file("code.rs", "pub fn code() {}\n");
    let two = one.clone_to("elsewhere/deeper/two");
    let build = |project: &Project| {
        let unit = project.unit("dep", "src/lib.rs").args(["-O"]).env("WHERE", project.path("text.txt"));
        let compiles = unit.run().must_succeed().compiles().len();
        for output in [unit.rlib(), unit.rlib().with_extension("rmeta")] {
            let seen = contains(&output, &project.dir().to_string_lossy());
            assert!(!seen, "a scan of the output finds the path, which makes the test too easy: {source}");
        }
        compiles
    };
    assert_eq!(build(&one), 1, "nothing is cached yet");
    assert_eq!(build(&one), 0, "control: its own checkout hits: {source}");
    build(&two) == 1
}

/// Asserts that every checkout compiles each source itself. The message lists all sources that were served instead.
#[track_caller]
fn all_pinned<S: AsRef<str>>(sources: impl IntoIterator<Item = S>) {
    let served: Vec<S> = sources.into_iter().filter(|source| !pinned(source.as_ref())).collect();
    let list: Vec<&str> = served.iter().map(AsRef::as_ref).collect();
    assert!(list.is_empty(), "served from another checkout:\n{}", list.join("\n"));
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

/// Every way to write the macro so that the crate can use its value.
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
    all_pinned(SPELLINGS.map(|spelling| hidden(&format!("{spelling}.len()"))));
}

#[test]
fn u09_a_value_beside_an_include_is_this_checkouts() {
    all_pinned(SPELLINGS.map(|spelling| format!("{INCLUDE}{}", hidden(&format!("{spelling}.len()")))));
}

/// Ways to call `env!` by another name: a preamble that defines the name, and the call.
const DISGUISES: [[&str; 2]; 6] = [
    ["use std::env as e;", "e!(\"CARGO_MANIFEST_DIR\").len()"],
    ["pub use std::option_env as e;", "e!(\"CARGO_MANIFEST_DIR\").unwrap().len()"],
    ["macro_rules! m { ($i:ident, $e:tt) => { $i!($e).len() } }", "m!(env, \"CARGO_MANIFEST_DIR\")"],
    ["macro_rules! m { ($($t:tt)*) => { env!($($t)*).len() } }", "m!(\"CARGO_MANIFEST_DIR\")"],
    ["macro_rules! m { ($($t:tt)*) => { $($t)*.len() } }", "m!(env!(\"CARGO_MANIFEST_DIR\"))"],
    ["macro_rules! m { ($p:ident) => { std::$p!(\"CARGO_MANIFEST_DIR\").len() } }", "m!(env)"],
];

#[test]
fn u09_a_macro_under_another_name_is_seen() {
    all_pinned(DISGUISES.map(|[preamble, call]| format!("{preamble}\n{}", hidden(call))));
}

#[test]
fn u09_a_macro_under_another_name_beside_an_include_is_seen() {
    all_pinned(DISGUISES.map(|[preamble, call]| format!("{preamble}\n{INCLUDE}{}", hidden(call))));
}

#[test]
fn u09_a_macro_that_only_calls_itself_include_is_not_one() {
    let call = "concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/text.txt\")";
    all_pinned([
        format!(
            "macro_rules! include_str {{ ($e:expr) => {{ $e.len() }} }}\n{}",
            hidden(&format!("include_str!({call})"))
        ),
        format!(
            "macro_rules! include_bytes {{ ($e:expr) => {{ $e.len() }} }}\n{}",
            hidden(&format!("include_bytes!({call})"))
        ),
        format!(
            "macro_rules! lens {{ ($e:expr) => {{ $e.len() }} }}\nuse lens as include;\n{}",
            hidden(&format!("include!({call})"))
        ),
        format!(
            "mod m {{ macro_rules! include_str {{ ($e:expr) => {{ $e.len() }} }} pub(crate) use include_str; }}\n{}",
            hidden(&format!("m::include_str!({call})"))
        ),
    ]);
}

#[test]
fn u09_a_macro_that_only_calls_itself_concat_is_not_one() {
    let source = "macro_rules! concat { ($e:expr, $f:expr) => { { const L: usize = $e.len(); \"text.txt\" } } }\n";
    let plain = Project::lib(source);
    plain.file("src/text.txt", "text");
    // `include_str!` accepts only a literal, so this is an error for rustc. It must remain one.
    plain.file("src/lib.rs", format!("{source}{INCLUDE}"));
    plain.unit("dep", "src/lib.rs").run().must_fail();
}

#[test]
fn u09_a_macro_that_looks_into_an_include_is_seen() {
    let look = "macro_rules! look { (include_str!(concat!($e:expr, $f:expr))) => { $e.len() } }";
    let call = "look!(include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/text.txt\")))";
    all_pinned([format!("{look}\n{}", hidden(call)), format!("{look}\n{INCLUDE}{}", hidden(call))]);
}

/// Macros of another crate that read the variable, each with a call.
const FOREIGN: [[&str; 2]; 3] = [
    ["macro_rules! read { () => { env!(\"CARGO_MANIFEST_DIR\").len() } }", "mac::read!()"],
    ["macro_rules! read { ($name:literal) => { env!($name).len() } }", "mac::read!(\"CARGO_MANIFEST_DIR\")"],
    [
        "macro_rules! read { ($($part:literal)*) => { env!(concat!($($part),*)).len() } }",
        "mac::read!(\"CARGO_MANIFEST_\" \"DIR\")",
    ],
];

#[test]
fn u09_a_value_read_by_a_macro_of_another_crate_is_this_checkouts() {
    for (include, [read, call]) in ["", INCLUDE].into_iter().flat_map(|include| FOREIGN.map(|pair| (include, pair))) {
        let one = Project::lib(&format!("{include}{}", hidden(call)));
        one.file("text.txt", "text");
        one.file("src/mac.rs", format!("#[macro_export] {read}\n"));
        let two = one.clone_to("elsewhere/deeper/two");
        for project in [&one, &two] {
            project.unit("mac", "src/mac.rs").run().must_succeed();
            let unit = project.unit("dep", "src/lib.rs").uses("mac", "mac").args(["-O"]);
            unit.misses();
            unit.hits();
        }
    }
}

#[test]
fn u09_a_path_in_a_variable_of_the_users_is_this_checkouts() {
    all_pinned([hidden("env!(\"WHERE\").len()")]);
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
    assert_eq!(two.app_output(), "7");
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
    let length = |project: &Project| project.app_output().parse::<usize>().expect("a length");
    let depth = |project: &Project| project.dir().as_os_str().len();
    two.build();
    assert_eq!(length(&two) - depth(&two), length(&one) - depth(&one));
}
