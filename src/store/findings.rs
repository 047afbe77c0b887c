//! Findings: facts about many files at once, remembered in one slot of the stamp memo.
//!
//! A finding states that these files, as long as they have these stamps, have contents with these digests. The slot
//! holds only the digest of the finding, so it only shows that the finding was made. A finding is as reliable as the
//! memo:
//!
//! * It is remembered only after the memo returned or stored every single digest under the very stamp in the finding.
//!   So it never covers files on network file systems.
//! * If a stamp was young when the finding was begun, the finding is temporary: it is neither remembered nor looked up.
//!   Any write after a settled stamp was taken changes the stamp.
//!
//! Version 1 of the digested bytes: `kache finding` and a zero; then the texts (length in 8 bytes, bytes) that the
//! names of the files are relative to; then for each file its name as a text, its state as in the memo's tag, and its
//! digest. Version 1 of the slot: tag (16 bytes of the digest), digest.

use super::Stamps;
use super::stamps::state;
use crate::fsx::Stamp;
use crate::fsx::clock::{self, Time};
use crate::model::Digest;

/// A finding about some files.
#[derive(Debug)]
pub struct Finding {
    bytes: Vec<u8>,
    begun: Time,
    may_last: bool,
}

impl Finding {
    /// Begins an empty finding. `about` holds the texts that the names of the files are relative to. Call this before
    /// taking any stamp.
    pub fn begin<'a>(about: impl IntoIterator<Item = &'a str>) -> Self {
        let mut finding = Self { bytes: b"kache finding\0".to_vec(), begun: clock::now(), may_last: true };
        for text in about {
            finding.add_text(text);
        }
        finding
    }

    /// Adds a file, with its stamp and the digest of its content.
    pub fn add(&mut self, name: &str, stamp: &Stamp, digest: Digest) {
        self.add_text(name);
        self.bytes.extend(state(stamp));
        self.bytes.extend(digest.as_bytes());
        self.may_last &= stamp.is_settled(self.begun);
    }

    fn add_text(&mut self, text: &str) {
        self.bytes.extend((text.len() as u64).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }

    /// Returns tag and digest, or `None` if the finding is temporary.
    fn slot(&self) -> Option<([u8; 16], Digest)> {
        let digest = self.may_last.then(|| Digest::of(&self.bytes))?;
        let mut tag = [0; 16];
        tag.copy_from_slice(&digest.as_bytes()[..16]);
        Some((tag, digest))
    }
}

impl Stamps {
    /// Returns whether the same finding was remembered before.
    pub fn knows(&self, finding: &Finding) -> bool {
        finding.slot().is_some_and(|(tag, digest)| self.slot(&tag) == Some(digest))
    }

    /// Remembers a finding. The memo must have remembered every file in it: see [`Stamps::content_under`].
    pub fn remember(&self, finding: &Finding) {
        if let Some((tag, digest)) = finding.slot() {
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

    fn finding(about: &str, files: &[(&str, Stamp, &[u8])]) -> Finding {
        let mut finding = Finding::begin([about]);
        for (name, stamp, content) in files {
            finding.add(name, stamp, Digest::of(content));
        }
        finding
    }

    #[test]
    fn u24_only_the_very_same_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let stamps = Stamps::open(&dir.path().join("stamps"));
        let (one, two) = (stamp(1, OLD), stamp(2, OLD));
        let same = || finding("/w", &[("a", one, b"x"), ("b", two, b"y")]);
        assert!(!stamps.knows(&same()));
        stamps.remember(&same());
        assert!(stamps.knows(&same()) && Stamps::open(&dir.path().join("stamps")).knows(&same()));
        let later = stamp(2, Time { nanos: 6, ..OLD });
        for other in [
            finding("/v", &[("a", one, b"x"), ("b", two, b"y")]),
            finding("/w", &[("b", two, b"y"), ("a", one, b"x")]),
            finding("/w", &[("a", one, b"y"), ("b", two, b"x")]),
            finding("/w", &[("a", two, b"x"), ("b", one, b"y")]),
            finding("/w", &[("a", one, b"x"), ("b", later, b"y")]),
            finding("/w", &[("a", one, b"x")]),
        ] {
            assert!(!stamps.knows(&other), "{other:?}");
        }
    }

    #[test]
    fn u24_a_young_stamp_makes_it_a_passing_one() {
        let dir = tempfile::tempdir().unwrap();
        let stamps = Stamps::open(&dir.path().join("stamps"));
        let young = stamp(1, clock::now());
        let passing = finding("/w", &[("a", stamp(2, OLD), b"x"), ("b", young, b"y")]);
        stamps.remember(&passing);
        assert!(!stamps.knows(&passing));
        std::thread::sleep(std::time::Duration::from_millis(60));
        let lasting = finding("/w", &[("a", stamp(2, OLD), b"x"), ("b", young, b"y")]);
        assert!(!stamps.knows(&lasting), "the passing one was not remembered");
        stamps.remember(&lasting);
        assert!(stamps.knows(&lasting));
    }
}
