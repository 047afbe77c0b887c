//! The answer of the remote about one subject: its build record, then the end of the answer; and the lookup keys that
//! were looked up one by one meanwhile. Pure.

use crate::model::LookupKey;

/// The age, in milliseconds, up to which a new build uses an answer again.
const STALE_MS: f64 = 60_000.0;
/// How many lookup keys are looked up one by one before the record comes, and again after it.
const LOOKS: usize = 16;

/// An answer, complete or not.
#[derive(Debug)]
pub(super) struct Told {
    asked_ms: f64,
    /// Whether the answer is complete or has failed.
    is_done: bool,
    /// Milliseconds that the record took.
    took_ms: f64,
    /// The lookup keys of the record, in build order.
    record: Vec<LookupKey>,
    is_planned: bool,
    /// Lookup keys that were wanted while nothing was known about them; emptied when the record comes.
    early: Vec<LookupKey>,
    /// Lookup keys that the remote does not have.
    lacking: Vec<LookupKey>,
}

impl Told {
    /// The answer to a question that is asked now.
    pub(super) fn asked(now: f64) -> Self {
        let (record, early, lacking) = (Vec::new(), Vec::new(), Vec::new());
        Self { asked_ms: now, is_done: false, took_ms: 0.0, record, is_planned: false, early, lacking }
    }

    /// Whether the answer is recent enough to use again.
    pub(super) fn is_fresh(&self, now: f64) -> bool {
        now - self.asked_ms < STALE_MS
    }

    /// Milliseconds that the record took, if there is one.
    pub(super) fn took(&self) -> Option<f64> {
        (!self.record.is_empty()).then_some(self.took_ms)
    }

    /// Whether the answer may still name this lookup key.
    pub(super) fn may_name(&self, lookup: LookupKey) -> bool {
        !self.is_done && !self.lacking.contains(&lookup)
    }

    /// Whether to look up this lookup key alone: nothing is known about it yet, it was not looked up before, and not
    /// too many others were.
    pub(super) fn must_look(&mut self, wanted: LookupKey) -> bool {
        if self.is_done || self.early.contains(&wanted) || self.lacking.contains(&wanted) {
            return false;
        }
        self.early.push(wanted);
        self.early.len() <= LOOKS
    }

    /// Records that the remote does not have this lookup key.
    pub(super) fn lacks(&mut self, lookup: LookupKey) {
        self.lacking.push(lookup);
    }

    /// Stores the record. Returns the milliseconds that it took, and the lookup keys that were wanted before it came.
    pub(super) fn has_record(&mut self, record: Vec<LookupKey>, now: f64) -> (f64, Vec<LookupKey>) {
        (self.took_ms, self.record) = (now - self.asked_ms, record);
        (self.took_ms, std::mem::take(&mut self.early))
    }

    /// Marks the answer as complete.
    pub(super) fn end(&mut self) {
        self.is_done = true;
    }

    /// The whole record, the first time that one of its lookup keys is wanted.
    pub(super) fn plan(&mut self, wanted: LookupKey) -> Option<&[LookupKey]> {
        if self.is_planned || !self.record.contains(&wanted) {
            return None;
        }
        self.is_planned = true;
        Some(&self.record)
    }
}
