//! The format of an event: one JSON object per line, with every field present.
//!
//! Version 1: first.

use serde::{Deserialize, Serialize};

use super::log::LogLine;
use crate::model::{Difference, Outcome};

/// The format version that this program writes. Readers skip lines of other versions.
pub const VERSION: u32 = 1;

/// How one invocation or run ended, and what it cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Format version.
    pub v: u32,
    /// End of the invocation, in milliseconds since 1970.
    pub at: i64,
    /// How it ended, by id.
    pub outcome: Outcome,
    /// Crate name, as in `--crate-name`.
    #[serde(rename = "crate")]
    pub crate_name: String,
    /// Package name and version, as cargo sets them in the environment.
    pub package: String,
    /// Crate types joined by commas, `test`, or `run` for a run of a build script.
    pub kind: String,
    /// `link`, `metadata`, or `run` for a run of a build script. Empty if the call was not understood.
    pub emit: String,
    /// Milliseconds from start to end, including rustc.
    pub ms: f64,
    /// Milliseconds of `ms` that were spent waiting for the remote.
    pub waited_ms: f64,
    /// On a hit, milliseconds that the original compile took.
    pub saved_ms: f64,
    /// Bytes restored by reflink.
    pub reflink_bytes: u64,
    /// Bytes restored by hard link.
    pub hardlink_bytes: u64,
    /// Bytes restored by copy.
    pub copy_bytes: u64,
    /// On a miss, id of the fate of its result (`model::Stored`).
    pub stored: String,
    /// Bytes added to the store.
    pub stored_bytes: u64,
    /// The lookup key, in hexadecimal. Empty if there is none.
    pub lookup: String,
    /// The entry key, in hexadecimal. Empty if there is none.
    pub key: String,
    /// Details: the flag of a bypass, the error of a failure, or the first input that differs.
    pub detail: String,
    /// The target directory. Empty if it is unknown.
    pub target: String,
    /// Target and profile: `<triple or host>/<profile's directory>`, such as `host/debug`. Empty if they are unknown.
    pub shape: String,
    /// Process id of the caller, which is cargo: the same for all events of one build ([`super::build`]).
    pub build: u64,
    /// Crate name with `-C extra-filename`, which distinguishes a unit from all others of its build.
    pub unit: String,
    /// Id of what a miss was compared with (`model::Compared`); empty for anything else.
    pub compared: String,
    /// The differences from it, causes first; at most 20.
    pub differs: Vec<Difference>,
    /// Number of differences, including those not listed.
    pub differing: usize,
}

impl LogLine for Event {
    const NAME: &'static str = "events";
    const ROTATE_AT: u64 = 32 * 1024 * 1024;

    fn at(&self) -> Option<i64> {
        (self.v == VERSION).then_some(self.at)
    }
}
