//! Stores an entry: first the blobs, then the entry, then the manifest.

use std::path::{Path, PathBuf};

use super::background::{self, Cargo};
use super::remote;
use super::task::Task;
use crate::fsx::{Ladder, Stamp, clock, sweep};
use crate::keys::NotStored;
use crate::model::{EntryKey, InputSet, RootKind, Stored};
use crate::restore::plan;
use crate::store::{Entry, Output, gc, size_limit};

/// An entry that was stored.
pub(super) struct StoredEntry {
    pub(super) key: EntryKey,
    /// Size of its new blobs in bytes. Blobs that the store already had do not count.
    pub(super) bytes: u64,
}

/// An output that is about to be stored.
pub(super) struct ProducedOutput {
    pub(super) output: Output,
    pub(super) source: OutputSource,
}

/// Where the bytes of an output are.
pub(super) enum OutputSource {
    /// In this file, which had this stamp when it was read.
    File(PathBuf, Stamp),
    /// Like `File`, but a target directory contains the file, too, so the store must not share its inode.
    Offered(PathBuf, Stamp),
    /// In memory, because they differ from those of the file.
    Bytes(Vec<u8>),
}

/// Stores an entry: its blobs, then the entry itself, then the record that makes it visible. `dir` is the directory in
/// which a killed restore leaves temporary files.
pub(super) fn store(
    task: &impl Task,
    set: &InputSet,
    entry: &Entry,
    produced: &[ProducedOutput],
    dir: &Path,
) -> Result<StoredEntry, NotStored> {
    let (store, lookup) = (&task.common().store, task.common().lookup.key);
    if size_limit::is_full(store.layout().cache_dir()) {
        if gc::is_due_on_full_disk(store, clock::now()) {
            background::collect_in_background();
        }
        return Err(NotStored(Stored::DiskFull, String::new()));
    }
    let may_share = plan::shares_inodes(entry);
    let mut ladder = Ladder::default();
    let mut bytes = 0;
    store.mark_as_cache()?;
    for ProducedOutput { output, source } in produced {
        let share = may_share && output.kind.may_share_inode();
        bytes += match source {
            OutputSource::File(path, stamp) => {
                let new = store.adopt_blob(&mut ladder, path, *stamp, output.blob, share)?;
                store.stamps().remember_own(path, output.blob.0, |now| now.is_same_file(stamp));
                new
            }
            OutputSource::Offered(path, stamp) => store.adopt_blob(&mut ladder, path, *stamp, output.blob, false)?,
            OutputSource::Bytes(bytes) => store.put_blob(output.blob, bytes)?,
        };
    }
    let key = store.put_own_entry(lookup, set, entry)?;
    if let Some(call) = task.common().config.bulk.value.then(|| task.call_record()).flatten() {
        // A whole build can be restored without this unit.
        let _ = store.put_call(lookup, &call);
        if let (Some(workspace), Some(cargo)) = (remote::workspace(task), Cargo::of_caller(task.common().env)) {
            let build_dir = task.common().roots.place(RootKind::Target).map_or_else(PathBuf::new, PathBuf::from);
            cargo.note_in_background(store, task.common().env, &workspace, &build_dir);
        }
    }
    let now = clock::now();
    if gc::is_due(store, now) {
        background::collect_in_background();
        // A garbage collection does not know target directories, so leftovers there are swept here.
        let _ = sweep::sweep(dir, now);
    }
    Ok(StoredEntry { key, bytes })
}
