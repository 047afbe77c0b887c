//! Manifests on the remote: one small object per entry, written last; that it exists is that the entry exists.

use super::Refused;
use super::names::Located;
use super::sign::{SigningKey, Trust};
use crate::model::{Digest, EntryKey, Input, LookupKey};

/// The compressed pack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PackRef {
    /// Digest of its bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

/// One file in the pack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileRef {
    /// Its name: one normal path component.
    pub name: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

/// What the remote says of one entry.
#[derive(Clone, PartialEq, Debug)]
pub struct Manifest {
    /// The lookup key that it is found under.
    pub lookup: LookupKey,
    /// The entry's key.
    pub key: EntryKey,
    /// The crate.
    pub crate_name: String,
    /// Package name and version.
    pub package: String,
    /// Crate types or `test`.
    pub kind: String,
    /// `link` or `metadata`.
    pub emit: String,
    /// When the entry was made, milliseconds since 1970.
    pub created: i64,
    /// Milliseconds that the compile took.
    pub cost_ms: f64,
    /// The pack.
    pub pack: PackRef,
    /// `meta.json` in the pack: the entry.
    pub meta: FileRef,
    /// The outputs in the pack, in its order.
    pub files: Vec<FileRef>,
    /// What the compile read: makes the key, with the lookup key.
    pub inputs: Vec<Input>,
}

impl Manifest {
    /// The bytes of the object, signed if there is a key.
    pub fn encode(&self, _signer: Option<&SigningKey>) -> Vec<u8> {
        todo!()
    }

    /// Reads the object that was found at `at`.
    pub fn decode(_bytes: &[u8], _at: &Located, _trust: &Trust) -> Result<Self, Refused> {
        todo!()
    }
}
