//! Controls: cheap proofs that a test can fail.
//!
//! A test that expects a hit is worth something only if rustc would run without the cache. A test that expects a miss
//! is worth something only if the same unit hits when nothing has changed.

use super::{Project, Run};

impl Project {
    /// Builds from scratch, then again after a wipe: `crates` are stored, then hit. Most tests start from this state.
    #[track_caller]
    pub(crate) fn warm(&self, crates: &[&str]) -> Run {
        self.wipe().build().misses(crates);
        self.rebuild_hits(crates)
    }

    /// Control of a test that expects a miss: after a wipe, the unchanged `crates` hit.
    #[track_caller]
    pub(crate) fn rebuild_hits(&self, crates: &[&str]) -> Run {
        let run = self.wipe().build();
        run.hits(crates);
        run
    }

    /// Asserts that rustc compiles `crates` after a wipe.
    #[track_caller]
    pub(crate) fn rebuild_misses(&self, crates: &[&str]) -> Run {
        let run = self.wipe().build();
        run.misses(crates);
        run
    }

    /// Control of a test that expects a hit: with the cache disabled, rustc compiles `crates`. Deletes the target
    /// directory afterwards.
    #[track_caller]
    pub(crate) fn without_cache_compiles(&mut self, crates: &[&str]) {
        self.set("KACHE_DISABLED", "1");
        self.wipe().build().misses(crates);
        self.unset("KACHE_DISABLED");
        self.wipe();
    }

    /// Asserts that a second `cargo build` finds everything fresh and does not compile anything.
    #[track_caller]
    pub(crate) fn assert_noop(&self) {
        self.build().is_noop();
    }
}
