//! The sources of this package as texts, and what the rules need to know of them.

use std::fs;
use std::path::Path;

/// A file with Rust code.
#[derive(Debug)]
pub(super) struct Source {
    /// Path of the file, relative to the folder that was read: `store/gc.rs`.
    pub(super) name: String,
    pub(super) text: String,
}

/// A function and its length.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// Number of lines from the signature to the closing brace.
    pub(super) lines: usize,
}

/// Reads all Rust files below a folder of the package, sorted by name.
pub(super) fn read(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let (mut sources, mut open) = (Vec::new(), vec![root.clone()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
                sources.push(Source::of(name, &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    sources.sort_by(|one, other| one.name.cmp(&other.name));
    sources
}

impl Source {
    pub(super) fn of(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: text.to_owned() }
    }

    /// Returns the code without comment lines and without unit tests.
    pub(super) fn code(&self) -> String {
        let mut parts = self.text.split("#[cfg(test)]\n");
        let mut own = parts.next().unwrap_or_default().to_owned();
        let is_own = |part: &&str| !part.lines().next().is_some_and(|line| line.contains("mod tests {"));
        own.extend(parts.take_while(is_own));
        own.lines().filter(|line| !is_comment(line)).collect::<Vec<_>>().join("\n")
    }

    /// Returns the segments of the module's path: `[store, gc]` for `store/gc.rs`.
    pub(super) fn module(&self) -> Vec<String> {
        let path = self.name.strip_suffix(".rs").unwrap_or(&self.name);
        let path = path.strip_suffix("/mod").unwrap_or(path);
        path.split('/').filter(|part| *part != "lib").map(str::to_owned).collect()
    }

    pub(super) fn lines(&self) -> usize {
        self.text.lines().count()
    }

    /// Returns the numbers of the comment lines that are wider than `columns`.
    pub(super) fn wide_comments(&self, columns: usize) -> Vec<usize> {
        let lines = self.text.lines().enumerate();
        lines.filter(|(_, line)| is_comment(line) && line.chars().count() > columns).map(|(at, _)| at + 1).collect()
    }

    /// Returns the functions, as rustfmt lays them out: the closing brace is as far to the right as the signature.
    pub(super) fn functions(&self) -> Vec<Function> {
        let lines: Vec<&str> = self.text.lines().collect();
        let mut functions = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let Some(name) = function_name(line) else { continue };
            let indent = &line[..line.len() - line.trim_start().len()];
            let is_end = |line: &&str| {
                let rest = line.strip_prefix(indent);
                rest.is_some_and(|rest| rest == "}" || (rest.starts_with(')') && rest.ends_with(';')))
            };
            let rest = if line.ends_with(['}', ';']) { Some(0) } else { lines[at..].iter().position(is_end) };
            functions.extend(rest.map(|rest| Function { name: name.to_owned(), lines: rest + 1 }));
        }
        functions
    }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// Returns the name of the function whose signature begins in this line. `None` if there is none, or if the line is
/// part of a string.
fn function_name(line: &str) -> Option<&str> {
    const BEFORE: [&str; 9] =
        ["pub ", "pub(super) ", "pub(crate) ", "default ", "const ", "async ", "unsafe ", "extern ", "\"C\" "];
    if line.ends_with([',', '\\']) {
        return None;
    }
    let mut rest = line.trim_start();
    while let Some(after) = BEFORE.iter().find_map(|word| rest.strip_prefix(word)) {
        rest = after;
    }
    let name = rest.strip_prefix("fn ")?;
    name.split(|c: char| !is_word(c)).next().filter(|name| !name.is_empty())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Splits code into words, `::`, and single other characters.
pub(super) fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

/// Parses the path at `at`, and adds one path for each name in its groups: `a::{b, c::d}` is `a::b` and `a::c::d`.
/// Returns the index after it.
pub(super) fn parse_path(tokens: &[&str], mut at: usize, prefix: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    while tokens.get(at).is_some_and(|token| token.starts_with(is_word)) {
        path.push(tokens[at].to_owned());
        at += 1;
        match (tokens.get(at), tokens.get(at + 1)) {
            (Some(&"::"), Some(&"{")) => return parse_group(tokens, at + 2, &path, paths),
            (Some(&"::"), Some(&"*")) => {
                path.push("*".to_owned());
                at += 2;
                break;
            }
            (Some(&"::"), _) => at += 1,
            _ => break,
        }
    }
    paths.push(path);
    at
}

fn parse_group(tokens: &[&str], mut at: usize, prefix: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    while let Some(token) = tokens.get(at) {
        at = match *token {
            "}" => return at + 1,
            "as" => at + 2,
            token if token.starts_with(is_word) => parse_path(tokens, at, prefix, paths),
            _ => at + 1,
        };
    }
    at
}

/// Returns all paths that begin with `crate`, `super` or `self`.
pub(super) fn paths(tokens: &[&str]) -> Vec<Vec<String>> {
    let (mut paths, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let is_path = matches!(tokens[at], "crate" | "super" | "self") && tokens.get(at + 1) == Some(&"::");
        at = if is_path { parse_path(tokens, at, &[], &mut paths) } else { at + 1 };
    }
    paths
}

#[test]
fn functions_are_measured_and_texts_are_not() {
    let text = "impl A {\n    pub(super) async fn one(\n        a: u8,\n    ) -> u8 {\n        {\n        }\n    }\n}\n\
                fn two() {}\ntrait T {\n    fn three(\n        &self,\n    );\n}\n    \"fn four() { \\n\",\n";
    let measured = Source::of("a.rs", text).functions();
    let measured: Vec<_> = measured.iter().map(|function| (function.name.as_str(), function.lines)).collect();
    assert_eq!(measured, [("one", 6), ("two", 1), ("three", 3)]);
}

#[test]
fn code_is_what_is_not_a_comment_or_a_unit_test() {
    let text = "use a;\n#[cfg(test)]\nuse b;\n// c\n#[cfg(test)]\npub(crate) mod tests {\n    use d;\n}\n";
    assert_eq!(Source::of("a.rs", text).code(), "use a;\nuse b;");
}

#[test]
fn comments_are_measured_in_columns() {
    let text = "// aé\n/// abcd\nlet url = \"// abcd\";\n    // a\n";
    assert_eq!(Source::of("a.rs", text).wide_comments(6), [2, 4]);
}

#[test]
fn paths_are_found_in_groups() {
    let tokens =
        tokens("use crate::{a, b::{self, C as D}, e::*};\npub(super) fn f(x: super::G<self::H>) { Self::i() }");
    let found: Vec<String> = paths(&tokens).iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["crate::a", "crate::b::self", "crate::b::C", "crate::e::*", "super::G", "self::H"]);
}
