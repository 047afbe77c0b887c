//! What stands at a path and where a program is, asked in the same way when an input is recorded and when it is validated.

use std::ffi::OsStr;
use std::path::Path;

use super::Context;
use crate::fsx::{self, Metadata};
use crate::model::{Thing, TokenString};
use crate::rustc::toolchain;

/// What stands at `path`, links followed. `None`: nothing, or nothing that can be told.
pub fn present(path: &Path) -> Option<Thing> {
    thing(fsx::metadata(path))
}

/// What stands at `path` itself.
pub fn itself(path: &Path) -> Option<Thing> {
    thing(fsx::symlink_metadata(path))
}

/// What keeps a file from being looked at or opened is told by opening it.
fn thing(found: fsx::Result<Metadata>) -> Option<Thing> {
    match found {
        Ok(metadata) if metadata.is_file() => Some(Thing::File),
        Ok(metadata) if metadata.is_dir() => Some(Thing::Directory),
        Ok(metadata) if metadata.is_symlink() => Some(Thing::Link),
        Ok(_) => Some(Thing::Special),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Some(Thing::Denied),
        Err(_) => None,
    }
}

/// What the owner may do with the file at `path`.
pub fn mode(path: &Path) -> Option<u32> {
    fsx::Stamp::of(path).ok().map(|stamp| stamp.mode & 0o700)
}

/// When the file at `path` was last written, in seconds since 1970.
pub fn modified(path: &Path) -> Option<i64> {
    fsx::Stamp::of(path).ok().map(|stamp| stamp.mtime.secs)
}

/// When the file at `path` was created, in seconds since 1970. `None` where the file system does not say.
pub fn created(path: &Path) -> Option<i64> {
    let created = fsx::metadata(path).ok()?.created().ok()?;
    i64::try_from(created.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs()).ok()
}

/// The path without links, as text.
pub fn resolved(path: &Path) -> Option<String> {
    fsx::canonicalize(path).ok()?.into_os_string().into_string().ok()
}

/// Where `PATH` leads for a program's name.
pub fn program(name: &str, context: Context<'_>) -> Option<TokenString> {
    let path = toolchain::find_program(OsStr::new(name), context.cwd, context.env)?;
    Some(context.roots.tokenise(path.to_str()?))
}
