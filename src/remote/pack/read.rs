//! Reading a pack into the store.

use std::io::{self, Read};

use crate::fsx;
use crate::remote::{Manifest, Refused};
use crate::store::Store;

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Imported {
    /// Bytes of blobs that are new to the store.
    pub bytes: u64,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The pack is not as it should be.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The pack could not be read.
    #[error("cannot read the pack: {0}")]
    Read(#[source] io::Error),
    /// The store could not be written.
    #[error(transparent)]
    Store(#[from] fsx::Error),
}

/// Takes the entry of `manifest` into the store: blobs, entry, record.
pub fn import(_store: &Store, _manifest: &Manifest, _pack: &mut impl Read) -> Result<Imported, ImportError> {
    todo!()
}
