//! Sending what was compiled: takes the queue in order, on threads that give way to every compile.
//!
//! An entry leaves the queue when it is on the remote, or is gone from the store; errors leave it there. Its own runtime, so
//! that compression can be niced without slowing what is brought.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use super::queue::Item as Queued;
use super::server::Agent;
use crate::fsx::sys_process;
use crate::remote::fetch::Item;
use crate::remote::open::Open;
use crate::remote::presence;
use crate::remote::progress::Control;
use crate::remote::send::{self, SendError, Sent};

/// How often the queue is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How many entries go at once.
const AT_ONCE: usize = 4;
/// How long one entry may take.
const ENTRY: Duration = Duration::from_secs(600);
/// The first pause after an error; doubled each time, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The thread that sends.
#[derive(Debug)]
pub(super) struct Uploads(Arc<AtomicBool>);

impl Uploads {
    /// Waits until it has ended, but no longer than this.
    pub(super) fn wait(&self, most: Duration) {
        let until = Instant::now() + most;
        while !self.0.load(Ordering::Acquire) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Starts the thread.
pub(super) fn start(agent: &Arc<Agent>) -> Uploads {
    let done = Arc::new(AtomicBool::new(agent.setup.remote.read_only));
    if agent.setup.remote.read_only {
        "read-only".clone_into(&mut agent.counts().uploads);
        return Uploads(done);
    }
    let (agent, ended) = (Arc::clone(agent), Arc::clone(&done));
    std::thread::spawn(move || {
        // Threads inherit this: all of the runtime gives way.
        sys_process::give_way();
        match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
            Ok(runtime) => {
                runtime.block_on(send_for_ever(&agent));
                runtime.shutdown_timeout(Duration::from_secs(1));
            }
            Err(error) => tracing::error!(%error, "no uploads"),
        }
        ended.store(true, Ordering::Release);
    });
    Uploads(done)
}

async fn send_for_ever(agent: &Arc<Agent>) {
    // Connections belong to a runtime: this one has its own.
    let open = OnceCell::new();
    let mut pause = LOOK;
    loop {
        tokio::select! {
            () = agent.end.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let words = match send_all(agent, &open).await {
            Ok(()) => {
                pause = LOOK;
                String::new()
            }
            Err(words) => {
                tracing::warn!(error = words, "uploads wait");
                pause = if pause < FIRST_PAUSE { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
                words
            }
        };
        agent.counts().uploads = words;
    }
}

/// Sends what is in the queue; the first error ends it.
async fn send_all(agent: &Arc<Agent>, open: &OnceCell<Arc<Open>>) -> Result<(), String> {
    let items = agent.queue.items().map_err(|error| error.to_string())?;
    if items.is_empty() {
        return Ok(());
    }
    let connect = || async { Open::connect(&agent.setup.remote, &agent.setup.env).await.map(Arc::new) };
    let open = open.get_or_try_init(connect).await.map_err(|error| error.to_string())?;
    for some in items.chunks(AT_ONCE) {
        let mut tasks = tokio::task::JoinSet::new();
        for queued in some.iter().cloned() {
            tasks.spawn(send_one(Arc::clone(agent), Arc::clone(open), queued));
        }
        while let Some(sent) = tasks.join_next().await {
            sent.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

async fn send_one(agent: Arc<Agent>, open: Arc<Open>, queued: Queued) -> Result<(), SendError> {
    let item = Item { crate_name: queued.crate_name, lookup: queued.lookup, key: queued.key };
    let store = &agent.setup.store;
    let control = Control::new(None, agent.end.clone(), Some(Instant::now() + ENTRY));
    let sent = match presence::has(&open, store.layout(), &item).await? {
        true => Sent::AlreadyThere,
        false => send::send(&open, store, &item, &control).await?,
    };
    if matches!(sent, Sent::Sent(_)) {
        agent.counts().sent += 1;
    }
    let mut knowledge = agent.knowledge();
    knowledge.active_ms = knowledge.now();
    drop(knowledge);
    Ok(agent.queue.remove(item.key)?)
}
