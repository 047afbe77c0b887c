//! The width of the terminal.

use std::os::fd::BorrowedFd;

/// Returns the number of columns of the terminal behind a descriptor. `None` if it is not a terminal or does not report
/// its size.
pub fn columns(fd: BorrowedFd<'_>) -> Option<u16> {
    let columns = rustix::termios::tcgetwinsize(fd).ok()?.ws_col;
    (columns > 0).then_some(columns)
}
