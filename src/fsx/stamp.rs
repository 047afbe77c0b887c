//! Stamps: the identity and state of a file, as `stat` reports them.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Result;
use super::clock::{self, Time};

/// Age from which a stamp proves something on a file system that records nanoseconds: more than the longest kernel tick
/// (10 ms at 100 Hz), because a write within the same tick leaves the same mtime and ctime.
const GRAIN_FINE_NS: i128 = 40_000_000;
/// The same for file systems that record whole seconds (FAT: two seconds).
const GRAIN_COARSE_NS: i128 = 2_500_000_000;

/// Device, inode, size, times and mode of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// ID of the device that contains the file.
    pub dev: u64,
    /// Inode number on the device.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last write. Programs can set it to any time.
    pub mtime: Time,
    /// Time of the last change of content or metadata. Only the kernel sets it.
    pub ctime: Time,
    /// Number of hard links.
    pub nlink: u64,
    /// Permission bits and file type (`st_mode`).
    pub mode: u32,
    /// Whether it is a regular file.
    pub is_file: bool,
}

impl Stamp {
    /// Returns the stamp of the file at `path`, following links.
    pub fn of(path: &Path) -> Result<Self> {
        super::metadata(path).map(|metadata| Self::from(&metadata))
    }

    /// Returns the stamp as bytes to digest: device, inode, size, mtime, ctime.
    pub fn to_bytes(&self) -> [u8; 56] {
        let mut bytes = [0; 56];
        bytes[..8].copy_from_slice(&self.dev.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.ino.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.size.to_le_bytes());
        bytes[24..40].copy_from_slice(&self.mtime.as_nanos().to_le_bytes());
        bytes[40..56].copy_from_slice(&self.ctime.as_nanos().to_le_bytes());
        bytes
    }

    /// Returns whether the file has the canonical mtime of blobs.
    pub fn is_canonical(&self) -> bool {
        self.mtime == clock::CANONICAL
    }

    /// Returns whether a later write is sure to change this stamp. `now` comes from [`clock::now`].
    pub fn is_settled(&self, now: Time) -> bool {
        let newest = self.mtime.max(self.ctime);
        let coarse = self.mtime.nanos == 0 && self.ctime.nanos == 0;
        let grain = if coarse { GRAIN_COARSE_NS } else { GRAIN_FINE_NS };
        now.as_nanos() - newest.as_nanos() > grain
    }

    /// Returns whether this is the same file as `other`, an earlier stamp, with the same bytes as far as size and mtime
    /// show. It may have been given the canonical mtime since.
    pub fn is_same_file(&self, other: &Self) -> bool {
        let same_time = self.mtime == other.mtime || self.is_canonical();
        (self.dev, self.ino, self.size) == (other.dev, other.ino, other.size) && same_time
    }

    /// Returns whether this is the same file in the same state as `other`. If it has the canonical mtime, which any
    /// write would have changed, links may have been added or removed (which changes the ctime).
    pub fn has_same_content(&self, other: &Self) -> bool {
        let same_file = (self.dev, self.ino, self.size, self.mtime) == (other.dev, other.ino, other.size, other.mtime);
        same_file && (self.ctime == other.ctime || self.is_canonical())
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        let time = |secs, nanos| Time { secs, nanos: u32::try_from(nanos).unwrap_or(0) };
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            mtime: time(metadata.mtime(), metadata.mtime_nsec()),
            ctime: time(metadata.ctime(), metadata.ctime_nsec()),
            nlink: metadata.nlink(),
            mode: metadata.mode(),
            is_file: metadata.is_file(),
        }
    }
}

/// Returns whether stamps of files at `path` prove nothing, because a server or another host has its own clocks and
/// caches.
#[cfg(target_os = "linux")]
pub fn is_on_network(path: &Path) -> bool {
    const NFS: u64 = 0x6969;
    const SMB: u64 = 0x517b;
    const CIFS: u64 = 0xff53_4d42;
    const SMB2: u64 = 0xfe53_4d42;
    const FUSE: u64 = 0x6573_5546;
    const P9: u64 = 0x0102_1997;
    const CEPH: u64 = 0x00c3_6400;
    const LUSTRE: u64 = 0x0bd0_0bd0;
    const VBOXSF: u64 = 0x786f_4256;
    let Ok(stat) = nix::sys::statfs::statfs(path) else { return true };
    let kind = u64::try_from(stat.filesystem_type().0).unwrap_or(0) & 0xffff_ffff;
    matches!(kind, NFS | SMB | CIFS | SMB2 | FUSE | P9 | CEPH | LUSTRE | VBOXSF)
}

/// Returns whether stamps of files at `path` prove nothing. Not known on this system: always `false`.
#[cfg(not(target_os = "linux"))]
pub fn is_on_network(_path: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(mtime: Time, ctime: Time) -> Stamp {
        Stamp { dev: 1, ino: 2, size: 3, mtime, ctime, nlink: 1, mode: 0o644, is_file: true }
    }

    const fn at(secs: i64, nanos: u32) -> Time {
        Time { secs, nanos }
    }

    #[test]
    fn u24_a_stamp_of_this_tick_is_not_settled() {
        let young = stamp(at(100, 5), at(100, 5));
        assert!(!young.is_settled(at(100, 10_000_005)));
        assert!(young.is_settled(at(100, 50_000_006)));
        let coarse = stamp(at(100, 0), at(100, 0));
        assert!(!coarse.is_settled(at(101, 0)));
        assert!(coarse.is_settled(at(103, 0)));
    }

    #[test]
    fn u24_mtime_put_back_is_seen_by_ctime() {
        let before = stamp(at(100, 5), at(100, 5));
        let after = stamp(at(100, 5), at(200, 5));
        assert!(!before.has_same_content(&after));
        let linked = |ctime| stamp(clock::CANONICAL, ctime);
        assert!(linked(at(1, 1)).has_same_content(&linked(at(2, 2))));
    }
}
