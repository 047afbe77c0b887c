//! The house rules that no compiler checks.
//!
//! Dependencies between modules point down, as the table of layers in ARCHITECTURE.md says, and the modules of one
//! folder do not use each other in circles. `unsafe` code and access to the file system and the environment stay in
//! their modules. Files, functions and comment lines stay short, and files have a header.
//!
//! Each rule is a function of texts, and has a control test that breaks it.

mod circles;
mod sources;

use std::collections::BTreeSet;

use circles::absolute;
use sources::{Source, paths, read, tokens};

/// The layers are a table in this file.
const ARCHITECTURE: &str = include_str!("../../../ARCHITECTURE.md");

/// The modules of `remote` that each of its layers may use. Inside these layers, types are named by their modules, not
/// by the re-exports of `remote`.
const REMOTE_LAYERS: &[(&str, &[&str])] = &[
    ("format", &["format"]),
    ("s3", &["s3", "tasks"]),
    ("objects", &["objects", "s3", "tasks"]),
    ("operations", &["format", "objects", "operations", "s3", "tasks"]),
];

/// Maximum number of lines in a file of `src`.
const FILE_LINES: usize = 400;

/// Maximum number of lines in a function.
const FUNCTION_LINES: usize = 80;

/// Maximum width of a comment line. rustfmt wraps code, but not comments.
const COMMENT_COLUMNS: usize = 120;

/// A module, and those that it may use.
type Layer<'a> = (&'a str, Vec<&'a str>);

/// Returns the rows of the table of layers, from top to bottom.
fn layers(architecture: &str) -> Vec<Layer<'_>> {
    let (_, section) = architecture.split_once("\n## Layers\n").expect("a section about layers");
    let section = section.split("\n## ").next().unwrap_or(section);
    section.lines().filter_map(layer).collect()
}

/// Parses one row: a module, its purpose, and the modules that it uses.
fn layer(row: &str) -> Option<Layer<'_>> {
    let cells: Vec<&str> = row.split('|').collect();
    Some((*names(cells.get(1)?).first()?, names(cells.get(3)?)))
}

/// Returns the names in backticks.
fn names(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Returns the dependencies that the layers do not allow.
fn upward(layers: &[Layer<'_>], sources: &[Source]) -> Vec<String> {
    let mut upward = Vec::new();
    for source in sources {
        let Some((module, _)) = source.name.split_once('/') else { continue };
        let layer = layers.iter().find(|(name, _)| *name == module);
        let (_, allowed) = layer.unwrap_or_else(|| panic!("{module}: not in the table of layers"));
        let code = source.code();
        let used: BTreeSet<String> = paths(&tokens(&code))
            .into_iter()
            .filter(|path| path[0] == "crate")
            .filter_map(|path| path.get(1).cloned())
            .collect();
        let is_wrong = |used: &String| {
            let is_module = layers.iter().any(|(name, _)| name == used);
            is_module && used != module && !allowed.contains(&used.as_str())
        };
        upward.extend(used.iter().filter(|used| is_wrong(used)).map(|used| format!("{} -> {used}", source.name)));
    }
    upward
}

#[test]
fn dependencies_point_down() {
    let layers = layers(ARCHITECTURE);
    assert!(layers.len() > 10, "{layers:?}");
    for (at, (module, allowed)) in layers.iter().enumerate() {
        let below: Vec<&str> = layers[at + 1..].iter().map(|(name, _)| *name).collect();
        assert!(allowed.iter().all(|name| below.contains(name)), "{module} uses something that is not below it");
    }
    assert_eq!(upward(&layers, &read("src")), Vec::<String>::new());
}

#[test]
fn an_upward_dependency_is_found() {
    let table = "\n## Layers\n\n| module | what | uses |\n|---|---|---|\n| `top` | | `low`, `store` |\n| `keys` | a `b` | |\n\
                 | `store` | | `low` |\n| `low` | | |\n\n## Other\n\n| `no` | | |\n";
    let layers = layers(table);
    assert_eq!(layers.len(), 4);
    assert_eq!(layers[0], ("top", vec!["low", "store"]));
    let file = Source::of("store/x.rs", "use crate::{low, keys::Roots};\nfn f() { crate::top::g(crate::other()) }\n");
    assert_eq!(upward(&layers, &[file]), ["store/x.rs -> keys", "store/x.rs -> top"]);
}

/// Returns the modules of `remote` that its layers use, but that [`REMOTE_LAYERS`] does not list.
fn misused_in_remote(sources: &[Source]) -> Vec<String> {
    let mut misused = Vec::new();
    for source in sources {
        let layer = source.name.strip_prefix("remote/").and_then(|rest| rest.split_once('/')).map(|(layer, _)| layer);
        let Some((_, allowed)) = REMOTE_LAYERS.iter().find(|(name, _)| Some(*name) == layer) else { continue };
        let (module, code) = (source.module(), source.code());
        let used: BTreeSet<String> = paths(&tokens(&code))
            .iter()
            .map(|path| absolute(&module, path))
            .filter(|path| path.first().is_some_and(|first| first == "remote"))
            .filter_map(|path| path.get(1).cloned())
            .collect();
        let wrong = used.iter().filter(|used| !allowed.contains(&used.as_str()));
        misused.extend(wrong.map(|used| format!("{} -> {used}", source.name)));
    }
    misused
}

#[test]
fn formats_and_the_s3_client_are_independent() {
    assert_eq!(misused_in_remote(&read("src")), Vec::<String>::new());
}

#[test]
fn a_misused_layer_of_the_remote_is_found() {
    let text = "use crate::remote::format::names::ObjectNames;\nuse super::{bucket, super::operations};\n\
                use crate::remote::{Remote, tasks};\n";
    let found = misused_in_remote(&[Source::of("remote/s3/x.rs", text), Source::of("remote/tasks.rs", text)]);
    assert_eq!(found, ["remote/s3/x.rs -> Remote", "remote/s3/x.rs -> format", "remote/s3/x.rs -> operations"]);
}

#[test]
fn no_circles_between_the_modules_of_a_folder() {
    assert_eq!(circles::circles(&read("src")), Vec::<String>::new());
}

/// Returns the rules about `unsafe` code and access to the system that a file of `src` breaks.
fn misplaced(source: &Source) -> Vec<&'static str> {
    let code = source.code();
    let is_in = |place: &str| source.name.starts_with(place);
    // Using the type is allowed.
    let without_type = code.replace("use std::fs::File;", "");
    let rules = [
        ("unsafe", is_in("fsx/sys_") || !(code.contains("unsafe {") || code.contains("unsafe fn"))),
        (
            "file system",
            is_in("fsx/") || !(without_type.contains("std::fs::") || without_type.contains("use std::fs;")),
        ),
        ("environment", is_in("config/") || !code.contains("env::var")),
    ];
    rules.into_iter().filter(|(_, is_kept)| !is_kept).map(|(rule, _)| rule).collect()
}

#[test]
fn unsafe_and_system_doors_stay_in_their_places() {
    for source in read("src") {
        assert_eq!(misplaced(&source), [""; 0], "{}", source.name);
    }
}

#[test]
fn a_misplaced_access_is_found() {
    let text = "use std::fs::File;\n// unsafe {\nfn f() { unsafe { g() }; std::fs::read(\"\"); std::env::var(\"\") }\n";
    assert_eq!(misplaced(&Source::of("keys/x.rs", text)), ["unsafe", "file system", "environment"]);
    assert_eq!(misplaced(&Source::of("fsx/sys_x.rs", text)), ["environment"]);
    assert_eq!(misplaced(&Source::of("config/x.rs", "use std::fs::File;\n// unsafe {\n std::env::var(\"\")")), [""; 0]);
}

/// Returns the rules about the layout of a file that it breaks.
fn too_long(source: &Source, file_lines: usize) -> Vec<String> {
    let mut broken = Vec::new();
    if source.lines() > file_lines {
        broken.push(format!("{} lines, more than {file_lines}", source.lines()));
    }
    let functions = source.functions().into_iter().filter(|function| function.lines > FUNCTION_LINES);
    broken.extend(functions.map(|function| format!("{}: {} lines", function.name, function.lines)));
    let wide = source.wide_comments(COMMENT_COLUMNS).into_iter();
    broken.extend(wide.map(|line| format!("the comment in line {line} is too wide")));
    broken
}

#[test]
fn files_functions_and_comments_stay_short() {
    let mut all = Vec::new();
    for folder in ["src", "tests", "benches"] {
        for source in read(folder) {
            let file_lines = if folder == "src" { FILE_LINES } else { usize::MAX };
            let broken = too_long(&source, file_lines);
            all.extend(broken.into_iter().map(|broken| format!("{folder}/{}: {broken}", source.name)));
        }
    }
    assert_eq!(all, Vec::<String>::new());
}

#[test]
fn a_long_file_function_or_comment_is_found() {
    let text = |calls: usize, columns: usize| {
        format!("fn long() {{\n{}}}\n// {}\n", "    f();\n".repeat(calls), "x".repeat(columns - 3))
    };
    let long = Source::of("x.rs", &text(79, 121));
    assert_eq!(too_long(&long, 81), ["82 lines, more than 81", "long: 81 lines", "the comment in line 82 is too wide"]);
    assert_eq!(too_long(&Source::of("x.rs", &text(78, 120)), 81), [""; 0]);
}

#[test]
fn files_say_what_they_are() {
    let has_header = |source: &Source| source.text.starts_with("//! ");
    for source in read("src") {
        assert!(has_header(&source), "{}: no header", source.name);
    }
    assert!(!has_header(&Source::of("x.rs", "use std::fs;\n//! Late.\n")));
}
