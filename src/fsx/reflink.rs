//! Reflinks: files that share the blocks of another file until one of the two is changed.

use std::fs::File;
use std::io;

/// Makes the empty file `to` share the extents of `from`. Fails where the file system has no reflinks.
#[cfg(target_os = "linux")]
pub(super) fn reflink(from: &File, to: &File) -> io::Result<()> {
    Ok(rustix::fs::ioctl_ficlone(to, from)?)
}

/// Not supported on this system: files are linked or copied instead.
#[cfg(not(target_os = "linux"))]
pub(super) fn reflink(_from: &File, _to: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
