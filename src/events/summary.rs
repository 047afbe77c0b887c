//! Counting events.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Event;

/// What a number of invocations came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Restored.
    pub hits: u64,
    /// Compiled.
    pub misses: u64,
    /// Handed to rustc without consulting the cache.
    pub bypasses: u64,
    /// How often each outcome occurred, by id.
    pub outcomes: BTreeMap<String, u64>,
    /// How often each fate of a miss's result occurred, by id.
    pub stored: BTreeMap<String, u64>,
    /// Milliseconds that hits spared, their own cost taken off.
    pub saved_ms: f64,
    /// Mean milliseconds of a hit.
    pub hit_ms: f64,
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
    /// Counts `events`.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut summary = Self::default();
        let mut hit_ms = 0.0;
        for event in events {
            *summary.outcomes.entry(event.outcome.clone()).or_default() += 1;
            match event.outcome.split('.').next() {
                Some("hit") => {
                    summary.hits += 1;
                    hit_ms += event.ms;
                    summary.saved_ms += (event.saved_ms - event.ms).max(0.0);
                }
                Some("miss") => {
                    summary.misses += 1;
                    *summary.stored.entry(event.stored.clone()).or_default() += 1;
                }
                _ => summary.bypasses += 1,
            }
            summary.reflink_bytes += event.reflink_bytes;
            summary.hardlink_bytes += event.hardlink_bytes;
            summary.copy_bytes += event.copy_bytes;
            summary.stored_bytes += event.stored_bytes;
        }
        if summary.hits > 0 {
            #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
            let hits = summary.hits as f64;
            summary.hit_ms = hit_ms / hits;
        }
        summary
    }

    /// Hits among what the cache was asked for, in percent; `None` if it was never asked.
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
}
