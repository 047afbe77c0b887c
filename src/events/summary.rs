//! Counts events.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Event;
use crate::model::{HitSource, Outcome, OutcomeClass, RemoteAnswer, Stored};

/// Hits of one crate that a fresh compile did not confirm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DifferingHits {
    /// Number of such hits.
    pub hits: u64,
    /// How the newest of them differs.
    pub detail: String,
}

/// The totals of a number of invocations.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Number of hits, including verified ones.
    pub hits: u64,
    /// Number of misses, whether or not their results were stored.
    pub misses: u64,
    /// Number of calls that were passed on to rustc without consulting the cache.
    pub bypasses: u64,
    /// How often each outcome occurred, by id.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// How often each fate of the result of a miss occurred, by id.
    pub stored: BTreeMap<Stored, u64>,
    /// Number of hits that were compiled as well, with the same result.
    pub verified: u64,
    /// Hits that were compiled as well, with another result, by crate.
    pub differing: BTreeMap<String, DifferingHits>,
    /// Milliseconds that restored hits saved, less the time that they took.
    pub saved_ms: f64,
    /// Mean milliseconds of a restored hit.
    pub hit_ms: f64,
    /// How often the remote gave each answer to an invocation that then was a hit, by id.
    pub hit_answers: BTreeMap<RemoteAnswer, u64>,
    /// How often the remote gave each answer to a miss, by id. Misses without a remote are in none.
    pub miss_answers: BTreeMap<RemoteAnswer, u64>,
    /// Milliseconds that invocations waited for the remote.
    pub waited_ms: f64,
    /// Bytes restored by reflink.
    pub reflink_bytes: u64,
    /// Bytes restored by hard link.
    pub hardlink_bytes: u64,
    /// Bytes restored by copy.
    pub copy_bytes: u64,
    /// Bytes added to the store.
    pub stored_bytes: u64,
}

impl Summary {
    /// Counts `events`. Their order matters only for [`DifferingHits::detail`].
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut summary = Self::default();
        let (mut restored, mut hit_ms) = (0_u32, 0.0);
        for event in events {
            *summary.outcomes.entry(event.outcome.clone()).or_default() += 1;
            match event.outcome.class() {
                OutcomeClass::Hit => {
                    summary.hits += 1;
                    if !summary.add_verified(event) {
                        restored += 1;
                        hit_ms += event.ms;
                        summary.saved_ms += (event.saved_ms - event.ms).max(0.0);
                    }
                }
                OutcomeClass::Miss => {
                    summary.misses += 1;
                    if let Some(stored) = &event.stored {
                        *summary.stored.entry(stored.clone()).or_default() += 1;
                    }
                }
                OutcomeClass::Bypass => summary.bypasses += 1,
            }
            summary.add_answer(event);
            summary.waited_ms += event.waited_ms;
            summary.reflink_bytes += event.reflink_bytes;
            summary.hardlink_bytes += event.hardlink_bytes;
            summary.copy_bytes += event.copy_bytes;
            summary.stored_bytes += event.stored_bytes;
        }
        if restored > 0 {
            summary.hit_ms = hit_ms / f64::from(restored);
        }
        summary
    }

    /// Counts a hit that was compiled as well. `false`: this one was not.
    fn add_verified(&mut self, event: &Event) -> bool {
        if event.outcome == Outcome::Hit(HitSource::Differs) {
            let differing = self.differing.entry(event.crate_name.clone()).or_default();
            differing.hits += 1;
            differing.detail.clone_from(&event.detail);
            return true;
        }
        let is_verified = event.outcome == Outcome::Hit(HitSource::Verified);
        self.verified += u64::from(is_verified);
        is_verified
    }

    fn add_answer(&mut self, event: &Event) {
        let answers = match event.outcome.class() {
            OutcomeClass::Hit => &mut self.hit_answers,
            OutcomeClass::Miss => &mut self.miss_answers,
            OutcomeClass::Bypass => return,
        };
        if let Some(answer) = &event.remote {
            *answers.entry(answer.clone()).or_default() += 1;
        }
    }

    /// Percentage of hits among hits and misses. `None`: there were none.
    pub fn hit_rate(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let (hits, asked) = (self.hits as f64, (self.hits + self.misses) as f64);
        (asked > 0.0).then(|| hits / asked * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(outcome: &str, ms: f64, saved_ms: f64) -> Event {
        Event { outcome: outcome.into(), ms, saved_ms, copy_bytes: 10, ..Event::default() }
    }

    #[test]
    fn outcomes_are_counted_by_class() {
        let events =
            [event("hit.local", 2.0, 100.0), event("miss.no-manifest", 90.0, 0.0), event("bypass.links", 1.0, 0.0)];
        let summary = Summary::of(&events);
        assert_eq!((summary.hits, summary.misses, summary.bypasses), (1, 1, 1));
        assert!((summary.saved_ms - 98.0).abs() < 1e-9);
        assert_eq!(summary.hit_rate(), Some(50.0));
        assert_eq!(summary.copy_bytes, 30);
        assert_eq!(Summary::of(&[]).hit_rate(), None);
    }

    #[test]
    fn answers_of_the_remote_are_counted_for_hits_and_misses() {
        let asked = |outcome: &str, answer: &str| Event {
            remote: (!answer.is_empty()).then(|| answer.into()),
            waited_ms: 5.0,
            ..event(outcome, 10.0, 0.0)
        };
        let events = [asked("hit.remote", "fetched"), asked("miss.no-manifest", "late"), asked("miss.no-manifest", "")];
        let summary = Summary::of(&events);
        assert_eq!(summary.hit_answers, BTreeMap::from([(RemoteAnswer::Fetched, 1)]));
        assert_eq!(summary.miss_answers, BTreeMap::from([(RemoteAnswer::Late, 1)]));
        assert!((summary.waited_ms - 15.0).abs() < 1e-9);
    }

    #[test]
    fn outcomes_of_a_newer_version_count_in_their_class() {
        let summary = Summary::of(&[event("hit.newer", 2.0, 3.0), event("miss.newer", 1.0, 0.0)]);
        assert_eq!((summary.hits, summary.misses, summary.bypasses), (1, 1, 0));
        assert!(summary.outcomes.contains_key(&Outcome::Other("hit.newer".into())));
    }

    #[test]
    fn verified_hits_save_nothing_and_differing_ones_are_named() {
        let named = |outcome, name: &str, detail: &str| Event {
            crate_name: name.into(),
            detail: detail.into(),
            ..event(outcome, 500.0, 0.0)
        };
        let events = [
            event("hit.local", 2.0, 100.0),
            named("hit.verified", "a", ""),
            named("hit.differs", "b", "old"),
            named("hit.differs", "b", "new"),
        ];
        let summary = Summary::of(&events);
        assert_eq!((summary.hits, summary.verified), (4, 1));
        assert!((summary.saved_ms - 98.0).abs() < 1e-9 && (summary.hit_ms - 2.0).abs() < 1e-9);
        let expected = DifferingHits { hits: 2, detail: "new".into() };
        assert_eq!(summary.differing, BTreeMap::from([("b".to_owned(), expected)]));
        assert!(Summary::of(&events[..2]).differing.is_empty());
    }
}
