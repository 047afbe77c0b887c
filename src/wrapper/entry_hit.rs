//! Finds an entry whose inputs hold here, for a compile or a run, and records its use.

use super::report::EventReporter;
use super::task::Task;
use crate::events::Event;
use crate::fsx::{self, sys_libc};
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

/// Finds the first recorded entry that holds here, and that this machine can load.
pub(super) fn find(task: &impl Task) -> Result<EntryHit, Missed> {
    let store = &task.common().store;
    let manifest = store.manifest(task.common().lookup.key);
    let manifest = manifest.map_err(|error| Missed::new(MissReason::NoManifest, error.to_string()))?;
    let (mut differs, mut needs, mut tried) = (None, None, Vec::new());
    for (rank, record) in manifest.records().enumerate() {
        if let Err(found) = validate::holds(&record.inputs, task.context()) {
            differs = differs.or(Some(found));
            tried.push(record);
            continue;
        }
        let key = record.key;
        let entry = store.entry(key).ok_or_else(|| Missed::new(MissReason::EntryGone, key.0.short()))?;
        match newer_libc(task, &entry) {
            Some(newer) => needs = needs.or(Some(newer)),
            None => return Ok(EntryHit { record, rank, entry: verify_after_restart(store, key, entry)? }),
        }
    }
    // The libraries of another machine are inputs that differ here. That its result cannot be loaded tells more.
    let needs = needs.or_else(|| newer_libc(task, &store.entry(tried.first()?.key)?));
    let missed = match (needs, differs) {
        (Some(needs), _) => Missed::new(MissReason::NewerLibc, needs),
        (None, Some(differs)) => Missed::new(MissReason::InputChanged, differs.0),
        (None, None) => Missed::new(MissReason::NoManifest, ""),
    };
    Err(Missed { tried, ..missed })
}

/// Says what this machine cannot load, because it needs a newer glibc. `None` if there is nothing.
fn newer_libc(task: &impl Task, entry: &Entry) -> Option<String> {
    let (output, needed) = entry.needed_glibc()?;
    if !task.is_for_this_machine() {
        return None;
    }
    let here = sys_libc::glibc_version();
    let has = here.map_or_else(|| "no glibc".to_owned(), |version| version.to_string());
    (here < Some(needed)).then(|| format!("{} needs {needed}, and this machine has {has}", output.name))
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
