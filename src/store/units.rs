//! Units: the lookup keys under which results of one unit were stored, as traces, newest first.
//!
//! A lookup key cannot be undone; this is what a new one is compared with, to tell which flag or dependency made it new.
//! Nothing but `kache why` rests on it: a trace that is lost costs an explanation. Two writers at once may lose one.
//!
//! Version 1: one sealed JSON object per line.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Store, sealed, survey};
use crate::fsx::clock::Time;
use crate::fsx::{self, Publish};
use crate::model::{LookupKey, Trace, UnitKey};

/// How many traces are kept of a unit: profiles, features, targets and versions of one crate stand side by side.
pub const MAX_CALLS: usize = 8;

/// How long the traces of a unit are kept once nothing of it is in the store any more.
const KEPT: Duration = Duration::from_hours(30 * 24);

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The lookup key.
    pub lookup: LookupKey,
    /// What it was made of.
    pub trace: Trace,
}

impl Store {
    /// The calls that were stored of a unit, newest first. Damaged lines are left out.
    pub fn unit(&self, unit: UnitKey) -> Vec<Call> {
        let bytes = fsx::read(&self.layout.unit(unit)).unwrap_or_default();
        let lines = bytes.split(|byte| *byte == b'\n');
        lines.filter_map(|line| serde_json::from_slice(sealed::open(unit.0, line)?).ok()).collect()
    }

    /// Puts a call in front of its unit's others.
    pub fn put_call(&self, unit: UnitKey, call: Call) -> fsx::Result<()> {
        let others = self.unit(unit).into_iter().filter(|other| other.lookup != call.lookup).collect::<Vec<_>>();
        let mut bytes = Vec::new();
        for call in std::iter::once(call).chain(others).take(MAX_CALLS) {
            bytes.extend(sealed::seal(unit.0, &serde_json::to_vec(&call).unwrap_or_default()));
            bytes.push(b'\n');
        }
        Publish::default().bytes(&self.layout.unit(unit), &bytes).map(|_| ())
    }
}

/// Removes the traces of units that were not stored for long and of which no manifest is left. Gives their bytes.
pub(super) fn sweep(store: &Store, now: Time) -> fsx::Result<u64> {
    let mut old = Vec::new();
    survey::each_file(&store.layout.shards("units"), |path, stamp| {
        if now.as_nanos() - stamp.mtime.as_nanos() > i128::try_from(KEPT.as_nanos()).unwrap_or(i128::MAX) {
            old.push((path.to_owned(), stamp.size));
        }
    })?;
    let mut freed = 0;
    for (path, size) in old {
        let calls = survey::named(&path).map_or_else(Vec::new, |name| store.unit(UnitKey(name)));
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
            store.put_call(unit, call(flag)).unwrap();
        }
        store.put_call(unit, call(8)).unwrap();
        let calls = store.unit(unit);
        assert_eq!(calls.len(), MAX_CALLS);
        assert_eq!(calls[..3], [call(8), call(9), call(7)]);
    }

    #[test]
    fn a_damaged_line_costs_one_trace() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let unit = UnitKey(Digest::of(b"u"));
        store.put_call(unit, call(1)).unwrap();
        store.put_call(unit, call(2)).unwrap();
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
        store.put_call(gone, call(1)).unwrap();
        store.put_call(left, call(2)).unwrap();
        store.put_set(call(2).lookup, &InputSet { inputs: vec![Input::DiagnosticWidth(None)] }).unwrap();
        assert_eq!(sweep(&store, clock::now()).unwrap(), 0, "young ones stay");
        let later = Time { secs: clock::now().secs + 31 * 24 * 3600, nanos: 0 };
        assert!(sweep(&store, later).unwrap() > 0);
        assert_eq!((store.unit(gone).len(), store.unit(left).len()), (0, 1));
    }
}
