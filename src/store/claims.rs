//! Claims: at most one process of a machine compiles a lookup key; the others wait, bounded, then look again.

use std::time::{Duration, Instant};

use super::Store;
use crate::fsx::lock::FileLock;
use crate::model::{Digest, LookupKey};

const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(25);

/// What came of asking for a claim.
#[derive(Debug)]
pub enum Claim {
    /// Ours at once: nobody else compiles this.
    Free(FileLock),
    /// Ours after somebody else had it: look again before compiling.
    Inherited(FileLock),
    /// Not ours: the wait was too long, or the store cannot be locked. Compile without.
    None,
}

impl Store {
    /// Asks for the claim on `lookup` and waits for at most `wait`.
    pub fn claim(&self, lookup: LookupKey, wait: Duration) -> Claim {
        self.claim_name(lookup.0, wait)
    }

    /// Asks for the claim on reading the files of the compiler that is called `name`.
    pub fn claim_compiler(&self, name: Digest, wait: Duration) -> Claim {
        self.claim_name(name, wait)
    }

    fn claim_name(&self, name: Digest, wait: Duration) -> Claim {
        let path = self.layout.claim(name);
        let deadline = Instant::now() + wait;
        let mut pause = FIRST_PAUSE;
        let mut waited = false;
        loop {
            match FileLock::try_acquire(&path) {
                Ok(Some(lock)) if waited => return Claim::Inherited(lock),
                Ok(Some(lock)) => return Claim::Free(lock),
                Ok(None) if Instant::now() < deadline => {
                    waited = true;
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                _ => return Claim::None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i11_the_second_waits_and_inherits() {
        let dir = tempfile::tempdir().unwrap();
        let lookup = LookupKey(Digest::of(b"l"));
        let store = Store::open(dir.path());
        let held = store.claim(lookup, Duration::ZERO);
        assert!(matches!(held, Claim::Free(_)));
        assert!(matches!(store.claim(lookup, Duration::from_millis(20)), Claim::None));
        std::thread::scope(|scope| {
            let path = dir.path();
            let second = scope.spawn(move || Store::open(path).claim(lookup, Duration::from_secs(20)));
            std::thread::sleep(Duration::from_millis(30));
            drop(held);
            assert!(matches!(second.join().unwrap(), Claim::Inherited(_)));
        });
    }
}
