//! Writing a pack from the store.

use std::path::Path;

use crate::fsx;
use crate::model::{BlobId, LookupKey};
use crate::remote::Manifest;
use crate::store::Store;
use crate::store::manifests::Record;

/// Why an entry cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The entry is gone, or cannot be read.
    #[error("the entry is gone")]
    Gone,
    /// A blob is gone.
    #[error("a blob of the entry is gone: {0}")]
    BlobGone(BlobId),
    /// A blob does not hold what its name says.
    #[error("a blob of the entry is damaged: {0}")]
    BlobDamaged(BlobId),
    /// The entry does not fit into a pack.
    #[error("the entry does not fit into a pack: {0}")]
    Unfit(crate::remote::Refused),
    /// The pack could not be written.
    #[error(transparent)]
    Store(#[from] fsx::Error),
}

/// Writes the pack of the entry that `record` is for to the file `to`.
pub fn write(
    _store: &Store,
    _lookup: LookupKey,
    _record: &Record,
    _level: i32,
    _to: &Path,
) -> Result<Manifest, PackError> {
    todo!()
}
