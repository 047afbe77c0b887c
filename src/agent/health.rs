//! Whether the remote can be used. Pure policy.
//!
//! After a few failures in a row, or one that concerns every request, the agent does not use the remote for a while.
//! The pause grows with each repetition.

/// The first pause after failures. Each further one is twice as long, up to [`MAX_PAUSE_MS`].
const FIRST_PAUSE_MS: f64 = 30_000.0;
const MAX_PAUSE_MS: f64 = 300_000.0;
/// How many fetches in a row fail before the agent pauses.
const MAX_FAILURES: u32 = 3;

/// The recent failures of the remote, and the pause after them.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    failures: u32,
    pause_ms: f64,
    until_ms: f64,
    /// The message of the last error.
    pub(super) last_error: String,
}

impl Health {
    /// Whether the remote may be used now.
    pub(super) fn is_usable(&self, now: f64) -> bool {
        now >= self.until_ms
    }

    /// Records a success, which ends the pauses.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Records a failed fetch.
    pub(super) fn failed(&mut self, error: String, now: f64) {
        self.failures += 1;
        self.last_error = error;
        if self.failures >= MAX_FAILURES {
            self.pause(now);
        }
    }

    /// Pauses the remote.
    pub(super) fn pause(&mut self, now: f64) {
        self.failures = 0;
        self.pause_ms = if self.pause_ms == 0.0 { FIRST_PAUSE_MS } else { (self.pause_ms * 2.0).min(MAX_PAUSE_MS) };
        self.until_ms = now + self.pause_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r09_pauses_begin_after_a_few_failures_and_grow_until_a_success() {
        let mut health = Health::default();
        health.failed("500".into(), 0.0);
        health.failed("500".into(), 0.0);
        assert!(health.is_usable(0.0));
        health.failed("500".into(), 0.0);
        assert!(!health.is_usable(FIRST_PAUSE_MS - 1.0) && health.is_usable(FIRST_PAUSE_MS));
        for _ in 0..10 {
            health.pause(0.0);
        }
        assert!(!health.is_usable(MAX_PAUSE_MS - 1.0) && health.is_usable(MAX_PAUSE_MS));
        health.succeeded();
        health.pause(0.0);
        assert!(health.is_usable(FIRST_PAUSE_MS));
    }
}
