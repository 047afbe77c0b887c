//! Whether the remote can be used. Pure policy.
//!
//! After a few failures in a row, or one that concerns every request, the agent does not use the remote for a while.
//! The pause grows with each repetition.

/// The first pause after failures. Each further one is twice as long, up to [`LONGEST_PAUSE_MS`].
const FIRST_PAUSE_MS: f64 = 30_000.0;
const LONGEST_PAUSE_MS: f64 = 300_000.0;
/// How many fetches in a row have to fail before the remote counts as unusable.
const FAILURES: u32 = 3;
/// The recent failures of the remote, and the pause after them.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    failures: u32,
    pause_ms: f64,
    until_ms: f64,
    /// The message of the last error.
    pub(super) words: String,
}

impl Health {
    /// Whether the remote may be used now.
    pub(super) fn is_usable(&self, now: f64) -> bool {
        now >= self.until_ms
    }

    /// Records a success, which ends the pauses.
    pub(super) fn well(&mut self) {
        *self = Self::default();
    }

    /// Records a failed fetch.
    pub(super) fn failed(&mut self, words: String, now: f64) {
        self.failures += 1;
        self.words = words;
        if self.failures >= FAILURES {
            self.unusable(now);
        }
    }

    /// Pauses the remote.
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
