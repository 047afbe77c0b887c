//! Whether a run should continue: one denied object does not stop it, but a remote that denies everything does.
//!
//! Uses neither a clock nor the network: callers report how requests ended. The tasks of a run share it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::error::RemoteError;

/// After this many denials without a success, further requests are expected to be denied too.
const DENIALS: u32 = 3;

/// The results of a run's requests so far.
#[derive(Debug, Default)]
pub struct Hope {
    denials: AtomicU32,
    has_succeeded: AtomicBool,
    is_hopeless: AtomicBool,
}

impl Hope {
    /// Records an answer that is not an error.
    pub fn succeeded(&self) {
        self.has_succeeded.store(true, Ordering::Relaxed);
    }

    /// Records a request that ended in this error.
    pub fn failed(&self, error: &RemoteError) {
        use RemoteError::{Broken, Credentials, Denied, Setting};
        match error {
            Denied { .. } => drop(self.denials.fetch_add(1, Ordering::Relaxed)),
            // Further requests will end in the same error for a while.
            Broken { .. } | Credentials(_) | Setting(_) => self.is_hopeless.store(true, Ordering::Relaxed),
            _ => {}
        }
    }

    /// Whether further requests are expected to fail as well.
    pub fn is_lost(&self) -> bool {
        let is_denied = || self.denials.load(Ordering::Relaxed) >= DENIALS;
        self.is_hopeless.load(Ordering::Relaxed) || (is_denied() && !self.has_succeeded.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::error::Tried;

    fn denied() -> RemoteError {
        let tried = Tried { verb: "get", object: String::new(), bucket: String::new() };
        RemoteError::Denied { tried, status: 403, code: String::new(), message: String::new() }
    }

    #[test]
    fn denials_end_a_run_in_which_nothing_went_well() {
        let hope = Hope::default();
        for _ in 1..DENIALS {
            hope.failed(&denied());
        }
        assert!(!hope.is_lost());
        hope.failed(&denied());
        assert!(hope.is_lost());
        let hope = Hope::default();
        hope.succeeded();
        (0..100).for_each(|_| hope.failed(&denied()));
        assert!(!hope.is_lost());
    }

    #[test]
    fn what_no_object_has_to_do_with_ends_it_at_once() {
        let hope = Hope::default();
        hope.succeeded();
        hope.failed(&RemoteError::Garbled {
            tried: Tried { verb: "get", object: String::new(), bucket: String::new() },
            reason: String::new(),
        });
        assert!(!hope.is_lost());
        hope.failed(&RemoteError::Credentials(String::new()));
        assert!(hope.is_lost());
    }
}
