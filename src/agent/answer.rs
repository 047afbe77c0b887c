//! Stores the answer of the remote about one build subject: its build records, whether more of them may come, and the
//! lookup keys that are looked up by name because no record names them. Pure.

use std::collections::HashSet;
use std::time::Duration;

use crate::model::LookupKey;

/// The age up to which a new build uses an answer again.
const MAX_AGE: Duration = Duration::from_mins(1);
/// After this many lookups in vain, and none that found an entry, no more are begun: the remote does not know this
/// workspace.
const MAX_VAIN_LOOK_UPS: usize = 32;

/// An answer, complete or not.
#[derive(Debug)]
pub(super) struct SubjectAnswer {
    /// When the query was sent; like all times here, since the agent started.
    sent: Duration,
    /// Whether the first record has come, or none will come.
    is_finished: bool,
    /// How long the first record took.
    record_took: Duration,
    /// The lookup keys of the records, in build order.
    record: Vec<LookupKey>,
    is_planned: bool,
    /// Lookup keys that were requested while nothing was known about them; emptied when a record comes.
    early: Vec<LookupKey>,
    /// Lookup keys that are being looked up.
    open: HashSet<LookupKey>,
    /// Lookup keys that the remote does not have, or for which the lookup failed.
    lacking: HashSet<LookupKey>,
    /// Those for which the lookup failed.
    failed: HashSet<LookupKey>,
    /// Number of lookups that have found an entry.
    found: usize,
    /// How many times the records of other commands were asked for.
    asked_for_others: usize,
}

impl SubjectAnswer {
    /// The answer to a query that is sent now.
    pub(super) fn new(now: Duration) -> Self {
        Self {
            sent: now,
            is_finished: false,
            record_took: Duration::ZERO,
            record: Vec::new(),
            is_planned: false,
            early: Vec::new(),
            open: HashSet::new(),
            lacking: HashSet::new(),
            failed: HashSet::new(),
            found: 0,
            asked_for_others: 0,
        }
    }

    /// Whether the answer is recent enough to use again.
    pub(super) fn is_fresh(&self, now: Duration) -> bool {
        now.saturating_sub(self.sent) < MAX_AGE
    }

    /// How long the first record took, if there is one.
    pub(super) fn record_took(&self) -> Option<Duration> {
        (!self.record.is_empty()).then_some(self.record_took)
    }

    /// Whether an entry under this lookup key may still come.
    pub(super) fn may_name(&self, lookup: LookupKey) -> bool {
        !self.lacking.contains(&lookup) && (self.open.contains(&lookup) || !self.is_finished)
    }

    /// Whether the remote was asked for this lookup key, and the request failed.
    pub(super) fn has_failed(&self, lookup: LookupKey) -> bool {
        self.failed.contains(&lookup)
    }

    /// Begins to look up this lookup key by name, unless that was done before, or too many lookups were in vain.
    /// Returns whether it did.
    pub(super) fn begin_look_up(&mut self, requested: LookupKey) -> bool {
        let is_hopeless = self.found == 0 && self.lacking.len() >= MAX_VAIN_LOOK_UPS;
        if is_hopeless || self.lacking.contains(&requested) || !self.open.insert(requested) {
            return false;
        }
        self.early.push(requested);
        true
    }

    /// Records whether the remote has an entry under this lookup key. `None`: the request failed.
    pub(super) fn end_look_up(&mut self, lookup: LookupKey, is_found: Option<bool>) {
        self.open.remove(&lookup);
        match is_found {
            Some(true) => self.found += 1,
            Some(false) => drop(self.lacking.insert(lookup)),
            None => drop((self.lacking.insert(lookup), self.failed.insert(lookup))),
        }
    }

    /// Whether to ask for the records of other commands now: a record has come, but a miss is not in it. True once.
    pub(super) fn begin_others(&mut self) -> bool {
        let is_due = !self.record.is_empty() && self.asked_for_others == 0;
        self.asked_for_others += usize::from(is_due);
        is_due
    }

    /// Adds a record. Returns how long the first one took, and the lookup keys that were requested before it came.
    pub(super) fn add_record(&mut self, record: Vec<LookupKey>, now: Duration) -> (Duration, Vec<LookupKey>) {
        if self.record.is_empty() {
            self.record_took = now.saturating_sub(self.sent);
        } else {
            self.is_planned = false;
        }
        self.record.extend(record);
        (self.record_took, std::mem::take(&mut self.early))
    }

    /// Records that the first record has come, or that none will.
    pub(super) fn finish(&mut self) {
        self.is_finished = true;
    }

    /// The records, the first time that one of their lookup keys is requested.
    pub(super) fn record_to_plan(&mut self, requested: LookupKey) -> Option<&[LookupKey]> {
        if self.is_planned || !self.record.contains(&requested) {
            return None;
        }
        self.is_planned = true;
        Some(&self.record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    fn lookup(n: usize) -> LookupKey {
        LookupKey(Digest::of(n.to_string().as_bytes()))
    }

    #[test]
    fn lookups_end_when_the_remote_knows_nothing() {
        let mut answer = SubjectAnswer::new(Duration::ZERO);
        answer.finish();
        let begun = (0..100).filter(|n| {
            let begun = answer.begin_look_up(lookup(*n));
            answer.end_look_up(lookup(*n), Some(false));
            begun
        });
        assert_eq!(begun.count(), MAX_VAIN_LOOK_UPS);
        let mut answer = SubjectAnswer::new(Duration::ZERO);
        let begun = (0..100).filter(|n| {
            let begun = answer.begin_look_up(lookup(*n));
            answer.end_look_up(lookup(*n), Some(*n == 0));
            begun
        });
        assert_eq!(begun.count(), 100, "one was found");
    }

    #[test]
    fn a_miss_waits_for_its_lookup_after_the_record_has_come() {
        let mut answer = SubjectAnswer::new(Duration::ZERO);
        answer.add_record(vec![lookup(1)], Duration::ZERO);
        answer.finish();
        assert!(!answer.may_name(lookup(2)));
        assert!(answer.begin_look_up(lookup(2)) && answer.may_name(lookup(2)));
        assert!(!answer.begin_look_up(lookup(2)), "once");
        answer.end_look_up(lookup(2), Some(false));
        assert!(!answer.may_name(lookup(2)) && !answer.begin_look_up(lookup(2)) && !answer.has_failed(lookup(2)));
        assert!(answer.begin_look_up(lookup(3)));
        answer.end_look_up(lookup(3), None);
        assert!(!answer.may_name(lookup(3)) && answer.has_failed(lookup(3)));
        assert!(answer.begin_others() && !answer.begin_others());
    }
}
