//! Controls where a file system puts new directories.

use std::fs::File;
use std::io;

/// Makes ext4 put each new directory in `dir` where much space is free, instead of near `dir` (`chattr +T`, ext4's
/// `find_group_orlov`). Fails on other file systems.
#[cfg(target_os = "linux")]
pub(super) fn spread_children(dir: &File) -> io::Result<()> {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let flags = ioctl_getflags(dir)?;
    Ok(ioctl_setflags(dir, flags | IFlags::TOPDIR)?)
}

/// Not supported on this system: always an error.
#[cfg(not(target_os = "linux"))]
pub(super) fn spread_children(_dir: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
