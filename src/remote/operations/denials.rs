//! Counts denied requests, to decide when to stop: one denied object does not stop a push or a pull, but a remote that
//! denies everything does.
//!
//! Uses neither a clock nor the network: callers report how requests ended. The tasks of a push or a pull share it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::remote::s3::error::RemoteError;

/// After this many denials without a success, further requests are expected to be denied too.
const MAX_DENIALS: u32 = 3;

/// Counts the denied requests of a push or a pull.
#[derive(Debug, Default)]
pub struct DenialCounter {
    denials: AtomicU32,
    has_succeeded: AtomicBool,
    /// Whether an error showed that all requests will fail.
    must_stop: AtomicBool,
}

impl DenialCounter {
    /// Records an answer that is not an error.
    pub fn record_success(&self) {
        self.has_succeeded.store(true, Ordering::Relaxed);
    }

    /// Records a request that ended in this error.
    pub fn record_failure(&self, error: &RemoteError) {
        use RemoteError::{BreakerOpen, Credentials, Denied, Setting};
        match error {
            Denied { .. } => drop(self.denials.fetch_add(1, Ordering::Relaxed)),
            // Further requests will end in the same error for a while.
            BreakerOpen { .. } | Credentials(_) | Setting(_) => self.must_stop.store(true, Ordering::Relaxed),
            _ => {}
        }
    }

    /// Whether further requests are expected to fail as well.
    pub fn should_stop(&self) -> bool {
        let is_denied = || self.denials.load(Ordering::Relaxed) >= MAX_DENIALS;
        self.must_stop.load(Ordering::Relaxed) || (is_denied() && !self.has_succeeded.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::s3::error::Attempt;

    fn denied() -> RemoteError {
        let attempt = Attempt { verb: "get", object: String::new(), place: String::new() };
        RemoteError::Denied { attempt, status: 403, code: String::new(), message: String::new() }
    }

    #[test]
    fn denials_stop_a_push_in_which_no_request_succeeded() {
        let denials = DenialCounter::default();
        for _ in 1..MAX_DENIALS {
            denials.record_failure(&denied());
        }
        assert!(!denials.should_stop());
        denials.record_failure(&denied());
        assert!(denials.should_stop());
        let denials = DenialCounter::default();
        denials.record_success();
        (0..100).for_each(|_| denials.record_failure(&denied()));
        assert!(!denials.should_stop());
    }

    #[test]
    fn an_error_of_all_requests_stops_it_at_once() {
        let denials = DenialCounter::default();
        denials.record_success();
        denials.record_failure(&RemoteError::InvalidAnswer {
            attempt: Attempt { verb: "get", object: String::new(), place: String::new() },
            reason: String::new(),
        });
        assert!(!denials.should_stop());
        denials.record_failure(&RemoteError::Credentials(String::new()));
        assert!(denials.should_stop());
    }
}
