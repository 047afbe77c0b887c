//! The last failure of the remote, on disk: what builds ran into is known after the agent has ended.
//!
//! Format version: 1. One file for each kind of work, with one JSON object. It is there as long as the last request of
//! that kind failed; a success removes it. It holds no credentials.

use serde::{Deserialize, Serialize};

use super::paths::AgentPaths;
use crate::fsx::{self, Publish};
use crate::remote::{ConnectError, RemoteError, UploadError};

/// The format version that this program writes. Readers ignore files of other versions.
pub const VERSION: u32 = 1;

/// What the agent uses the remote for. A remote may allow one and deny another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// To look for build records and entries.
    Query,
    /// To download entries.
    Fetch,
    /// To upload entries.
    Upload,
}

impl Work {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Query, Self::Fetch, Self::Upload];

    /// The verb: what failed.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Fetch => "fetch",
            Self::Upload => "upload",
        }
    }
}

/// Why a request failed, as far as it decides what to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The server answered with an error: HTTP status, and its code, which may be empty.
    Status(u16, String),
    /// The server could not be reached.
    Unreachable,
    /// The server did not answer in time.
    TimedOut,
    /// Anything else; the message tells.
    Other,
}

impl From<&RemoteError> for Cause {
    fn from(error: &RemoteError) -> Self {
        match error {
            RemoteError::Denied { status, code, .. } | RemoteError::Status { status, code, .. } => {
                Self::Status(*status, code.clone())
            }
            RemoteError::Unreachable { .. } => Self::Unreachable,
            RemoteError::TimedOut { .. } => Self::TimedOut,
            _ => Self::Other,
        }
    }
}

/// A request of the agent that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    pub(super) cause: Cause,
    /// The message of the error.
    pub(super) message: String,
    /// Whether the request was not sent, because of failures before it.
    pub(super) is_echo: bool,
}

impl Failure {
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    pub(super) fn other(error: impl ToString) -> Self {
        Self { cause: Cause::Other, message: error.to_string(), is_echo: false }
    }

    /// A request that was not sent, because of the failures before it.
    pub(super) fn echo(message: &str) -> Self {
        Self { is_echo: true, ..Self::other(message) }
    }

    pub(super) fn timed_out(message: String) -> Self {
        Self { cause: Cause::TimedOut, message, is_echo: false }
    }
}

impl From<&RemoteError> for Failure {
    fn from(error: &RemoteError) -> Self {
        let is_echo = matches!(error, RemoteError::BreakerOpen { .. } | RemoteError::Cancelled { .. });
        Self { cause: error.into(), message: error.to_string(), is_echo }
    }
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        Self::from(&error)
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Remote(error) => error.into(),
            ConnectError::Key(error) => Self::other(error),
        }
    }
}

impl From<&UploadError> for Failure {
    fn from(error: &UploadError) -> Self {
        match error {
            UploadError::Remote(error) => Self::from(&**error),
            _ => Self::other(error),
        }
    }
}

/// The last failure of one kind of work, as it is on disk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LastFailure {
    /// Format version. Readers ignore other versions than [`VERSION`].
    pub v: u32,
    /// When it was, in milliseconds since 1970.
    pub at: i64,
    /// What failed.
    pub work: Work,
    /// The remote, without credentials.
    pub remote: String,
    /// Whether the agent did not use the remote for a while after it.
    pub is_paused: bool,
    /// Why it failed.
    pub cause: Cause,
    /// The message of the error.
    pub message: String,
}

impl LastFailure {
    /// The failures that no success has followed, the newest first.
    pub fn read_all(paths: &AgentPaths) -> Vec<Self> {
        let read = |work: Work| serde_json::from_slice(&fsx::read_if_exists(&paths.failure(work.verb())).ok()??).ok();
        let mut all: Vec<Self> = Work::ALL.into_iter().filter_map(read).collect();
        all.retain(|failure| failure.v == VERSION);
        all.sort_by_key(|failure| std::cmp::Reverse(failure.at));
        all
    }

    /// Writes it, in place of an older one. Best effort.
    pub(super) fn write(&self, paths: &AgentPaths) {
        let _ =
            Publish::default().bytes(&paths.failure(self.work.verb()), &serde_json::to_vec(self).unwrap_or_default());
    }

    /// The file contents for a failure at this time. `None`: it only follows from an earlier one, which tells more.
    pub(super) fn of(failure: &Failure, work: Work, remote: String, at: i64, is_paused: bool) -> Option<Self> {
        let Failure { cause, message, is_echo } = failure.clone();
        (!is_echo).then_some(Self { v: VERSION, at, work, remote, is_paused, cause, message })
    }
}

/// Removes the failure of this kind of work, because a request has succeeded.
pub(super) fn forget(paths: &AgentPaths, work: Work) {
    let _ = fsx::remove_file(&paths.failure(work.verb()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Layout;

    #[test]
    fn failures_are_there_until_a_success_and_other_versions_are_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let paths = AgentPaths::of(&Layout::new(dir.path()));
        assert_eq!(LastFailure::read_all(&paths), []);
        let failure = Failure { cause: Cause::Status(403, "AccessDenied".into()), ..Failure::other("no") };
        let on_disk = |work, at| LastFailure::of(&failure, work, "s3://b".into(), at, true).unwrap();
        let (query, upload) = (on_disk(Work::Query, 1), on_disk(Work::Upload, 2));
        query.write(&paths);
        upload.write(&paths);
        LastFailure { v: 2, ..on_disk(Work::Fetch, 3) }.write(&paths);
        assert_eq!(LastFailure::read_all(&paths), [upload.clone(), query]);
        forget(&paths, Work::Query);
        assert_eq!(LastFailure::read_all(&paths), [upload]);
    }

    #[test]
    fn the_bytes_of_version_1_stay() {
        let failure = Failure { cause: Cause::Status(403, "AccessDenied".into()), ..Failure::other("no") };
        let text = serde_json::to_string(&LastFailure::of(&failure, Work::Fetch, "r".into(), 5, false)).unwrap();
        assert_eq!(
            text,
            "{\"v\":1,\"at\":5,\"work\":\"fetch\",\"remote\":\"r\",\"is_paused\":false,\
             \"cause\":{\"status\":[403,\"AccessDenied\"]},\"message\":\"no\"}"
        );
        assert_eq!(LastFailure::of(&Failure::echo("no"), Work::Fetch, "r".into(), 5, false), None);
    }
}
