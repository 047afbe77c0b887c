//! The journal of the remote: fetches, uploads and refusals.
//!
//! Format version: 1. The event log records invocations, this journal transfers of entries. Neither holds credentials.

use serde::{Deserialize, Serialize};

use super::log::LogLine;

/// The format version that this program writes. Readers skip lines of other versions.
pub const VERSION: u32 = 1;

/// How a transfer ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// An entry was fetched and is in the store.
    Fetched,
    /// An entry was uploaded and is on the remote.
    Sent,
    /// An entry of the remote was refused; it counts as absent.
    Refused,
    /// The transfer failed; the entry may be transferred again.
    Failed,
}

impl Ending {
    /// The stable id, as in the journal.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Fetched => "fetched",
            Self::Sent => "sent",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// One transfer of an entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// Format version. Readers skip other versions than [`VERSION`].
    pub v: u32,
    /// End of the transfer, in milliseconds since 1970.
    pub at: i64,
    /// How the transfer ended.
    pub ending: Ending,
    /// Crate name of the unit that the entry belongs to.
    #[serde(rename = "crate")]
    pub crate_name: String,
    /// The entry key, in hexadecimal.
    pub key: String,
    /// Size of the pack in bytes.
    pub bytes: u64,
    /// Duration of the whole transfer in milliseconds, with retries.
    pub ms: f64,
    /// Id of the reason for a refusal, or the message of an error; otherwise empty.
    pub reason: String,
}

impl LogLine for Transfer {
    const NAME: &'static str = "transfers";
    const MAX_BYTES: u64 = 8 * 1024 * 1024;

    fn at(&self) -> Option<i64> {
        (self.v == VERSION).then_some(self.at)
    }
}
