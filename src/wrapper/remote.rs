//! A miss asks the agent, if a remote is configured; what was stored is queued for it.
//!
//! Bounded in time by the agent's client. Nothing here is reached on a hit, and no failure here is worth a word.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::report::Report;
use super::task::Task;
use crate::agent::client::{self, Connection};
use crate::agent::protocol::Want;
use crate::agent::queue::{Item, Queue};
use crate::config::Remote;
use crate::fsx::{self, sys_process};
use crate::model::{EntryKey, RootKind};

/// The remote of this build, if there is one. Settings that cannot be read are `kache doctor`'s matter.
pub(super) fn settings(task: &impl Task) -> Option<Remote> {
    Remote::load(task.common().env, task.common().config).ok().flatten()
}

/// Asks the agent for an entry and waits as long as it says. `Some`: look again.
pub(super) fn ask(task: &impl Task, remote: &Remote, report: &Report) -> Option<Connection> {
    let (began, labels) = (Instant::now(), task.labels());
    let want = Want {
        remote: remote.identity(task.common().env),
        workspace: workspace(task).and_then(|dir| dir.into_os_string().into_string().ok()),
        shape: labels.shape,
        build: build(),
        crate_name: labels.crate_name,
        lookup: task.common().lookup.key,
    };
    let connection = client::want(task.common().store.layout(), want);
    report.waited(began.elapsed());
    connection
}

/// What tells this build from others. Process ids are used again, in containers even by every build; not at the same moment.
fn build() -> u64 {
    let began = sys_process::caller_began().unwrap_or(0);
    u64::from(sys_process::caller()) | began << 32
}

/// Queues what was stored, unless the remote is only read.
pub(super) fn queue(task: &impl Task, remote: &Remote, key: EntryKey) {
    if !remote.read_only {
        let item = Item { crate_name: task.labels().crate_name, lookup: task.common().lookup.key, key };
        // What is not queued is still found by `kache push`.
        let _ = Queue::of(task.common().store.layout(), remote).add(&item);
    }
}

/// The directory with the lock file: above the target directory as a rule, else above where cargo was started.
fn workspace(task: &impl Task) -> Option<PathBuf> {
    let has_lock = |dir: &&Path| fsx::exists(&dir.join("Cargo.lock"));
    let target = task.common().roots.place(RootKind::Target).map(Path::new);
    let above_target = target.and_then(|target| target.ancestors().skip(1).take(2).find(has_lock).map(Path::to_owned));
    above_target.or_else(|| sys_process::directory_of_caller()?.ancestors().find(has_lock).map(Path::to_owned))
}
