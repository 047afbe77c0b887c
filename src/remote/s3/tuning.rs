//! Limits and timeouts of transfers, in one place so that tests can use smaller ones.

use std::time::Duration;

use super::retry::{Backoff, BreakerLimits};

/// Bytes in a mebibyte.
pub(super) const MIB: u64 = 1024 * 1024;

/// Limits and timeouts of transfers.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// How long connecting may take.
    pub connect: Duration,
    /// How long the first byte of an answer may take.
    pub answer: Duration,
    /// How long a body may stall before the request fails.
    pub stall: Duration,
    /// Slowest transfer of one request that is waited for, in bytes per second.
    pub slowest: u64,
    /// Pauses between the attempts of a request.
    pub backoff: Backoff,
    /// When the breaker opens, and for how long.
    pub breaker: BreakerLimits,
    /// Objects of at least this many bytes are transferred in parts.
    pub parts_from: u64,
    /// Size of a part in bytes.
    pub part_size: u64,
    /// Parts of one object that are downloaded at once.
    pub parallel_downloads: usize,
    /// Parts of one object that are uploaded at once.
    pub parallel_uploads: usize,
    /// Requests to one bucket in flight at once.
    pub connections: usize,
    /// Memory that all uploads together may use for their data, in MiB.
    pub upload_memory: u32,
    /// A part is requested again if its download takes longer than this...
    pub slow_after: Duration,
    /// ...and longer than this multiple of the median of the finished parts.
    pub slow_factor: u32,
    /// How often an object may change during a download, or an upload be lost, before the transfer fails.
    pub restarts: u32,
    /// How long to wait for another process that uploads the same object. After that, this process uploads it as well.
    pub wait_for_other: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(20),
            stall: Duration::from_secs(20),
            slowest: 16 * 1024,
            backoff: Backoff { base: Duration::from_millis(200), cap: Duration::from_secs(5), attempts: 6 },
            breaker: BreakerLimits {
                failures: 8,
                over: Duration::from_secs(5),
                open: Duration::from_secs(10),
                open_at_most: Duration::from_mins(5),
            },
            parts_from: 16 * MIB,
            part_size: 8 * MIB,
            parallel_downloads: 16,
            parallel_uploads: 4,
            connections: 64,
            upload_memory: 64,
            slow_after: Duration::from_secs(5),
            slow_factor: 4,
            restarts: 3,
            wait_for_other: Duration::from_mins(5),
        }
    }
}
