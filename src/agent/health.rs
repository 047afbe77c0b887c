//! Whether the remote can be used. Pure policy.
//!
//! After a few failures in a row, or one that concerns every request, the agent does not use the remote for a while.
//! The pause grows with each repetition.

use std::time::Duration;

/// The first pause after failures. Each further one is twice as long, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const MAX_PAUSE: Duration = Duration::from_mins(5);
/// How many fetches in a row fail before the agent pauses.
const MAX_FAILURES: u32 = 3;

/// The recent failures of the remote, and the pause after them.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    failures: u32,
    /// The length of the last pause.
    pause: Duration,
    /// The end of the last pause; like all times here, since the agent started.
    until: Duration,
    /// The message of the last error.
    pub(super) last_error: String,
}

impl Health {
    /// Whether the remote may be used now.
    pub(super) fn is_usable(&self, now: Duration) -> bool {
        now >= self.until
    }

    /// Records a success, which ends the pauses.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Records a failed fetch.
    pub(super) fn failed(&mut self, error: String, now: Duration) {
        self.failures += 1;
        self.last_error = error;
        if self.failures >= MAX_FAILURES {
            self.pause(now);
        }
    }

    /// Pauses the remote. The first pause is [`FIRST_PAUSE`]; each further one is twice as long, up to [`MAX_PAUSE`],
    /// until a request succeeds.
    pub(super) fn pause(&mut self, now: Duration) {
        self.failures = 0;
        self.pause = if self.pause.is_zero() { FIRST_PAUSE } else { (self.pause * 2).min(MAX_PAUSE) };
        self.until = now + self.pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r09_pauses_begin_after_a_few_failures_and_grow_until_a_success() {
        let (mut health, start) = (Health::default(), Duration::ZERO);
        let before = |end: Duration| end.saturating_sub(Duration::from_millis(1));
        health.failed("500".into(), start);
        health.failed("500".into(), start);
        assert!(health.is_usable(start));
        health.failed("500".into(), start);
        assert!(!health.is_usable(before(FIRST_PAUSE)) && health.is_usable(FIRST_PAUSE));
        for _ in 0..10 {
            health.pause(start);
        }
        assert!(!health.is_usable(before(MAX_PAUSE)) && health.is_usable(MAX_PAUSE));
        health.succeeded();
        health.pause(start);
        assert!(health.is_usable(FIRST_PAUSE));
    }
}
