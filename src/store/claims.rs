//! Claims: at most one process of a machine compiles a lookup key. The others wait for a limited time, then look again.
//!
//! A holder stamps the file of its claim at short intervals. A holder that does not has been stopped (`SIGSTOP`,
//! Ctrl-Z) or gets no processor time, and the others stop waiting for it. Only the lock decides who holds a claim.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::Store;
use crate::fsx::clock::{self, Time};
use crate::fsx::lock::FileLock;
use crate::fsx::{self, Stamp};
use crate::model::{Digest, LookupKey};

const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(25);

/// The interval at which a holder stamps its claim.
const BEAT: Duration = Duration::from_millis(250);
/// Processes no longer wait for a holder that has not stamped its claim for this long.
const SILENCE: Duration = Duration::from_secs(3);

/// The outcome of a request for a claim.
#[derive(Debug)]
pub enum Claim {
    /// We got it at once: no other process compiles this.
    Free(Held),
    /// We got it after another process had it: look again before compiling.
    Inherited(Held),
    /// We did not get it: the wait was too long, or the store cannot be locked. Compile without it.
    None,
}

/// A claim that this process holds until it drops it.
#[derive(Debug)]
pub struct Held {
    _lock: FileLock,
    /// Dropping it ends the stamping.
    _beat: Sender<()>,
}

impl Held {
    fn new(lock: FileLock, path: PathBuf) -> Self {
        let (beat, end) = mpsc::channel();
        // Without the thread, other processes wait less long.
        let _ = std::thread::Builder::new().spawn(move || {
            // A duplicate of the lock's descriptor would keep the lock, so open the file anew. The claim may already be
            // given up.
            let Ok(file) = fsx::open(&path) else { return };
            while end.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                let _ = clock::stamp_now(&file, &path);
            }
        });
        Self { _lock: lock, _beat: beat }
    }
}

/// The state of another holder. Only a change of its stamp counts, because its clock may differ from ours.
struct Other {
    stamp: Option<Time>,
    since: Instant,
}

impl Other {
    fn is_silent(&mut self, path: &Path) -> bool {
        let stamp = Stamp::of(path).ok().map(|stamp| stamp.mtime);
        if stamp != self.stamp {
            *self = Self { stamp, since: Instant::now() };
        }
        self.since.elapsed() > SILENCE
    }
}

impl Store {
    /// Requests the claim on `lookup`, and waits for it at most `wait`.
    pub fn claim(&self, lookup: LookupKey, wait: Duration) -> Claim {
        self.claim_name(lookup.0, wait)
    }

    /// Requests the claim on reading the files of a compiler. `name` is the digest of how the compiler was called.
    pub fn claim_compiler(&self, name: Digest, wait: Duration) -> Claim {
        self.claim_name(name, wait)
    }

    fn claim_name(&self, name: Digest, wait: Duration) -> Claim {
        let path = self.layout.claim(name);
        let deadline = Instant::now() + wait;
        let mut pause = FIRST_PAUSE;
        let mut waited = false;
        let mut other = Other { stamp: None, since: Instant::now() };
        loop {
            match FileLock::try_acquire(&path) {
                Ok(Some(lock)) if waited => return Claim::Inherited(Held::new(lock, path)),
                Ok(Some(lock)) => return Claim::Free(Held::new(lock, path)),
                Ok(None) if Instant::now() < deadline && !other.is_silent(&path) => {
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
    fn a_holder_that_stamps_is_waited_for_and_a_silent_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (lookup, long) = (LookupKey(Digest::of(b"l")), SILENCE * 4);
        let store = Store::open(dir.path());
        let held = store.claim(lookup, Duration::ZERO);
        let began = Instant::now();
        assert!(matches!(store.claim(lookup, SILENCE + BEAT * 4), Claim::None));
        assert!(began.elapsed() > SILENCE + BEAT * 3, "it gave up on a holder that stamps");
        drop(held);
        let silent = FileLock::try_acquire(&store.layout().claim(lookup.0)).unwrap().unwrap();
        let began = Instant::now();
        assert!(matches!(store.claim(lookup, long), Claim::None));
        assert!(began.elapsed() >= SILENCE && began.elapsed() < long, "{:?}", began.elapsed());
        drop(silent);
        assert!(matches!(store.claim(lookup, Duration::ZERO), Claim::Free(_)));
    }

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
