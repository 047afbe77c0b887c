//! Runs a compiler or a build script: by `exec` if nothing is to be recorded, else passing its streams on live and
//! recording them.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::alias::Unalias;
use crate::fsx::sys_process;

/// How long streams are read after the program has ended, with [`ReadUntil::ShortlyAfterExit`].
const READ_AFTER_EXIT: Duration = Duration::from_millis(500);

/// The wait status of a program that ended, but not how: exit code 101, with which rustc reports its own failures.
const UNKNOWN_STATUS: i32 = 101 << 8;

/// The result of running a program.
#[derive(Debug)]
pub struct ProgramOutput {
    /// ID of its process.
    pub process: u32,
    /// Its exit code, or the signal that killed it.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error, without the alias.
    pub stderr: Vec<u8>,
}

/// Replaces this process with `program`. The environment is unchanged, except that `extra` is added. Returns only on
/// failure.
pub fn exec(program: &OsStr, args: &[OsString], extra: Option<(&str, OsString)>) -> std::io::Error {
    let mut command = Command::new(program);
    command.args(args);
    if let Some((name, value)) = extra {
        command.env(name, value);
    }
    sys_process::keep_signals(&mut command);
    command.exec()
}

/// Creates the command that calls the compiler `program`, with `extra` in its environment.
pub fn command(program: &OsStr, args: &[OsString], cwd: &Path, extra: &[(&str, OsString)]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(cwd).envs(extra.iter().map(|(name, value)| (name, value)));
    command
}

/// How long to read the streams of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadUntil {
    /// Until shortly after the program has ended: a process that a compiler left behind may hold its streams open
    /// forever.
    ShortlyAfterExit,
    /// Until no process holds them open, as cargo itself does with a build script.
    StreamsClosed,
}

/// Runs `command`, passes its streams on as they arrive, and records them. `unalias` rewrites the lines of its standard
/// error first.
///
/// stdin and all other descriptors (cargo's jobserver among them) are inherited. If the reader of our streams has gone,
/// kache still reads those of the program until it ends.
pub fn run(mut command: Command, until: ReadUntil, unalias: Option<Unalias>) -> std::io::Result<ProgramOutput> {
    let (sender, receiver) = mpsc::channel();
    let unsent = Arc::new(AtomicUsize::new(0));
    // The threads start first: if they cannot, the compiler must not start.
    let (out, stdout) = std::io::pipe()?;
    let (err, stderr) = std::io::pipe()?;
    let tee = |stream, sender| Tee { stream, sender, unsent: Arc::clone(&unsent) };
    forward(out, std::io::stdout(), tee(StdStream::Out, sender.clone()), UnaliasLines::none())?;
    forward(err, std::io::stderr(), tee(StdStream::Err, sender), UnaliasLines { unalias, begun: Vec::new() })?;
    command.stdout(stdout).stderr(stderr);
    sys_process::die_with_parent(&mut command);
    sys_process::keep_signals(&mut command);
    let mut child = command.spawn()?;
    // This drops our write ends of the pipes, so that the streams end when those of the compiler end.
    drop(command);
    // The program must not run again, even if its status is unknown (a parent that ignores SIGCHLD).
    let status = child.wait().unwrap_or_else(|_| ExitStatus::from_raw(UNKNOWN_STATUS));
    let mut ran = ProgramOutput { process: child.id(), status, stdout: Vec::new(), stderr: Vec::new() };
    let mut deadline = Instant::now() + READ_AFTER_EXIT;
    loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((StdStream::Out, bytes)) => ran.stdout.extend(bytes),
            Ok((StdStream::Err, bytes)) => ran.stderr.extend(bytes),
            Err(RecvTimeoutError::Timeout) if until == ReadUntil::StreamsClosed => {
                deadline = Instant::now() + READ_AFTER_EXIT;
            }
            // Our own reader is slow (`cargo build | less`), so output of the compiler is still on its way.
            Err(RecvTimeoutError::Timeout) if unsent.load(Ordering::Acquire) > 0 => {
                deadline = Instant::now() + READ_AFTER_EXIT;
            }
            Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => return Ok(ran),
        }
    }
}

/// Runs `program` and returns its standard output, if that is text and the exit code is 0.
pub fn ask(program: &Path, args: &[&str], cwd: &Path, extra: Option<(&str, OsString)>) -> Option<String> {
    let mut command = Command::new(program);
    command.args(args).current_dir(cwd).stdin(Stdio::null()).stderr(Stdio::null());
    if let Some((name, value)) = extra {
        command.env(name, value);
    }
    sys_process::keep_signals(&mut command);
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).ok())?
}

#[derive(Clone, Copy)]
enum StdStream {
    Out,
    Err,
}

/// The recorder that gets a copy of a stream.
struct Tee {
    stream: StdStream,
    sender: Sender<(StdStream, Vec<u8>)>,
    /// The number of streams that have read bytes and not yet passed them on.
    unsent: Arc<AtomicUsize>,
}

/// A filter that replaces the alias with the name of the working directory, in whole lines.
struct UnaliasLines {
    unalias: Option<Unalias>,
    begun: Vec<u8>,
}

impl UnaliasLines {
    /// A filter that leaves its bytes as they are.
    fn none() -> Self {
        Self { unalias: None, begun: Vec::new() }
    }

    /// Returns the bytes that can be passed on after `bytes` were read. Empty `bytes` mean the end of the stream.
    fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let Some(unalias) = &self.unalias else { return bytes.to_vec() };
        self.begun.extend_from_slice(bytes);
        let end = match memchr::memrchr(b'\n', &self.begun) {
            _ if bytes.is_empty() => self.begun.len(),
            Some(at) => at + 1,
            None => return Vec::new(),
        };
        let whole: Vec<u8> = self.begun.drain(..end).collect();
        whole.split_inclusive(|byte| *byte == b'\n').flat_map(|line| unalias.line(line)).collect()
    }
}

/// Starts a thread that passes a stream on as it arrives.
fn forward(
    mut from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    copy: Tee,
    mut lines: UnaliasLines,
) -> std::io::Result<()> {
    let pass_on = move || {
        let mut buffer = vec![0; 64 * 1024];
        let mut reader_is_there = true;
        loop {
            let n = match from.read(&mut buffer) {
                Ok(n) => n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            copy.unsent.fetch_add(1, Ordering::AcqRel);
            let bytes = lines.pass(&buffer[..n]);
            if reader_is_there {
                reader_is_there = to.write_all(&bytes).and_then(|()| to.flush()).is_ok();
            }
            let sent = copy.sender.send((copy.stream, bytes));
            copy.unsent.fetch_sub(1, Ordering::AcqRel);
            if sent.is_err() || n == 0 {
                return;
            }
        }
    };
    std::thread::Builder::new().spawn(pass_on).map(drop)
}
