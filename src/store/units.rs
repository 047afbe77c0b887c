//! Units: the lookup keys under which results of one unit were stored, as traces, newest first.
//!
//! A lookup key is a digest and cannot be reversed. kache compares a new one with these traces to find the flag or
//! dependency that made it new. Only `kache why` depends on them: a lost trace costs an explanation. If two processes
//! write at once, one trace may be lost.
//!
//! Version 1: one sealed JSON object per line.

use std::time::Duration;

use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::{Store, files, sealed};
use crate::fsx::clock::Time;
use crate::fsx::{self, Publish};
use crate::model::{LookupKey, Trace, UnitKey};

/// At most this many traces are kept per unit. Profiles, features and versions of one crate share them.
pub const MAX_CALLS: usize = 8;

/// How long the traces of a unit are kept after the last write, once no manifest of the unit is left.
const KEEP_WITHOUT_MANIFEST: Duration = Duration::from_hours(30 * 24);

/// One line of the file of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The lookup key under which a result was stored.
    pub lookup: LookupKey,
    /// The fields that the lookup key was made of.
    pub trace: Trace,
}

impl Store {
    /// Returns the calls of a unit whose results were stored, newest first. Skips damaged lines.
    pub fn unit(&self, unit: UnitKey) -> Vec<Call> {
        let bytes = fsx::read(&self.layout.unit(unit)).unwrap_or_default();
        lines(&bytes).filter_map(|line| serde_json::from_slice(sealed::open(unit.0, line)?).ok()).collect()
    }

    /// Puts a call in front of the others of its unit, and drops the oldest beyond [`MAX_CALLS`].
    pub fn put_call(&self, unit: UnitKey, call: &Call) -> fsx::Result<()> {
        let path = self.layout.unit(unit);
        let before = fsx::read(&path).unwrap_or_default();
        let mut bytes = sealed::seal(unit.0, &serde_json::to_vec(call).unwrap_or_default());
        bytes.push(b'\n');
        // Copy the other lines unparsed: parsing all of them would cost more than the rest of this function.
        let lookup = call.lookup.0.hex();
        let others = lines(&before).filter(|line| memmem::find(line, lookup.as_bytes()).is_none());
        for line in others.take(MAX_CALLS - 1) {
            bytes.extend(line);
            bytes.push(b'\n');
        }
        Publish::default().bytes(&path, &bytes).map(|_| ())
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// Removes the traces of units that were not stored for a long time and have no manifest left. Returns the bytes freed.
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
        let calls = files::digest_in_name(&path).map_or_else(Vec::new, |name| store.unit(UnitKey(name)));
        if !calls.iter().any(|call| fsx::exists(&store.layout.manifest(call.lookup))) {
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
    use crate::model::trace::{Field, Value};
    use crate::model::{Digest, Input, InputSet};

    fn call(flag: u32) -> Call {
        let field = Field {
            tag: "-C opt-level".into(),
            name: String::new(),
            value: Value::Text(flag.to_string()),
            note: String::new(),
        };
        Call { lookup: LookupKey(Digest::of(&flag.to_le_bytes())), trace: Trace { fields: vec![field] } }
    }

    #[test]
    fn the_newest_call_comes_first_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let unit = UnitKey(Digest::of(b"u"));
        assert_eq!(store.unit(unit), []);
        for flag in 0..10 {
            store.put_call(unit, &call(flag)).unwrap();
        }
        store.put_call(unit, &call(8)).unwrap();
        let calls = store.unit(unit);
        assert_eq!(calls.len(), MAX_CALLS);
        assert_eq!(calls[..3], [call(8), call(9), call(7)]);
    }

    #[test]
    fn a_damaged_line_costs_one_trace() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let unit = UnitKey(Digest::of(b"u"));
        store.put_call(unit, &call(1)).unwrap();
        store.put_call(unit, &call(2)).unwrap();
        let path = store.layout().unit(unit);
        let mut bytes = fsx::read(&path).unwrap();
        bytes[70] ^= 1;
        Publish::default().bytes(&path, &bytes).unwrap();
        assert_eq!(store.unit(unit), [call(1)]);
    }

    #[test]
    fn old_traces_go_once_nothing_is_left_of_their_unit() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let (gone, left) = (UnitKey(Digest::of(b"gone")), UnitKey(Digest::of(b"left")));
        store.put_call(gone, &call(1)).unwrap();
        store.put_call(left, &call(2)).unwrap();
        store.put_set(call(2).lookup, &InputSet { inputs: vec![Input::DiagnosticWidth(None)] }).unwrap();
        assert_eq!(sweep(&store, clock::now()).unwrap(), 0, "young ones stay");
        let later = Time { secs: clock::now().secs + 31 * 24 * 3600, nanos: 0 };
        assert!(sweep(&store, later).unwrap() > 0);
        assert_eq!((store.unit(gone).len(), store.unit(left).len()), (0, 1));
    }
}
