//! Serves a hit: finds an entry whose inputs hold here, and restores it.

use std::io::Write;

use super::call::Call;
use super::report::Report;
use super::task::Task;
use super::{declared, incremental, verify};
use crate::events::Event;
use crate::fsx::{self, sys_process};
use crate::keys::validate;
use crate::model::{EntryKey, MissReason, Outcome};
use crate::restore::{self, Bytes, Plan, messages, plan};
use crate::store::claims::Claim;
use crate::store::manifests::ManifestRecord;
use crate::store::{Entry, Store};

/// An entry that holds here, and the plan to restore it.
pub(super) struct Found {
    /// The key of the entry, and the input set for which it holds.
    pub(super) record: ManifestRecord,
    /// How many input sets of the manifest were tried before this one.
    rank: usize,
    pub(super) entry: Entry,
    pub(super) plan: Plan,
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

/// Serves a hit and ends this process, after releasing `claim`. Returns only if there is no hit.
pub(super) fn serve(call: &Call<'_>, claim: &mut Claim, report: &Report) -> Missed {
    let found = match find(call) {
        Ok(found) => found,
        Err(missed) => return missed,
    };
    if verify::is_drawn(call.common.config, report.asked) {
        *claim = Claim::None;
        verify::verify(call, &found, report);
    }
    match restore::apply(&found.plan, call.common.store.stamps()) {
        Ok(bytes) => {
            *claim = Claim::None;
            finish(call, &found, bytes, report)
        }
        Err(error) => Missed::new(MissReason::RestoreFailed, error.to_string()),
    }
}

/// Finds an entry that holds here, and plans its restore.
fn find(call: &Call<'_>) -> Result<Found, Missed> {
    let (rank, record) = record(call)?;
    let key = record.key;
    let entry = call.common.store.entry(key).ok_or_else(|| Missed::new(MissReason::EntryGone, key.0.short()))?;
    let entry = settle(&call.common.store, key, entry)?;
    let mut plan =
        plan::plan(&entry, &call.invocation.out_dir, &call.common.store, |text| call.common.roots.expand(text))
            .map_err(|reason| Missed::new(reason, key.0.short()))?;
    declared::extend(call, &mut plan.dep_info.1)
        .map_err(|()| Missed::new(MissReason::RestoreFailed, plan.dep_info.0.to_string_lossy()))?;
    Ok(Found { record, rank, entry, plan })
}

/// Finds the first recorded input set that holds here. Returns its position in the manifest, too.
pub(super) fn record(task: &impl Task) -> Result<(usize, ManifestRecord), Missed> {
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
pub(super) fn settle(store: &Store, key: EntryKey, entry: Entry) -> Result<Entry, Missed> {
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

/// Replays rustc's output, records the hit and ends this process.
fn finish(call: &Call<'_>, found: &Found, bytes: Bytes, report: &Report) -> ! {
    incremental::mark_shared(&call.invocation);
    let out_dir = &call.invocation.out_dir;
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(&messages::replay(&found.entry.stdout, out_dir)).and_then(|()| stdout.flush());
    let _ = std::io::stderr().lock().write_all(&messages::replay(&found.entry.stderr, out_dir));
    note(call, (&found.record, found.rank), &found.entry, bytes, report);
    sys_process::exit(0)
}

/// Records a hit in the store and in the event log. `rank` is the position of its record in the manifest.
pub(super) fn note(
    task: &impl Task,
    (record, rank): (&ManifestRecord, usize),
    entry: &Entry,
    bytes: Bytes,
    report: &Report,
) {
    if rank > 0 {
        task.common().store.move_to_front(task.common().lookup.key, record);
    }
    task.common().store.touch_entry(record.key);
    report.write(Event {
        saved_ms: entry.cost_ms,
        key: record.key.0.hex(),
        reflink_bytes: bytes.reflink,
        hardlink_bytes: bytes.hard_link,
        copy_bytes: bytes.copy,
        ..Report::event(Outcome::Hit(report.source_of(entry)), task)
    });
}
