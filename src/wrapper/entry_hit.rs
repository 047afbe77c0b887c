//! Finds an entry whose inputs hold here, for a compile or a run, and records its use.

use super::report::EventReporter;
use super::task::Task;
use crate::events::Event;
use crate::fsx;
use crate::keys::validate;
use crate::model::{EntryKey, MissReason, Outcome};
use crate::restore::Bytes;
use crate::store::manifests::ManifestRecord;
use crate::store::{Entry, Store};

/// An entry that holds here.
pub(super) struct EntryHit {
    /// The key of the entry, and the input set for which it holds.
    pub(super) record: ManifestRecord,
    /// How many input sets of the manifest were tried before this one.
    rank: usize,
    pub(super) entry: Entry,
}

/// Why there was no hit.
#[derive(Debug)]
pub(super) struct Missed {
    pub(super) reason: MissReason,
    pub(super) detail: String,
    /// The records whose input sets did not hold, in the order of the manifest.
    pub(super) tried: Vec<ManifestRecord>,
}

impl Missed {
    pub(super) fn new(reason: MissReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), tried: Vec::new() }
    }
}

/// Finds an entry that holds here.
pub(super) fn find(task: &impl Task) -> Result<EntryHit, Missed> {
    let store = &task.common().store;
    let (rank, record) = find_record(task)?;
    let key = record.key;
    let entry = store.entry(key).ok_or_else(|| Missed::new(MissReason::EntryGone, key.0.short()))?;
    let entry = verify_after_restart(store, key, entry)?;
    Ok(EntryHit { record, rank, entry })
}

/// Finds the first recorded input set that holds here. Returns its position in the manifest, too.
fn find_record(task: &impl Task) -> Result<(usize, ManifestRecord), Missed> {
    let manifest = task.common().store.manifest(task.common().lookup.key);
    let manifest = manifest.map_err(|error| Missed::new(MissReason::NoManifest, error.to_string()))?;
    let (mut newest, mut tried) = (None, Vec::new());
    for (rank, record) in manifest.records().enumerate() {
        match validate::holds(&record.inputs, task.context()) {
            Ok(()) => return Ok((rank, record)),
            Err(differs) => newest = newest.or(Some(differs)),
        }
        tried.push(record);
    }
    Err(match newest {
        Some(differs) => Missed { tried, ..Missed::new(MissReason::InputChanged, differs.0) },
        None => Missed::new(MissReason::NoManifest, ""),
    })
}

/// Verifies an entry's blobs once after each restart of the machine, because kache writes them without syncing.
fn verify_after_restart(store: &Store, key: EntryKey, entry: Entry) -> Result<Entry, Missed> {
    let boot = fsx::boot_id();
    if entry.boot == boot {
        return Ok(entry);
    }
    for output in &entry.outputs {
        store.verify_blob(output.blob).map_err(|_| Missed::new(MissReason::BlobCorrupt, output.name.as_str()))?;
    }
    let entry = Entry { boot, ..entry };
    // If the store cannot be written, the next hit verifies the blobs again.
    let _ = store.put_entry(key, &entry);
    Ok(entry)
}

/// Records a hit in the store and in the event log.
pub(super) fn note(task: &impl Task, hit: &EntryHit, bytes: Bytes, report: &EventReporter) {
    if hit.rank > 0 {
        task.common().store.move_to_front(task.common().lookup.key, &hit.record);
    }
    task.common().store.touch_entry(hit.record.key);
    report.write(Event {
        saved_ms: hit.entry.cost_ms,
        key: hit.record.key.0.hex(),
        reflink_bytes: bytes.reflink,
        hardlink_bytes: bytes.hard_link,
        copy_bytes: bytes.copy,
        ..EventReporter::event(Outcome::Hit(report.source_of(&hit.entry)), task)
    });
}
