//! The house rules that no compiler checks: dependencies between modules point down, `unsafe` code and access to the
//! file system and the environment stay in their modules, and files stay small and have a header.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules that a module may use. Design: `cli, wrapper -> restore, keys -> rustc, store -> config, fsx -> model`.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("fsx", &["model"]),
    ("config", &["fsx", "model"]),
    ("events", &["fsx", "model"]),
    ("rustc", &["config", "fsx", "model"]),
    ("script", &["config", "fsx", "model"]),
    ("store", &["fsx", "model"]),
    ("observe", &["fsx", "model"]),
    ("keys", &["config", "fsx", "model", "observe", "rustc", "script", "store"]),
    ("restore", &["fsx", "model", "rustc", "store"]),
    ("remote", &["config", "events", "fsx", "model", "store"]),
    ("agent", &["config", "events", "fsx", "model", "remote", "store"]),
    (
        "wrapper",
        &["agent", "config", "events", "fsx", "keys", "model", "observe", "restore", "rustc", "script", "store"],
    ),
    ("cli", &["agent", "config", "events", "fsx", "keys", "model", "remote", "rustc", "store"]),
];

/// The modules of `remote` that each of its layers may use. Inside these layers, types are named by their modules, not by
/// the re-exports of `remote`.
const REMOTE_LAYERS: &[(&str, &[&str])] =
    &[("format", &["format"]), ("s3", &["s3", "tasks"]), ("operations", &["format", "operations", "s3", "tasks"])];

/// Maximum number of lines in a file, without its unit tests.
const FILE_LINES: usize = 450;

fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                found.push((name, path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(found.len() > 30, "the sources are there");
    found
}

/// The code of a file, without comment lines and without its unit tests.
fn code(text: &str) -> String {
    let own = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    own.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The modules that the code names after `prefix`.
fn used_modules(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for rest in code.split(prefix).skip(1) {
        let names = match rest.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap_or_default().split(',').map(str::trim).collect(),
            None => vec![rest],
        };
        for name in names {
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
            used.insert(name[..end].to_owned());
        }
    }
    used
}

/// The dependencies that [`ALLOWED`] does not list.
fn upward_edges(sources: &[(String, PathBuf, String)]) -> Vec<String> {
    let mut edges = Vec::new();
    for (name, _, text) in sources {
        let Some((module, _)) = name.split_once('/') else { continue };
        let (_, allowed) =
            ALLOWED.iter().find(|(known, _)| *known == module).unwrap_or_else(|| panic!("{module}: new module"));
        for used in used_modules(&code(text), "crate::") {
            let is_module = ALLOWED.iter().any(|(known, _)| *known == used);
            if is_module && used != module && !allowed.contains(&used.as_str()) {
                edges.push(format!("{name} -> {used}"));
            }
        }
    }
    edges
}

#[test]
fn dependencies_point_down() {
    assert_eq!(upward_edges(&sources()), Vec::<String>::new());
    let upward = [("store/x.rs".to_owned(), PathBuf::new(), "use crate::{fsx, keys::Roots};\n".to_owned())];
    assert_eq!(upward_edges(&upward), ["store/x.rs -> keys"], "the check sees an upward edge");
}

/// The modules of `remote` that its layers use, but that [`REMOTE_LAYERS`] does not list.
fn remote_edges(sources: &[(String, PathBuf, String)]) -> Vec<String> {
    let mut edges = Vec::new();
    for (name, _, text) in sources {
        let layer = name.strip_prefix("remote/").and_then(|rest| rest.split_once('/')).map(|(layer, _)| layer);
        let Some((_, allowed)) = REMOTE_LAYERS.iter().find(|(known, _)| Some(*known) == layer) else { continue };
        let used = used_modules(&code(text), "crate::remote::");
        edges.extend(
            used.iter().filter(|used| !allowed.contains(&used.as_str())).map(|used| format!("{name} -> {used}")),
        );
    }
    edges
}

#[test]
fn formats_and_the_s3_client_are_independent() {
    assert_eq!(remote_edges(&sources()), Vec::<String>::new());
    let edge =
        [("remote/s3/x.rs".to_owned(), PathBuf::new(), "use crate::remote::format::names::ObjectNames;\n".to_owned())];
    assert_eq!(remote_edges(&edge), ["remote/s3/x.rs -> format"], "the check sees an edge");
}

#[test]
fn unsafe_and_system_doors_stay_in_their_places() {
    for (name, _, text) in sources() {
        let code = code(&text);
        if !name.starts_with("fsx/sys_") {
            assert!(!code.contains("unsafe {") && !code.contains("unsafe fn"), "{name}: unsafe");
        }
        if !name.starts_with("fsx/") {
            // Using the type is allowed.
            let code = code.replace("use std::fs::File;", "");
            assert!(!code.contains("std::fs::") && !code.contains("use std::fs;"), "{name}: file system outside fsx");
        }
        if !name.starts_with("config/") {
            assert!(!code.contains("env::var"), "{name}: environment outside config");
        }
    }
}

#[test]
fn files_stay_small_and_say_what_they_are() {
    for (name, _, text) in sources() {
        assert!(text.starts_with("//! "), "{name}: no header");
        let lines = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(&text).lines().count();
        assert!(lines <= FILE_LINES, "{name}: {lines} lines");
    }
}
