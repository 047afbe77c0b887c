//! Manifests: the input sets seen under one lookup key. The set that was stored or held last comes first.
//!
//! Version 1: one sealed JSON object per line, so that a reader can stop at the first set that holds, and a damaged
//! line costs only one set. Publishing a manifest commits its newest entry.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::claims::Claim;
use super::{Store, sealed};
use crate::fsx::{self, Publish};
use crate::model::{EntryKey, Input, InputSet, LookupKey};

/// At most this many sets are kept in a manifest.
pub const MAX_SETS: usize = 16;

/// One line of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestRecord {
    /// Key of the entry that may be restored if the inputs hold.
    pub key: EntryKey,
    /// The inputs, each with its digest or value.
    pub inputs: Vec<Input>,
}

/// A manifest as read, not yet parsed.
#[derive(Clone, Debug)]
pub struct Manifest {
    lookup: LookupKey,
    bytes: Vec<u8>,
}

impl Manifest {
    /// Returns the records in order. Each is parsed when the iterator reaches it; damaged lines are skipped.
    pub fn records(&self) -> impl Iterator<Item = ManifestRecord> {
        // Check UTF-8 once for the whole line, not for each string.
        let parse = |line| serde_json::from_str(std::str::from_utf8(sealed::open(self.lookup.0, line)?).ok()?).ok();
        self.lines().filter_map(parse)
    }

    /// Returns whether the manifest has no records.
    pub fn is_empty(&self) -> bool {
        self.lines().next().is_none()
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
    }

    fn with(&self, record: &ManifestRecord) -> Vec<u8> {
        let others = self.records().filter(|other| other.key != record.key);
        encode(self.lookup, std::iter::once(record.clone()).chain(others).take(MAX_SETS))
    }
}

/// Returns the bytes of the manifest under `lookup` with these records.
pub fn encode(lookup: LookupKey, records: impl IntoIterator<Item = ManifestRecord>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records {
        bytes.extend(sealed::seal(lookup.0, &serde_json::to_vec(&record).unwrap_or_default()));
        bytes.push(b'\n');
    }
    bytes
}

impl Store {
    /// Returns the manifest under `lookup`; an absent one is empty.
    pub fn manifest(&self, lookup: LookupKey) -> fsx::Result<Manifest> {
        let bytes = fsx::read_if_exists(&self.layout.manifest(lookup))?;
        Ok(Manifest { lookup, bytes: bytes.unwrap_or_default() })
    }

    /// Puts `set` in front of the manifest. Its entry must already be published.
    pub fn put_set(&self, lookup: LookupKey, set: &InputSet) -> fsx::Result<()> {
        self.put_record(lookup, &ManifestRecord { key: set.entry_key(lookup), inputs: set.inputs.clone() })
    }

    /// Moves a set that has just held to the front, so that it is found first. Best effort. Does nothing while another
    /// process holds the claim, because a set that this process adds might be lost.
    pub fn move_to_front(&self, lookup: LookupKey, record: &ManifestRecord) {
        let claim = self.claim(lookup, Duration::ZERO);
        let is_there = |manifest: &Manifest| manifest.records().any(|other| other.key == record.key);
        if matches!(claim, Claim::AtOnce(_)) && self.manifest(lookup).is_ok_and(|manifest| is_there(&manifest)) {
            let _ = self.put_record(lookup, record);
        }
    }

    /// Puts `record` in front. Without the claim on `lookup`, a record that is added meanwhile may be lost.
    pub(super) fn put_record(&self, lookup: LookupKey, record: &ManifestRecord) -> fsx::Result<()> {
        let bytes = self.manifest(lookup)?.with(record);
        Publish::default().bytes(&self.layout.manifest(lookup), &bytes).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    fn set(value: u32) -> InputSet {
        InputSet { inputs: vec![Input::DiagnosticWidth(Some(value.to_string()))] }
    }

    #[test]
    fn the_newest_set_comes_first_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let lookup = LookupKey(Digest::of(b"l"));
        assert!(store.manifest(lookup).unwrap().is_empty());
        for value in 0..20 {
            store.put_set(lookup, &set(value)).unwrap();
        }
        store.put_set(lookup, &set(18)).unwrap();
        let inputs: Vec<_> = store.manifest(lookup).unwrap().records().map(|record| record.inputs).collect();
        assert_eq!(inputs.len(), MAX_SETS);
        assert_eq!(inputs[0], set(18).inputs);
        assert_eq!(inputs[1], set(19).inputs);
    }

    #[test]
    fn a_set_that_holds_comes_to_the_front() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let lookup = LookupKey(Digest::of(b"l"));
        let values = || -> Vec<String> {
            let records = store.manifest(lookup).unwrap().records().collect::<Vec<_>>().into_iter();
            let value = |record: ManifestRecord| match &record.inputs[0] {
                Input::DiagnosticWidth(value) => value.clone().unwrap(),
                other => panic!("{other:?}"),
            };
            records.map(value).collect()
        };
        (0..3).for_each(|value| store.put_set(lookup, &set(value)).unwrap());
        let oldest = store.manifest(lookup).unwrap().records().nth(2).unwrap();
        let claim = store.claim(lookup, Duration::ZERO);
        store.move_to_front(lookup, &oldest);
        assert_eq!(values(), ["2", "1", "0"], "somebody adds one just now");
        drop(claim);
        store.move_to_front(lookup, &oldest);
        assert_eq!(values(), ["0", "2", "1"]);
        let gone = ManifestRecord { key: set(9).entry_key(lookup), inputs: set(9).inputs };
        store.move_to_front(lookup, &gone);
        assert_eq!(values(), ["0", "2", "1"], "what a collection has removed does not come back");
    }

    #[test]
    fn a_damaged_line_costs_one_set() {
        let mut bytes = b"{torn\n".to_vec();
        let lookup = LookupKey(Digest::of(b"l"));
        let record = ManifestRecord { key: set(1).entry_key(lookup), inputs: set(1).inputs };
        bytes.extend(Manifest { lookup, bytes: Vec::new() }.with(&record));
        assert_eq!(Manifest { lookup, bytes }.records().count(), 1);
    }
}
