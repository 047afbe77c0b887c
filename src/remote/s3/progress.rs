//! Progress reports of transfers, and what a caller passes to them.
//!
//! Every transfer ends in exactly one end phase; a dropped transfer counts as failed, or as cancelled if that was
//! requested. There is one callback; it is called from many threads and must not block.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::error::RemoteError;
use tokio_util::sync::CancellationToken;

/// The phase of a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The transfer has not started.
    Pending,
    /// Bytes are being downloaded.
    Downloading,
    /// Bytes are being uploaded.
    Uploading,
    /// All bytes are transferred: a download is being checked, or an upload in parts is being completed.
    Verifying,
    /// The transfer succeeded, or the object does not exist.
    Completed,
    /// The transfer was cancelled on request.
    Cancelled,
    /// The transfer failed, or was dropped before its end.
    Failed,
}

impl Phase {
    /// Whether this is an end phase: no other phase follows.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Failed)
    }
}

/// A progress report of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferProgress {
    /// Identifies the transfer among those of its [`Control`] and the clones of that control.
    pub id: u64,
    /// What is transferred, for display: a crate name or an object name.
    pub label: Arc<str>,
    /// Phase that the transfer is in.
    pub phase: Phase,
    /// Bytes transferred so far. Decreases if the transfer has to start over.
    pub done: u64,
    /// Total size in bytes, once it is known.
    pub total: Option<u64>,
}

/// Receives progress reports, from many threads. It must not block.
pub type ProgressCallback = Arc<dyn Fn(&TransferProgress) + Send + Sync>;

/// What a caller passes to its transfers: callback, cancellation and deadline.
#[derive(Clone)]
pub struct Control {
    callback: Option<ProgressCallback>,
    ids: Arc<AtomicU64>,
    /// Request to cancel the transfers.
    pub cancel: CancellationToken,
    /// Time by which the whole transfer must be finished.
    pub deadline: Option<Instant>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("cancel", &self.cancel)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Default for Control {
    fn default() -> Self {
        Self::new(None, CancellationToken::new(), None)
    }
}

impl Control {
    /// Creates a control that reports to `callback` and stops transfers on `cancel` or at `deadline`.
    pub fn new(callback: Option<ProgressCallback>, cancel: CancellationToken, deadline: Option<Instant>) -> Self {
        Self { callback, ids: Arc::default(), cancel, deadline }
    }

    /// Returns the same control with another deadline.
    #[must_use]
    pub fn until(&self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self.clone() }
    }

    /// Begins a transfer in [`Phase::Pending`]. The caller must end it; it may consist of several steps, such as the
    /// download of a pack and its import.
    pub fn begin(&self, label: &str, total: Option<u64>) -> ActiveTransfer {
        let progress = TransferProgress {
            id: self.ids.fetch_add(1, Ordering::Relaxed),
            label: label.into(),
            phase: Phase::Pending,
            done: 0,
            total,
        };
        let meter = Meter {
            callback: self.callback.clone(),
            state: Arc::new(Mutex::new(MeterState { progress, reported: 0 })),
        };
        meter.change(|_| true);
        ActiveTransfer { control: self.clone(), meter }
    }
}

/// A transfer in progress.
#[derive(Debug)]
pub struct ActiveTransfer {
    control: Control,
    meter: Meter,
}

impl ActiveTransfer {
    /// Control that the transfer was begun with.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Meter to which the tasks of this transfer report their progress.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Enters a phase without changing the number of bytes done. [`Self::end`] enters the end phases.
    pub fn enter(&self, phase: Phase) {
        self.meter.enter(phase);
    }

    /// Sets the total size in bytes, once it is known.
    pub fn set_total(&self, total: u64) {
        self.meter.set_total(total);
    }

    /// Adds to the bytes done.
    pub fn advance(&self, bytes: u64) {
        self.meter.advance(bytes);
    }

    /// Sets the bytes done when the transfer starts over from an earlier point.
    pub fn rewind(&self, done: u64) {
        self.meter.rewind(done);
    }

    /// Ends the transfer according to its result: completed, cancelled or failed.
    pub fn end<T>(self, result: &super::error::Result<T>) {
        self.meter.enter_end(match result {
            Ok(_) => Phase::Completed,
            Err(RemoteError::Cancelled { .. }) => Phase::Cancelled,
            Err(_) => Phase::Failed,
        });
    }
}

/// Passes progress from the tasks of a transfer to the callback. Ignores reports after the end of the transfer.
#[derive(Clone)]
pub struct Meter {
    callback: Option<ProgressCallback>,
    state: Arc<Mutex<MeterState>>,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct MeterState {
    progress: TransferProgress,
    /// Bytes done at the last report.
    reported: u64,
}

/// Bytes after which progress is reported again.
const REPORT_EVERY_BYTES: u64 = 64 * 1024;

impl Meter {
    /// Enters a phase. Ignores end phases.
    pub fn enter(&self, phase: Phase) {
        self.change(|state| !phase.is_end() && std::mem::replace(&mut state.progress.phase, phase) != phase);
    }

    /// Sets the total size in bytes, once it is known.
    pub fn set_total(&self, total: u64) {
        self.change(|state| state.progress.total.replace(total) != Some(total));
    }

    /// Adds to the bytes done.
    pub fn advance(&self, bytes: u64) {
        self.change(|state| {
            state.progress.done += bytes;
            state.progress.done.saturating_sub(state.reported) >= REPORT_EVERY_BYTES
                || Some(state.progress.done) == state.progress.total
        });
    }

    /// Sets the bytes done when the transfer starts over from an earlier point.
    pub fn rewind(&self, done: u64) {
        self.change(|state| std::mem::replace(&mut state.progress.done, done) != done);
    }

    fn enter_end(&self, end: Phase) {
        self.change(|state| {
            state.progress.phase = end;
            true
        });
    }

    /// Changes the state and reports it if `change` returns true; does nothing after an end phase. The callback runs
    /// under the lock, so that reports come in order.
    fn change(&self, change: impl FnOnce(&mut MeterState) -> bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.progress.phase.is_end() || !change(&mut state) {
            return;
        }
        state.reported = state.progress.done;
        if let Some(callback) = &self.callback {
            callback(&state.progress);
        }
    }
}

impl Drop for ActiveTransfer {
    fn drop(&mut self) {
        // Has no effect after an end phase.
        self.meter.enter_end(if self.control.cancel.is_cancelled() { Phase::Cancelled } else { Phase::Failed });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded() -> (Control, Arc<Mutex<Vec<TransferProgress>>>) {
        let reports: Arc<Mutex<Vec<TransferProgress>>> = Arc::default();
        let seen = Arc::clone(&reports);
        let callback: ProgressCallback =
            Arc::new(move |progress: &TransferProgress| seen.lock().unwrap().push(progress.clone()));
        (Control::new(Some(callback), CancellationToken::new(), None), reports)
    }

    fn phases(reports: &Mutex<Vec<TransferProgress>>) -> Vec<Phase> {
        reports.lock().unwrap().iter().map(|progress| progress.phase).collect()
    }

    #[test]
    fn a_transfer_ends_once_however_it_ends() {
        let attempt = super::super::error::Attempt { verb: "get", object: String::new(), place: String::new() };
        let (control, reports) = recorded();
        let transfer = control.begin("a", Some(10));
        transfer.enter(Phase::Downloading);
        transfer.enter(Phase::Completed);
        transfer.end(&Ok(()));
        assert_eq!(phases(&reports), [Phase::Pending, Phase::Downloading, Phase::Completed]);

        let (control, reports) = recorded();
        control.begin("a", None).end(&Err::<(), _>(RemoteError::TimedOut { attempt: attempt.clone() }));
        control.begin("b", None).end(&Err::<(), _>(RemoteError::Cancelled { attempt }));
        drop(control.begin("c", None));
        control.cancel.cancel();
        drop(control.begin("d", None));
        let ends: Vec<_> = phases(&reports).into_iter().filter(|phase| phase.is_end()).collect();
        assert_eq!(ends, [Phase::Failed, Phase::Cancelled, Phase::Failed, Phase::Cancelled]);
        let ids: std::collections::BTreeSet<_> = reports.lock().unwrap().iter().map(|progress| progress.id).collect();
        assert_eq!(ids.len(), 4);
    }

    #[test]
    fn bytes_are_reported_in_order_and_not_one_by_one() {
        let (control, reports) = recorded();
        let transfer = control.begin("a", Some(200_000));
        for _ in 0..200_000 / 100 {
            transfer.advance(100);
        }
        transfer.rewind(5);
        transfer.end(&Ok(()));
        let done: Vec<_> = reports.lock().unwrap().iter().map(|progress| progress.done).collect();
        assert_eq!(done, [0, 65_600, 131_200, 196_800, 200_000, 5, 5]);
    }
}
