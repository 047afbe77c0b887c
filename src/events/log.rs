//! Logs: one JSON object per line, appended with one `write` each, so that lines of several processes never mix.
//!
//! The formats of the lines are elsewhere ([`super::event`], [`super::transfer`]). One older log is kept.

use std::io::{BufRead, BufReader, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fsx;
use crate::fsx::lock::FileLock;

/// The format of a line.
pub trait LogLine: Serialize + DeserializeOwned {
    /// File name of the log, without its extension.
    const NAME: &'static str;
    /// Size in bytes above which a log is rotated.
    const MAX_BYTES: u64;

    /// When the line was written, in milliseconds since 1970. `None`: it has another version, and readers skip it.
    fn at(&self) -> Option<i64>;
}

/// A log in a cache directory.
#[derive(Clone, Debug)]
pub struct Log<L> {
    path: PathBuf,
    lines: PhantomData<L>,
}

impl<L: LogLine> Log<L> {
    /// The log below `cache_dir`.
    pub fn of(cache_dir: &Path) -> Self {
        Self { path: cache_dir.join("events").join(L::NAME).with_extension("jsonl"), lines: PhantomData }
    }

    /// Appends one line, and creates the directory if it is absent. Rotates a log that is too large.
    pub fn append(&self, line: &L) -> fsx::Result<()> {
        let mut line = serde_json::to_vec(line).unwrap_or_default();
        line.push(b'\n');
        let mut file = match fsx::open_append(&self.path) {
            Err(error) if error.is_absent() => {
                fsx::create_dir_all(self.path.parent().unwrap_or(Path::new(".")))?;
                fsx::open_append(&self.path)?
            }
            opened => opened?,
        };
        file.write_all(&line).map_err(|error| fsx::Error::new("append to", &self.path, error))?;
        // Rotate here too, because not every build collects garbage.
        match file.metadata() {
            Ok(metadata) if metadata.len() > L::MAX_BYTES => self.rotate(),
            _ => Ok(()),
        }
    }

    /// All lines at or after `since` (milliseconds since 1970), oldest first. Skips torn lines and other versions.
    pub fn read(&self, since: i64) -> fsx::Result<Vec<L>> {
        let mut found = self.read_holding("")?;
        found.retain(|line| line.at().is_some_and(|at| at >= since));
        Ok(found)
    }

    /// Like [`Log::read`], for all lines whose JSON contains `text`. Does not parse the others, which saves most of the
    /// time.
    pub fn read_holding(&self, text: &str) -> fsx::Result<Vec<L>> {
        let (finder, mut found) = (memchr::memmem::Finder::new(text), Vec::new());
        for path in [self.older(), self.path.clone()] {
            let Some(file) = fsx::optional(fsx::open(&path))? else { continue };
            let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
            let holding = lines.filter(|line| finder.find(line).is_some());
            let parsed = holding.filter_map(|line| serde_json::from_slice::<L>(&line).ok());
            found.extend(parsed.filter(|line| line.at().is_some()));
        }
        Ok(found)
    }

    /// Rotates the log if it is too large. Only one process at a time does: a second one would replace the older log
    /// with the new one.
    pub fn rotate(&self) -> fsx::Result<()> {
        let Some(_lock) = FileLock::try_acquire(&self.path.with_extension("lock"))? else { return Ok(()) };
        match fsx::optional(fsx::metadata(&self.path))? {
            Some(metadata) if metadata.len() > L::MAX_BYTES => fsx::rename(&self.path, &self.older()),
            _ => Ok(()),
        }
    }

    fn older(&self) -> PathBuf {
        self.path.with_extension("old.jsonl")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, serde::Deserialize, Debug, PartialEq)]
    struct Short(u32, i64);

    impl LogLine for Short {
        const NAME: &'static str = "short";
        const MAX_BYTES: u64 = 8;

        fn at(&self) -> Option<i64> {
            (self.0 == 1).then_some(self.1)
        }
    }

    #[test]
    fn lines_round_trip_and_garbage_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::of(dir.path());
        log.append(&Short(1, 5)).unwrap();
        fsx::open_append(&log.path).unwrap().write_all(b"{torn\n").unwrap();
        log.append(&Short(1, 9)).unwrap();
        log.append(&Short(2, 10)).unwrap();
        assert_eq!(log.read(0).unwrap(), [Short(1, 5), Short(1, 9)]);
        assert_eq!(log.read(6).unwrap(), [Short(1, 9)]);
        assert_eq!((log.read_holding(",9]").unwrap(), log.read_holding("10").unwrap()), (vec![Short(1, 9)], vec![]));
    }

    #[test]
    fn a_large_log_is_put_aside_and_read_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::of(dir.path());
        log.rotate().unwrap();
        log.append(&Short(1, 1)).unwrap();
        log.rotate().unwrap();
        assert!(!fsx::exists(&log.older()), "small");
        // This append makes the log too large, and rotates it.
        log.append(&Short(1, 2)).unwrap();
        assert!(fsx::exists(&log.older()) && !fsx::exists(&log.path));
        log.append(&Short(1, 3)).unwrap();
        assert_eq!(log.read(0).unwrap(), [Short(1, 1), Short(1, 2), Short(1, 3)]);
    }
}
