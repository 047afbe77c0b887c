//! The store: plain files below one directory, whose name carries the version of their formats.
//!
//! The write order is the commit protocol: blobs, then the entry, then the manifest. A reader that finds only part of a
//! result sees a miss, so neither a `kill -9` nor a garbage collection can expose half a result. The store must not
//! know rustc, nor how keys are made.

pub mod blobs;
pub mod build_snapshots;
pub mod calls;
pub mod claims;
pub mod compiler_answers;
pub mod entries;
pub mod evictable;
pub mod eviction;
pub mod file_sets;
mod files;
pub mod gc;
pub mod import;
pub mod layout;
pub mod manifests;
pub mod offers;
pub mod purge;
pub mod sealed;
pub mod secret_ledger;
pub mod sessions;
pub mod size_limit;
pub mod stamps;
pub mod survey;
pub mod units;
pub mod withheld;

use std::path::{Path, PathBuf};

pub use blobs::BlobProblem;
pub use entries::{Entry, Message, Origin, Output, Tree};
pub use layout::Layout;
pub use size_limit::SizeLimit;
pub use stamps::Stamps;
pub use withheld::Withheld;

use crate::fsx;

/// An opened store. Opening it creates nothing; writers create the directories that they need.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    stamps: Stamps,
}

impl Store {
    /// Opens the store below `cache_dir`.
    pub fn open(cache_dir: &Path) -> Self {
        let layout = Layout::new(cache_dir);
        let stamps = Stamps::open(&layout.stamps());
        Self { layout, stamps }
    }

    /// Returns the paths of the store.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the stamp memo.
    pub fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// Marks the directory as a cache for backup tools (<https://bford.info/cachedir/>). Idempotent.
    pub fn mark_as_cache(&self) -> fsx::Result<()> {
        let tag: PathBuf = self.layout.cache_dir().join("CACHEDIR.TAG");
        if fsx::exists(&tag) {
            return Ok(());
        }
        let text = "Signature: 8a477f597d28d172789f06886806bc55\n# This directory is a build cache of kache. It may be deleted at any time.\n";
        fsx::Publish { keep_existing: true, ..fsx::Publish::default() }.bytes(&tag, text.as_bytes()).map(|_| ())
    }
}
