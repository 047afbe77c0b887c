//! What a transfer tells while it runs, and how it is told to stop.
//!
//! Every transfer ends in exactly one of the end phases, however it ends (a dropped transfer has failed, or was cancelled).
//! There is one callback; it is called from many threads and must not block.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::error::RemoteError;

/// Where a transfer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// It has not begun.
    Pending,
    /// Bytes come in.
    Downloading,
    /// Bytes go out.
    Uploading,
    /// All bytes are here and are checked.
    Verifying,
    /// It went well (an object that does not exist counts: nothing was to be done).
    Completed,
    /// It was told to stop.
    Cancelled,
    /// It went wrong.
    Failed,
}

impl Phase {
    /// Whether nothing follows.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Failed)
    }
}

/// One message of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Names the transfer within its [`Control`] and its clones.
    pub id: u64,
    /// What it is about, for people.
    pub label: Arc<str>,
    /// Where it is.
    pub phase: Phase,
    /// Bytes done. May fall when a transfer has to start over.
    pub done: u64,
    /// Bytes in all, once known.
    pub total: Option<u64>,
}

/// Who is told.
pub type Callback = Arc<dyn Fn(&Step) + Send + Sync>;

/// A request to stop, shared by its clones.
#[derive(Clone, Debug)]
pub struct Cancel(tokio::sync::watch::Sender<bool>);

impl Default for Cancel {
    fn default() -> Self {
        Self(tokio::sync::watch::Sender::new(false))
    }
}

impl Cancel {
    /// Asks all to stop. Safe from any thread; needs no runtime.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }

    /// Whether somebody asked.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once somebody asked.
    pub async fn cancelled(&self) {
        let mut receiver = self.0.subscribe();
        // The sender lives in `self`: this ends by the value alone.
        let _ = receiver.wait_for(|cancelled| *cancelled).await;
    }
}

/// What a caller gives to transfers: who is told, when to stop.
#[derive(Clone)]
pub struct Control {
    callback: Option<Callback>,
    ids: Arc<AtomicU64>,
    /// The request to stop.
    pub cancel: Cancel,
    /// When the whole transfer must be over.
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
    /// Tells `callback`, stops by `cancel` or at `deadline`.
    pub fn new(callback: Option<Callback>, cancel: Cancel, deadline: Option<Instant>) -> Self {
        Self { callback, ids: Arc::default(), cancel, deadline }
    }

    /// The same control with another deadline.
    #[must_use]
    pub fn until(&self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self.clone() }
    }

    /// Begins a transfer: it is pending. A caller that does more than one download for one thing (a pull of an entry) begins it
    /// itself and hands it to [`super::Bucket::download_in`]; then it also ends it.
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

/// A transfer on its way.
#[derive(Debug)]
pub struct Transfer {
    control: Control,
    meter: Meter,
}

impl Transfer {
    /// What it was begun with.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// What tasks that work on it tell their progress to.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Enters a phase; bytes done stay as they are. End phases are entered by [`Self::end`].
    pub fn enter(&self, phase: Phase) {
        self.meter.enter(phase);
    }

    /// The number of bytes in all became known.
    pub fn set_total(&self, total: u64) {
        self.meter.set_total(total);
    }

    /// More bytes are done.
    pub fn advance(&self, bytes: u64) {
        self.meter.advance(bytes);
    }

    /// Starts over: this many bytes are done.
    pub fn rewind(&self, done: u64) {
        self.meter.rewind(done);
    }

    /// Ends as the result says: completed, cancelled or failed.
    pub fn end<T>(self, result: &super::error::Result<T>) {
        self.meter.enter_end(match result {
            Ok(_) => Phase::Completed,
            Err(RemoteError::Cancelled { .. }) => Phase::Cancelled,
            Err(_) => Phase::Failed,
        });
    }
}

/// The way from a transfer's tasks to the callback. What comes after the transfer's end is not told.
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
    /// Bytes done when the callback was last called.
    told: u64,
}

/// So many bytes are worth a call.
const WORTH_TELLING: u64 = 64 * 1024;

impl Meter {
    /// Enters a phase that is no end.
    pub fn enter(&self, phase: Phase) {
        self.change(|state| !phase.is_end() && std::mem::replace(&mut state.step.phase, phase) != phase);
    }

    /// The number of bytes in all became known.
    pub fn set_total(&self, total: u64) {
        self.change(|state| state.step.total.replace(total) != Some(total));
    }

    /// More bytes are done.
    pub fn advance(&self, bytes: u64) {
        self.change(|state| {
            state.step.done += bytes;
            state.step.done.saturating_sub(state.told) >= WORTH_TELLING || Some(state.step.done) == state.step.total
        });
    }

    /// Starts over: this many bytes are done.
    pub fn rewind(&self, done: u64) {
        self.change(|state| std::mem::replace(&mut state.step.done, done) != done);
    }

    fn enter_end(&self, end: Phase) {
        self.change(|state| {
            state.step.phase = end;
            true
        });
    }

    /// Changes the state and tells it, if it is worth it; nothing follows an end. Steps are told in order: under the lock.
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
        // Does nothing after an end.
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
