//! Where things are in a cache directory.
//!
//! `v1` is the version of every format below it; a new format gets a new name, so that two versions of kache live side by
//! side and an old one's files stay readable to it.

use std::path::{Path, PathBuf};

use crate::model::{BlobId, Digest, EntryKey, LookupKey, SessionKey, UnitKey};

/// The directory name that carries the version of the store's formats.
pub const VERSION: &str = "v1";

/// Paths below a cache directory.
#[derive(Clone, Debug)]
pub struct Layout {
    cache_dir: PathBuf,
    root: PathBuf,
}

impl Layout {
    /// The layout below `cache_dir`.
    pub fn new(cache_dir: &Path) -> Self {
        Self { cache_dir: cache_dir.to_owned(), root: cache_dir.join(VERSION) }
    }

    /// The cache directory itself.
    pub fn cache_dir(&self) -> &Path {
        &self.cache_dir
    }

    /// The versioned directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A blob.
    pub fn blob(&self, id: BlobId) -> PathBuf {
        self.sharded("blobs", id.0, "")
    }

    /// An entry.
    pub fn entry(&self, key: EntryKey) -> PathBuf {
        self.sharded("entries", key.0, ".json")
    }

    /// A manifest.
    pub fn manifest(&self, lookup: LookupKey) -> PathBuf {
        self.sharded("manifests", lookup.0, ".jsonl")
    }

    /// The traces of a unit's lookup keys.
    pub fn unit(&self, unit: UnitKey) -> PathBuf {
        self.sharded("units", unit.0, ".jsonl")
    }

    /// The kept session of a unit.
    pub fn session(&self, key: SessionKey) -> PathBuf {
        self.sharded("sessions", key.0, "")
    }

    /// The note that a unit's paths do not bear rustc's alias.
    pub fn plain_session(&self, key: SessionKey) -> PathBuf {
        self.sharded("sessions", key.0, ".plain")
    }

    /// The offers of a lookup key.
    pub fn offers(&self, lookup: LookupKey) -> PathBuf {
        self.sharded("offers", lookup.0, "")
    }

    /// The claim on what this digest names: a lookup key, or a compiler.
    pub fn claim(&self, name: Digest) -> PathBuf {
        self.claims().join(name.hex())
    }

    /// All claims.
    pub fn claims(&self) -> PathBuf {
        self.root.join("claims")
    }

    /// The stamp memo.
    pub fn stamps(&self) -> PathBuf {
        self.root.join("stamps")
    }

    /// What was learned of a compiler; `name` is the digest of how it was called.
    pub fn compiler(&self, name: Digest) -> PathBuf {
        self.compilers().join(name.hex() + ".json")
    }

    /// What was learned of all compilers.
    pub fn compilers(&self) -> PathBuf {
        self.root.join("compilers")
    }

    /// The observer's library, by its digest.
    pub fn observer(&self) -> PathBuf {
        self.root.join("observer")
    }

    /// What a compiler answered to the question that `name` is the digest of.
    pub fn probe(&self, name: Digest) -> PathBuf {
        self.probes().join(name.hex())
    }

    /// All answers.
    pub fn probes(&self) -> PathBuf {
        self.root.join("probes")
    }

    /// Damaged blobs.
    pub fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// What the remote needs on this machine: transfers under way, the queue of uploads, the agent's files.
    pub fn remote(&self) -> PathBuf {
        self.root.join("remote")
    }

    /// The lock of garbage collection.
    pub fn gc_lock(&self) -> PathBuf {
        self.root.join("gc.lock")
    }

    /// Its mtime is the time of the last garbage collection.
    pub fn gc_stamp(&self) -> PathBuf {
        self.root.join("gc.stamp")
    }

    /// The 256 directories of a kind (`blobs`, `entries`, `manifests`, `offers`, `sessions`, `units`), whether they exist or not.
    pub fn shards(&self, kind: &str) -> Vec<PathBuf> {
        (0..=255_u8).map(|shard| self.root.join(kind).join(format!("{shard:02x}"))).collect()
    }

    fn sharded(&self, kind: &str, digest: Digest, suffix: &str) -> PathBuf {
        let hex = digest.hex();
        let mut path = self.root.join(kind);
        path.push(&hex[..2]);
        path.push(hex + suffix);
        path
    }
}
