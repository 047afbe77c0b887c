//! The paths of the agent's files.

use std::path::{Path, PathBuf};

use crate::fsx::{self, Publish, Stamp, clock};
use crate::store::Layout;

/// The directory of the agent in a cache directory.
#[derive(Clone, Debug)]
pub struct Place {
    dir: PathBuf,
}

impl Place {
    /// The agent's directory in this cache directory.
    pub fn of(layout: &Layout) -> Self {
        Self { dir: layout.remote().join("agent") }
    }

    /// The socket that the agent listens on.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }

    /// The lock file, which the agent holds as long as it runs.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// The log of the agent.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Set by a client that starts an agent, so that other clients wait for that agent, and so that not every miss
    /// restarts an agent that dies early. An agent that was asked to end clears it.
    pub fn starting(&self) -> Mark {
        Mark(self.dir.join("starting"))
    }

    /// Set by a client that got no answer in time, so that other clients do not ask for a while.
    pub fn silent(&self) -> Mark {
        Mark(self.dir.join("silent"))
    }
}

/// A file of which only the mtime matters.
#[derive(Clone, Debug)]
pub struct Mark(PathBuf);

impl Mark {
    /// Sets the mark to now. `false`: the file cannot be written.
    pub fn set(&self) -> bool {
        Publish::default().bytes(&self.0, b"").is_ok()
    }

    /// Removes the mark.
    pub fn clear(&self) {
        let _ = fsx::remove_file(&self.0);
    }

    /// Milliseconds since the mark was set. `None`: it is not set. A time in the future (the clock was set back, or a
    /// file server's clock is ahead) counts like one as long ago.
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
