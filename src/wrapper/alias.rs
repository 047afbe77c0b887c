//! Which units rustc compiles under an alias of the working directory (`rustc::alias`), so that their sessions serve other
//! checkouts.

use std::path::{Path, PathBuf};

use memchr::memmem::Finder;

use super::call::{Call, wants_rpath};
use super::task::Task;
use crate::config::env;
use crate::fsx;
use crate::model::RootKind;
use crate::rustc::{Driver, alias};

/// Whether the alias changes nothing about this unit's outputs: its remaps are ours, what rustc names lies below its working
/// directory at its usual place, and no generated source is read by an absolute path.
pub(super) fn fits(call: &Call<'_>) -> bool {
    let (invocation, roots) = (&call.invocation, &call.common.roots);
    let cwd = invocation.cwd.as_path();
    let is_at = |kind, place: &Path| roots.place(kind).is_some_and(|root| Path::new(root) == place);
    call.observed
        && !call.injected.is_empty()
        && call.chain.driver == Driver::Rustc
        && call.common.compiler.script.is_none()
        && is_at(RootKind::Workspace, cwd)
        && is_at(RootKind::Target, &cwd.join("target"))
        && call.common.env.get(env::OUT_DIR).is_none()
        && invocation.last("-C split-debuginfo").is_none_or(|value| value == "off")
        && !wants_rpath(invocation)
        && alias::in_args(&invocation.argv, cwd).is_some()
        && leads_to(cwd)
}

/// Whether the alias leads to the working directory: `/proc` may not be there, or another process's.
fn leads_to(cwd: &Path) -> bool {
    let real = fsx::canonicalize(cwd);
    fsx::canonicalize(Path::new(alias::ALIAS)).is_ok_and(|alias| real.is_ok_and(|real| real == alias))
}

/// Whether a source beside the crate's root seems to include a file by the package's absolute path. The alias does not remap
/// that. A guess, which decides what a session is worth elsewhere and nothing about the result.
pub(super) fn names_its_directory(call: &Call<'_>) -> bool {
    let root = call.invocation.cwd.join(&call.invocation.source);
    let package = call.common().env.path(env::CARGO_MANIFEST_DIR);
    let mut files = vec![root.clone()];
    match root.parent() {
        // The package's own directory holds more than this unit's sources.
        Some(dir) if package.as_deref() != Some(dir) => sources(dir, &mut files),
        _ => {}
    }
    let (variable, include) = (Finder::new("CARGO_MANIFEST_DIR"), Finder::new("include"));
    files
        .iter()
        .filter_map(|file| fsx::read(file).ok())
        .any(|bytes| variable.find(&bytes).is_some() && include.find(&bytes).is_some())
}

/// Adds all Rust sources below a directory.
fn sources(dir: &Path, files: &mut Vec<PathBuf>) {
    for name in fsx::list(dir).unwrap_or_default() {
        let path = dir.join(name);
        match fsx::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => sources(&path, files),
            Ok(metadata) if metadata.is_file() && path.extension().is_some_and(|extension| extension == "rs") => {
                files.push(path);
            }
            _ => {}
        }
    }
}
