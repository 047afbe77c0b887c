//! Answers of compilers to cargo's questions, so that a fresh target directory does not start a compiler for them.
//!
//! Version 1 (carried by the directory name): the bytes that were written to stdout, sealed. An answer is stored only
//! if the exit code was 0 and stderr was empty. It may be lost at any time; a damaged answer reads as absent. Answers
//! are small and few (one per compiler, target and set of flags); `gc` removes those older than a month, and the oldest
//! beyond [`MAX_ANSWERS`].

use std::path::PathBuf;
use std::time::Duration;

use super::{Layout, Store, files, sealed};
use crate::fsx::clock::Time;
use crate::fsx::{self, Publish};
use crate::model::Digest;

/// How long an answer is kept after it was written. Reading it does not extend this, so kache asks the compiler again
/// after that time.
const MAX_AGE: Duration = Duration::from_hours(30 * 24);
/// At most this many answers are kept.
const MAX_ANSWERS: usize = 1000;

impl Store {
    /// Returns the answer to the question with the digest `name`.
    pub fn compiler_answer(&self, name: Digest) -> Option<Vec<u8>> {
        let sealed = fsx::read(&self.layout().compiler_answer(name)).ok()?;
        sealed::open(name, &sealed).map(<[u8]>::to_vec)
    }

    /// Records an answer: the whole stdout of a call that succeeded and wrote nothing to stderr.
    pub fn put_compiler_answer(&self, name: Digest, stdout: &[u8]) -> fsx::Result<()> {
        self.mark_as_cache()?;
        Publish::default().bytes(&self.layout().compiler_answer(name), &sealed::seal(name, stdout)).map(|_| ())
    }
}

/// Removes old answers, and the oldest beyond [`MAX_ANSWERS`].
pub(super) fn expire(layout: &Layout, now: Time) -> fsx::Result<()> {
    let mut answers: Vec<(Time, PathBuf)> = Vec::new();
    files::each_file(&[layout.compiler_answers()], |path, stamp| {
        // Temp files are not named by a digest.
        if files::digest_in_name(path).is_some() {
            answers.push((stamp.mtime, path.to_owned()));
        }
    })?;
    answers.sort_by_key(|(written, _)| std::cmp::Reverse(*written));
    let kept = i128::from(MAX_AGE.as_secs()) * 1_000_000_000;
    let old = |written: &Time| now.as_nanos() - written.as_nanos() > kept;
    let out = answers.iter().enumerate().filter(|(at, (written, _))| *at >= MAX_ANSWERS || old(written));
    out.map(|(_, (_, path))| path).try_for_each(|path| fsx::remove_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::clock;

    #[test]
    fn i07_a_damaged_answer_reads_as_absent() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let (name, other) = (Digest::of(b"q"), Digest::of(b"r"));
        assert_eq!(store.compiler_answer(name), None);
        store.put_compiler_answer(name, b"rustc\n\xff").unwrap();
        assert_eq!(store.compiler_answer(name).as_deref(), Some(&b"rustc\n\xff"[..]));
        let bytes = fsx::read(&store.layout().compiler_answer(name)).unwrap();
        Publish::default().bytes(&store.layout().compiler_answer(other), &bytes).unwrap();
        assert_eq!(store.compiler_answer(other), None, "filed under another name");
        Publish::default().bytes(&store.layout().compiler_answer(name), &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(store.compiler_answer(name), None, "cut short");
    }

    #[test]
    fn answers_are_few_and_not_old() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let name = |at: usize| Digest::of(&at.to_le_bytes());
        for at in 0..MAX_ANSWERS + 2 {
            store.put_compiler_answer(name(at), b"").unwrap();
        }
        let count = || fsx::list(&store.layout().compiler_answers()).unwrap().len();
        let now = clock::now();
        expire(store.layout(), now).unwrap();
        assert_eq!(count(), MAX_ANSWERS);
        let days = |days: i64| Time { secs: now.secs + days * 24 * 3600, nanos: 0 };
        expire(store.layout(), days(29)).unwrap();
        assert_eq!(count(), MAX_ANSWERS);
        expire(store.layout(), days(31)).unwrap();
        assert_eq!(count(), 0);
    }
}
