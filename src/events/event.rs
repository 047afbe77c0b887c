//! The event's format: one JSON object per line, every field always present.
//!
//! Version 1: first.

use serde::{Deserialize, Serialize};

use super::log::Line;
use crate::model::Difference;

/// The version that this program writes. Lines of other versions are skipped by readers.
pub const VERSION: u32 = 1;

/// How one invocation ended, and what it cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Format version.
    pub v: u32,
    /// End of the invocation, milliseconds since 1970.
    pub at: i64,
    /// Id of the outcome (`model::outcome`).
    pub outcome: String,
    /// `--crate-name`.
    #[serde(rename = "crate")]
    pub crate_name: String,
    /// Package name and version as cargo knows them.
    pub package: String,
    /// Crate types joined by commas, or `test`.
    pub kind: String,
    /// `link` or `metadata`.
    pub emit: String,
    /// Milliseconds from start to end, rustc's included.
    pub ms: f64,
    /// Milliseconds of these in which the remote was waited for.
    pub waited_ms: f64,
    /// Milliseconds that the original compile took, on a hit.
    pub saved_ms: f64,
    /// Bytes restored by reflink.
    pub reflink_bytes: u64,
    /// Bytes restored by hard link.
    pub hardlink_bytes: u64,
    /// Bytes restored by copy.
    pub copy_bytes: u64,
    /// Id of what became of a miss's result.
    pub stored: String,
    /// Bytes added to the store.
    pub stored_bytes: u64,
    /// The lookup key.
    pub lookup: String,
    /// The entry key.
    pub key: String,
    /// What exactly: the flag of a bypass, the error of a failure, the first input that differs.
    pub detail: String,
    /// The target directory.
    pub target: String,
    /// What is built there: `<triple or host>/<profile's directory>`, such as `host/debug`. Empty where it cannot be told.
    pub shape: String,
    /// The process that called, which is cargo: the same for all of one build ([`super::build`]).
    pub build: u64,
    /// Crate name with `-C extra-filename`, which tells a unit from all others of its build.
    pub unit: String,
    /// Id of what a miss was compared with (`model::Compared`); empty for anything else.
    pub compared: String,
    /// What differs from it, causes first; at most 20.
    pub differs: Vec<Difference>,
    /// How many things differ.
    pub differing: usize,
}

impl Line for Event {
    const NAME: &'static str = "events";
    const ROTATE_AT: u64 = 32 * 1024 * 1024;

    fn at(&self) -> Option<i64> {
        (self.v == VERSION).then_some(self.at)
    }
}
