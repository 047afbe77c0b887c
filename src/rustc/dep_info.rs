//! Reads and writes `.d` files exactly as rustc writes them (`rustc_interface::passes::write_out_deps`).
//!
//! ```text
//! /out/a.d: src/lib.rs src/with\ space.rs        one rule per output, then an empty line
//!
//! src/lib.rs:                                    one rule per file
//!
//! # env-dep:NAME=value                           `\\`, `\n`, `\r` escaped; no `=` for a variable that was unset
//! ```
//! If writing a file back does not give the same bytes, it is not understood, and the unit is not cached.

use crate::model::DepInfo;

const ENV_DEP: &str = "# env-dep:";

/// Parses a `.d` file. `None` if writing it back would not give the same bytes.
pub fn parse(text: &str) -> Option<DepInfo<String>> {
    let mut info = DepInfo { targets: Vec::new(), files: Vec::new(), env: Vec::new() };
    let mut seen_files = false;
    for line in text.lines() {
        if let Some(dep) = line.strip_prefix(ENV_DEP) {
            info.env.push(parse_env(dep)?);
        } else if line.starts_with('#') {
            return None;
        } else if let Some((target, files)) = line.split_once(": ") {
            // `file:` does not list files, and has no space after its colon.
            info.targets.push(target.to_owned());
            if !std::mem::replace(&mut seen_files, true) {
                info.files = split_files(files);
            }
        } else if !seen_files && line.ends_with(": ") {
            return None;
        }
    }
    (render(&info) == text).then_some(info)
}

/// Returns the text of a `.d` file.
pub fn render(info: &DepInfo<String>) -> String {
    let files: Vec<String> = info.files.iter().map(|file| escape(file)).collect();
    let joined = files.join(" ");
    let mut out = String::with_capacity((joined.len() + 128) * (info.targets.len() + 1));
    for target in &info.targets {
        // The name of the output is not escaped: it is the path as composed from `--out-dir`.
        out.push_str(target);
        out.push_str(": ");
        out.push_str(&joined);
        out.push_str("\n\n");
    }
    for file in &files {
        out.push_str(file);
        out.push_str(":\n");
    }
    if !info.env.is_empty() {
        out.push('\n');
        for (name, value) in &info.env {
            out.push_str(ENV_DEP);
            out.push_str(&escape_env(name));
            if let Some(value) = value {
                out.push('=');
                out.push_str(&escape_env(value));
            }
            out.push('\n');
        }
    }
    out
}

/// Splits a list of files at its unescaped spaces.
fn split_files(text: &str) -> Vec<String> {
    let mut files = Vec::new();
    let mut file = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&' ') => file.extend(chars.next()),
            ' ' => files.push(std::mem::take(&mut file)),
            c => file.push(c),
        }
    }
    if !file.is_empty() {
        files.push(file);
    }
    files
}

/// Escapes spaces in the name of a file and nothing else, like rustc, gcc and clang.
fn escape(path: &str) -> String {
    path.replace(' ', "\\ ")
}

fn parse_env(dep: &str) -> Option<(String, Option<String>)> {
    match dep.split_once('=') {
        Some((name, value)) => Some((unescape_env(name)?, Some(unescape_env(value)?))),
        None => Some((unescape_env(dep)?, None)),
    }
}

fn escape_env(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\\' => out.push_str("\\\\"),
            c => out.push(c),
        }
    }
    out
}

fn unescape_env(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(match chars.next()? {
                'n' => '\n',
                'r' => '\r',
                '\\' => '\\',
                _ => return None,
            }),
            c => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = "/w/t/a-1.d: src/lib.rs src/with\\ space.rs\n\n/w/t/liba-1.rlib: src/lib.rs src/with\\ space.rs\n\nsrc/lib.rs:\nsrc/with\\ space.rs:\n\n# env-dep:A=x\\\\y\\nz\n# env-dep:B\n# env-dep:C=\n";

    #[test]
    fn f07_a_file_is_read_and_written_back() {
        let info = parse(REAL).unwrap();
        assert_eq!(info.targets, ["/w/t/a-1.d", "/w/t/liba-1.rlib"]);
        assert_eq!(info.files, ["src/lib.rs", "src/with space.rs"]);
        let env = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
        assert_eq!(info.env, [env("A", Some("x\\y\nz")), env("B", None), env("C", Some(""))]);
        assert_eq!(render(&info), REAL);
    }

    #[test]
    fn f07_what_is_not_rustcs_own_is_refused() {
        assert!(parse(&REAL.replace("env-dep:A", "checksum:A")).is_none());
        assert!(parse(&REAL.replace("src/lib.rs:\n", "")).is_none());
        assert!(parse(&REAL.replace("\\n", "\\q")).is_none());
        assert!(parse(REAL.trim_end()).is_none());
    }
}
