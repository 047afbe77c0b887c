//! What a child process needs between `fork` and `exec`, and how this process ends as its child did.
#![allow(unsafe_code, reason = "pre_exec is unsafe: only async-signal-safe calls may run there")]

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

use rustix::process::Signal;

/// Lets the child die when this process is killed, as the compiler would have been the one that was killed.
///
/// Must be called on the thread that spawns and outlives the child: Linux ties the signal to the thread.
pub fn die_with_parent(command: &mut Command) {
    #[cfg(target_os = "linux")]
    // SAFETY: prctl(2) is a bare system call: it neither allocates nor locks, so it may run between fork and exec.
    unsafe {
        command.pre_exec(|| rustix::process::set_parent_process_death_signal(Some(Signal::TERM)).map_err(Into::into));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}

/// Lets the child outlive this process: own session, and none of the descriptors above stderr that we inherited (cargo's
/// jobserver and pipes would stay open with them).
pub fn detach(command: &mut Command) {
    // SAFETY: setsid(2) and fcntl(2) are bare system calls: they neither allocate nor lock.
    unsafe {
        command.pre_exec(|| {
            let _ = rustix::process::setsid();
            for fd in 3..256 {
                // SAFETY: the descriptor is only asked to close itself at exec; an unused number answers EBADF.
                let fd = std::os::fd::BorrowedFd::borrow_raw(fd);
                let _ = rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC);
            }
            Ok(())
        });
    }
}

/// Ends this process as `status` says: the same code, or killed by the same signal.
pub fn end_like(status: ExitStatus) -> ! {
    if let Some(signal) = status.signal() {
        // The child may have left a core file; a second one of ours would hide it.
        let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
        let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
        if let Some(named) = Signal::from_named_raw(signal) {
            restore_default(signal);
            let _ = rustix::process::kill_process(rustix::process::getpid(), named);
        }
        end(128 + signal)
    }
    end(status.code().unwrap_or(1))
}

/// Lets `number` do what it does to a process that never heard of it. Rust's runtime ignores SIGPIPE, and catches SIGSEGV and
/// SIGBUS to tell stack overflows.
fn restore_default(number: i32) {
    const SIG_DFL: usize = 0;
    unsafe extern "C" {
        fn signal(number: i32, handler: usize) -> usize;
    }
    // SAFETY: signal(2) from the C library that std links, with the one handler that is no code.
    unsafe {
        signal(number, SIG_DFL);
    }
}

/// Ends this process with `code`.
#[expect(clippy::exit, reason = "the one place where the wrapper ends")]
pub fn end(code: i32) -> ! {
    std::process::exit(code)
}
