//! The client of the agent: a miss asks, waits for a bounded time, and goes on.
//!
//! Synchronous and small, without a runtime or TLS. Every failure means "compile". After an agent did not answer in
//! time, all clients skip it for a while.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{self, Stdio};
use std::time::{Duration, Instant};

use super::paths::AgentPaths;
use super::protocol::{Answer, Command, FetchRequest, MAX_LINE, Request, Response, VERSION, line};
use crate::fsx::{self, socket, sys_process};
use crate::model::RemoteAnswer;
use crate::store::Layout;

/// How long an answer may take. The agent answers from memory, but all cores may be busy.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(200);
/// How long a new agent may take until it listens.
const START_TIMEOUT: Duration = Duration::from_millis(150);
/// How long clients send no requests to an agent that was silent, and start none after a failed start.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// How long one miss waits in total, whatever the agent answers.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// An open connection to the agent.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<UnixStream>,
}

/// Requests an entry, and waits as long as the agent answers that it may come. `Ok`: an entry is in the store now, and
/// the connection can report [`Connection::unused`]. `Err`: no entry comes, for this reason.
pub fn fetch(layout: &Layout, request: FetchRequest) -> Result<Connection, RemoteAnswer> {
    let paths = AgentPaths::of(layout);
    if paths.silent().age().is_some_and(|age| age < RETRY_AFTER) {
        return Err(RemoteAnswer::NoAgent);
    }
    let mut connection = connect_or_start(&paths).ok_or(RemoteAnswer::NoAgent)?;
    connection.send(&Request::new(Command::Fetch(request))).map_err(|_| RemoteAnswer::NoAgent)?;
    let answer = wait(&mut connection, MAX_WAIT);
    tracing::debug!(?answer, "the agent answered");
    match answer {
        Ok(Answer::InStore) => return Ok(connection),
        Ok(Answer::Decline(why)) => return Err(why.into()),
        Err(NoAnswer::TimedOut) => drop(paths.silent().touch()),
        Ok(_) | Err(NoAnswer::Ended) => {}
    }
    Err(RemoteAnswer::NoAgent)
}

/// Waits for the last answer. Each answer may extend the wait, but to no more than `max` in total.
fn wait(connection: &mut Connection, max: Duration) -> Result<Answer, NoAnswer> {
    let until = Instant::now() + max;
    let mut timeout = ANSWER_TIMEOUT;
    loop {
        match connection.receive(timeout.min(until.saturating_duration_since(Instant::now())))? {
            Answer::Wait(ms) => timeout = ANSWER_TIMEOUT + Duration::from_millis(ms),
            answer => return Ok(answer),
        }
    }
}

/// Sends a command to a running agent. `None`: no agent runs, or it does not answer in time.
pub fn send_command(layout: &Layout, command: Command, timeout: Duration) -> Option<Answer> {
    let mut connection = Connection::open(&AgentPaths::of(layout)).ok()?;
    connection.send(&Request::new(command)).ok()?;
    connection.receive(timeout).ok()
}

/// Why an answer did not come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum NoAnswer {
    TimedOut,
    Ended,
}

impl Connection {
    fn open(paths: &AgentPaths) -> fsx::Result<Self> {
        socket::connect(&paths.socket()).map(|stream| Self { stream: BufReader::new(stream) })
    }

    /// Reports that the entry was not a hit.
    pub fn unused(mut self) {
        let _ = self.send(&Request::new(Command::Unused));
    }

    fn send(&mut self, request: &Request) -> std::io::Result<()> {
        let stream = self.stream.get_mut();
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        stream.write_all(&line(request))
    }

    fn receive(&mut self, timeout: Duration) -> Result<Answer, NoAnswer> {
        let until = Instant::now() + timeout;
        let mut text = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stream.get_ref().set_read_timeout(Some(left)).is_err() {
                return Err(NoAnswer::TimedOut);
            }
            match self.stream.by_ref().take(MAX_LINE).read_until(b'\n', &mut text) {
                Ok(_) if text.last() == Some(&b'\n') => break,
                Err(error) if is_retryable(&error) => {}
                Ok(_) | Err(_) => return Err(NoAnswer::Ended),
            }
        }
        match serde_json::from_slice::<Response>(&text) {
            Ok(reply) if reply.v == VERSION => Ok(reply.answer),
            _ => Err(NoAnswer::Ended),
        }
    }
}

fn is_retryable(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// Connects. If no agent listens, starts one and waits for it, unless a recent start failed.
fn connect_or_start(paths: &AgentPaths) -> Option<Connection> {
    if let Ok(connection) = Connection::open(paths) {
        return Some(connection);
    }
    match paths.starting().age() {
        Some(age) if age > START_TIMEOUT && age < RETRY_AFTER => return None,
        Some(age) if age <= START_TIMEOUT => {}
        // Without the file, every miss would start an agent and wait. It cannot be written if the cache is read-only or
        // belongs to another user.
        _ if !paths.starting().touch() => return None,
        _ => start()?,
    }
    let until = Instant::now() + START_TIMEOUT;
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
        if let Ok(connection) = Connection::open(paths) {
            return Some(connection);
        }
    }
    None
}

/// Starts an agent that outlives this process and does not inherit its descriptors, such as cargo's jobserver or pipes.
fn start() -> Option<()> {
    let mut command = process::Command::new(fsx::current_exe().ok()?);
    command.args(["agent", "run"]).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    sys_process::spawn_detached(&mut command).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r09_a_wait_is_limited_whatever_the_agent_answers() {
        let dir = tempfile::tempdir().unwrap();
        let paths = AgentPaths::of(&Layout::new(dir.path()));
        let listener = socket::listen(&paths.socket()).unwrap();
        let wait_for = |answers: &[Answer]| {
            let mut connection = Connection::open(&paths).unwrap();
            let mut agent = listener.accept().unwrap().0;
            for answer in answers {
                agent.write_all(&line(&Response::new(answer.clone()))).unwrap();
            }
            wait(&mut connection, Duration::from_millis(300))
        };
        let began = Instant::now();
        assert!(matches!(wait_for(&[Answer::Wait(u64::MAX)]), Err(NoAnswer::TimedOut)));
        assert!(matches!(wait_for(&[Answer::Wait(100), Answer::Wait(60_000)]), Err(NoAnswer::TimedOut)));
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        // Control: an answer in time counts.
        assert!(matches!(wait_for(&[Answer::Wait(100), Answer::InStore]), Ok(Answer::InStore)));
    }
}
