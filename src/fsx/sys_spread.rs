//! Controls where a file system puts new directories.
#![allow(unsafe_code, reason = "an ioctl is unsafe by its nature: its number says how its argument is read")]

use std::fs::File;
use std::io;

#[cfg(target_os = "linux")]
mod ioctl {
    use nix::libc::{FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, c_int};
    // The request numbers encode a `long`, but the kernel reads and writes an `int` (ioctl_iflags(2)).
    nix::ioctl_read_bad!(get_flags, FS_IOC_GETFLAGS, c_int);
    nix::ioctl_write_ptr_bad!(set_flags, FS_IOC_SETFLAGS, c_int);
}

/// Makes ext4 put each new directory in `dir` where much space is free, instead of near `dir` (`chattr +T`, ext4's
/// `find_group_orlov`). Fails on other file systems.
#[cfg(target_os = "linux")]
pub(super) fn spread_children(dir: &File) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    /// `FS_TOPDIR_FL` in linux/fs.h.
    const TOP_OF_HIERARCHY: nix::libc::c_int = 0x0002_0000;
    let mut flags = 0;
    // SAFETY: the descriptor is open, and FS_IOC_GETFLAGS writes one `int`, which `flags` is.
    unsafe { ioctl::get_flags(dir.as_raw_fd(), &raw mut flags) }?;
    flags |= TOP_OF_HIERARCHY;
    // SAFETY: the descriptor is open, and FS_IOC_SETFLAGS reads one `int`, which `flags` is.
    unsafe { ioctl::set_flags(dir.as_raw_fd(), &raw const flags) }?;
    Ok(())
}

/// Not supported on this system: always an error.
#[cfg(not(target_os = "linux"))]
pub(super) fn spread_children(_dir: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
