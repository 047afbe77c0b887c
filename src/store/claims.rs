//! Claims: locks on a lookup key, or on reading the files of a compiler. The holder does the work. The others wait for
//! the lock, then look again. The wait is limited: a process that does not get the lock in time does the work, too.
//! (A compile whose result is private does not request a claim.)
//!
//! A holder sets the mtime of the file of its claim at short intervals, which this module calls stamping. If a holder
//! has not done so for [`STALE_AFTER`], it was stopped (`SIGSTOP`, Ctrl-Z) or gets no processor time, and the others no
//! longer wait for it. Only the lock decides who holds a claim.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::Store;
use crate::fsx::clock::{self, Time};
use crate::fsx::lock::FileLock;
use crate::fsx::{self, Stamp};
use crate::model::{Digest, LookupKey};

/// The pause between two attempts to get the lock: the first one, and the longest.
const MIN_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_millis(25);

/// The interval at which a holder stamps its claim.
const STAMP_INTERVAL: Duration = Duration::from_millis(250);
/// A claim that its holder has not stamped for this long is stale: other processes no longer wait for it.
const STALE_AFTER: Duration = Duration::from_secs(3);

/// The outcome of a request for a claim.
#[derive(Debug)]
pub enum Claim {
    /// We got it at once: no other process compiles this.
    AtOnce(HeldClaim),
    /// We got it after another process had it: look again before compiling.
    AfterWait(HeldClaim),
    /// We did not get it: the wait was too long, or the store cannot be locked. Compile without it.
    None,
}

/// A claim that this process holds until it drops it.
#[derive(Debug)]
pub struct HeldClaim {
    _lock: FileLock,
    /// Dropping it ends the stamping.
    _stamping: Sender<()>,
}

impl HeldClaim {
    fn new(lock: FileLock, path: PathBuf) -> Self {
        let (stamping, end) = mpsc::channel();
        // Without the thread, other processes wait less long.
        let _ = std::thread::Builder::new().spawn(move || {
            // A duplicate of the lock's descriptor would keep the lock, so open the file anew. The claim may already be
            // given up.
            let Ok(file) = fsx::open(&path) else { return };
            while end.recv_timeout(STAMP_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let _ = clock::stamp_now(&file, &path);
            }
        });
        Self { _lock: lock, _stamping: stamping }
    }
}

/// The state of another holder. Only a change of its stamp counts, because its clock may differ from ours.
struct OtherHolder {
    stamp: Option<Time>,
    since: Instant,
}

impl OtherHolder {
    /// Returns whether the holder has not stamped its claim, the file at `path`, for [`STALE_AFTER`].
    fn is_stale(&mut self, path: &Path) -> bool {
        let stamp = Stamp::of(path).ok().map(|stamp| stamp.mtime);
        if stamp != self.stamp {
            *self = Self { stamp, since: Instant::now() };
        }
        self.since.elapsed() > STALE_AFTER
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
        let mut pause = MIN_PAUSE;
        let mut waited = false;
        let mut holder = OtherHolder { stamp: None, since: Instant::now() };
        loop {
            match FileLock::try_acquire(&path) {
                Ok(Some(lock)) if waited => return Claim::AfterWait(HeldClaim::new(lock, path)),
                Ok(Some(lock)) => return Claim::AtOnce(HeldClaim::new(lock, path)),
                Ok(None) if Instant::now() < deadline && !holder.is_stale(&path) => {
                    waited = true;
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(MAX_PAUSE);
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
    fn a_holder_that_stamps_is_waited_for_and_a_stale_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (lookup, long) = (LookupKey(Digest::of(b"l")), STALE_AFTER * 4);
        let store = Store::open(dir.path());
        let held = store.claim(lookup, Duration::ZERO);
        let began = Instant::now();
        assert!(matches!(store.claim(lookup, STALE_AFTER + STAMP_INTERVAL * 4), Claim::None));
        assert!(began.elapsed() > STALE_AFTER + STAMP_INTERVAL * 3, "it gave up on a holder that stamps");
        drop(held);
        let stale = FileLock::try_acquire(&store.layout().claim(lookup.0)).unwrap().unwrap();
        let began = Instant::now();
        assert!(matches!(store.claim(lookup, long), Claim::None));
        assert!(began.elapsed() >= STALE_AFTER && began.elapsed() < long, "{:?}", began.elapsed());
        drop(stale);
        assert!(matches!(store.claim(lookup, Duration::ZERO), Claim::AtOnce(_)));
    }

    #[test]
    fn i11_the_second_waits_and_gets_it() {
        let dir = tempfile::tempdir().unwrap();
        let lookup = LookupKey(Digest::of(b"l"));
        let store = Store::open(dir.path());
        let held = store.claim(lookup, Duration::ZERO);
        assert!(matches!(held, Claim::AtOnce(_)));
        assert!(matches!(store.claim(lookup, Duration::from_millis(20)), Claim::None));
        std::thread::scope(|scope| {
            let path = dir.path();
            let second = scope.spawn(move || Store::open(path).claim(lookup, Duration::from_secs(20)));
            std::thread::sleep(Duration::from_millis(30));
            drop(held);
            assert!(matches!(second.join().unwrap(), Claim::AfterWait(_)));
        });
    }
}
