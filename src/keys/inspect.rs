//! Inspects paths and looks up programs, in the same way when an input is recorded and when it is validated.

use std::ffi::OsStr;
use std::path::Path;

use super::Context;
use crate::fsx::{self, Metadata};
use crate::model::{PathKind, TokenString};
use crate::rustc::toolchain;

/// Returns the kind of the file at `path`, links followed. `None` if nothing is there, or if it cannot be inspected.
pub fn kind(path: &Path) -> Option<PathKind> {
    kind_of(fsx::metadata(path))
}

/// Returns the kind of the file at `path`, links not followed.
pub fn kind_no_follow(path: &Path) -> Option<PathKind> {
    kind_of(fsx::symlink_metadata(path))
}

/// Returns the kind of the file that a `stat` found. Missing permission is [`PathKind::Denied`], because a program can
/// observe it. Any other error is `None`.
fn kind_of(found: fsx::Result<Metadata>) -> Option<PathKind> {
    match found {
        Ok(metadata) if metadata.is_file() => Some(PathKind::File),
        Ok(metadata) if metadata.is_dir() => Some(PathKind::Directory),
        Ok(metadata) if metadata.is_symlink() => Some(PathKind::Link),
        Ok(_) => Some(PathKind::Special),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Some(PathKind::Denied),
        Err(_) => None,
    }
}

/// Returns the permissions of the owner for the file at `path`.
pub fn owner_mode(path: &Path) -> Option<u32> {
    fsx::Stamp::of(path).ok().map(|stamp| stamp.mode & 0o700)
}

/// Returns the mtime of the file at `path`, in seconds since 1970.
pub fn mtime(path: &Path) -> Option<i64> {
    fsx::Stamp::of(path).ok().map(|stamp| stamp.mtime.secs)
}

/// Returns the creation time of the file at `path`, in seconds since 1970. `None` if the file system does not record
/// it.
pub fn creation_time(path: &Path) -> Option<i64> {
    let created = fsx::metadata(path).ok()?.created().ok()?;
    i64::try_from(created.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs()).ok()
}

/// Returns the path without links, as text.
pub fn resolved(path: &Path) -> Option<String> {
    fsx::canonicalize(path).ok()?.into_os_string().into_string().ok()
}

/// Returns the path that a lookup on `PATH` finds for a program name.
pub fn program(name: &str, context: Context<'_>) -> Option<TokenString> {
    let path = toolchain::find_program(OsStr::new(name), context.cwd, context.env)?;
    Some(context.roots.tokenise(path.to_str()?))
}
