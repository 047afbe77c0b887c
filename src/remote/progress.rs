//! What a transfer tells while it runs, and how it is told to stop.
//!
//! Every transfer ends in exactly one of the end phases, however it ends (a dropped transfer has failed, or was cancelled).
//! There is one callback; it is called from many threads and must not block.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

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
    pub fn until(&self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self.clone() }
    }

    /// Begins a transfer: it is pending. A caller that does more than one download for one thing (a pull of an entry) begins it
    /// itself and hands it to [`crate::remote::Bucket::download_in`]; then it also ends it.
    pub fn begin(&self, label: &str, total: Option<u64>) -> Transfer {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let _ = (label, total, id);
        todo!()
    }
}

/// A transfer on its way. Shared by reference between the tasks that work on it.
#[derive(Debug)]
pub struct Transfer {
    control: Control,
}

impl Transfer {
    /// What it was begun with.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Enters a phase; bytes done stay as they are. End phases are entered by [`Self::end`].
    pub fn enter(&self, phase: Phase) {
        let _ = phase;
        todo!()
    }

    /// The number of bytes in all became known.
    pub fn set_total(&self, total: u64) {
        let _ = total;
        todo!()
    }

    /// More bytes are done.
    pub fn advance(&self, bytes: u64) {
        let _ = bytes;
        todo!()
    }

    /// Starts over: this many bytes are done.
    pub fn rewind(&self, done: u64) {
        let _ = done;
        todo!()
    }

    /// Ends as the result says: completed, cancelled or failed.
    pub fn end<T>(self, result: &super::error::Result<T>) {
        let _ = result;
        todo!()
    }
}
