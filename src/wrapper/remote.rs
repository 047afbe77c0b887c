//! The remote's part in a miss: asks the agent for an entry, and queues stored entries for upload.
//!
//! The agent's client limits how long this takes. A hit never gets here, and failures are not reported.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::report::EventReporter;
use super::task::Task;
use crate::agent::client::{self, Connection};
use crate::agent::protocol::FetchRequest;
use crate::agent::queue::Queue;
use crate::config::RemoteSettings;
use crate::fsx::{self, sys_process};
use crate::model::{EntryId, EntryKey, RemoteAnswer, RootKind};

/// The remote of this build, if there is one. `kache doctor` reports settings that cannot be read.
pub(super) fn settings(task: &impl Task) -> Option<RemoteSettings> {
    RemoteSettings::load(task.common().env, task.common().config).ok().flatten()
}

/// Asks the agent for an entry, and waits for as long as the agent says. `Some`: the agent has fetched an entry, so
/// look again. The event of the invocation tells the answer.
pub(super) fn ask(task: &impl Task, remote: &RemoteSettings, report: &EventReporter) -> Option<Connection> {
    let (began, labels) = (Instant::now(), task.labels());
    let request = FetchRequest {
        remote: remote.identity(task.common().env),
        workspace: workspace(task).and_then(|dir| dir.into_os_string().into_string().ok()),
        shape: labels.shape,
        build: build(),
        crate_name: labels.crate_name,
        lookup: task.common().lookup.key,
    };
    let answer = client::fetch(task.common().store.layout(), request);
    report.waited(began.elapsed());
    report.answered(answer.as_ref().err().cloned().unwrap_or(RemoteAnswer::Fetched));
    answer.ok()
}

/// Identifies this build: the process ID of cargo, and when it started. IDs alone are reused, in containers even by
/// every build.
fn build() -> u64 {
    let began = sys_process::caller_began().unwrap_or(0);
    u64::from(sys_process::caller()) | began << 32
}

/// Queues a stored entry for upload, unless the remote is read-only.
pub(super) fn queue(task: &impl Task, remote: &RemoteSettings, key: EntryKey) {
    if remote.writer().is_some() {
        let id = EntryId { crate_name: task.labels().crate_name, lookup: task.common().lookup.key, key };
        // `kache push` still finds an entry that is not in the queue.
        let _ = Queue::of(task.common().store.layout(), remote).add(&id);
    }
}

/// The directory with `Cargo.lock`: usually above the target directory, otherwise above the directory in which cargo
/// was started.
pub(super) fn workspace(task: &impl Task) -> Option<PathBuf> {
    let has_lock = |dir: &&Path| fsx::exists(&dir.join("Cargo.lock"));
    let target = task.common().roots.place(RootKind::Target).map(Path::new);
    let above_target = target.and_then(|target| target.ancestors().skip(1).take(2).find(has_lock).map(Path::to_owned));
    above_target.or_else(|| sys_process::directory_of_caller()?.ancestors().find(has_lock).map(Path::to_owned))
}
