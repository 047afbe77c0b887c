//! What one operation costs: its requests, and their price.

use std::time::Duration;

use crate::faults::Seen;

/// List prices of S3 Standard in us-east-1 in USD, as the author knew them in November 2026. A PUT, POST or LIST.
const PRICE_WRITE: f64 = 0.005 / 1000.0;
/// A GET or HEAD. DELETE is free, and so is traffic within the region.
const PRICE_READ: f64 = 0.0004 / 1000.0;
/// A GB to the internet.
const PRICE_GB: f64 = 0.09;

/// What one operation cost.
pub(crate) struct Cost {
    /// PUT and POST.
    pub(crate) writes: usize,
    pub(crate) gets: usize,
    pub(crate) heads: usize,
    pub(crate) lists: usize,
    pub(crate) deletes: usize,
    pub(crate) up: u64,
    pub(crate) down: u64,
    pub(crate) wall: Duration,
    /// Peak memory of kache in MB.
    pub(crate) peak: u64,
}

impl Cost {
    pub(crate) fn of(seen: &[Seen], wall: Duration, peak: u64) -> Self {
        let count = |is: &dyn Fn(&Seen) -> bool| seen.iter().filter(|seen| is(seen)).count();
        let method = |name: &'static str| move |seen: &Seen| seen.method == name && !is_list(seen);
        let cost = Self {
            writes: count(&|seen| matches!(seen.method.as_str(), "PUT" | "POST")),
            gets: count(&method("GET")),
            heads: count(&method("HEAD")),
            lists: count(&is_list),
            deletes: count(&method("DELETE")),
            up: seen.iter().map(|seen| seen.received).sum(),
            down: seen.iter().map(|seen| seen.sent).sum(),
            wall,
            peak,
        };
        assert_eq!(cost.requests(), seen.len(), "a method without a price");
        cost
    }

    pub(crate) fn requests(&self) -> usize {
        self.writes + self.gets + self.heads + self.lists + self.deletes
    }

    /// The price of 1,000 such operations in USD: of the requests, and of the traffic to the internet.
    #[expect(clippy::cast_precision_loss, reason = "a table")]
    pub(crate) fn dollars(&self) -> (f64, f64) {
        let (writes, reads) = (self.writes + self.lists, self.gets + self.heads);
        let requests = writes as f64 * PRICE_WRITE + reads as f64 * PRICE_READ;
        (1000.0 * requests, 1000.0 * PRICE_GB * self.down as f64 / 1e9)
    }
}

pub(crate) fn is_list(seen: &Seen) -> bool {
    seen.method == "GET" && seen.target.contains("list-type=2")
}
