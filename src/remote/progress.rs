//! Progress reports and cancellation of transfers.
//!
//! Every transfer ends in exactly one end phase; a dropped transfer counts as failed, or as cancelled if that was
//! requested. There is one callback; it is called from many threads and must not block.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::error::RemoteError;

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
pub struct Step {
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

/// Receives progress reports.
pub type Callback = Arc<dyn Fn(&Step) + Send + Sync>;

/// A request to cancel, shared by its clones.
#[derive(Clone, Debug)]
pub struct Cancel(tokio::sync::watch::Sender<bool>);

impl Default for Cancel {
    fn default() -> Self {
        Self(tokio::sync::watch::Sender::new(false))
    }
}

impl Cancel {
    /// Requests cancellation. Can be called from any thread and needs no runtime.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }

    /// Whether cancellation was requested.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until cancellation is requested.
    pub async fn cancelled(&self) {
        let mut receiver = self.0.subscribe();
        // `self` keeps the sender alive, so only the value can end this wait.
        let _ = receiver.wait_for(|cancelled| *cancelled).await;
    }
}

/// What a caller passes to its transfers: callback, cancellation and deadline.
#[derive(Clone)]
pub struct Control {
    callback: Option<Callback>,
    ids: Arc<AtomicU64>,
    /// Request to cancel the transfers.
    pub cancel: Cancel,
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
        Self::new(None, Cancel::default(), None)
    }
}

impl Control {
    /// Creates a control that reports to `callback` and stops transfers on `cancel` or at `deadline`.
    pub fn new(callback: Option<Callback>, cancel: Cancel, deadline: Option<Instant>) -> Self {
        Self { callback, ids: Arc::default(), cancel, deadline }
    }

    /// Returns the same control with another deadline.
    #[must_use]
    pub fn until(&self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self.clone() }
    }

    /// Begins a transfer in [`Phase::Pending`]. A caller that needs several downloads for one thing (to pull an entry)
    /// begins the transfer itself and passes it to [`super::Bucket::download_in`]; it must then also end it.
    pub fn begin(&self, label: &str, total: Option<u64>) -> Transfer {
        let step = Step {
            id: self.ids.fetch_add(1, Ordering::Relaxed),
            label: label.into(),
            phase: Phase::Pending,
            done: 0,
            total,
        };
        let meter = Meter { callback: self.callback.clone(), state: Arc::new(Mutex::new(State { step, told: 0 })) };
        meter.change(|_| true);
        Transfer { control: self.clone(), meter }
    }
}

/// A transfer in progress.
#[derive(Debug)]
pub struct Transfer {
    control: Control,
    meter: Meter,
}

impl Transfer {
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
    callback: Option<Callback>,
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    step: Step,
    /// Bytes done at the last call of the callback.
    told: u64,
}

/// Bytes after which progress is reported again.
const WORTH_TELLING: u64 = 64 * 1024;

impl Meter {
    /// Enters a phase. Ignores end phases.
    pub fn enter(&self, phase: Phase) {
        self.change(|state| !phase.is_end() && std::mem::replace(&mut state.step.phase, phase) != phase);
    }

    /// Sets the total size in bytes, once it is known.
    pub fn set_total(&self, total: u64) {
        self.change(|state| state.step.total.replace(total) != Some(total));
    }

    /// Adds to the bytes done.
    pub fn advance(&self, bytes: u64) {
        self.change(|state| {
            state.step.done += bytes;
            state.step.done.saturating_sub(state.told) >= WORTH_TELLING || Some(state.step.done) == state.step.total
        });
    }

    /// Sets the bytes done when the transfer starts over from an earlier point.
    pub fn rewind(&self, done: u64) {
        self.change(|state| std::mem::replace(&mut state.step.done, done) != done);
    }

    fn enter_end(&self, end: Phase) {
        self.change(|state| {
            state.step.phase = end;
            true
        });
    }

    /// Changes the state and reports it if `change` returns true; does nothing after an end phase. The callback runs
    /// under the lock, so that steps are reported in order.
    fn change(&self, change: impl FnOnce(&mut State) -> bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.step.phase.is_end() || !change(&mut state) {
            return;
        }
        state.told = state.step.done;
        if let Some(callback) = &self.callback {
            callback(&state.step);
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        // Has no effect after an end phase.
        self.meter.enter_end(if self.control.cancel.is_cancelled() { Phase::Cancelled } else { Phase::Failed });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded() -> (Control, Arc<Mutex<Vec<Step>>>) {
        let steps: Arc<Mutex<Vec<Step>>> = Arc::default();
        let seen = Arc::clone(&steps);
        let callback: Callback = Arc::new(move |step: &Step| seen.lock().unwrap().push(step.clone()));
        (Control::new(Some(callback), Cancel::default(), None), steps)
    }

    fn phases(steps: &Mutex<Vec<Step>>) -> Vec<Phase> {
        steps.lock().unwrap().iter().map(|step| step.phase).collect()
    }

    #[test]
    fn a_transfer_ends_once_however_it_ends() {
        let tried = super::super::error::Tried { verb: "get", object: String::new(), bucket: String::new() };
        let (control, steps) = recorded();
        let transfer = control.begin("a", Some(10));
        transfer.enter(Phase::Downloading);
        transfer.enter(Phase::Completed);
        transfer.end(&Ok(()));
        assert_eq!(phases(&steps), [Phase::Pending, Phase::Downloading, Phase::Completed]);

        let (control, steps) = recorded();
        control.begin("a", None).end(&Err::<(), _>(RemoteError::TimedOut { tried: tried.clone() }));
        control.begin("b", None).end(&Err::<(), _>(RemoteError::Cancelled { tried }));
        drop(control.begin("c", None));
        control.cancel.cancel();
        drop(control.begin("d", None));
        let ends: Vec<_> = phases(&steps).into_iter().filter(|phase| phase.is_end()).collect();
        assert_eq!(ends, [Phase::Failed, Phase::Cancelled, Phase::Failed, Phase::Cancelled]);
        let ids: std::collections::BTreeSet<_> = steps.lock().unwrap().iter().map(|step| step.id).collect();
        assert_eq!(ids.len(), 4);
    }

    #[test]
    fn bytes_are_told_in_order_and_not_one_by_one() {
        let (control, steps) = recorded();
        let transfer = control.begin("a", Some(200_000));
        for _ in 0..200_000 / 100 {
            transfer.advance(100);
        }
        transfer.rewind(5);
        transfer.end(&Ok(()));
        let done: Vec<_> = steps.lock().unwrap().iter().map(|step| step.done).collect();
        assert_eq!(done, [0, 65_600, 131_200, 196_800, 200_000, 5, 5]);
    }

    #[test]
    fn cancelling_wakes_all_who_wait() {
        let cancel = Cancel::default();
        assert!(!cancel.is_cancelled());
        let waiter = cancel.clone();
        let canceller = std::thread::spawn(move || cancel.cancel());
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(waiter.cancelled());
        canceller.join().unwrap();
        assert!(waiter.is_cancelled());
    }
}
