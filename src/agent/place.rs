//! Where the agent's files are.

use std::path::{Path, PathBuf};

use crate::fsx::{self, Publish, Stamp, clock};
use crate::store::Layout;

/// Paths below a cache directory.
#[derive(Clone, Debug)]
pub struct Place {
    dir: PathBuf,
}

impl Place {
    /// The agent's place in the cache directory.
    pub fn of(layout: &Layout) -> Self {
        Self { dir: layout.remote().join("agent") }
    }

    /// The socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }

    /// Held by the agent as long as it lives.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// The agent's log.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Set by a client that starts an agent, so that others wait for that one, and none that dies young is started again by
    /// every miss. Taken away by an agent that was asked to end.
    pub fn starting(&self) -> Mark {
        Mark(self.dir.join("starting"))
    }

    /// Set by a client that got no answer in time, so that others do not ask for a while.
    pub fn silent(&self) -> Mark {
        Mark(self.dir.join("silent"))
    }
}

/// A file whose time of writing is its meaning.
#[derive(Clone, Debug)]
pub struct Mark(PathBuf);

impl Mark {
    /// Sets it to now. `false`: it cannot be written.
    pub fn set(&self) -> bool {
        Publish::default().bytes(&self.0, b"").is_ok()
    }

    /// Takes it away.
    pub fn clear(&self) {
        let _ = fsx::remove_file(&self.0);
    }

    /// Milliseconds since it was set; `None`: it is not. A time to come is of a clock that was set back, or of a file
    /// server's: as far away as one that has passed.
    pub fn age_ms(&self) -> Option<u128> {
        age(&self.0)
    }
}

fn age(path: &Path) -> Option<u128> {
    let stamp = Stamp::of(path).ok()?;
    Some((clock::now().as_nanos() - stamp.mtime.as_nanos()).unsigned_abs() / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::clock::Time;

    #[test]
    fn a_mark_counts_for_a_while_whatever_the_clock_does() {
        let dir = tempfile::tempdir().unwrap();
        let mark = Place::of(&Layout::new(dir.path())).starting();
        assert_eq!(mark.age_ms(), None);
        assert!(mark.set());
        assert!(mark.age_ms().unwrap() < 20_000);
        for hours in [-1, 1] {
            let then = Time { secs: clock::now().secs + hours * 3600, nanos: 0 };
            clock::stamp(&fsx::open(&mark.0).unwrap(), &mark.0, then).unwrap();
            assert!(mark.age_ms().unwrap() > 3_500_000, "{hours}");
        }
        mark.clear();
        assert_eq!(mark.age_ms(), None);
    }

    #[test]
    fn a_mark_that_cannot_be_written_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        Publish::default().bytes(&layout.remote(), b"no directory").unwrap();
        assert!(!Place::of(&layout).starting().set());
    }
}
