//! The stamp memo: maps the path and stamp of a file to the digest of its content, so that a hit does not read the file
//! again.
//!
//! A table of fixed size in one file. kache reads and writes single slots with `pread` and `pwrite`, without locks: a
//! slot that is torn or not ours fails the check of its tag and checksum, and counts as empty. The memo may lose data
//! at any time, but never returns a wrong digest:
//!
//! * A stamp younger than the clock's grain proves nothing and is not written, with one exception: outputs that this
//!   process, or the rustc that it waited for, has just published by rename ([`Stamps::remember_own`]).
//! * Files on network file systems are never remembered.
//!
//! A set of many files takes one slot, too: see [`super::file_sets`].
//!
//! Version 1 of the slot: tag (16 bytes: path, device, inode, size, mtime, ctime), digest (32), checksum (8), zero (8).
//! `benches/README.md` reports its cost; it was not measured against a key-value store.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::fsx::{self, Stamp, clock, stamp};
use crate::model::Digest;

const SLOT_BYTES: usize = 64;
const SLOTS_PER_BUCKET: usize = 4;
const BUCKET_BYTES: usize = SLOT_BYTES * SLOTS_PER_BUCKET;
/// 16 MiB of sparse file, with room for 262,144 files.
const BUCKET_COUNT: u64 = 1 << 16;

/// The stamp memo of one store.
#[derive(Debug)]
pub struct Stamps {
    path: PathBuf,
    table: OnceLock<Option<File>>,
}

/// The digest of the content of a file, and the stamp under which the file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StampedDigest {
    /// Digest of the file's bytes.
    pub digest: Digest,
    /// The stamp, taken before the bytes were read.
    pub stamp: Stamp,
}

/// What the memo returned for a file, and whether it can return that again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoResult {
    /// The digest and the stamp, from the memo or just read.
    pub content: StampedDigest,
    /// Whether the digest came from the memo or was written to it.
    pub remembered: bool,
}

impl Stamps {
    /// Creates the memo in the file at `path`, which need not exist. The file is opened at the first use.
    pub fn open(path: &Path) -> Self {
        Self { path: path.to_owned(), table: OnceLock::new() }
    }

    /// Returns the content of the regular file at `path`, from the memo if possible, else by reading it.
    pub fn content(&self, path: &Path) -> fsx::Result<StampedDigest> {
        self.content_under(path, Stamp::of(path)?).map(|found| found.content)
    }

    /// Returns the content of the regular file at `path`, whose stamp the caller has just taken.
    pub fn content_under(&self, path: &Path, stamp: Stamp) -> fsx::Result<MemoResult> {
        match self.lookup(path, &stamp) {
            Some(digest) => Ok(MemoResult { content: StampedDigest { digest, stamp }, remembered: true }),
            // Opening a pipe would wait for its writer.
            None if !stamp.is_file => Err(not_a_file(path)),
            None => self.read_content(path),
        }
    }

    /// Returns the digest of the names in the directory at `path`, with the kind of each. A change of either changes
    /// the times of the directory, so its stamp represents the list as the stamp of a file represents its bytes.
    pub fn listing(&self, path: &Path) -> fsx::Result<Digest> {
        let stamp = Stamp::of(path)?;
        if let Some(digest) = self.lookup(path, &stamp) {
            return Ok(digest);
        }
        let digest = Digest::of(&fsx::listing(path)?);
        if Stamp::of(path)? == stamp && stamp.is_settled(clock::now()) && !stamp::is_on_network(path) {
            self.fill(&tag(path, &stamp), digest);
        }
        Ok(digest)
    }

    /// Returns the remembered digest of the file at `path` with this stamp.
    pub fn lookup(&self, path: &Path, stamp: &Stamp) -> Option<Digest> {
        self.slot(&tag(path, stamp))
    }

    /// Returns the digest in the slot with this tag.
    pub(super) fn slot(&self, tag: &[u8; 16]) -> Option<Digest> {
        let mut bucket = [0; BUCKET_BYTES];
        self.table()?.read_exact_at(&mut bucket, bucket_offset(tag)).ok()?;
        bucket.chunks_exact(SLOT_BYTES).find_map(|slot| decode(slot, tag))
    }

    /// Remembers a file that this process has just published under a new inode, however young its stamp is.
    ///
    /// This is sound although a write in the same clock tick would not change the stamp: no other process had the inode
    /// before the rename, rustc and cargo replace such files by rename, and one slot holds path and inode together.
    ///
    /// `is_it` judges the present stamp of the file: kache does not remember a file that was written meanwhile.
    pub fn remember_own(&self, path: &Path, digest: Digest, is_it: impl FnOnce(&Stamp) -> bool) {
        if let Some(stamp) = Stamp::of(path).ok().filter(is_it) {
            self.fill(&tag(path, &stamp), digest);
        }
    }

    fn read_content(&self, path: &Path) -> fsx::Result<MemoResult> {
        let file = fsx::open(path)?;
        let stamp_of_open = || file.metadata().map(|metadata| Stamp::from(&metadata));
        let failed = |error| fsx::Error::new("read", path, error);
        let stamp = stamp_of_open().map_err(failed)?;
        if !stamp.is_file {
            return Err(not_a_file(path));
        }
        let digest = hash_file(&file).map_err(failed)?;
        let unchanged = stamp_of_open().map_err(failed)? == stamp;
        let remembered = unchanged && stamp.is_settled(clock::now()) && !stamp::is_on_network(path);
        if remembered {
            self.fill(&tag(path, &stamp), digest);
        }
        Ok(MemoResult { content: StampedDigest { digest, stamp }, remembered })
    }

    /// Fills a slot. Ignores errors: a memo that cannot be written remembers nothing.
    pub(super) fn fill(&self, tag: &[u8; 16], digest: Digest) {
        let Some(table) = self.table() else { return };
        let offset = bucket_offset(tag);
        let mut bucket = [0; BUCKET_BYTES];
        // A read is short at the sparse end of the table.
        let _ = table.read_at(&mut bucket, offset);
        let is_empty = |slot: &[u8]| slot[..16].iter().all(|byte| *byte == 0);
        let free = bucket.chunks_exact(SLOT_BYTES).position(|slot| slot[..16] == *tag || is_empty(slot));
        let index = free.unwrap_or(usize::from(tag[15]) % SLOTS_PER_BUCKET);
        let _ = table.write_all_at(&encode(tag, digest), offset + (index * SLOT_BYTES) as u64);
    }

    fn table(&self) -> Option<&File> {
        self.table.get_or_init(|| open_table(&self.path)).as_ref()
    }
}

fn not_a_file(path: &Path) -> fsx::Error {
    fsx::Error::new("read", path, std::io::Error::other("not a regular file"))
}

fn open_table(path: &Path) -> Option<File> {
    let opened = match fsx::open_rw(path) {
        Err(error) if error.is_absent() => {
            fsx::create_dir_all(path.parent()?).ok()?;
            fsx::open_rw(path)
        }
        Err(_) => return fsx::open(path).ok(),
        opened => opened,
    };
    let file = opened.ok()?;
    if file.metadata().ok()?.len() < BUCKET_COUNT * BUCKET_BYTES as u64 {
        file.set_len(BUCKET_COUNT * BUCKET_BYTES as u64).ok()?;
    }
    Some(file)
}

/// Hashes with large reads: with less than 16 KiB at a time, blake3 cannot use its widest instructions.
fn hash_file(mut file: &File) -> std::io::Result<Digest> {
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut buffer = vec![0; size.saturating_add(1).min(256 * 1024)];
    let mut hasher = blake3::Hasher::new();
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Digest::from_bytes(*hasher.finalize().as_bytes())),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => &mut hasher,
            Err(error) => return Err(error),
        };
    }
}

/// Returns the part of a stamp that represents the content: all of `Stamp::to_bytes`, except that a canonical mtime
/// replaces the ctime. Any write changes a canonical mtime, but every new link changes the ctime, and the memo would
/// forget shared rlibs.
pub(super) fn content_state(stamp: &Stamp) -> [u8; 56] {
    let ctime = if stamp.is_canonical() { stamp.mtime } else { stamp.ctime };
    Stamp { ctime, ..*stamp }.to_bytes()
}

fn tag(path: &Path, stamp: &Stamp) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&content_state(stamp));
    hasher.update(path.as_os_str().as_bytes());
    let mut tag = [0; 16];
    tag.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    tag
}

fn bucket_offset(tag: &[u8; 16]) -> u64 {
    let number = u64::from(u16::from_le_bytes([tag[0], tag[1]]));
    (number % BUCKET_COUNT) * BUCKET_BYTES as u64
}

/// Detects a torn slot: each word changes the sum, and so does the order of words. It guards against accidents, not
/// against intent: whoever can write this file can write the store.
fn checksum(tag: &[u8], digest: &[u8]) -> [u8; 8] {
    const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut sum = SEED;
    for word in tag.chunks_exact(8).chain(digest.chunks_exact(8)) {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(word);
        sum = (sum ^ u64::from_le_bytes(bytes)).wrapping_mul(SEED).rotate_left(29);
    }
    sum.to_le_bytes()
}

fn encode(tag: &[u8; 16], digest: Digest) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..16].copy_from_slice(tag);
    slot[16..48].copy_from_slice(digest.as_bytes());
    slot[48..56].copy_from_slice(&checksum(tag, digest.as_bytes()));
    slot
}

fn decode(slot: &[u8], tag: &[u8; 16]) -> Option<Digest> {
    let (held, digest) = (&slot[..16], &slot[16..48]);
    if held != tag || slot[48..56] != checksum(held, digest) {
        return None;
    }
    digest.try_into().ok().map(Digest::from_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::{Mtime, Publish};

    fn settled_file(dir: &Path) -> PathBuf {
        let path = dir.join("file");
        Publish::default().bytes(&path, b"content").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(60));
        path
    }

    #[test]
    fn a_settled_stamp_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = settled_file(dir.path());
        let stamps = Stamps::open(&dir.path().join("stamps"));
        let content = stamps.content(&path).unwrap();
        assert_eq!(content.digest, Digest::of(b"content"));
        assert_eq!(stamps.lookup(&path, &content.stamp), Some(content.digest));
        assert_eq!(stamps.lookup(&dir.path().join("other"), &content.stamp), None);
    }

    #[test]
    fn u24_a_young_stamp_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        Publish { mtime: Mtime::Now, ..Publish::default() }.bytes(&path, b"content").unwrap();
        let stamps = Stamps::open(&dir.path().join("stamps"));
        let content = stamps.content(&path).unwrap();
        assert_eq!(stamps.lookup(&path, &content.stamp), None);
        stamps.remember_own(&path, content.digest, |stamp| stamp.is_same_file(&content.stamp));
        assert_eq!(stamps.lookup(&path, &content.stamp), Some(content.digest));
    }

    /// An entry from the remote may name any path.
    #[test]
    fn r11_a_pipe_is_no_content_and_nobody_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let stamps = Stamps::open(&dir.path().join("stamps"));
        assert!(stamps.content(&pipe).is_err());
    }

    #[test]
    fn a_torn_slot_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = settled_file(dir.path());
        let table = dir.path().join("stamps");
        let stamp = Stamps::open(&table).content(&path).unwrap().stamp;
        let mut bytes = fsx::read(&table).unwrap();
        let at = usize::try_from(bucket_offset(&tag(&path, &stamp))).unwrap();
        bytes[at + 20] ^= 1;
        Publish::default().bytes(&table, &bytes).unwrap();
        assert_eq!(Stamps::open(&table).lookup(&path, &stamp), None);
        Publish::default().bytes(&table, b"short").unwrap();
        assert_eq!(Stamps::open(&table).content(&path).unwrap().digest, Digest::of(b"content"));
    }
}
