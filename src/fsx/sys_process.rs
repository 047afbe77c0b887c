//! Prepares child processes between `fork` and `exec`, ends this process like its child, and reads facts about its
//! callers.
#![allow(unsafe_code, reason = "pre_exec is unsafe: only async-signal-safe calls may run there")]

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::{ForkResult, Pid, fork, setsid};

/// Makes the child die when this process is killed, because without kache the compiler itself would have been killed.
///
/// Call this on the thread that spawns the child. The thread must outlive the child, because Linux ties the signal to
/// it.
pub fn die_with_parent(command: &mut Command) {
    #[cfg(target_os = "linux")]
    // SAFETY: prctl(2) is a bare system call: it neither allocates nor locks, so it may run between fork and exec.
    unsafe {
        command.pre_exec(|| nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(Into::into));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}

/// Starts a process that outlives this one and is not a child of it, so that nobody takes it for a process that a build
/// script left behind. It gets its own session, and does not inherit descriptors above stderr (which would keep cargo's
/// jobserver and pipes open).
pub fn spawn_detached(command: &mut Command) -> std::io::Result<()> {
    // SAFETY: setsid(2), fork(2), _exit(2) and the calls of `close_at_exec` are bare system calls: they neither
    // allocate nor lock. The child of a fork has one thread.
    unsafe {
        command.pre_exec(|| {
            let _ = setsid();
            close_at_exec();
            match fork() {
                Ok(ForkResult::Parent { .. }) => nix::libc::_exit(0),
                // Without a second process, it stays a child of this one.
                Ok(ForkResult::Child) | Err(_) => Ok(()),
            }
        });
    }
    let mut child = command.spawn()?;
    // The first process has ended, unless the second could not be made.
    let _ = child.try_wait();
    Ok(())
}

/// Does `work` in a copy of this process that outlives it, in its own session, without standard streams. Does it here
/// if no copy can be made. The copy ends with the exit code 0, and keeps locks on files that `work` owns.
pub fn in_background(work: impl FnOnce()) {
    // Locks of other threads, such as that of the allocator, would stay locked in the copy.
    let is_alone = super::list(std::path::Path::new("/proc/self/task")).is_ok_and(|threads| threads.len() == 1);
    if !is_alone {
        return work();
    }
    // SAFETY: this process has one thread, so the copy may do what this process may do.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            let _ = setsid();
            close_inherited();
            if no_streams().is_ok() {
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            }
            exit(0)
        }
        // What it owns now belongs to the copy.
        Ok(ForkResult::Parent { .. }) => std::mem::forget(work),
        Err(_) => work(),
    }
}

/// Closes every descriptor above stderr that this process did not open: its own are closed at `exec`.
fn close_inherited() {
    let names = super::list(std::path::Path::new("/proc/self/fd")).unwrap_or_default();
    for fd in names.iter().filter_map(|name| name.to_str()?.parse::<i32>().ok()).filter(|fd| *fd > 2) {
        // SAFETY: fcntl(2) and close(2) take only numbers, and this process did not open the descriptor.
        unsafe {
            if nix::libc::fcntl(fd, nix::libc::F_GETFD) == 0 {
                nix::libc::close(fd);
            }
        }
    }
}

/// Replaces the standard streams by the null device: cargo waits for the end of the pipes that they are.
fn no_streams() -> std::io::Result<()> {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    Ok(())
}

/// Makes every descriptor above stderr close at `exec`.
fn close_at_exec() {
    #[cfg(target_os = "linux")]
    {
        use nix::libc::{CLOSE_RANGE_CLOEXEC, SYS_close_range, c_uint, syscall};
        // SAFETY: with this flag (Linux 5.11), close_range(2) closes nothing now; it takes only numbers.
        if unsafe { syscall(SYS_close_range, 3 as c_uint, c_uint::MAX, CLOSE_RANGE_CLOEXEC) } == 0 {
            return;
        }
    }
    // One call for each descriptor that is likely to be open: in a container, the limit may be a million.
    let most = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft.min(65_536));
    for fd in 3..i32::try_from(most).unwrap_or(1024) {
        // SAFETY: fcntl(2) takes only numbers here; for an unused descriptor it returns EBADF.
        unsafe { nix::libc::fcntl(fd, nix::libc::F_SETFD, nix::libc::FD_CLOEXEC) };
    }
}

/// Whether SIGXFSZ had its default action when this process began.
static SIZE_SIGNAL_WAS_DEFAULT: AtomicBool = AtomicBool::new(false);

/// Makes writes beyond a limit on file sizes (`ulimit -f`) fail instead of killing this process: files of the store may
/// be larger than any file that the compiler writes.
pub fn survive_size_limit() {
    // SAFETY: to ignore a signal does not run code of this process.
    let before = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
    SIZE_SIGNAL_WAS_DEFAULT.store(matches!(before, Ok(SigHandler::SigDfl)), Ordering::Relaxed);
}

/// Starts the child with the signal actions that this process began with.
pub fn keep_signals(command: &mut Command) {
    if SIZE_SIGNAL_WAS_DEFAULT.load(Ordering::Relaxed) {
        // SAFETY: sigaction(2) is a bare system call, and the default action does not run code of this process.
        unsafe {
            command.pre_exec(|| signal(Signal::SIGXFSZ, SigHandler::SigDfl).map(|_| ()).map_err(Into::into));
        }
    }
}

/// Makes this process the parent of the processes that its children leave behind. Linux only.
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_child_subreaper(true);
}

/// Returns whether a child of this process is still running. Reaps those that have ended.
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

/// Ends this process like `status`: with the same exit code, or killed by the same signal.
pub fn exit_like(status: ExitStatus) -> ! {
    if let Some(number) = status.signal() {
        // The child may have left a core file, which a second one of this process would hide.
        let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
        if let Ok(named) = Signal::try_from(number) {
            restore_default(named);
            let _ = kill(Pid::this(), named);
        }
        exit(128 + number)
    }
    exit(status.code().unwrap_or(1))
}

/// Resets `caught` to its default action. Rust's runtime ignores SIGPIPE, and catches SIGSEGV and SIGBUS to report
/// stack overflows.
fn restore_default(caught: Signal) {
    // SAFETY: the default action does not run code of this process.
    let _ = unsafe { signal(caught, SigHandler::SigDfl) };
}

/// Lowers the priority of the calling thread, and of threads that it starts later, below everything else.
pub fn lower_priority() {
    // On Linux the niceness is that of a thread (sched(7)); elsewhere it is that of the whole process.
    #[cfg(target_os = "linux")]
    // SAFETY: setpriority(2) takes only numbers; 0 is the calling thread.
    unsafe {
        nix::libc::setpriority(nix::libc::PRIO_PROCESS, 0, 19);
    }
}

/// Returns the processor time of the calling thread.
pub fn processor_time() -> std::time::Duration {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
    now.map_or(std::time::Duration::ZERO, Into::into)
}

/// Returns the ID of the process that started this one.
pub fn caller() -> u32 {
    std::os::unix::process::parent_id()
}

/// Returns when the process that started this one began, in ticks since boot. `None` if the system does not report it.
pub fn caller_began() -> Option<u64> {
    stat_field(caller(), 19)?.parse().ok()
}

/// Returns when a process began, in milliseconds since 1970, from the ticks of [`caller_began`]. May be a second off.
/// `None` if the system does not report it.
pub fn wall_clock(ticks: u64) -> Option<i64> {
    let stat = super::read_to_string(std::path::Path::new("/proc/stat")).ok()?;
    let boot: i64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    Some(boot * 1000 + i64::try_from(ticks).ok()? * 1000 / per_second.max(1))
}

/// Returns the field number `field` of `/proc/<process>/stat` (proc_pid_stat(5)); number 0 is the field after the name
/// of the program. `None` if the process or the field does not exist.
fn stat_field(process: u32, field: usize) -> Option<String> {
    let stat = super::read_to_string(std::path::Path::new(&format!("/proc/{process}/stat"))).ok()?;
    // The second field is a name, which may contain anything; the last parenthesis ends it.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(field).map(str::to_owned)
}

/// Returns whether an ancestor of this process, up to the nearest cargo, runs `program`.
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

/// Returns the environment with which the process that started this one began. `None` if the system does not report it.
pub fn environment_of_caller() -> Option<Vec<(std::ffi::OsString, std::ffi::OsString)>> {
    use std::os::unix::ffi::OsStringExt;
    let bytes = super::read(std::path::Path::new(&format!("/proc/{}/environ", caller()))).ok()?;
    let variable = |line: &[u8]| {
        let at = line.iter().position(|byte| *byte == b'=')?;
        let text = |bytes: &[u8]| std::ffi::OsString::from_vec(bytes.to_vec());
        Some((text(&line[..at]), text(&line[at + 1..])))
    };
    Some(bytes.split(|byte| *byte == 0).filter_map(variable).collect())
}

/// Returns the arguments of the process that started this one. `None` if the system does not report them.
pub fn arguments_of_caller() -> Option<Vec<String>> {
    let bytes = super::read(std::path::Path::new(&format!("/proc/{}/cmdline", caller()))).ok()?;
    let arguments = bytes.strip_suffix(b"\0")?.split(|byte| *byte == 0);
    arguments.map(|argument| String::from_utf8(argument.to_vec()).ok()).collect()
}

/// Returns the path of the program of the process that started this one. `None` if the system does not report it.
pub fn program_of_caller() -> Option<std::path::PathBuf> {
    super::read_link_text(std::path::Path::new(&format!("/proc/{}/exe", caller()))).map(Into::into)
}

/// Returns whether a process runs a program of this name.
pub fn runs(process: u32, name: &str) -> bool {
    let program = super::read_link_text(std::path::Path::new(&format!("/proc/{process}/exe")));
    program.is_some_and(|program| std::path::Path::new(&program).file_stem().is_some_and(|stem| stem == name))
}

/// Returns whether the process that began at `began` ([`caller_began`]) is still running.
pub fn is_running(process: u32, began: u64) -> bool {
    let is_dead = || stat_field(process, 0).is_some_and(|state| matches!(state.as_str(), "Z" | "X"));
    stat_field(process, 19).is_some_and(|at| at.parse() == Ok(began)) && !is_dead()
}

/// Waits for the end of the process that began at `began` ([`caller_began`]), at most for `limit`. Returns whether it
/// has ended.
pub fn wait_for_end(process: u32, began: u64, limit: std::time::Duration) -> bool {
    #[cfg(target_os = "linux")]
    if let Some(ended) = wait_by_descriptor(process, began, limit) {
        return ended;
    }
    let waiting = std::time::Instant::now();
    while is_running(process, began) && waiting.elapsed() < limit {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    !is_running(process, began)
}

/// Like [`wait_for_end`]; `None` if the kernel gives no descriptor.
#[cfg(target_os = "linux")]
fn wait_by_descriptor(process: u32, began: u64, limit: std::time::Duration) -> Option<bool> {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    let pid = Pid::from_raw(i32::try_from(process).ok()?)?;
    let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(descriptor) => descriptor,
        Err(rustix::io::Errno::SRCH) => return Some(true),
        Err(_) => return None,
    };
    // The descriptor may be of a later process with the same id.
    if !is_running(process, began) {
        return Some(true);
    }
    let timeout = limit.try_into().ok()?;
    Some(poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&timeout)).ok()? > 0)
}

/// Returns the working directory of the process that started this one. `None` if the system does not report it.
pub fn directory_of_caller() -> Option<std::path::PathBuf> {
    super::canonicalize(std::path::Path::new(&format!("/proc/{}/cwd", caller()))).ok()
}

/// Ends this process with the exit code `code`.
#[expect(clippy::exit, reason = "the one place where the wrapper ends")]
pub fn exit(code: i32) -> ! {
    std::process::exit(code)
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn a_detached_child_inherits_no_descriptors() {
        use std::os::fd::AsRawFd;
        let file = std::fs::File::open("/dev/null").unwrap();
        // `dup` clears the flag that Rust sets, as make and cargo do for the jobserver.
        let inherited = nix::unistd::dup(&file).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let opens = |detached: bool| {
            let said = dir.path().join(detached.to_string());
            let (fd, file) = (inherited.as_raw_fd(), said.display());
            let script = format!("test -e /proc/self/fd/{fd}; echo \"$? $PPID\" > {file}.new; mv {file}.new {file}");
            let mut command = std::process::Command::new("sh");
            command.arg("-c").arg(script);
            match detached {
                true => super::spawn_detached(&mut command).unwrap(),
                false => drop(command.status().unwrap()),
            }
            let text = loop {
                match crate::fsx::read_to_string(&said) {
                    Ok(text) => break text,
                    Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
                }
            };
            let (code, parent) = text.trim().split_once(' ').unwrap();
            (code == "0", parent == std::process::id().to_string())
        };
        assert_eq!(opens(false), (true, true));
        assert_eq!(opens(true), (false, false), "nor is it a child of this process");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_end_of_a_process_is_noticed() {
        use std::time::Duration;
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let began = super::stat_field(child.id(), 19).unwrap().parse().unwrap();
        assert!(!super::wait_for_end(child.id(), began, Duration::from_millis(10)));
        assert!(super::wait_for_end(child.id(), began + 1, Duration::from_secs(9)), "another process with this id");
        child.kill().unwrap();
        assert!(super::wait_for_end(child.id(), began, Duration::from_secs(9)), "not yet reaped");
        child.wait().unwrap();
        assert!(super::wait_for_end(child.id(), began, Duration::from_secs(9)));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_system_tells_when_the_caller_began() {
        let began = super::caller_began().expect("/proc");
        assert!(began > 0);
        assert_eq!(super::caller_began(), Some(began), "it stays the same");
    }
}
