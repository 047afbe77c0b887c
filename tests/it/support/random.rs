//! A small generator (xorshift) for random moments, where the seed matters and the quality does not.
//!
//! `KACHE_TEST_SEED` repeats a run. The generator prints its seed.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) struct Random(Cell<u64>);

impl Random {
    #[expect(clippy::print_stderr, reason = "a failure is repeated with the seed")]
    pub(crate) fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let given = std::env::var("KACHE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or(now.as_secs() * 1_000_000 + u64::from(now.subsec_micros())) | 1;
        eprintln!("KACHE_TEST_SEED={seed}");
        Self(Cell::new(seed))
    }

    pub(crate) fn below(&self, limit: u64) -> u64 {
        let mut state = self.0.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.0.set(state);
        state % limit
    }
}
