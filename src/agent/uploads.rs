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

use super::shared::{Agent, MAX_BLOCKING_THREADS};
use crate::events::EventLog;
use crate::fsx::{clock, sys_process};
use crate::model::EntryId;
use crate::remote;
use crate::remote::operations::build_records;
use crate::remote::operations::denials::DenialCounter;
use crate::remote::operations::presence;
use crate::remote::operations::workspace::{self, Workspace};
use crate::remote::{Control, Remote, UploadError, UploadSource, Uploaded};
use crate::store::Withheld;

/// How often the thread checks the queue.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How many entries are uploaded at once.
const MAX_PARALLEL_UPLOADS: usize = 4;
/// How long the upload of one entry may take.
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
    let done = Arc::new(AtomicBool::new(agent.setup.remote.read_only));
    if agent.setup.remote.read_only {
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
            Ok(0) if is_unrecorded && is_quiet(agent) => {
                write_records(agent, &open).await.inspect(|()| is_unrecorded = false)
            }
            sent => sent.map(|sent| is_unrecorded |= sent > 0),
        };
        let uploads_wait = match done {
            Ok(()) => {
                pause = CHECK_INTERVAL;
                String::new()
            }
            Err(error) => {
                tracing::warn!(error, "uploads wait");
                pause = if pause < FIRST_PAUSE { FIRST_PAUSE } else { (pause * 2).min(MAX_PAUSE) };
                format!("paused: {error}")
            }
        };
        agent.state().counters.uploads_wait = uploads_wait;
    }
}

/// Whether the build that compiled the queued entries seems to be over.
fn is_quiet(agent: &Agent) -> bool {
    agent.state().since_request() > QUIET_TIME
}

/// Writes the build records of the workspaces that builds asked about, so that other machines can fetch their entries.
async fn write_records(agent: &Arc<Agent>, open: &OnceCell<Arc<Remote>>) -> Result<(), String> {
    let (Some(open), store) = (open.get(), &agent.setup.store) else { return Ok(()) };
    let since = clock::now().as_millis() - workspace::RECENT_MS;
    let events = EventLog::of(store.layout().cache_dir()).read(since).map_err(|error| error.to_string())?;
    remote::abort_stale_uploads(open, store.layout()).await;
    let workspaces = agent.state().workspaces();
    for dir in workspaces {
        let Some(here) = Workspace::around(Path::new(&dir)).filter(|here| here.lock.is_some()) else { continue };
        let commit = here.commit();
        for used in workspace::used_entries(&events, &workspace::target_dir_candidates(&here.root, &agent.setup.env)) {
            let record = build_records::create(store, &here, commit.as_deref(), &used.shape, &used.entries);
            if let Some(record) = record.filter(|record| !record.units.is_empty()) {
                let name = build_records::publish(open, &here, &record).await.map_err(|error| error.to_string())?;
                tracing::info!(name, "recorded");
            }
        }
    }
    Ok(())
}

/// Uploads the queued entries and returns how many it tried. A failed entry stays in the queue and does not stop the
/// others, unless the remote will refuse those too.
async fn upload_queued(agent: &Arc<Agent>, open: &OnceCell<Arc<Remote>>) -> Result<usize, String> {
    let queued = agent.queue.entries().map_err(|error| error.to_string())?;
    if queued.is_empty() {
        return Ok(0);
    }
    let connect = || async { Remote::connect(&agent.setup.remote, &agent.setup.env).await.map(Arc::new) };
    let remote = open.get_or_try_init(connect).await.map_err(|error| error.to_string())?;
    let store = Arc::clone(&agent.setup.store);
    let variables = agent.setup.env.texts();
    let found = tokio::task::spawn_blocking(move || Withheld::of(&store, variables)).await;
    let withheld = Arc::new(found.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?);
    let source = UploadSource { store: Arc::clone(&agent.setup.store), withheld };
    let (mut failed, mut tried, denials) = (None, 0, DenialCounter::default());
    for some in queued.chunks(MAX_PARALLEL_UPLOADS) {
        if !is_quiet(agent) || denials.should_stop() {
            break;
        }
        tried += some.len();
        let mut tasks = tokio::task::JoinSet::new();
        for id in some.iter().cloned() {
            tasks.spawn(upload_entry(Arc::clone(agent), Arc::clone(remote), source.clone(), id));
        }
        while let Some(sent) = tasks.join_next().await {
            match sent.map_err(|error| error.to_string())? {
                Ok(()) => denials.record_success(),
                Err(error) => {
                    failed = Some(error.to_string());
                    if let UploadError::Remote(error) = error {
                        denials.record_failure(&error);
                    }
                }
            }
        }
    }
    failed.map_or(Ok(tried), Err)
}

async fn upload_entry(
    agent: Arc<Agent>,
    open: Arc<Remote>,
    source: UploadSource,
    id: EntryId,
) -> Result<(), UploadError> {
    let control = Control::new(None, agent.end.clone(), Some(Instant::now() + UPLOAD_DEADLINE));
    let sent = match presence::has(&open, source.store.layout(), &id).await? {
        true => Uploaded::AlreadyThere,
        false => remote::upload_entry(&open, &source, &id, &control).await?,
    };
    if matches!(sent, Uploaded::Written(_)) {
        agent.state().counters.uploaded += 1;
    }
    agent.state().mark_active();
    tracing::debug!(crate_name = id.crate_name, ?sent, "sent");
    Ok(agent.queue.remove(id.key)?)
}
