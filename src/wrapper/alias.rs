//! Decides which units rustc compiles under an alias of the working directory (`rustc::alias`), so that other checkouts
//! can use their sessions.

use std::path::{Path, PathBuf};

use memchr::memmem::Finder;

use super::call::{Call, wants_rpath};
use super::task::Task;
use crate::config::env;
use crate::fsx;
use crate::model::RootKind;
use crate::rustc::{Driver, alias};

/// Whether the alias leaves this unit's outputs unchanged: its remaps are kache's, everything that rustc names is below
/// the working directory in its usual place, and it reads no generated source by an absolute path.
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
        && alias::aliased_args(&invocation.argv, cwd).is_some()
        && leads_to(cwd)
}

/// Whether the alias leads to the working directory. `/proc` may be absent, or show another process.
fn leads_to(cwd: &Path) -> bool {
    let real = fsx::canonicalize(cwd);
    fsx::canonicalize(Path::new(alias::ALIAS)).is_ok_and(|alias| real.is_ok_and(|real| real == alias))
}

/// Whether a source in the crate root's directory seems to include a file by the absolute path of the package, which
/// the alias does not remap. This is a guess: it affects whether other checkouts can use the session, but never the
/// result.
pub(super) fn names_its_directory(call: &Call<'_>) -> bool {
    let root = call.invocation.cwd.join(&call.invocation.source);
    let package = call.common().env.path(env::CARGO_MANIFEST_DIR);
    let mut files = vec![root.clone()];
    match root.parent() {
        // The package's own directory contains more than the sources of this unit.
        Some(dir) if package.as_deref() != Some(dir) => sources(dir, &mut files),
        _ => {}
    }
    let (variable, include) = (Finder::new("CARGO_MANIFEST_DIR"), Finder::new("include"));
    files
        .iter()
        .filter_map(|file| fsx::read(file).ok())
        .any(|bytes| variable.find(&bytes).is_some() && include.find(&bytes).is_some())
}

/// Adds all Rust sources below a directory to `files`.
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
