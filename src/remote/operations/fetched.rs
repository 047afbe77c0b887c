//! How fetches end.

use crate::remote::format::refused::Refused;

/// Result of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The entry was imported into the store.
    Imported {
        /// Size of the pack in bytes. 0 if another request of this process downloaded it.
        pack: u64,
        /// Bytes of blobs that are new to the store. 0 if another request of this process imported them.
        bytes: u64,
    },
    /// The store already had the entry.
    AlreadyHere,
    /// The remote does not have the entry, or not all of it.
    Absent,
    /// The remote's copy was refused, so the entry counts as absent.
    Refused(Refused),
}
