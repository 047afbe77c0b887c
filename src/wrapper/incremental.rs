//! Incremental compiles: shared at first, private after an edit.
//!
//! The first compile of a unit in a target directory drops `-C incremental` and is shared like any other. Once the unit was
//! there and its inputs changed, it is compiled incrementally, with the session that cargo asked for, and kept private: its
//! bytes are nobody else's. What is built on private outputs is private too. A marker beside the outputs says so; it is
//! written before rustc starts, as cargo starts dependents before rustc ends.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::fsx::{self, Publish};
use crate::rustc::Invocation;

const SUFFIX: &str = ".kache-private";

/// Whether this unit was compiled or restored in this output directory before.
pub(super) fn was_here(invocation: &Invocation) -> bool {
    fsx::exists(&invocation.dep_info_path())
}

/// The marker of the unit with these outputs.
fn marker(out_dir: &Path, stem: &str) -> PathBuf {
    out_dir.join(format!(".{stem}{SUFFIX}"))
}

/// Marks this unit's outputs as private. Best effort: an unmarked private output costs the store an entry that nobody else
/// will ever ask for.
pub(super) fn mark_private(invocation: &Invocation) {
    let _ = Publish::default().bytes(&marker(&invocation.out_dir, &invocation.stem()), b"");
}

/// Takes the mark off.
pub(super) fn mark_shared(invocation: &Invocation) {
    let _ = fsx::remove_file(&marker(&invocation.out_dir, &invocation.stem()));
}

/// Whether the file is the private output of some unit.
pub(super) fn is_private(path: &Path) -> bool {
    let (Some(dir), Some(stem)) = (path.parent(), path.file_stem().and_then(|stem| stem.to_str())) else {
        return false;
    };
    fsx::exists(&marker(dir, stem.strip_prefix("lib").unwrap_or(stem)))
}

/// The first dependency that is private.
pub(super) fn private_dependency(invocation: &Invocation) -> Option<&Path> {
    invocation.externs.iter().map(|dep| dep.path.as_path()).find(|path| is_private(path))
}

/// Whether `-C incremental` stands on the command line itself, where it can be taken out.
pub(super) fn can_drop(argv: &[OsString]) -> bool {
    dropped(argv).len() < argv.len()
}

/// The arguments without `-C incremental`.
pub(super) fn dropped(argv: &[OsString]) -> Vec<OsString> {
    let is_it = |text: &str| text.starts_with("incremental=");
    let mut kept: Vec<OsString> = Vec::with_capacity(argv.len());
    for arg in argv {
        let text = arg.to_str().unwrap_or_default();
        let before = kept.last().and_then(|arg| arg.to_str());
        if is_it(text) && matches!(before, Some("-C" | "--codegen")) {
            kept.pop();
            continue;
        }
        let attached = text.strip_prefix("-C").or_else(|| text.strip_prefix("--codegen="));
        if !attached.is_some_and(is_it) {
            kept.push(arg.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n01_every_spelling_is_dropped() {
        let args = |text: &str| text.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        for spelling in
            ["-C incremental=/x", "-Cincremental=/x", "--codegen incremental=/x", "--codegen=incremental=/x"]
        {
            assert_eq!(dropped(&args(&format!("-C a=1 {spelling} b"))), args("-C a=1 b"), "{spelling}");
        }
        assert!(!can_drop(&args("-C a=1 incremental=/x")));
    }
}
