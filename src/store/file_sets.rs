//! File sets: one slot of the stamp memo for many files at once.
//!
//! A file set in the memo proves: if these files still have these stamps, their contents have these digests. The slot
//! contains only the digest of the set, so it shows nothing but that kache remembered the set. A set is as reliable as
//! the memo:
//!
//! * It is remembered only after the memo returned or stored every single digest under the very stamp in the set. So it
//!   never covers files on network file systems.
//! * If a stamp was young when the set was begun, the set is temporary: it is neither remembered nor looked up. Any
//!   write after a settled stamp was taken changes the stamp.
//!
//! Version 1 of the digested bytes: `kache finding` and a zero; then the texts (length in 8 bytes, bytes) that the
//! names of the files are relative to; then for each file its name as a text, its state as in the memo's tag, and its
//! digest. Version 1 of the slot: tag (16 bytes of the digest), digest.

use super::Stamps;
use super::stamps::content_state;
use crate::fsx::Stamp;
use crate::fsx::clock::{self, Time};
use crate::model::Digest;

/// A set of files, each with its stamp and the digest of its content.
#[derive(Debug)]
pub struct FileSet {
    bytes: Vec<u8>,
    begun: Time,
    may_last: bool,
}

impl FileSet {
    /// Begins an empty set. `about` holds the texts that the names of the files are relative to. Call this before
    /// taking any stamp.
    pub fn begin<'a>(about: impl IntoIterator<Item = &'a str>) -> Self {
        let mut set = Self { bytes: b"kache finding\0".to_vec(), begun: clock::now(), may_last: true };
        for text in about {
            set.add_text(text);
        }
        set
    }

    /// Adds a file, with its stamp and the digest of its content.
    pub fn add(&mut self, name: &str, stamp: &Stamp, digest: Digest) {
        self.add_text(name);
        self.bytes.extend(content_state(stamp));
        self.bytes.extend(digest.as_bytes());
        self.may_last &= stamp.is_settled(self.begun);
    }

    fn add_text(&mut self, text: &str) {
        self.bytes.extend((text.len() as u64).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }

    /// Returns tag and digest, or `None` if the set is temporary.
    fn slot(&self) -> Option<([u8; 16], Digest)> {
        let digest = self.may_last.then(|| Digest::of(&self.bytes))?;
        let mut tag = [0; 16];
        tag.copy_from_slice(&digest.as_bytes()[..16]);
        Some((tag, digest))
    }
}

impl Stamps {
    /// Returns whether the same set was remembered before.
    pub fn has(&self, set: &FileSet) -> bool {
        set.slot().is_some_and(|(tag, digest)| self.slot(&tag) == Some(digest))
    }

    /// Remembers a set. The memo must have remembered every file in it: see [`Stamps::content_under`].
    pub fn remember(&self, set: &FileSet) {
        if let Some((tag, digest)) = set.slot() {
            self.fill(&tag, digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(ino: u64, ctime: Time) -> Stamp {
        Stamp { dev: 1, ino, size: 3, mtime: ctime, ctime, nlink: 1, mode: 0o644, is_file: true }
    }

    const OLD: Time = Time { secs: 1_000_000_000, nanos: 5 };

    fn set(about: &str, files: &[(&str, Stamp, &[u8])]) -> FileSet {
        let mut set = FileSet::begin([about]);
        for (name, stamp, content) in files {
            set.add(name, stamp, Digest::of(content));
        }
        set
    }

    #[test]
    fn u24_only_the_very_same_set_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let stamps = Stamps::open(&dir.path().join("stamps"));
        let (one, two) = (stamp(1, OLD), stamp(2, OLD));
        let same = || set("/w", &[("a", one, b"x"), ("b", two, b"y")]);
        assert!(!stamps.has(&same()));
        stamps.remember(&same());
        assert!(stamps.has(&same()) && Stamps::open(&dir.path().join("stamps")).has(&same()));
        let later = stamp(2, Time { nanos: 6, ..OLD });
        for other in [
            set("/v", &[("a", one, b"x"), ("b", two, b"y")]),
            set("/w", &[("b", two, b"y"), ("a", one, b"x")]),
            set("/w", &[("a", one, b"y"), ("b", two, b"x")]),
            set("/w", &[("a", two, b"x"), ("b", one, b"y")]),
            set("/w", &[("a", one, b"x"), ("b", later, b"y")]),
            set("/w", &[("a", one, b"x")]),
        ] {
            assert!(!stamps.has(&other), "{other:?}");
        }
    }

    #[test]
    fn u24_a_young_stamp_makes_a_set_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let stamps = Stamps::open(&dir.path().join("stamps"));
        let young = stamp(1, clock::now());
        let temporary = set("/w", &[("a", stamp(2, OLD), b"x"), ("b", young, b"y")]);
        stamps.remember(&temporary);
        assert!(!stamps.has(&temporary));
        std::thread::sleep(std::time::Duration::from_millis(60));
        let lasting = set("/w", &[("a", stamp(2, OLD), b"x"), ("b", young, b"y")]);
        assert!(!stamps.has(&lasting), "the temporary one was not remembered");
        stamps.remember(&lasting);
        assert!(stamps.has(&lasting));
    }
}
