//! Limits and timeouts of transfers, in one place so that tests can use smaller ones.

use std::time::Duration;

use super::retry::{Backoff, BreakerLimits};
use crate::config::RemoteSettings;
use crate::config::remote::{DEFAULT_CONNECTIONS, DEFAULT_PART_SIZE};

/// Bytes in a mebibyte.
pub(in crate::remote) const MIB: u64 = 1024 * 1024;

/// The largest object that S3 accepts in one request, in bytes.
const MAX_OBJECT_IN_ONE_REQUEST: u64 = 5 * 1024 * MIB;

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

impl Tuning {
    /// The defaults, with the connections and the part size of these settings.
    pub fn of(settings: &RemoteSettings) -> Self {
        let part_size = settings.part_size.as_u64();
        Self {
            connections: settings.connections,
            part_size,
            parts_from: (2 * part_size).min(MAX_OBJECT_IN_ONE_REQUEST),
            ..Self::default()
        }
    }
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
            parts_from: 2 * DEFAULT_PART_SIZE.as_u64(),
            part_size: DEFAULT_PART_SIZE.as_u64(),
            parallel_downloads: 16,
            parallel_uploads: 4,
            connections: DEFAULT_CONNECTIONS,
            upload_memory: 64,
            slow_after: Duration::from_secs(5),
            slow_factor: 4,
            restarts: 3,
            wait_for_other: Duration::from_mins(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;

    use super::*;
    use crate::config::{Config, Env, env};

    fn of(part_size: &str) -> Tuning {
        let vars = [
            (env::HOME, "/home/x"),
            (env::KACHE_S3_BUCKET, "b"),
            (env::KACHE_REMOTE_CONNECTIONS, "7"),
            (env::KACHE_REMOTE_PART_SIZE, part_size),
        ];
        let vars = Env::of(vars);
        Tuning::of(&RemoteSettings::load(&vars, &Config::load(&vars).unwrap()).unwrap().unwrap())
    }

    #[test]
    fn objects_of_two_parts_are_large_but_for_those_that_one_request_cannot_hold() {
        let sizes = |part_size| (of(part_size).part_size, of(part_size).parts_from);
        assert_eq!(sizes("5MiB"), (5 * MIB, 10 * MIB));
        assert_eq!(sizes("8MiB"), (Tuning::default().part_size, Tuning::default().parts_from));
        assert_eq!(sizes("5GiB"), (ByteSize::gib(5).as_u64(), ByteSize::gib(5).as_u64()));
        assert_eq!((of("8MiB").connections, Tuning::default().connections), (7, 64));
    }
}
