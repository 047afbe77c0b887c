//! Paths that contain `..`. The file system decides which directory such a path is below, not the spelling.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use memchr::memmem;

use crate::fsx;

/// Whether `path` contains `..`.
pub(super) fn has_parents(path: &Path) -> bool {
    // Few paths contain two dots in a row, and splitting a path into its parts costs ten times as much.
    memmem::find(path.as_os_str().as_bytes(), b"..").is_some()
        && path.components().any(|part| part == Component::ParentDir)
}

/// Resolves links and `..` in all but the last name of `path`. `None` if a directory on the way does not exist.
pub(super) fn resolve_directory(path: &Path) -> Option<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Some(fsx::canonicalize(parent).ok()?.join(name)),
        _ => fsx::canonicalize(path).ok(),
    }
}

/// Whether `path` is `dir` or is below it.
pub(super) fn is_below(path: &Path, dir: &Path) -> bool {
    if !has_parents(path) {
        return path.starts_with(dir);
    }
    match (resolve_directory(path), fsx::canonicalize(dir)) {
        (Some(path), Ok(dir)) => path.starts_with(dir),
        // A directory on the way is gone. The path was below `dir` if it never leaves it.
        _ => path.strip_prefix(dir).is_ok_and(|rest| final_depth(rest).is_some()),
    }
}

/// Removes each `..` from `path` together with the name before it. `None` unless `path` begins below `dir` and the
/// result is the same place. The directories in `dir` may not exist when the path is looked at again.
pub(super) fn without_parents(path: &Path, dir: &Path) -> Option<PathBuf> {
    if !has_parents(path) || !path.starts_with(dir) {
        return None;
    }
    let mut shorter = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(shorter.pop()),
            part => shorter.push(part),
        }
    }
    (resolve_directory(path)? == resolve_directory(&shorter)?).then_some(shorter)
}

/// Returns the depth at which a relative path ends. `None` if the path leaves its start directory on the way.
fn final_depth(path: &Path) -> Option<usize> {
    path.components().try_fold(0_usize, |depth, part| match part {
        Component::ParentDir => depth.checked_sub(1),
        _ => Some(depth + 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn where_a_path_leads_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let dir = fsx::canonicalize(dir.path()).unwrap();
        fsx::create_dir_all(&dir.join("out/build")).unwrap();
        fsx::create_dir_all(&dir.join("elsewhere/deep")).unwrap();
        symlink(dir.join("elsewhere/deep"), dir.join("out/link")).unwrap();
        let out = dir.join("out");
        let is_below = |path: &str| is_below(&dir.join(path), &out);
        assert!(is_below("out/x") && is_below("out/build/../x") && is_below("out/../out/x"));
        assert!(!is_below("out/../x") && !is_below("out/build/../../x") && !is_below("out/link/../x"));
        assert!(is_below("out/gone/../x") && !is_below("out/gone/../../x") && !is_below("gone/../out/x"));
        let without_parents = |path: &str| without_parents(&dir.join(path), &out);
        assert_eq!(without_parents("out/build/../../x"), Some(dir.join("x")));
        assert_eq!(without_parents("out/link/../x"), None, "it leads elsewhere");
        assert_eq!(without_parents("elsewhere/../x"), None);
        assert_eq!(without_parents("out/x"), None);
    }
}
