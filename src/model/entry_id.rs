//! The identity of an entry on a remote: the crate and both keys, which its object names consist of.

use serde::{Deserialize, Serialize};

use super::digest::{EntryKey, LookupKey};

/// Identifies an entry on a remote. A file of the upload queue holds one as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EntryId {
    /// Crate name, or its spelling in object names.
    #[serde(rename = "crate")]
    pub crate_name: String,
    /// Lookup key that the entry is found under.
    pub lookup: LookupKey,
    /// Key of the entry.
    pub key: EntryKey,
}
