//! When to retry, and when to stop sending requests: pure functions of past results, the time and a random number.

use std::time::{Duration, Instant};

/// Exponential backoff with full jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Longest pause after the first failure.
    pub base: Duration,
    /// Longest pause after any failure.
    pub cap: Duration,
    /// Attempts in a row without progress before the request fails.
    pub attempts: u32,
}

impl Backoff {
    /// How long to pause after this many failures in a row (from 1); `None`: give up. `random` is in 0..1.
    pub fn pause(&self, failures: u32, random: f64) -> Option<Duration> {
        if failures >= self.attempts {
            return None;
        }
        let doublings = failures.saturating_sub(1).min(16);
        Some(self.base.saturating_mul(1 << doublings).min(self.cap).mul_f64(random.clamp(0.0, 1.0)))
    }
}

/// Whether requests to a server are worth sending: closed, open for a while after repeated failures, then half open for
/// one attempt.
#[derive(Clone, Debug)]
pub struct Breaker {
    limits: BreakerLimits,
    failures: u32,
    first_failure: Option<Instant>,
    open: Option<OpenBreaker>,
}

/// The state of an open breaker.
#[derive(Clone, Copy, Debug)]
struct OpenBreaker {
    /// When the next request is admitted.
    until: Instant,
    /// How long the breaker stays open after a failure.
    wait: Duration,
    /// One request was admitted to test the server.
    probed: bool,
}

/// When a [`Breaker`] opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerLimits {
    /// Failures in a row after which it opens...
    pub failures: u32,
    /// ...if they span at least this time: many requests that fail at once are one failure of the network.
    pub over: Duration,
    /// How long it stays open at first. Doubles with each failed attempt.
    pub open: Duration,
    /// Longest time that it stays open.
    pub open_at_most: Duration,
}

impl Breaker {
    /// Creates a closed breaker.
    pub fn new(limits: BreakerLimits) -> Self {
        Self { limits, failures: 0, first_failure: None, open: None }
    }

    /// Admits a request, or returns the time until one may be sent.
    pub fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if now < open.until {
            return Err(open.until - now);
        }
        // One attempt. If its result is never reported, the next attempt is admitted after the same wait.
        open.until = now + open.wait;
        open.probed = true;
        Ok(())
    }

    /// Records that a request was answered, which closes the breaker.
    pub fn success(&mut self) {
        *self = Self::new(self.limits);
    }

    /// Records a failure that shows a problem of the server.
    pub fn failure(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let first_failure = *self.first_failure.get_or_insert(now);
        match &mut self.open {
            Some(open) if open.probed => {
                open.wait = open.wait.saturating_mul(2).min(self.limits.open_at_most);
                open.until = now + open.wait;
                open.probed = false;
            }
            None if self.failures >= self.limits.failures && now.duration_since(first_failure) >= self.limits.over => {
                let wait = self.limits.open;
                self.open = Some(OpenBreaker { until: now + wait, wait, probed: false });
            }
            // Sent before the breaker opened, or too few failures so far.
            _ => {}
        }
    }
}

/// A random number in 0..1. The standard library seeds every hasher anew.
pub(super) fn random() -> f64 {
    use std::hash::{BuildHasher, Hasher};
    let bits = std::collections::hash_map::RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(bits >> 32).unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_double_up_to_the_cap_and_end() {
        let backoff = Backoff { base: SECOND, cap: 5 * SECOND, attempts: 6 };
        let longest: Vec<_> =
            (1..=6).map(|failures| backoff.pause(failures, 1.0).map(|pause| pause.as_secs())).collect();
        assert_eq!(longest, [Some(1), Some(2), Some(4), Some(5), Some(5), None]);
        assert_eq!(backoff.pause(3, 0.0), Some(Duration::ZERO));
        assert_eq!(backoff.pause(3, 0.5), Some(2 * SECOND));
        assert_eq!(Backoff { attempts: u32::MAX, ..backoff }.pause(u32::MAX - 1, 1.0), Some(5 * SECOND));
    }

    #[test]
    fn random_numbers_differ_and_stay_in_range() {
        let numbers: Vec<_> = (0..100).map(|_| random()).collect();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        assert!(numbers.iter().any(|number| *number < 0.5) && numbers.iter().any(|number| *number >= 0.5));
    }

    const LIMITS: BreakerLimits = BreakerLimits {
        failures: 3,
        over: SECOND,
        open: Duration::from_secs(10),
        open_at_most: Duration::from_secs(30),
    };

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(LIMITS);
        for _ in 0..2 {
            breaker.failure(now);
        }
        assert!(breaker.admit(now + SECOND).is_ok());
        breaker.failure(now + SECOND);
        breaker
    }

    #[test]
    fn r09_repeated_failure_opens_the_breaker_for_a_while() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(breaker.admit(now + 2 * SECOND), Err(9 * SECOND));
        assert_eq!(breaker.admit(now + 11 * SECOND), Ok(()), "half open");
        assert!(breaker.admit(now + 11 * SECOND).is_err(), "for one attempt");
        breaker.success();
        assert!(breaker.admit(now + 11 * SECOND).is_ok());
        breaker.failure(now + 12 * SECOND);
        assert!(breaker.admit(now + 12 * SECOND).is_ok(), "it counts from the start again");
    }

    #[test]
    fn r09_a_failed_attempt_doubles_the_time_up_to_the_limit() {
        let now = Instant::now();
        let mut breaker = opened(now);
        breaker.failure(now + 2 * SECOND);
        assert_eq!(breaker.admit(now + 2 * SECOND), Err(9 * SECOND), "sent before it opened: does not count");
        let mut at = now + 11 * SECOND;
        for wait in [20, 30, 30] {
            assert_eq!(breaker.admit(at), Ok(()));
            breaker.failure(at);
            assert_eq!(breaker.admit(at), Err(wait * SECOND));
            at += wait * SECOND;
        }
    }

    #[test]
    fn one_moment_of_failure_and_failures_among_successes_leave_it_closed() {
        let now = Instant::now();
        let mut breaker = Breaker::new(LIMITS);
        for _ in 0..50 {
            breaker.failure(now);
        }
        assert!(breaker.admit(now).is_ok(), "all at once");
        let mut breaker = Breaker::new(LIMITS);
        for second in 0..50 {
            breaker.failure(now + second * SECOND);
            if second % 2 == 1 {
                breaker.success();
            }
        }
        assert!(breaker.admit(now + 50 * SECOND).is_ok(), "some go well");
    }

    #[test]
    fn an_attempt_without_a_result_does_not_close_it_for_good() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert!(breaker.admit(now + 11 * SECOND).is_ok());
        assert!(breaker.admit(now + 12 * SECOND).is_err());
        assert!(breaker.admit(now + 21 * SECOND).is_ok());
    }
}
