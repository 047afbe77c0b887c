//! Random choices of tests, from a seed that is printed. `KACHE_IT_SEED` sets it, to repeat a failure.

use std::time::{SystemTime, UNIX_EPOCH};

use fastrand::Rng;

/// Returns the seed of this run: the value of `KACHE_IT_SEED`, else one that the time gives.
pub(crate) fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let from_time = || u64::from(now.subsec_nanos()) ^ now.as_secs();
    let parse = |text: String| text.parse().unwrap_or_else(|_| panic!("KACHE_IT_SEED={text} is no number"));
    std::env::var("KACHE_IT_SEED").map_or_else(|_| from_time(), parse)
}

/// Returns a generator with the seed of this run, and prints the seed.
#[expect(clippy::print_stderr, reason = "a failure is repeated with the seed")]
pub(crate) fn generator() -> Rng {
    let seed = seed();
    eprintln!("KACHE_IT_SEED={seed}");
    Rng::with_seed(seed)
}
