//! The journal of the remote: what came, what went, and what was refused. One JSON object per line, appended in one write.
//!
//! Version 1: first. The event log tells of invocations; this one of entries on their way. Neither holds credentials.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fsx;

/// The version that this program writes. Lines of other versions are skipped by readers.
pub const VERSION: u32 = 1;

/// Size from which the journal is put aside (one older one is kept).
const ROTATE_AT: u64 = 8 * 1024 * 1024;

/// How a transfer ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// An entry came and is in the store.
    Fetched,
    /// An entry went and is on the remote.
    Sent,
    /// What came was not believed; it counts as absent.
    Refused,
    /// An error; the entry may be asked for again.
    Failed,
}

impl Ending {
    /// Its stable id, as in the journal.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Fetched => "fetched",
            Self::Sent => "sent",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// One transfer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// Format version.
    pub v: u32,
    /// Its end, milliseconds since 1970.
    pub at: i64,
    /// How it ended.
    pub ending: Ending,
    /// Crate name.
    #[serde(rename = "crate")]
    pub crate_name: String,
    /// The entry key, as hexadecimal digits.
    pub key: String,
    /// Bytes of the pack.
    pub bytes: u64,
    /// Milliseconds that it took.
    pub ms: f64,
    /// Id of the reason of a refusal, or the words of an error; else empty.
    pub reason: String,
}

/// The journal of a cache directory.
#[derive(Clone, Debug)]
pub struct Journal {
    path: PathBuf,
}

impl Journal {
    /// The journal below `cache_dir`.
    pub fn of(cache_dir: &Path) -> Self {
        Self { path: cache_dir.join("events").join("transfers.jsonl") }
    }

    /// Appends one line, and puts a large journal aside. The directory is created when it is absent.
    pub fn append(&self, transfer: &Transfer) -> fsx::Result<()> {
        let mut line = serde_json::to_vec(transfer).unwrap_or_default();
        line.push(b'\n');
        fsx::create_dir_all(self.path.parent().unwrap_or(Path::new(".")))?;
        let mut file = fsx::open_append(&self.path)?;
        file.write_all(&line).map_err(|error| fsx::Error::new("append to", &self.path, error))?;
        match file.metadata().is_ok_and(|metadata| metadata.len() > ROTATE_AT) {
            true => fsx::rename(&self.path, &self.older()),
            false => Ok(()),
        }
    }

    /// All transfers at or after `since` (milliseconds since 1970), oldest first. What is no transfer of this version is
    /// skipped.
    pub fn read(&self, since: i64) -> fsx::Result<Vec<Transfer>> {
        let mut found = Vec::new();
        for path in [self.older(), self.path.clone()] {
            let Some(file) = fsx::optional(fsx::open(&path))? else { continue };
            let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
            let parsed = lines.filter_map(|line| serde_json::from_slice::<Transfer>(&line).ok());
            found.extend(parsed.filter(|transfer| transfer.v == VERSION && transfer.at >= since));
        }
        Ok(found)
    }

    fn older(&self) -> PathBuf {
        self.path.with_extension("old.jsonl")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfers_round_trip_and_garbage_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::of(dir.path());
        let transfer = |at| Transfer {
            v: VERSION,
            at,
            ending: Ending::Refused,
            crate_name: "a".into(),
            key: "00".into(),
            bytes: 1,
            ms: 2.0,
            reason: "unsigned".into(),
        };
        journal.append(&transfer(5)).unwrap();
        fsx::open_append(&journal.path).unwrap().write_all(b"{torn\n").unwrap();
        journal.append(&transfer(9)).unwrap();
        assert_eq!(journal.read(0).unwrap(), [transfer(5), transfer(9)]);
        assert_eq!(journal.read(6).unwrap(), [transfer(9)]);
    }
}
