//! Build records: what a build used, in its order, so that a cold machine can ask for it at once.

use serde::{Deserialize, Serialize};

use super::Refused;
use super::names::BuildName;
use crate::model::{Digest, EntryKey, LookupKey};

/// What one build used.
#[derive(Clone, PartialEq, Debug)]
pub struct BuildRecord {
    /// The workspace's name.
    pub workspace: String,
    /// A target triple, or `host`.
    pub triple: String,
    /// The profile.
    pub profile: String,
    /// Digest of `Cargo.lock`.
    pub lock: Digest,
    /// The commit, 40 or 64 hexadecimal digits, if there is one.
    pub commit: Option<String>,
    /// When it was written, milliseconds since 1970.
    pub created: i64,
    /// The entries, in build order.
    pub units: Vec<BuildUnit>,
}

/// One entry that a build used.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildUnit {
    /// The crate.
    #[serde(rename = "crate")]
    pub crate_name: String,
    /// Lookup key.
    pub lookup: LookupKey,
    /// Key.
    pub key: EntryKey,
    /// Bytes of the outputs.
    pub bytes: u64,
    /// Milliseconds that the compile took.
    pub cost_ms: f64,
}

/// Where a build record is looked for from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Here {
    /// Digest of `Cargo.lock`.
    pub lock: Option<Digest>,
    /// The branch's commits, the newest first, as hexadecimal digits.
    pub ancestors: Vec<String>,
    /// The target triple, or `host`; `None`: any.
    pub triple: Option<String>,
    /// The profile; `None`: any.
    pub profile: Option<String>,
}

impl BuildRecord {
    /// The record's own name.
    pub fn name(&self) -> BuildName {
        todo!()
    }

    /// The bytes of the object.
    pub fn encode(&self) -> Vec<u8> {
        todo!()
    }

    /// Reads the object.
    pub fn decode(_bytes: &[u8]) -> Result<Self, Refused> {
        todo!()
    }
}

/// Which of the records to go by; each comes with when it was written.
pub fn choose<T: Ord>(_names: &[(BuildName, T)], _here: &Here) -> Option<usize> {
    todo!()
}
