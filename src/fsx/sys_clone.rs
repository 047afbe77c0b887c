//! Reflinks: a file-system call that no safe library offers.
#![allow(unsafe_code, reason = "an ioctl is unsafe by its nature: its number says how its argument is read")]

use std::fs::File;
use std::io;

#[cfg(target_os = "linux")]
mod ioctl {
    // `FICLONE` in linux/fs.h: `_IOW(0x94, 9, int)`. Its argument is the descriptor of the source.
    nix::ioctl_write_int!(ficlone, 0x94, 9);
}

/// Makes the empty file `to` share the extents of `from`.
#[cfg(target_os = "linux")]
pub(super) fn reflink(from: &File, to: &File) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let source = nix::libc::c_ulong::try_from(from.as_raw_fd()).map_err(io::Error::other)?;
    // SAFETY: both descriptors are open for the length of the call, and FICLONE reads its argument as a descriptor.
    unsafe { ioctl::ficlone(to.as_raw_fd(), source) }.map(|_| ()).map_err(Into::into)
}

/// Not supported on this system: files are linked or copied instead.
#[cfg(not(target_os = "linux"))]
pub(super) fn reflink(_from: &File, _to: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
