//! The numbers by which transfers go, in one place so that tests can have smaller ones.

use std::time::Duration;

use super::retry::{Backoff, Limits};

/// One mebibyte.
pub(super) const MIB: u64 = 1024 * 1024;

/// How transfers go about their work.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// How long a connection may take to be made.
    pub connect: Duration,
    /// How long the first byte of an answer may take.
    pub answer: Duration,
    /// How long a body may bring nothing.
    pub stall: Duration,
    /// The slowest transfer of one request that is waited for, in bytes a second.
    pub slowest: u64,
    /// Pauses between attempts.
    pub backoff: Backoff,
    /// When the server is not asked for a while.
    pub breaker: Limits,
    /// Objects of at least this size are moved in parts.
    pub parts_from: u64,
    /// Bytes of a part.
    pub part_size: u64,
    /// Parts of one object that are downloaded at once.
    pub parallel_downloads: usize,
    /// Parts of one object that are uploaded at once.
    pub parallel_uploads: usize,
    /// Requests of one bucket at once.
    pub connections: usize,
    /// Bytes of all uploads that are held in memory at once, in MiB.
    pub upload_memory: u32,
    /// A part is started again if it takes longer than this...
    pub slow_after: Duration,
    /// ...and longer than so many times the median of the finished ones.
    pub slow_factor: u32,
    /// How often an object may change while it is read, or an upload be lost, before it is an error.
    pub restarts: u32,
    /// How long to wait for another process that uploads the same object.
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
            breaker: Limits {
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
