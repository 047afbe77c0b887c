//! The agent process: one per cache directory, which serves clients until it is idle.
//!
//! Owns the runtime and the connections. `decision` decides the answers, from memory; waiting happens here and not in
//! the network. The agent ends when it is told to, when it is idle, when a newer version or a client of another remote
//! asks, or when its cache directory is gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream, unix};

use super::decision::{Decision, WAIT_SLICE};
use super::paths::AgentPaths;
use super::protocol::{Answer, Command, Decline, FetchRequest, MAX_LINE, Request, Response, VERSION, line};
pub use super::shared::Setup;
use super::shared::{Agent, MAX_BLOCKING_THREADS};
use super::state::subject;
use super::{prefetch, queue, uploads};
use crate::fsx::lock::FileLock;
use crate::fsx::{self, clock, socket};
use crate::remote;
use crate::store::gc;

/// How long a client may take to send a request, to read an answer, or to report whether the entry was a hit.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the agent checks whether it is still needed.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How long the agent may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);
/// How long after its last activity an agent does not give way to one for another remote.
const BUSY_TIME: Duration = Duration::from_secs(10);

/// Serves clients until the agent is no longer needed. `Ok(false)`: another agent serves this cache directory.
pub fn run(setup: Setup) -> fsx::Result<bool> {
    let paths = AgentPaths::of(setup.store.layout());
    let Some(lock) = acquire_lock(&paths)? else { return Ok(false) };
    let listener = socket::listen(&paths.socket())?;
    paths.silent().remove();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).max_blocking_threads(MAX_BLOCKING_THREADS).enable_all().build();
    let runtime = runtime.map_err(|error| fsx::Error::new("start a runtime for", &paths.socket(), error))?;
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let agent = Arc::new(Agent::new(setup, jobs));
    tracing::info!(remote = agent.setup.remote.place(), "listening");
    remote::sweep(agent.setup.store.layout());
    queue::sweep(agent.setup.store.layout(), clock::now());
    let uploads = uploads::start(&agent);
    runtime.block_on(serve(&agent, &lock, listener));
    if agent.end.is_cancelled() {
        // The agent was asked to end, so the next miss may start another one. An agent that ended by itself might do so
        // again at once, so its file stays.
        paths.starting().remove();
    }
    agent.end.cancel();
    // Remove the socket before the lock is free, so that new clients do not find this agent.
    if lock.is_visible() {
        let _ = fsx::remove_file(&paths.socket());
    }
    runtime.shutdown_timeout(STOP_TIMEOUT / 2);
    uploads.wait(STOP_TIMEOUT / 2);
    tracing::info!("ended");
    Ok(true)
}

/// Acquires the lock. Waits for an agent that is about to end (its socket is gone), because clients will not start
/// another one for a while.
fn acquire_lock(paths: &AgentPaths) -> fsx::Result<Option<FileLock>> {
    let until = Instant::now() + STOP_TIMEOUT;
    loop {
        let lock = FileLock::try_acquire(&paths.lock())?;
        if lock.is_some() || fsx::exists(&paths.socket()) || Instant::now() > until {
            return Ok(lock);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

async fn serve(agent: &Arc<Agent>, lock: &FileLock, listener: std::os::unix::net::UnixListener) {
    let listener = match listener.set_nonblocking(true).and_then(|()| UnixListener::from_std(listener)) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot listen"),
    };
    prefetch::start(agent);
    let mut checks = tokio::time::interval(CHECK_INTERVAL);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if is_same_user(&stream) => {
                    tokio::spawn(serve_client(Arc::clone(agent), stream));
                }
                Ok(_) => tracing::warn!("another user was refused"),
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(CHECK_INTERVAL).await;
                }
            },
            _ = checks.tick() => {
                if has_no_purpose(agent, lock) {
                    return;
                }
                collect_if_due(agent);
            }
            () = agent.end.cancelled() => return,
        }
    }
}

/// Collects garbage if it is due: fetched entries fill the store like compiled ones, and other processes do not collect
/// after them.
fn collect_if_due(agent: &Arc<Agent>) {
    let has_fetched = agent.state().counters.fetched > 0;
    if has_fetched && gc::is_due(&agent.setup.store, clock::now()) {
        let agent = Arc::clone(agent);
        tokio::task::spawn_blocking(move || {
            let collected = gc::collect(&agent.setup.store, agent.setup.limit, clock::now());
            tracing::info!(?collected, "collected garbage");
        });
    }
}

/// Whether the client runs as the same user, which is required whatever the modes of the directory are.
fn is_same_user(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == fsx::user_id())
}

fn has_no_purpose(agent: &Agent, lock: &FileLock) -> bool {
    let layout = agent.setup.store.layout();
    // The directory may have been removed and recreated, so that clients can no longer find this agent.
    if !lock.is_visible() || !fsx::exists(&AgentPaths::of(layout).socket()) {
        return true;
    }
    let state = agent.state();
    state.is_idle(state.now(), agent.setup.idle)
}

/// Serves one connection.
async fn serve_client(agent: Arc<Agent>, stream: UnixStream) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let Some(request) = receive(&mut reader).await else { return };
    if request.v != VERSION {
        let _ = answer(&mut writer, Answer::Decline(Decline::OtherVersion)).await;
        if request.v > VERSION {
            tracing::info!("a client has a newer version");
            agent.end.cancel();
        }
        return;
    }
    match request.command {
        Command::Fetch(request) => serve_fetch(&agent, &request, &mut reader, &mut writer).await,
        Command::Status => {
            let _ = answer(&mut writer, Answer::Status(Box::new(agent.status()))).await;
        }
        Command::Stop => {
            let _ = answer(&mut writer, Answer::Stopping).await;
            agent.end.cancel();
        }
        Command::Unused => {}
    }
}

/// Answers a fetch request, and reads whether the entry was a hit.
async fn serve_fetch(
    agent: &Arc<Agent>,
    fetch: &FetchRequest,
    reader: &mut BufReader<unix::OwnedReadHalf>,
    writer: &mut unix::OwnedWriteHalf,
) {
    if fetch.remote != agent.identity {
        let _ = answer(writer, Answer::Decline(Decline::OtherRemote)).await;
        if agent.state().since_activity() >= BUSY_TIME {
            tracing::info!("a client uses another remote");
            agent.end.cancel();
        }
        return;
    }
    let layout = agent.setup.store.layout();
    let queries = agent.state().begin(fetch, |key| fsx::exists(&layout.entry(key)));
    if queries.subject {
        prefetch::query_subject(agent, subject(fetch));
    }
    if queries.lookup {
        prefetch::look_up(agent, fetch.clone());
    }
    if queries.others {
        prefetch::read_others(agent, subject(fetch));
    }
    let began = Instant::now();
    let outcome = wait(agent, fetch, writer).await;
    let waited = began.elapsed();
    tracing::debug!(crate_name = fetch.crate_name, ?outcome, ?waited, "answered");
    match outcome {
        Ok(Waited::Declined(why)) => drop(answer(writer, Answer::Decline(why)).await),
        Ok(Waited::InStore(cost_ms)) => {
            if answer(writer, Answer::InStore).await.is_ok() {
                let was_hit = !matches!(receive(reader).await, Some(Request { command: Command::Unused, .. }));
                agent.state().used(fetch, was_hit, cost_ms, waited);
            }
        }
        // The client is gone.
        Err(_) => {}
    }
}

/// How a wait for an entry ended.
#[derive(Clone, Copy, Debug)]
enum Waited {
    /// No entry comes, for this reason.
    Declined(Decline),
    /// The entry is in the store. A compile would have taken this many milliseconds.
    InStore(f64),
}

/// Waits for the requested entry, slice by slice, until there is a decision.
async fn wait(agent: &Agent, fetch: &FetchRequest, writer: &mut unix::OwnedWriteHalf) -> std::io::Result<Waited> {
    let mut waited = Duration::ZERO;
    loop {
        // Registered before the check, so that a change in between is not missed.
        let changed = agent.changed.notified();
        let decision = agent.state().decide(fetch, waited);
        // The unit may have been queued, even if the miss is not to wait for it.
        agent.work.notify_waiters();
        match decision {
            Decision::Wait => {}
            Decision::Decline(why) => return Ok(Waited::Declined(why)),
            Decision::InStore(cost_ms) => return Ok(Waited::InStore(cost_ms)),
        }
        answer(writer, Answer::Wait(u64::try_from(WAIT_SLICE.as_millis()).unwrap_or(0))).await?;
        let began = Instant::now();
        let _ = tokio::time::timeout(WAIT_SLICE, changed).await;
        let took = began.elapsed();
        agent.state().end_slice(fetch, took);
        waited += took;
    }
}

async fn receive(reader: &mut BufReader<unix::OwnedReadHalf>) -> Option<Request> {
    let mut text = Vec::new();
    let mut limited = reader.take(MAX_LINE);
    tokio::time::timeout(CLIENT_TIMEOUT, limited.read_until(b'\n', &mut text)).await.ok()?.ok()?;
    // A request of another version may hold an unknown command.
    serde_json::from_slice(&text).ok().or_else(|| {
        let Version { v } = serde_json::from_slice(&text).ok()?;
        (v != VERSION).then_some(Request { v, command: Command::Status })
    })
}

/// The common part of all versions of a request.
#[derive(serde::Deserialize)]
struct Version {
    v: u32,
}

async fn answer(writer: &mut unix::OwnedWriteHalf, answer: Answer) -> std::io::Result<()> {
    let sent = tokio::time::timeout(CLIENT_TIMEOUT, writer.write_all(&line(&Response::new(answer)))).await;
    sent.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}
