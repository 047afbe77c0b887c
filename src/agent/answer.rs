//! Stores the answer of the remote about one build subject: its build record, whether the answer is complete, and the
//! lookup keys that were looked up singly in the meantime. Pure.

use std::time::Duration;

use crate::model::LookupKey;

/// The age up to which a new build uses an answer again.
const MAX_AGE: Duration = Duration::from_mins(1);
/// How many lookup keys are looked up one by one before the record comes, and again after it.
const MAX_LOOK_UPS: usize = 16;

/// An answer, complete or not.
#[derive(Debug)]
pub(super) struct SubjectAnswer {
    /// When the query was sent; like all times here, since the agent started.
    sent: Duration,
    /// Whether the answer is complete or has failed.
    is_finished: bool,
    /// How long the record took.
    record_took: Duration,
    /// The lookup keys of the record, in build order.
    record: Vec<LookupKey>,
    is_planned: bool,
    /// Lookup keys that were requested while nothing was known about them; emptied when the record comes.
    early: Vec<LookupKey>,
    /// Lookup keys that the remote does not have.
    lacking: Vec<LookupKey>,
}

impl SubjectAnswer {
    /// The answer to a query that is sent now.
    pub(super) fn new(now: Duration) -> Self {
        let (record, early, lacking) = (Vec::new(), Vec::new(), Vec::new());
        Self { sent: now, is_finished: false, record_took: Duration::ZERO, record, is_planned: false, early, lacking }
    }

    /// Whether the answer is recent enough to use again.
    pub(super) fn is_fresh(&self, now: Duration) -> bool {
        now.saturating_sub(self.sent) < MAX_AGE
    }

    /// How long the record took, if there is one.
    pub(super) fn record_took(&self) -> Option<Duration> {
        (!self.record.is_empty()).then_some(self.record_took)
    }

    /// Whether the answer may still name this lookup key.
    pub(super) fn may_name(&self, lookup: LookupKey) -> bool {
        !self.is_finished && !self.lacking.contains(&lookup)
    }

    /// Begins to look up this lookup key alone, if nothing is known about it yet, it was not looked up before, and not
    /// too many others were. Returns whether it did.
    pub(super) fn begin_look_up(&mut self, requested: LookupKey) -> bool {
        if self.is_finished || self.early.contains(&requested) || self.lacking.contains(&requested) {
            return false;
        }
        self.early.push(requested);
        self.early.len() <= MAX_LOOK_UPS
    }

    /// Records that the remote does not have this lookup key.
    pub(super) fn add_lacking(&mut self, lookup: LookupKey) {
        self.lacking.push(lookup);
    }

    /// Stores the record. Returns how long it took, and the lookup keys that were requested before it came.
    pub(super) fn set_record(&mut self, record: Vec<LookupKey>, now: Duration) -> (Duration, Vec<LookupKey>) {
        (self.record_took, self.record) = (now.saturating_sub(self.sent), record);
        (self.record_took, std::mem::take(&mut self.early))
    }

    /// Marks the answer as complete.
    pub(super) fn finish(&mut self) {
        self.is_finished = true;
    }

    /// The whole record, the first time that one of its lookup keys is requested.
    pub(super) fn record_to_plan(&mut self, requested: LookupKey) -> Option<&[LookupKey]> {
        if self.is_planned || !self.record.contains(&requested) {
            return None;
        }
        self.is_planned = true;
        Some(&self.record)
    }
}
