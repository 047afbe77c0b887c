//! What the remote tells of one subject: its build record, then the end of the answer; and what was looked for on its own
//! meanwhile. Pure.

use crate::model::LookupKey;

/// How old the answer may be when another build begins.
const STALE_MS: f64 = 60_000.0;
/// How many lookup keys are looked for on their own before the record is there, and after it.
const LOOKS: usize = 16;

/// An answer, as far as it has come.
#[derive(Debug)]
pub(super) struct Told {
    asked_ms: f64,
    /// Whether the whole answer is there, good or bad.
    is_done: bool,
    /// How long the record took.
    took_ms: f64,
    /// The lookup keys of the record, in build order.
    record: Vec<LookupKey>,
    is_planned: bool,
    /// What was wanted before the record was there.
    early: Vec<LookupKey>,
    /// What of that the remote does not have.
    lacking: Vec<LookupKey>,
}

impl Told {
    /// The remote is asked now.
    pub(super) fn asked(now: f64) -> Self {
        let (record, early, lacking) = (Vec::new(), Vec::new(), Vec::new());
        Self { asked_ms: now, is_done: false, took_ms: 0.0, record, is_planned: false, early, lacking }
    }

    /// Whether the remote need not be asked again.
    pub(super) fn is_fresh(&self, now: f64) -> bool {
        now - self.asked_ms < STALE_MS
    }

    /// How long the record took, if there is one.
    pub(super) fn took(&self) -> Option<f64> {
        (!self.record.is_empty()).then_some(self.took_ms)
    }

    /// Whether the answer may still say that this is there.
    pub(super) fn may_name(&self, lookup: LookupKey) -> bool {
        !self.is_done && !self.lacking.contains(&lookup)
    }

    /// Whether what is wanted is to be looked for on its own: nothing is known of it yet, and nobody looks.
    pub(super) fn must_look(&mut self, wanted: LookupKey) -> bool {
        if self.is_done || self.early.contains(&wanted) || self.lacking.contains(&wanted) {
            return false;
        }
        self.early.push(wanted);
        self.early.len() <= LOOKS
    }

    /// The remote does not have this.
    pub(super) fn lacks(&mut self, lookup: LookupKey) {
        self.lacking.push(lookup);
    }

    /// The record has come: how long it took, and what was wanted before.
    pub(super) fn has_record(&mut self, record: Vec<LookupKey>, now: f64) -> (f64, Vec<LookupKey>) {
        (self.took_ms, self.record) = (now - self.asked_ms, record);
        (self.took_ms, std::mem::take(&mut self.early))
    }

    /// Nothing more will come.
    pub(super) fn end(&mut self) {
        self.is_done = true;
    }

    /// The whole record, when something of it is wanted for the first time.
    pub(super) fn plan(&mut self, wanted: LookupKey) -> Option<&[LookupKey]> {
        if self.is_planned || !self.record.contains(&wanted) {
            return None;
        }
        self.is_planned = true;
        Some(&self.record)
    }
}
