//! The directives that a build script prints for cargo.

use std::path::{Path, PathBuf};

use crate::fsx;

/// Returns the path of the first `rerun-if-changed` that makes cargo run the script again in every build: an empty
/// path, one that does not exist, or one below `out_dir`, which the run itself writes. Relative paths are relative to
/// `package`, the directory of the package.
pub fn find_always_stale(stdout: &str, package: &Path, out_dir: &Path) -> Option<PathBuf> {
    let values = stdout.lines().filter_map(|line| value(line, "rerun-if-changed"));
    let is_stale =
        |path: &str| path.is_empty() || Path::new(path).starts_with(out_dir) || !fsx::exists(&package.join(path));
    values.into_iter().find(|path| is_stale(path)).map(|path| package.join(path))
}

/// Returns the names of the variables that the script sets for the compiles of its package (`rustc-env`).
pub fn variables(stdout: &str) -> Vec<String> {
    let values = stdout.lines().filter_map(|line| value(line, "rustc-env"));
    values.filter_map(|value| value.split_once('=')).map(|(name, _)| name.to_owned()).collect()
}

/// Returns the variables that cargo sets for the build scripts of dependents because of this output, with their values
/// (`cargo::metadata=NAME=VALUE`, or `cargo:NAME=VALUE` with a name that is no directive). `links`: what the package
/// links.
pub fn metadata(stdout: &str, links: &str) -> Vec<(String, String)> {
    let of_line = |line: &str| {
        let old = || line.trim().strip_prefix("cargo:").filter(|rest| !rest.starts_with(':'));
        let (name, value) = value(line, "metadata").or_else(old)?.split_once('=')?;
        let spelled = |name: &str| name.to_uppercase().replace('-', "_");
        Some((format!("DEP_{}_{}", spelled(links), spelled(name)), value.trim_end().to_owned()))
    };
    stdout.lines().filter_map(of_line).collect()
}

/// Returns the value of a directive in either spelling (`cargo:NAME=VALUE`, and `cargo::NAME=VALUE` since 1.77).
fn value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let rest = line.trim().strip_prefix("cargo:")?;
    rest.strip_prefix(':').unwrap_or(rest).strip_prefix(name)?.strip_prefix('=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_for_the_package_are_found() {
        let text = "cargo:rustc-env=A=1\ncargo::rustc-env=B=x=y\ncargo:rustc-cfg=c\ncargo:rustc-env=odd\n";
        assert_eq!(variables(text), ["A", "B"]);
    }

    #[test]
    fn variables_for_dependents_are_found() {
        let text = "cargo::metadata=api-key=x=y\ncargo:include=/a b\ncargo::warning=no\nother=1\n";
        let found = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(metadata(text, "my-lib"), [found("DEP_MY_LIB_API_KEY", "x=y"), found("DEP_MY_LIB_INCLUDE", "/a b")]);
    }

    #[test]
    fn paths_that_are_never_fresh_are_found() {
        let dir = tempfile::tempdir().unwrap();
        fsx::Publish::default().bytes(&dir.path().join("there"), b"").unwrap();
        let stale = |line: &str| {
            let text = format!("noise\ncargo:rustc-cfg=x\n{line}\n");
            find_always_stale(&text, dir.path(), Path::new("/o/out")).is_some()
        };
        assert!(stale("cargo:rerun-if-changed=gone") && stale("cargo::rerun-if-changed=gone"));
        assert!(stale("  cargo:rerun-if-changed= "));
        assert!(stale("cargo:rerun-if-changed=/o/out/x") && stale("cargo:rerun-if-changed=/o/out"));
        assert!(!stale("cargo:rerun-if-changed=there") && !stale("cargo:rerun-if-changed=."));
        assert!(!stale("rerun-if-changed=gone") && !stale("cargo:rerun-if-env-changed=gone"));
    }
}
