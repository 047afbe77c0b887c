//! Running a compiler or a build script: by `exec` when nothing is to be learned, else with its streams passed on live and recorded.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::alias::Unalias;
use crate::fsx::sys_process;

/// The short while of [`Until::Ended`].
const LINGER: Duration = Duration::from_millis(500);

/// What a program did.
#[derive(Debug)]
pub struct Ran {
    /// The number of its process.
    pub process: u32,
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: Vec<u8>,
}

/// Becomes `program`: same process, argv and environment untouched but for `extra`. Returns only on failure.
pub fn exec(program: &OsStr, args: &[OsString], extra: Option<(&str, OsString)>) -> std::io::Error {
    let mut command = Command::new(program);
    command.args(args);
    if let Some((name, value)) = extra {
        command.env(name, value);
    }
    sys_process::keep_signals(&mut command);
    command.exec()
}

/// A call of the compiler `program`, with `extra` in its environment.
pub fn command(program: &OsStr, args: &[OsString], cwd: &Path, extra: &[(&str, OsString)]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(cwd).envs(extra.iter().map(|(name, value)| (name, value)));
    command
}

/// How long to listen to the streams of a program that has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// A short while: something that a compiler left behind may hold its streams open for ever.
    Ended,
    /// Until nobody holds them, as cargo itself does with a build script.
    Closed,
}

/// Runs `command`, passes its streams on as they come, and records them. `unalias`: what to do with lines of its standard
/// error before.
///
/// stdin and all other descriptors (cargo's jobserver among them) are inherited. If whoever reads our streams has gone, the
/// program is still listened to until it ends.
pub fn run(mut command: Command, until: Until, unalias: Option<Unalias>) -> std::io::Result<Ran> {
    let (sender, receiver) = mpsc::channel();
    let in_hand = Arc::new(AtomicUsize::new(0));
    // The threads come first: without them the compiler must not start.
    let (out, stdout) = std::io::pipe()?;
    let (err, stderr) = std::io::pipe()?;
    let to = |stream, sender| To { stream, sender, in_hand: Arc::clone(&in_hand) };
    forward(out, std::io::stdout(), to(Stream::Out, sender.clone()), Lines::untouched())?;
    forward(err, std::io::stderr(), to(Stream::Err, sender), Lines { unalias, begun: Vec::new() })?;
    command.stdout(stdout).stderr(stderr);
    sys_process::die_with_parent(&mut command);
    sys_process::keep_signals(&mut command);
    let mut child = command.spawn()?;
    // Our ends for writing go with it: the streams end when the compiler's do.
    drop(command);
    let status = child.wait()?;
    let mut ran = Ran { process: child.id(), status, stdout: Vec::new(), stderr: Vec::new() };
    let mut deadline = Instant::now() + LINGER;
    loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((Stream::Out, bytes)) => ran.stdout.extend(bytes),
            Ok((Stream::Err, bytes)) => ran.stderr.extend(bytes),
            Err(RecvTimeoutError::Timeout) if until == Until::Closed => deadline = Instant::now() + LINGER,
            // Our own reader takes its time (`cargo build | less`): what the compiler said is still on its way.
            Err(RecvTimeoutError::Timeout) if in_hand.load(Ordering::Acquire) > 0 => deadline = Instant::now() + LINGER,
            Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => return Ok(ran),
        }
    }
}

/// The answer of `program` to a question, if it is text and the exit code is 0.
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
enum Stream {
    Out,
    Err,
}

/// Where a copy of a stream goes.
struct To {
    stream: Stream,
    sender: Sender<(Stream, Vec<u8>)>,
    /// Counts the streams that have read something and not yet passed it on.
    in_hand: Arc<AtomicUsize>,
}

/// Puts the working directory's own name into whole lines.
struct Lines {
    unalias: Option<Unalias>,
    begun: Vec<u8>,
}

impl Lines {
    fn untouched() -> Self {
        Self { unalias: None, begun: Vec::new() }
    }

    /// What can be passed on once `bytes` have come; nothing has come at the end.
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

/// Passes on what comes.
fn forward(
    mut from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    copy: To,
    mut lines: Lines,
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
            copy.in_hand.fetch_add(1, Ordering::AcqRel);
            let bytes = lines.pass(&buffer[..n]);
            if reader_is_there {
                reader_is_there = to.write_all(&bytes).and_then(|()| to.flush()).is_ok();
            }
            let sent = copy.sender.send((copy.stream, bytes));
            copy.in_hand.fetch_sub(1, Ordering::AcqRel);
            if sent.is_err() || n == 0 {
                return;
            }
        }
    };
    std::thread::Builder::new().spawn(pass_on).map(drop)
}
