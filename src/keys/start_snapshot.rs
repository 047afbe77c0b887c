//! Records the state before a compile or a run of a build script starts, and finds what has changed since.

use std::path::Path;

use super::{Context, git};
use crate::fsx::clock::Time;

/// The state before a compile or a run of a script starts. It shows afterwards what changed in the meantime.
#[derive(Debug)]
pub struct StartSnapshot {
    /// The kernel's time at the start.
    pub time: Time,
    /// The git repository around the package.
    pub(super) git: Option<git::RepositorySnapshot>,
}

impl StartSnapshot {
    /// Records the state at the kernel's `time`. Without a `context` it is only the time, because no inputs will be
    /// recorded.
    pub fn take(time: Time, context: Option<Context<'_>>) -> Self {
        Self { time, git: context.and_then(git::RepositorySnapshot::read) }
    }

    /// Whether `path` is the directory of the git repository and contains the same names as at the start. Its ctime
    /// alone does not show that, because git creates and removes lock files there.
    pub(super) fn is_same_repository(&self, path: &Path, context: Context<'_>) -> bool {
        self.git.as_ref().is_some_and(|git| git.holds_the_same_names(path, context))
    }
}

/// How far the clock of a file server may be behind the local clock.
const NETWORK_MARGIN_SECS: i64 = 60;

/// Whether something with this `ctime` may have changed since `start`.
///
/// This is the ctime, not the mtime, because only the kernel sets it, and sources with an mtime in the future are
/// common. Whole seconds are less precise, and on a network file system the clock of another machine sets the ctime.
pub(super) fn may_be_newer(ctime: Time, start: Time, is_on_network: impl FnOnce() -> bool) -> bool {
    let coarse = ctime.nanos == 0 && ctime.secs >= start.secs;
    let near = ctime.secs + NETWORK_MARGIN_SECS >= start.secs;
    ctime >= start || coarse || (near && is_on_network())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u23_what_may_have_changed_since_the_start_is_newer() {
        let at = |secs, nanos| Time { secs, nanos };
        let newer = |ctime, network| may_be_newer(ctime, at(100, 500), || network);
        assert!(newer(at(100, 500), false) && newer(at(200, 1), false));
        assert!(!newer(at(100, 499), false) && !newer(at(50, 1), false));
        assert!(newer(at(100, 0), false), "a file system that records whole seconds");
        assert!(!newer(at(99, 0), false));
        assert!(newer(at(50, 1), true) && !newer(at(30, 1), true), "another machine's clock");
    }
}
