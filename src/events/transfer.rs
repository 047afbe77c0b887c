//! The journal of the remote: what came, what went, and what was refused.
//!
//! Version 1: first. The event log tells of invocations; this one of entries on their way. Neither holds credentials.

use serde::{Deserialize, Serialize};

use super::log::Line;

/// The version that this program writes. Lines of other versions are skipped by readers.
pub const VERSION: u32 = 1;

/// How a transfer ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// An entry came and is in the store.
    Fetched,
    /// An entry went and is on the remote.
    Sent,
    /// What came was not believed; it counts as absent.
    Refused,
    /// An error; the entry may be asked for again.
    Failed,
}

impl Ending {
    /// Its stable id, as in the journal.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Fetched => "fetched",
            Self::Sent => "sent",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// One transfer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// Format version.
    pub v: u32,
    /// Its end, milliseconds since 1970.
    pub at: i64,
    /// How it ended.
    pub ending: Ending,
    /// Crate name.
    #[serde(rename = "crate")]
    pub crate_name: String,
    /// The entry key, as hexadecimal digits.
    pub key: String,
    /// Bytes of the pack.
    pub bytes: u64,
    /// Milliseconds that it took.
    pub ms: f64,
    /// Id of the reason of a refusal, or the words of an error; else empty.
    pub reason: String,
}

impl Line for Transfer {
    const NAME: &'static str = "transfers";
    const ROTATE_AT: u64 = 8 * 1024 * 1024;

    fn at(&self) -> Option<i64> {
        (self.v == VERSION).then_some(self.at)
    }
}
