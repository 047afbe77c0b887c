//! Whether a run is worth going on with: one object that is denied stops no other, a remote that denies everything ends it.
//!
//! Knows no clock and no network: it is told how requests ended. Shared by the tasks of a run.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::error::RemoteError;

/// After so many denials, and nothing that went well, whatever follows is taken to be denied too.
const DENIALS: u32 = 3;

/// What a run has heard of the remote so far.
#[derive(Debug, Default)]
pub struct Hope {
    denials: AtomicU32,
    has_succeeded: AtomicBool,
    is_hopeless: AtomicBool,
}

impl Hope {
    /// The remote gave an answer that is no error.
    pub fn succeeded(&self) {
        self.has_succeeded.store(true, Ordering::Relaxed);
    }

    /// Something ended in this error.
    pub fn failed(&self, error: &RemoteError) {
        use RemoteError::{Broken, Credentials, Denied, Setting};
        match error {
            Denied { .. } => drop(self.denials.fetch_add(1, Ordering::Relaxed)),
            // The remote will answer nothing else for a while.
            Broken { .. } | Credentials(_) | Setting(_) => self.is_hopeless.store(true, Ordering::Relaxed),
            _ => {}
        }
    }

    /// Whether whatever follows would fare no better.
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
