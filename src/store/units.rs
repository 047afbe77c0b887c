//! Units: the key traces of the calls of one unit whose results were stored, newest first.
//!
//! A lookup key is a digest and cannot be reversed. kache compares the key trace of a new one with these to find the
//! flag or dependency that made it new. Only `kache why` depends on them: a lost key trace costs an explanation. If two
//! processes write at once, one key trace may be lost.
//!
//! Version 1: one sealed JSON object per line.

use std::time::Duration;

use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::{Store, files, sealed};
use crate::fsx::clock::Time;
use crate::fsx::{self, Publish};
use crate::model::{KeyTrace, LookupKey, UnitKey};

/// At most this many key traces are kept per unit. Profiles, features and versions of one crate share them.
pub const MAX_KEY_TRACES: usize = 8;

/// How long the key traces of a unit are kept after the last write, once the last manifest of the unit is gone.
const KEEP_WITHOUT_MANIFEST: Duration = Duration::from_hours(30 * 24);

/// One line of the file of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyTraceRecord {
    /// The lookup key under which a result was stored.
    pub lookup: LookupKey,
    /// The fields that the lookup key was made of.
    pub trace: KeyTrace,
}

impl Store {
    /// Returns the key traces of the calls of a unit whose results were stored, newest first. Skips damaged lines.
    pub fn key_traces(&self, unit: UnitKey) -> Vec<KeyTraceRecord> {
        let bytes = fsx::read(&self.layout.unit(unit)).unwrap_or_default();
        lines(&bytes).filter_map(|line| serde_json::from_slice(sealed::open(unit.0, line)?).ok()).collect()
    }

    /// Puts a key trace in front of the others of its unit, and drops the oldest beyond [`MAX_KEY_TRACES`].
    pub fn put_key_trace(&self, unit: UnitKey, record: &KeyTraceRecord) -> fsx::Result<()> {
        let path = self.layout.unit(unit);
        let before = fsx::read(&path).unwrap_or_default();
        let mut bytes = sealed::seal(unit.0, &serde_json::to_vec(record).unwrap_or_default());
        bytes.push(b'\n');
        // Copy the other lines unparsed: parsing all of them would cost more than the rest of this function.
        let lookup = record.lookup.0.hex();
        let others = lines(&before).filter(|line| memmem::find(line, lookup.as_bytes()).is_none());
        for line in others.take(MAX_KEY_TRACES - 1) {
            bytes.extend(line);
            bytes.push(b'\n');
        }
        Publish::default().bytes(&path, &bytes).map(|_| ())
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// Removes the key traces of units that were not stored for a long time and have no manifest left. Returns the bytes
/// freed.
pub(super) fn sweep(store: &Store, now: Time) -> fsx::Result<u64> {
    let mut old = Vec::new();
    files::each_file(&store.layout.shards("units"), |path, stamp| {
        if now.as_nanos() - stamp.mtime.as_nanos()
            > i128::try_from(KEEP_WITHOUT_MANIFEST.as_nanos()).unwrap_or(i128::MAX)
        {
            old.push((path.to_owned(), stamp.size));
        }
    })?;
    let mut freed = 0;
    for (path, size) in old {
        let records = files::digest_in_name(&path).map_or_else(Vec::new, |name| store.key_traces(UnitKey(name)));
        if !records.iter().any(|record| fsx::exists(&store.layout.manifest(record.lookup))) {
            fsx::remove_file(&path)?;
            freed += size;
        }
    }
    Ok(freed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::clock;
    use crate::model::key_trace::{Field, FieldValue};
    use crate::model::{Digest, Input, InputSet};

    fn record(flag: u32) -> KeyTraceRecord {
        let field = Field {
            tag: "-C opt-level".into(),
            name: String::new(),
            value: FieldValue::Text(flag.to_string()),
            note: String::new(),
        };
        KeyTraceRecord { lookup: LookupKey(Digest::of(&flag.to_le_bytes())), trace: KeyTrace { fields: vec![field] } }
    }

    #[test]
    fn the_newest_key_trace_comes_first_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let unit = UnitKey(Digest::of(b"u"));
        assert_eq!(store.key_traces(unit), []);
        for flag in 0..10 {
            store.put_key_trace(unit, &record(flag)).unwrap();
        }
        store.put_key_trace(unit, &record(8)).unwrap();
        let records = store.key_traces(unit);
        assert_eq!(records.len(), MAX_KEY_TRACES);
        assert_eq!(records[..3], [record(8), record(9), record(7)]);
    }

    #[test]
    fn a_damaged_line_costs_one_key_trace() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let unit = UnitKey(Digest::of(b"u"));
        store.put_key_trace(unit, &record(1)).unwrap();
        store.put_key_trace(unit, &record(2)).unwrap();
        let path = store.layout().unit(unit);
        let mut bytes = fsx::read(&path).unwrap();
        bytes[70] ^= 1;
        Publish::default().bytes(&path, &bytes).unwrap();
        assert_eq!(store.key_traces(unit), [record(1)]);
    }

    #[test]
    fn old_key_traces_go_once_nothing_is_left_of_their_unit() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let (gone, left) = (UnitKey(Digest::of(b"gone")), UnitKey(Digest::of(b"left")));
        store.put_key_trace(gone, &record(1)).unwrap();
        store.put_key_trace(left, &record(2)).unwrap();
        store.put_set(record(2).lookup, &InputSet { inputs: vec![Input::DiagnosticWidth(None)] }).unwrap();
        assert_eq!(sweep(&store, clock::now()).unwrap(), 0, "young ones stay");
        let later = Time { secs: clock::now().secs + 31 * 24 * 3600, nanos: 0 };
        assert!(sweep(&store, later).unwrap() > 0);
        assert_eq!((store.key_traces(gone).len(), store.key_traces(left).len()), (0, 1));
    }
}
