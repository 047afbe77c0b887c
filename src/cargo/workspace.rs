//! Workspaces: their roots and names, without running cargo.

use std::path::{Path, PathBuf};

use crate::fsx;

/// Longest name of a workspace, in characters.
const MAX_NAME_CHARS: usize = 40;

/// Finds the root and the name of the workspace around `dir`.
pub fn around(dir: &Path) -> Option<(PathBuf, String)> {
    let root = root(dir)?;
    let name = name(&root, &fsx::read_to_string(&root.join("Cargo.lock")).unwrap_or_default());
    Some((root, name))
}

/// Returns `dir` relative to the root of its workspace, links followed. Empty for the root itself.
pub fn relative(root: &Path, dir: &Path) -> String {
    let (root, dir) = (fsx::canonicalize(root).unwrap_or_default(), fsx::canonicalize(dir).unwrap_or_default());
    dir.strip_prefix(root).map(|inside| inside.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Finds the workspace root for `dir`: the nearest package with a lock file, else the nearest `[workspace]`, else the
/// nearest package.
pub fn root(dir: &Path) -> Option<PathBuf> {
    let packages: Vec<&Path> = dir.ancestors().filter(|dir| fsx::exists(&dir.join("Cargo.toml"))).collect();
    let locked = packages.iter().find(|dir| fsx::exists(&dir.join("Cargo.lock")));
    let is_workspace = |dir: &&&Path| cargo_toml(dir).is_some_and(|manifest| manifest.contains_key("workspace"));
    locked.or_else(|| packages.iter().find(is_workspace)).or(packages.first()).map(|dir| (*dir).to_owned())
}

/// Whether cargo chooses versions by the version of rustc, and so asks for that before it resolves dependencies
/// (`ops/resolve.rs`): with resolver 3, which is that of edition 2024, unless a package names a `rust-version`.
pub fn resolves_by_rustc(root: &Path) -> bool {
    let Some(manifest) = cargo_toml(root) else { return false };
    let field = |table: &str, name: &str| Some(manifest.get(table)?.get(name)?.as_str()?.to_owned());
    let resolver = field("workspace", "resolver").or_else(|| field("package", "resolver"));
    let by_edition = || field("package", "edition").filter(|edition| edition == "2024").map(|_| "3".to_owned());
    let names_version = field("package", "rust-version").is_some();
    resolver.or_else(by_edition).is_some_and(|resolver| resolver == "3") && !names_version
}

fn cargo_toml(dir: &Path) -> Option<toml::Table> {
    fsx::read_to_string(&dir.join("Cargo.toml")).ok()?.parse().ok()
}

/// The name of the root package, else of the alphabetically first package without a source in the lock file with the
/// text `lock`, else of the directory. It consists of characters of `[A-Za-z0-9_.-]`, at most 40.
pub fn name(root: &Path, lock: &str) -> String {
    let own = cargo_toml(root).and_then(|manifest| Some(manifest.get("package")?.get("name")?.as_str()?.to_owned()));
    let member = || first_local_package(lock).map(str::to_owned);
    let dir = || root.file_name().map(|name| name.to_string_lossy().into_owned());
    sanitize(&own.or_else(member).or_else(dir).unwrap_or_default())
}

/// Returns the alphabetically first package of a lock file that has no source. Cargo writes one field per line.
fn first_local_package(lock: &str) -> Option<&str> {
    let packages = lock.split("[[package]]").skip(1).filter(|package| !package.contains("\nsource = "));
    packages.filter_map(|package| package.split_once("\nname = \"")?.1.split('"').next()).min()
}

/// Reduces the text to a valid part of an object name.
fn sanitize(text: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let kept: String = text.chars().filter(is_plain).take(MAX_NAME_CHARS).collect();
    // On servers that store objects as files, a part made only of dots would lead to another directory.
    if kept.chars().all(|c| c == '.') { "workspace".to_owned() } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r02_a_name_is_one_short_plain_part() {
        assert_eq!(sanitize("a/../b c\u{e9}_1.0-x"), "a..bc_1.0-x");
        assert_eq!(sanitize(".."), "workspace");
        assert_eq!(sanitize(""), "workspace");
        assert_eq!(sanitize(&"x".repeat(99)).len(), MAX_NAME_CHARS);
    }

    #[test]
    fn cargo_resolves_by_rustc_with_resolver_3() {
        let dir = tempfile::tempdir().unwrap();
        let of = |manifest: &str| {
            fsx::Publish::default().bytes(&dir.path().join("Cargo.toml"), manifest.as_bytes()).unwrap();
            resolves_by_rustc(dir.path())
        };
        assert!(of("[workspace]\nresolver = \"3\"\n") && of("[package]\nedition = \"2024\"\n"));
        assert!(!of("[workspace]\n[package]\nedition = \"2021\"\n") && !of("x"));
        assert!(!of("[workspace]\nresolver = \"2\"\n[package]\nedition = \"2024\"\n"));
        assert!(!of("[package]\nedition = \"2024\"\nrust-version = \"1.85\"\n"));
    }

    #[test]
    fn the_first_package_without_a_source_is_found() {
        let lock = "version = 4\n\n[[package]]\nname = \"zed\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"mid\"\n\
                    dependencies = [\n \"abc\",\n]\n\n[[package]]\nname = \"abc\"\nsource = \"registry\"\n";
        assert_eq!((first_local_package(lock), first_local_package("")), (Some("mid"), None));
    }
}
