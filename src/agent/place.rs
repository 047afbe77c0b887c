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

    /// Set by a client that starts an agent, so that others wait for that one.
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
    /// Sets it to now. One that cannot be written is not set.
    pub fn set(&self) {
        let _ = Publish::default().bytes(&self.0, b"");
    }

    /// Takes it away.
    pub fn clear(&self) {
        let _ = fsx::remove_file(&self.0);
    }

    /// Milliseconds since it was set; `None`: it is not.
    pub fn age_ms(&self) -> Option<u128> {
        age(&self.0)
    }
}

fn age(path: &Path) -> Option<u128> {
    let stamp = Stamp::of(path).ok()?;
    u128::try_from((clock::now().as_nanos() - stamp.mtime.as_nanos()).max(0) / 1_000_000).ok()
}
