//! When to try again, and when to stop asking: pure functions of what happened, the time and a random number.

use std::time::{Duration, Instant};

/// Exponential back-off with full jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest pause after the first failure.
    pub base: Duration,
    /// The longest pause ever.
    pub cap: Duration,
    /// Attempts in a row that bring nothing before it is a failure.
    pub attempts: u32,
}

impl Backoff {
    /// How long to pause after this many failures in a row (from 1); `None`: no more. `random` is in 0..1.
    pub fn pause(&self, failures: u32, random: f64) -> Option<Duration> {
        let _ = (failures, random);
        todo!()
    }
}

/// Whether a server is worth asking: closed, open for a while after repeated failure, then half open for one attempt.
#[derive(Clone, Debug)]
pub struct Breaker {
    limits: Limits,
}

/// When a [`Breaker`] opens and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Failures in a row without any success...
    pub failures: u32,
    /// ...over at least this time.
    pub over: Duration,
    /// How long it stays open at first; doubles with each failed attempt.
    pub open: Duration,
    /// How long at most.
    pub open_at_most: Duration,
}

impl Breaker {
    /// A closed one.
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// Whether a request may go out; else how long until one may.
    pub fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        let _ = (now, self.limits);
        todo!()
    }

    /// A request was answered.
    pub fn success(&mut self) {
        todo!()
    }

    /// A request failed in a way that says the server is not well.
    pub fn failure(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }
}
