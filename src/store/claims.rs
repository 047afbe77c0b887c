//! Claims: at most one process of a machine compiles a lookup key; the others wait, bounded, then look again.
//!
//! A holder stamps its claim's file at short intervals. One that does not has been stopped (`SIGSTOP`, Ctrl-Z) or gets no
//! processor: nobody waits for it any longer. The lock alone says who holds a claim.

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

/// How often a holder stamps its claim.
const BEAT: Duration = Duration::from_millis(250);
/// After how long without a stamp a holder is not waited for.
const SILENCE: Duration = Duration::from_secs(3);

/// What came of asking for a claim.
#[derive(Debug)]
pub enum Claim {
    /// Ours at once: nobody else compiles this.
    Free(Held),
    /// Ours after somebody else had it: look again before compiling.
    Inherited(Held),
    /// Not ours: the wait was too long, or the store cannot be locked. Compile without.
    None,
}

/// A claim of ours, given up on drop.
#[derive(Debug)]
pub struct Held {
    _lock: FileLock,
    /// Ends the stamping when it goes.
    _beat: Sender<()>,
}

impl Held {
    fn new(lock: FileLock, path: PathBuf) -> Self {
        let (beat, end) = mpsc::channel();
        // Without it others wait less long.
        let _ = std::thread::Builder::new().spawn(move || {
            // Not a duplicate of the lock's descriptor, which would keep the lock. It may be given up already.
            let Ok(file) = fsx::open(&path) else { return };
            while end.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                let _ = clock::stamp_now(&file, &path);
            }
        });
        Self { _lock: lock, _beat: beat }
    }
}

/// What is known of the other holder of a claim. Only whether its stamps change counts: its clock may be another one.
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
