//! What a child process needs between `fork` and `exec`, and how this process ends as its child did.
#![allow(unsafe_code, reason = "pre_exec is unsafe: only async-signal-safe calls may run there")]

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::{Pid, setsid};

/// Lets the child die when this process is killed, as the compiler would have been the one that was killed.
///
/// Must be called on the thread that spawns and outlives the child: Linux ties the signal to the thread.
pub fn die_with_parent(command: &mut Command) {
    #[cfg(target_os = "linux")]
    // SAFETY: prctl(2) is a bare system call: it neither allocates nor locks, so it may run between fork and exec.
    unsafe {
        command.pre_exec(|| nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(Into::into));
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
            let _ = setsid();
            let most = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft.min(65_536));
            for fd in 3..i32::try_from(most).unwrap_or(1024) {
                // SAFETY: the descriptor is only asked to close itself at exec; an unused number answers EBADF.
                let fd = std::os::fd::BorrowedFd::borrow_raw(fd);
                let _ = fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
            }
            Ok(())
        });
    }
}

/// Whether SIGXFSZ was as the system sets it when this process began.
static SIZE_SIGNAL_WAS_DEFAULT: AtomicBool = AtomicBool::new(false);

/// Lets writes beyond a limit on file sizes (`ulimit -f`) fail instead of killing this process: the store's files may be
/// larger than any that the compiler writes.
pub fn survive_size_limit() {
    // SAFETY: ignoring is no code of this process.
    let before = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
    SIZE_SIGNAL_WAS_DEFAULT.store(matches!(before, Ok(SigHandler::SigDfl)), Ordering::Relaxed);
}

/// Starts the child with the signals that this process began with.
pub fn keep_signals(command: &mut Command) {
    if SIZE_SIGNAL_WAS_DEFAULT.load(Ordering::Relaxed) {
        // SAFETY: sigaction(2) is a bare system call, and the default action is no code of this process.
        unsafe {
            command.pre_exec(|| signal(Signal::SIGXFSZ, SigHandler::SigDfl).map(|_| ()).map_err(Into::into));
        }
    }
}

/// Lets what the children of this process leave behind become its own children.
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_child_subreaper(true);
}

/// Whether a child of this process is still running. Collects those that have ended.
pub fn has_children() -> bool {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

/// Ends this process as `status` says: the same code, or killed by the same signal.
pub fn end_like(status: ExitStatus) -> ! {
    if let Some(number) = status.signal() {
        // The child may have left a core file; a second one of ours would hide it.
        let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
        if let Ok(named) = Signal::try_from(number) {
            restore_default(named);
            let _ = kill(Pid::this(), named);
        }
        end(128 + number)
    }
    end(status.code().unwrap_or(1))
}

/// Lets `caught` do what it does to a process that never heard of it. Rust's runtime ignores SIGPIPE, and catches SIGSEGV and
/// SIGBUS to tell stack overflows.
fn restore_default(caught: Signal) {
    // SAFETY: the default action is no code of this process.
    let _ = unsafe { signal(caught, SigHandler::SigDfl) };
}

/// Lets the calling thread, and those that it will start, give way to everything else that wants a processor.
pub fn give_way() {
    // On Linux a thread has a niceness of its own (sched(7)); elsewhere this would be the whole process's.
    #[cfg(target_os = "linux")]
    // SAFETY: setpriority(2) takes numbers only; 0 is the calling thread.
    unsafe {
        nix::libc::setpriority(nix::libc::PRIO_PROCESS, 0, 19);
    }
}

/// The id of the process that started this one.
pub fn caller() -> u32 {
    std::os::unix::process::parent_id()
}

/// When the process that started this one began, in ticks since the machine did. `None`: the system does not tell.
pub fn caller_began() -> Option<u64> {
    stat_field(caller(), 19)?.parse().ok()
}

/// The field number `field` of `/proc/<process>/stat` (proc_pid_stat(5)), where the one behind the program's name is number 0.
/// `None`: there is no such process, or no such field.
fn stat_field(process: u32, field: usize) -> Option<String> {
    let stat = super::read_to_string(std::path::Path::new(&format!("/proc/{process}/stat"))).ok()?;
    // The second field is a name that may hold anything; the last parenthesis ends it.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(field).map(str::to_owned)
}

/// Whether one of the processes that led to this one, up to the nearest cargo, runs `program`.
pub fn is_started_by(program: &std::path::Path) -> bool {
    let mut process = caller();
    while process > 1 {
        let running = super::read_link_text(std::path::Path::new(&format!("/proc/{process}/exe"))).unwrap_or_default();
        let running = std::path::Path::new(&running);
        if running == program || running.file_name().is_some_and(|name| name == "cargo") {
            return running == program;
        }
        process = stat_field(process, 1).and_then(|parent| parent.parse().ok()).unwrap_or(0);
    }
    false
}

/// The working directory of the process that started this one. `None`: the system does not tell.
pub fn directory_of_caller() -> Option<std::path::PathBuf> {
    super::canonicalize(std::path::Path::new(&format!("/proc/{}/cwd", caller()))).ok()
}

/// Ends this process with `code`.
#[expect(clippy::exit, reason = "the one place where the wrapper ends")]
pub fn end(code: i32) -> ! {
    std::process::exit(code)
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn the_system_tells_when_the_caller_began() {
        let began = super::caller_began().expect("/proc");
        assert!(began > 0);
        assert_eq!(super::caller_began(), Some(began), "it stays the same");
    }
}
