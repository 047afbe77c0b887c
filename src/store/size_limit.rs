//! The size limit of the store, and the test whether its disk is too full to store more.

use std::path::Path;

use bytesize::{GIB, MIB};

use crate::fsx::{self, Space};

/// The size that collections trim the store to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SizeLimit {
    /// A fixed number of bytes.
    Bytes(u64),
    /// A size that suits the disk of the cache directory.
    OfDisk,
}

impl SizeLimit {
    /// Returns the limit in bytes, for a store in `cache_dir` that holds `used` bytes. If the size of the disk is
    /// unknown, the limit is 5 GiB.
    pub fn bytes(self, cache_dir: &Path, used: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::OfDisk => fsx::space(cache_dir).map_or(MIN_LIMIT_BYTES, |space| of_disk(space, used)),
        }
    }
}

const MIN_LIMIT_BYTES: u64 = 5 * GIB;
const MAX_LIMIT_BYTES: u64 = 100 * GIB;

/// A twentieth of the disk, between [`MIN_LIMIT_BYTES`] and [`MAX_LIMIT_BYTES`], but so that a tenth of the disk stays
/// free. On a disk that is fuller than that, the store still gets half of the remaining space (its present size
/// included), or [`MIN_LIMIT_BYTES`] if that is less.
fn of_disk(space: Space, used: u64) -> u64 {
    let usual = (space.total / 20).clamp(MIN_LIMIT_BYTES, MAX_LIMIT_BYTES);
    let left = space.available.saturating_add(used).saturating_sub(space.total / 10);
    let floor = MIN_LIMIT_BYTES.min(used.saturating_add(space.available) / 2);
    usual.min(left).max(floor)
}

/// Returns whether the disk is so full that the remaining space is reserved for builds: a fiftieth of the disk, but at
/// most 512 MiB.
pub fn is_full(cache_dir: &Path) -> bool {
    const MAX_RESERVED_BYTES: u64 = 512 * MIB;
    fsx::space(cache_dir).is_ok_and(|space| space.available < (space.total / 50).min(MAX_RESERVED_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_follows_the_disk() {
        let of = |total: u64, available: u64, used: u64| {
            of_disk(Space { total: total * GIB, available: available * GIB }, used * GIB) / GIB
        };
        assert_eq!(of(500, 400, 0), 25);
        assert_eq!((of(50, 40, 0), of(8000, 4000, 0)), (5, 100), "bounds");
        assert_eq!(of(500, 60, 0), 10, "a tenth stays free");
        assert_eq!(of(500, 40, 20), 10, "what the store holds may be given back");
        assert_eq!((of(500, 20, 10), of(500, 4, 2)), (5, 3), "a disk that is nearly full");
    }

    #[test]
    fn a_limit_of_bytes_asks_nobody() {
        assert_eq!(SizeLimit::Bytes(7).bytes(Path::new("/nowhere"), 1), 7);
    }
}
