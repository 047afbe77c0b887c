//! The width of the terminal.
#![allow(unsafe_code, reason = "an ioctl is unsafe by its nature: its number says how its argument is read")]

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

mod ioctl {
    nix::ioctl_read_bad!(tiocgwinsz, nix::libc::TIOCGWINSZ, nix::libc::winsize);
}

/// Returns the number of columns of the terminal behind a descriptor. `None` if it is not a terminal or does not report
/// its size.
pub fn columns(fd: BorrowedFd<'_>) -> Option<u16> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is open, and TIOCGWINSZ writes one `winsize`, which `size` is.
    unsafe { ioctl::tiocgwinsz(fd.as_raw_fd(), &raw mut size) }.ok()?;
    (size.ws_col > 0).then_some(size.ws_col)
}
