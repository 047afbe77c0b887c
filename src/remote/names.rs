//! Object names.

use crate::model::{Digest, EntryKey, LookupKey};

/// The names of all objects below one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    root: String,
}

/// Where a manifest lies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Located {
    /// The crate's name as object names spell it.
    pub crate_part: String,
    /// Lookup key.
    pub lookup: LookupKey,
    /// Key.
    pub key: EntryKey,
}

/// The name of a build record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BuildName {
    /// What was built for: a target triple, or `host`.
    pub triple: String,
    /// The profile.
    pub profile: String,
    /// The first 16 digits of the digest of `Cargo.lock`.
    pub lock: String,
    /// The first 12 digits of the commit, or `none`.
    pub commit: String,
}

impl Located {
    /// Where the manifest of this crate's entry lies.
    pub fn new(_crate_name: &str, _lookup: LookupKey, _key: EntryKey) -> Self {
        todo!()
    }
}

impl BuildName {
    /// The name of a build; triple and profile are shortened where they are long. `commit`: hexadecimal digits.
    pub fn new(_triple: Option<&str>, _profile: &str, _lock: Digest, _commit: Option<&str>) -> Self {
        todo!()
    }
}

/// A crate's name as object names spell it.
pub fn crate_part(_crate_name: &str) -> String {
    todo!()
}

/// Whether this can be a crate's name.
pub fn is_crate_name(_name: &str) -> bool {
    todo!()
}

#[expect(clippy::unused_self, reason = "interfaces first")]
impl Names {
    /// The names below `prefix`, which may be empty.
    pub fn new(_prefix: &str) -> Self {
        todo!()
    }

    /// A manifest.
    pub fn manifest(&self, _crate_name: &str, _lookup: LookupKey, _key: EntryKey) -> String {
        todo!()
    }

    /// The manifest that lies there.
    pub fn manifest_at(&self, _at: &Located) -> String {
        todo!()
    }

    /// A pack.
    pub fn pack(&self, _crate_name: &str, _key: EntryKey) -> String {
        todo!()
    }

    /// The pack of the manifest that lies there.
    pub fn pack_of(&self, _at: &Located) -> String {
        todo!()
    }

    /// What the names of all manifests begin with.
    pub fn all_manifests(&self) -> String {
        todo!()
    }

    /// What the names of a crate's manifests begin with.
    pub fn manifests_of(&self, _crate_name: &str) -> String {
        todo!()
    }

    /// What the names of the manifests under a lookup key begin with.
    pub fn manifests_under(&self, _crate_name: &str, _lookup: LookupKey) -> String {
        todo!()
    }

    /// Reads a manifest's name. `None`: it is none, or not spelled as we spell it.
    pub fn parse_manifest(&self, _name: &str) -> Option<Located> {
        todo!()
    }

    /// What the names of a workspace's build records begin with.
    pub fn builds_of(&self, _workspace: &str) -> String {
        todo!()
    }

    /// A build record.
    pub fn build(&self, _workspace: &str, _build: &BuildName) -> String {
        todo!()
    }

    /// Reads a build record's name.
    pub fn parse_build(&self, _workspace: &str, _name: &str) -> Option<BuildName> {
        todo!()
    }

    /// An object that `doctor` tries the remote with.
    pub fn probe(&self, _id: &str) -> String {
        todo!()
    }
}
