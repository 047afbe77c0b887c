//! Controls: the cheap proofs that a test can fail.
//!
//! A test that expects a hit is worth something only if rustc would run without the cache; one that expects a miss
//! only if the same unit hits when nothing has changed.

use super::{Project, Run};

impl Project {
    /// Builds from nothing, then again after a wipe: `crates` are stored and then hit. The state most tests start from.
    #[track_caller]
    pub(crate) fn warm(&self, crates: &[&str]) -> Run {
        self.wipe().build().misses(crates);
        self.rebuild_hits(crates)
    }

    /// Control of a test that expects a miss: after a wipe, unchanged `crates` hit.
    #[track_caller]
    pub(crate) fn rebuild_hits(&self, crates: &[&str]) -> Run {
        let run = self.wipe().build();
        run.hits(crates);
        run
    }

    /// After a wipe, `crates` are compiled.
    #[track_caller]
    pub(crate) fn rebuild_misses(&self, crates: &[&str]) -> Run {
        let run = self.wipe().build();
        run.misses(crates);
        run
    }

    /// Control of a test that expects a hit: with the cache disabled rustc compiles `crates`. Leaves no target.
    #[track_caller]
    pub(crate) fn without_cache_compiles(&mut self, crates: &[&str]) {
        self.set("KACHE_DISABLED", "1");
        self.wipe().build().misses(crates);
        self.unset("KACHE_DISABLED");
        self.wipe();
    }

    /// A second `cargo build` finds everything fresh and asks rustc for nothing.
    #[track_caller]
    pub(crate) fn assert_noop(&self) {
        self.build().is_noop();
    }
}
