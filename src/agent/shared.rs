//! What all tasks of the agent share: the setup, the state behind its one mutex, and the signals between tasks.
//!
//! Lock order: the lock file, which [`super::server::run`] holds from start to end; then the mutex of [`Agent::state`].
//! There is no other lock. A task that holds the mutex does not wait for anything: no `await`, no request, no transfer.
//! It may check whether a file of the store exists.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OnceCell};
use tokio_util::sync::CancellationToken;

use super::failure::{self, Failure, LastFailure, Work};
use super::paths::AgentPaths;
use super::protocol::AgentStatus;
use super::queue::Queue;
use super::state::AgentState;
use crate::config::{self, Env};
use crate::fsx::clock;
use crate::remote::{ConnectError, Remote};
use crate::store::{SizeLimit, Store};

/// Threads for blocking work: reading, writing and unpacking. Where processes are limited, the threads of a build count
/// against the same limit.
pub(super) const MAX_BLOCKING_THREADS: usize = 16;

/// The parameters of an agent.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The remote to fetch from and upload to.
    pub remote: config::RemoteSettings,
    /// The environment, for credentials.
    pub env: Env,
    /// The store of the cache directory.
    pub store: Arc<Store>,
    /// The idle time after which the agent ends.
    pub idle: Duration,
    /// The size that collections trim the store to.
    pub limit: SizeLimit,
    /// That size in bytes when the agent started. The agent fetches at most half of it for one build record.
    pub max_size: u64,
}

/// What all tasks of the agent share.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) setup: Setup,
    /// The remote of this agent (`config::RemoteSettings::identity`). Clients of another one are declined.
    pub(super) identity: String,
    state: Mutex<AgentState>,
    /// Notified when the state of a unit has changed, so that waiting misses look again.
    pub(super) changed: Notify,
    /// Notified when there may be an entry to fetch.
    pub(super) work: Notify,
    /// Makes all tasks end.
    pub(super) end: CancellationToken,
    pub(super) queue: Queue,
    open: OnceCell<Arc<Remote>>,
    /// A bit for each kind of work whose last request succeeded, so that not every success removes a file.
    succeeding: AtomicU8,
}

impl Agent {
    pub(super) fn new(setup: Setup, jobs: usize) -> Self {
        Self {
            identity: setup.remote.identity(&setup.env),
            state: Mutex::new(AgentState::new(jobs)),
            changed: Notify::new(),
            work: Notify::new(),
            end: CancellationToken::new(),
            queue: Queue::of(setup.store.layout(), &setup.remote),
            open: OnceCell::new(),
            succeeding: AtomicU8::new(0),
            setup,
        }
    }

    /// Locks the state. The module header says what a task may do meanwhile.
    pub(super) fn state(&self) -> MutexGuard<'_, AgentState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a failure for commands that run later.
    pub(super) fn keep_failure(&self, work: Work, failure: &Failure, is_paused: bool) {
        let (remote, at) = (self.setup.remote.place(), clock::now().as_millis());
        if let Some(last) = LastFailure::of(failure, work, remote, at, is_paused) {
            last.write(&self.paths());
            self.succeeding.fetch_and(!(1 << work as u8), Ordering::Relaxed);
        }
    }

    /// Forgets the failure of this kind of work, because a request has succeeded.
    pub(super) fn forget_failure(&self, work: Work) {
        let bit = 1 << work as u8;
        if self.succeeding.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            failure::forget(&self.paths(), work);
        }
    }

    fn paths(&self) -> AgentPaths {
        AgentPaths::of(self.setup.store.layout())
    }

    /// The remote. The first caller connects it.
    pub(super) async fn open(&self) -> Result<Arc<Remote>, ConnectError> {
        let connect = || async { connect(&self.setup).await };
        self.open.get_or_try_init(connect).await.cloned()
    }

    pub(super) fn status(&self) -> AgentStatus {
        let queued = self.queue.len() as u64;
        let state = self.state();
        let counters = &state.counters;
        AgentStatus {
            pid: std::process::id(),
            up_s: state.now().as_secs(),
            remote: self.setup.remote.place(),
            health: match state.health.is_usable(state.now()) {
                true => "usable".to_owned(),
                false => format!("paused: {}", state.health.last_error),
            },
            fetched: counters.fetched,
            fetched_bytes: counters.fetched_bytes,
            grown_bytes: counters.grown_bytes,
            fetching: state.plan.pending() as u64,
            sent: counters.uploaded,
            queued,
            uploads: counters.uploads_wait.clone(),
        }
    }
}

/// Connects the remote of an agent, without the keys that were revoked.
pub(super) async fn connect(setup: &Setup) -> Result<Arc<Remote>, ConnectError> {
    let mut remote = Remote::connect(&setup.remote, &setup.env).await?;
    remote.read_revocations().await?;
    Ok(Arc::new(remote))
}
