//! Records finished transfers in the journal (`events::transfer`). Best effort: a transfer never fails because of it.

use crate::events::{Ending, Journal, Transfer, transfer};
use crate::fsx::clock;
use crate::model::EntryKey;
use crate::store::Store;

/// A transfer of one entry that has ended.
pub(super) struct FinishedTransfer<'a> {
    pub(super) crate_name: &'a str,
    pub(super) key: EntryKey,
    pub(super) ending: Ending,
    /// Size of the pack in bytes, if it was transferred.
    pub(super) bytes: u64,
    /// Duration of the whole transfer in milliseconds, with retries.
    pub(super) ms: f64,
    /// Why the entry was refused or the transfer failed; empty otherwise.
    pub(super) reason: &'a str,
}

impl FinishedTransfer<'_> {
    /// Appends a line to the journal, and rotates the journal if it is large.
    pub(super) fn record(&self, store: &Store) {
        let journal = Journal::of(store.layout().cache_dir());
        let _ = journal.append(&Transfer {
            v: transfer::VERSION,
            at: clock::now().as_millis(),
            ending: self.ending,
            crate_name: self.crate_name.to_owned(),
            key: self.key.0.hex(),
            bytes: self.bytes,
            ms: self.ms,
            reason: self.reason.to_owned(),
        });
        let _ = journal.rotate();
    }
}
