//! The paths in a cache directory.
//!
//! `v1` is the version of every format below it. A new format gets a new directory, so that two versions of kache can
//! share a cache directory, and the older one can still read its files.

use std::path::{Path, PathBuf};

use crate::model::{BlobId, Digest, EntryKey, LookupKey, SessionKey, UnitKey};

/// Name of the directory that carries the version of the store's formats.
pub const VERSION: &str = "v1";

/// The paths below a cache directory.
#[derive(Clone, Debug)]
pub struct Layout {
    cache_dir: PathBuf,
    root: PathBuf,
}

impl Layout {
    /// Creates the layout below `cache_dir`.
    pub fn new(cache_dir: &Path) -> Self {
        Self { cache_dir: cache_dir.to_owned(), root: cache_dir.join(VERSION) }
    }

    /// Returns the cache directory.
    pub fn cache_dir(&self) -> &Path {
        &self.cache_dir
    }

    /// Returns the versioned directory in the cache directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file of a blob.
    pub fn blob(&self, id: BlobId) -> PathBuf {
        self.sharded("blobs", id.0, "")
    }

    /// The file of an entry.
    pub fn entry(&self, key: EntryKey) -> PathBuf {
        self.sharded("entries", key.0, ".json")
    }

    /// The file of a manifest.
    pub fn manifest(&self, lookup: LookupKey) -> PathBuf {
        self.sharded("manifests", lookup.0, ".jsonl")
    }

    /// The file with the key traces of a unit.
    pub fn unit(&self, unit: UnitKey) -> PathBuf {
        self.sharded("units", unit.0, ".jsonl")
    }

    /// The file of a call.
    pub fn call(&self, lookup: LookupKey) -> PathBuf {
        self.sharded("calls", lookup.0, ".json")
    }

    /// The file of a build snapshot.
    pub fn snapshot(&self, name: Digest) -> PathBuf {
        self.sharded("snapshots", name, ".json")
    }

    /// The marker of a run of cargo that a process is waiting for, to make a snapshot of its build.
    pub fn awaited(&self, cargo: &str) -> PathBuf {
        self.claims().join(format!("cargo-{cargo}"))
    }

    /// The marker of a run of cargo whose build a process is restoring. The process holds a lock on it.
    pub fn restoring(&self, cargo: &str) -> PathBuf {
        self.claims().join(format!("restore-{cargo}"))
    }

    /// The directory of a unit's kept session.
    pub fn session(&self, key: SessionKey) -> PathBuf {
        self.sharded("sessions", key.0, "")
    }

    /// The marker of a unit whose paths must not contain rustc's alias.
    pub fn no_alias_marker(&self, key: SessionKey) -> PathBuf {
        self.sharded("sessions", key.0, ".plain")
    }

    /// The directory with the offers of a lookup key.
    pub fn offers(&self, lookup: LookupKey) -> PathBuf {
        self.sharded("offers", lookup.0, "")
    }

    /// The claim file of a lookup key or of a compiler, named by its digest.
    pub fn claim(&self, name: Digest) -> PathBuf {
        self.claims().join(name.hex())
    }

    /// The directory of all claims.
    pub fn claims(&self) -> PathBuf {
        self.root.join("claims")
    }

    /// The file of the stamp memo.
    pub fn stamps(&self) -> PathBuf {
        self.root.join("stamps")
    }

    /// The memo of a compiler's identity. `name` is the digest of how the compiler was called.
    pub fn compiler(&self, name: Digest) -> PathBuf {
        self.compilers().join(name.hex() + ".json")
    }

    /// The directory of all compiler memos.
    pub fn compilers(&self) -> PathBuf {
        self.root.join("compilers")
    }

    /// The directory of the unpacked observer library, which is named by its digest.
    pub fn observer(&self) -> PathBuf {
        self.root.join("observer")
    }

    /// The answer of a compiler to a question. `name` is the digest of the question.
    pub fn compiler_answer(&self, name: Digest) -> PathBuf {
        self.compiler_answers().join(name.hex())
    }

    /// The directory of all answers of compilers.
    pub fn compiler_answers(&self) -> PathBuf {
        self.root.join("probes")
    }

    /// The directory of damaged blobs.
    pub fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// The ledger of what may carry a secret.
    pub fn secret_ledger(&self) -> PathBuf {
        self.root.join("secrets.jsonl")
    }

    /// The ledger that the present one has replaced.
    pub fn old_secret_ledger(&self) -> PathBuf {
        self.root.join("secrets.old.jsonl")
    }

    /// The directory for the local state of the remote: transfers under way, the queue of uploads, the agent's files.
    pub fn remote(&self) -> PathBuf {
        self.root.join("remote")
    }

    /// The lock file of garbage collection.
    pub fn gc_lock(&self) -> PathBuf {
        self.root.join("gc.lock")
    }

    /// The file whose mtime is the last time when a build found a garbage collection to be due.
    pub fn gc_stamp(&self) -> PathBuf {
        self.root.join("gc.stamp")
    }

    /// The 256 shard directories of a kind (`blobs`, `calls`, `entries`, `manifests`, `offers`, `sessions`,
    /// `snapshots`, `units`), whether or not they exist.
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
