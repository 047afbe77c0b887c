//! Whether the remote can be used: a policy, pure.
//!
//! A few failures in a row, or one that speaks for all, and it is left alone for a while that grows.

/// How long the remote is left alone after it failed; doubled each time, up to [`LONGEST_PAUSE_MS`].
const FIRST_PAUSE_MS: f64 = 30_000.0;
const LONGEST_PAUSE_MS: f64 = 300_000.0;
/// How many fetches in a row may fail before the remote counts as unusable.
const FAILURES: u32 = 3;
/// Whether the remote can be used.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    failures: u32,
    pause_ms: f64,
    until_ms: f64,
    /// The last error's words.
    pub(super) words: String,
}

impl Health {
    /// Whether the remote may be asked.
    pub(super) fn is_usable(&self, now: f64) -> bool {
        now >= self.until_ms
    }

    /// Something went well.
    pub(super) fn well(&mut self) {
        *self = Self::default();
    }

    /// A fetch failed.
    pub(super) fn failed(&mut self, words: String, now: f64) {
        self.failures += 1;
        self.words = words;
        if self.failures >= FAILURES {
            self.unusable(now);
        }
    }

    /// The remote is to be left alone for a while.
    pub(super) fn unusable(&mut self, now: f64) {
        self.failures = 0;
        self.pause_ms = if self.pause_ms == 0.0 { FIRST_PAUSE_MS } else { (self.pause_ms * 2.0).min(LONGEST_PAUSE_MS) };
        self.until_ms = now + self.pause_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r09_pauses_begin_after_a_few_failures_and_grow_until_something_goes_well() {
        let mut health = Health::default();
        health.failed("500".into(), 0.0);
        health.failed("500".into(), 0.0);
        assert!(health.is_usable(0.0));
        health.failed("500".into(), 0.0);
        assert!(!health.is_usable(FIRST_PAUSE_MS - 1.0) && health.is_usable(FIRST_PAUSE_MS));
        for _ in 0..10 {
            health.unusable(0.0);
        }
        assert!(!health.is_usable(LONGEST_PAUSE_MS - 1.0) && health.is_usable(LONGEST_PAUSE_MS));
        health.well();
        health.unusable(0.0);
        assert!(health.is_usable(FIRST_PAUSE_MS));
    }
}
