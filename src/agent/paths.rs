//! The paths of the agent's files.

use std::path::PathBuf;
use std::time::Duration;

use crate::fsx::{self, Publish, Stamp, clock};
use crate::store::Layout;

/// The directory of the agent in a cache directory.
#[derive(Clone, Debug)]
pub struct AgentPaths {
    dir: PathBuf,
}

impl AgentPaths {
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

    /// The last failure of the work with this verb (`failure` has the format).
    pub fn failure(&self, verb: &str) -> PathBuf {
        self.dir.join(format!("failed-{verb}"))
    }

    /// When a client last started an agent. Other clients wait for that agent, and a miss does not restart an agent
    /// that dies early. An agent that was told to stop removes the file.
    pub fn starting(&self) -> TimestampFile {
        TimestampFile(self.dir.join("starting"))
    }

    /// When a client last got no answer in time. Other clients then send no requests for a while.
    pub fn silent(&self) -> TimestampFile {
        TimestampFile(self.dir.join("silent"))
    }
}

/// A file whose mtime is its only content.
#[derive(Clone, Debug)]
pub struct TimestampFile(PathBuf);

impl TimestampFile {
    /// Sets the mtime to now. `false`: the file cannot be written.
    pub fn touch(&self) -> bool {
        Publish::default().bytes(&self.0, b"").is_ok()
    }

    /// Removes the file, so that its age is `None`. Ignores errors.
    pub fn remove(&self) {
        let _ = fsx::remove_file(&self.0);
    }

    /// The time since the mtime. `None`: there is no file. A time in the future (the clock was set back, or a file
    /// server's clock is ahead) counts like one as long ago.
    pub fn age(&self) -> Option<Duration> {
        let stamp = Stamp::of(&self.0).ok()?;
        let nanos = (clock::now().as_nanos() - stamp.mtime.as_nanos()).unsigned_abs();
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::clock::Time;

    #[test]
    fn a_timestamp_counts_for_a_while_whatever_the_clock_does() {
        let dir = tempfile::tempdir().unwrap();
        let file = AgentPaths::of(&Layout::new(dir.path())).starting();
        assert_eq!(file.age(), None);
        assert!(file.touch());
        assert!(file.age().unwrap() < Duration::from_secs(20));
        for hours in [-1, 1] {
            let then = Time { secs: clock::now().secs + hours * 3600, nanos: 0 };
            clock::stamp(&fsx::open(&file.0).unwrap(), &file.0, then).unwrap();
            assert!(file.age().unwrap() > Duration::from_secs(3_500), "{hours}");
        }
        file.remove();
        assert_eq!(file.age(), None);
    }

    #[test]
    fn a_timestamp_that_cannot_be_written_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        Publish::default().bytes(&layout.remote(), b"no directory").unwrap();
        assert!(!AgentPaths::of(&layout).starting().touch());
    }
}
