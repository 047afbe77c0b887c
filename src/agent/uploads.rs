//! Uploads compiled entries in the order of the queue, between builds, on threads that give way to every compile.
//!
//! Compressing and uploading while cargo compiled made a cold build of ripgrep 1.22 times as long, niced or not, on two
//! cores that the server shared. So uploads wait for the end of the build.
//!
//! An entry leaves the queue when it is on the remote, is gone from the store or must not be uploaded; after an error
//! it stays. Uploads have a separate runtime, so that compression can be niced without slowing down fetches.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use super::failure::{Failure, Work};
use super::shared::{Agent, MAX_BLOCKING_THREADS, connect};
use crate::events::{CommandLog, EventLog};
use crate::fsx::{clock, sys_process};
use crate::model::EntryId;
use crate::remote;
use crate::remote::operations::known::{Knowledge, KnownEntries};
use crate::remote::operations::publication::Publication;
use crate::remote::operations::push::{self, Settled};
use crate::remote::operations::workspace::{self, Workspace};
use crate::remote::operations::{build_records, presence};
use crate::remote::{Checkout, Control, Remote, UploadSource, Uploaded, Uploader};
use crate::store::Withheld;

/// How often the thread checks the queue.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How many entries are uploaded at once.
const MAX_PARALLEL_UPLOADS: usize = 4;
/// Entries that are uploaded before the agent looks whether a build has begun.
const CHUNK: usize = 64;
/// How long the upload of these entries may take.
const UPLOAD_DEADLINE: Duration = Duration::from_mins(10);
/// How long after the last request a build counts as over. (It may still compile one long unit.)
const QUIET_TIME: Duration = Duration::from_secs(3);
/// The first pause after an error. Each further one is twice as long, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const MAX_PAUSE: Duration = Duration::from_mins(5);

/// The thread that uploads.
#[derive(Debug)]
pub(super) struct Uploads(Arc<AtomicBool>);

impl Uploads {
    /// Waits until the thread has ended, but no longer than `most`.
    pub(super) fn wait(&self, most: Duration) {
        let until = Instant::now() + most;
        while !self.0.load(Ordering::Acquire) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Starts the thread, unless the remote is read-only.
pub(super) fn start(agent: &Arc<Agent>) -> Uploads {
    let is_read_only = agent.setup.remote.writer().is_none();
    let done = Arc::new(AtomicBool::new(is_read_only));
    if is_read_only {
        "read-only".clone_into(&mut agent.state().counters.uploads_wait);
        return Uploads(done);
    }
    let (agent, ended) = (Arc::clone(agent), Arc::clone(&done));
    std::thread::spawn(move || {
        // Threads inherit the priority, so all threads of the runtime give way.
        sys_process::lower_priority();
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        match builder.worker_threads(1).max_blocking_threads(MAX_BLOCKING_THREADS).enable_all().build() {
            Ok(runtime) => {
                runtime.block_on(upload_loop(&agent));
                runtime.shutdown_timeout(Duration::from_secs(1));
            }
            Err(error) => tracing::error!(%error, "no uploads"),
        }
        ended.store(true, Ordering::Release);
    });
    Uploads(done)
}

async fn upload_loop(agent: &Arc<Agent>) {
    // Connections belong to a runtime, so this one opens the remote again.
    let open = OnceCell::new();
    let (mut pause, mut is_unrecorded) = (CHECK_INTERVAL, false);
    loop {
        tokio::select! {
            () = agent.end.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        if !is_quiet(agent) {
            "wait for the end of the build".clone_into(&mut agent.state().counters.uploads_wait);
            continue;
        }
        let done = match upload_queued(agent, &open).await {
            // Entries that fail again and again keep nothing else from being recorded.
            Ok(Sent { settled: 0, failure }) if is_unrecorded && is_quiet(agent) => {
                let published = publish(agent, &open).await.inspect(|()| is_unrecorded = false);
                published.and(failure.map_or(Ok(()), Err))
            }
            Ok(Sent { settled, failure }) => {
                is_unrecorded |= settled > 0;
                if settled > 0 && failure.is_none() {
                    agent.forget_failure(Work::Upload);
                }
                failure.map_or(Ok(()), Err)
            }
            Err(failure) => Err(failure),
        };
        let uploads_wait = match done {
            Ok(()) => {
                pause = CHECK_INTERVAL;
                String::new()
            }
            Err(failure) => {
                tracing::warn!(error = failure.message, "uploads wait");
                agent.keep_failure(Work::Upload, &failure, true);
                pause = if pause < FIRST_PAUSE { FIRST_PAUSE } else { (pause * 2).min(MAX_PAUSE) };
                format!("paused: {}", failure.message)
            }
        };
        agent.state().counters.uploads_wait = uploads_wait;
    }
}

/// Whether the build that compiled the queued entries seems to be over.
fn is_quiet(agent: &Agent) -> bool {
    agent.state().since_request() > QUIET_TIME
}

/// Writes the build records and snapshots of the workspaces that builds asked about, so that other machines can fetch
/// their entries.
async fn publish(agent: &Arc<Agent>, open: &OnceCell<Arc<Remote>>) -> Result<(), Failure> {
    let (Some(open), store) = (open.get(), &agent.setup.store) else { return Ok(()) };
    let since = clock::now().as_millis() - workspace::RECENT_MS;
    let events = EventLog::of(store.layout().cache_dir()).read(since).map_err(Failure::other)?;
    let commands = CommandLog::of(store.layout().cache_dir()).read(since).map_err(Failure::other)?;
    remote::abort_stale_uploads(open, store.layout()).await;
    let source = source(agent).await?;
    let (known, workspaces) = (KnownEntries::of(store.layout(), open), agent.state().workspaces());
    for dir in workspaces {
        let Some(workspace) = Workspace::around(Path::new(&dir)).filter(|here| here.lock.is_some()) else { continue };
        let checkout = Checkout::of(&workspace, &agent.setup.env);
        let targets = workspace::target_dir_candidates(&workspace.root, &agent.setup.env);
        let used = workspace::used_entries(&events, &commands, &targets);
        let listing = build_records::list(open, &checkout.workspace).await?;
        let publication = Publication {
            remote: open,
            source: &source,
            known: &known,
            workspace: &workspace,
            checkout: &checkout,
            listing,
            used: &used,
        };
        // What is not known to be on the remote was withheld, or failed.
        let is_lacking = |key| known.knowledge(key, clock::now()) == Knowledge::Unknown;
        let published = publication.run(is_lacking).await.map_err(|error| Failure::from(&error))?;
        published.records.iter().for_each(|(name, _)| tracing::info!(name, "recorded"));
    }
    Ok(())
}

async fn source(agent: &Arc<Agent>) -> Result<UploadSource, Failure> {
    let (store, variables) = (Arc::clone(&agent.setup.store), agent.setup.env.texts());
    let found = tokio::task::spawn_blocking(move || Withheld::of(&store, variables)).await;
    let withheld = Arc::new(found.map_err(Failure::other)?.map_err(Failure::other)?);
    Ok(UploadSource { store: Arc::clone(&agent.setup.store), withheld })
}

/// What became of the queued entries.
struct Sent {
    /// Number of entries that left the queue.
    settled: usize,
    /// Why others stay in it.
    failure: Option<Failure>,
}

/// Uploads the queued entries. A failed entry stays in the queue and does not stop the others, unless the remote will
/// refuse those too.
async fn upload_queued(agent: &Arc<Agent>, open: &OnceCell<Arc<Remote>>) -> Result<Sent, Failure> {
    let queued = agent.queue.entries().map_err(Failure::other)?;
    if queued.is_empty() {
        return Ok(Sent { settled: 0, failure: None });
    }
    let connect = || async { connect(&agent.setup).await };
    let remote = open.get_or_try_init(connect).await?;
    let source = source(agent).await?;
    let known = KnownEntries::of(source.store.layout(), remote);
    let lacking = presence::lacking(remote, &known, queued.clone()).await?;
    for id in queued.iter().filter(|id| !lacking.contains(id)) {
        agent.queue.remove(id.key).map_err(Failure::other)?;
    }
    let (mut failure, mut settled, mut is_denied) = (None, queued.len() - lacking.len(), false);
    for some in lacking.chunks(CHUNK) {
        if !is_quiet(agent) || is_denied {
            break;
        }
        let control = Control::new(None, agent.end.clone(), Some(Instant::now() + UPLOAD_DEADLINE));
        let uploader = Uploader::new(remote, &source, &control);
        push::run(&uploader, some.to_vec(), MAX_PARALLEL_UPLOADS, |id, result| {
            let Some(new) = settle(agent, id, result) else {
                settled += 1;
                return;
            };
            is_denied |= new.is_echo;
            // What was not tried any more does not hide why.
            if failure.is_none() || !new.is_echo {
                failure = Some(new);
            }
        })
        .await;
    }
    Ok(Sent { settled, failure })
}

/// Takes an entry off the queue, unless its upload failed or was not tried. Returns the error.
fn settle(agent: &Agent, id: &EntryId, result: &Settled) -> Option<Failure> {
    agent.state().mark_active();
    tracing::debug!(crate_name = id.crate_name, ?result, "sent");
    match result {
        Ok(Some(uploaded)) => {
            if matches!(uploaded, Uploaded::Written(_)) {
                agent.state().counters.uploaded += 1;
            }
            agent.queue.remove(id.key).err().map(Failure::other)
        }
        Ok(None) => Some(Failure::echo("the remote denies uploads")),
        Err(error) => Some(Failure::from(error)),
    }
}
