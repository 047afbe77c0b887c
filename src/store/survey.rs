//! What is in a store, for people and for garbage collection.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{Entry, Store, spare};
use crate::fsx::clock::Time;
use crate::fsx::{self, Stamp};
use crate::model::{BlobId, Digest, EntryKey, LookupKey};

/// Everything in a store.
#[derive(Debug, Default)]
pub struct Survey {
    /// The entries that can be read, in no order.
    pub entries: Vec<EntryInfo>,
    /// The files of entries that were read but make no sense, and when they were last changed.
    pub undecodable: Vec<(PathBuf, Time)>,
    /// The blobs, in no order.
    pub blobs: Vec<BlobInfo>,
    /// Bytes of all manifests.
    pub manifest_bytes: u64,
    /// Bytes of all units' traces.
    pub unit_bytes: u64,
    /// Bytes of all sessions and offers, which target directories may hold, too.
    pub spare_bytes: u64,
}

/// An entry and its file.
#[derive(Debug)]
pub struct EntryInfo {
    /// Its key.
    pub key: EntryKey,
    /// When it was last used, to six hours.
    pub used: Time,
    /// Bytes of the entry's own file.
    pub bytes: u64,
    /// The entry.
    pub entry: Entry,
}

/// A blob's file.
#[derive(Debug)]
pub struct BlobInfo {
    /// Its name.
    pub id: BlobId,
    /// Bytes.
    pub size: u64,
    /// When it was last written or linked.
    pub changed: Time,
    /// Whether target directories hold it too: removing it from the store frees nothing then.
    pub is_linked: bool,
}

impl Survey {
    /// Bytes of all blobs, entries, manifests, traces, sessions and offers, each counted once.
    pub fn total_bytes(&self) -> u64 {
        let blobs: u64 = self.blobs.iter().map(|blob| blob.size).sum();
        let entries: u64 = self.entries.iter().map(|entry| entry.bytes).sum();
        blobs + entries + self.manifest_bytes + self.unit_bytes + self.spare_bytes
    }
}

/// Looks at the whole store. What vanishes meanwhile is left out.
pub fn survey(store: &Store) -> fsx::Result<Survey> {
    let mut survey = Survey::default();
    let layout = store.layout();
    each_file(&layout.shards("entries"), |path, stamp| {
        let Some(key) = named(path).map(EntryKey) else { return };
        // What cannot be read just now (too many open files, another owner) is not damaged.
        let Ok(bytes) = fsx::read(path) else { return };
        match Entry::parse(key, &bytes) {
            Some(entry) => survey.entries.push(EntryInfo { key, used: stamp.mtime, bytes: stamp.size, entry }),
            None => survey.undecodable.push((path.to_owned(), stamp.ctime)),
        }
    })?;
    each_file(&layout.shards("blobs"), |path, stamp| {
        if let Some(id) = named(path).map(BlobId) {
            let is_linked = stamp.nlink > 1;
            survey.blobs.push(BlobInfo { id, size: stamp.size, changed: stamp.ctime, is_linked });
        }
    })?;
    each_file(&layout.shards("manifests"), |_, stamp| survey.manifest_bytes += stamp.size)?;
    each_file(&layout.shards("units"), |_, stamp| survey.unit_bytes += stamp.size)?;
    survey.spare_bytes = spare::all(store)?.iter().map(|spare| spare.bytes).sum();
    Ok(survey)
}

/// Which lookup key each recorded entry is found by.
pub fn lookups(store: &Store) -> fsx::Result<HashMap<EntryKey, LookupKey>> {
    let mut found = HashMap::new();
    each_file(&store.layout().shards("manifests"), |path, _| {
        let Some(lookup) = named(path).map(LookupKey) else { return };
        // One that vanished or cannot be read just now lists nothing.
        let Ok(manifest) = store.manifest(lookup) else { return };
        found.extend(manifest.records().map(|record| (record.key, lookup)));
    })?;
    Ok(found)
}

/// Visits every file directly in `dirs`.
pub(super) fn each_file(dirs: &[PathBuf], mut visit: impl FnMut(&Path, &Stamp)) -> fsx::Result<()> {
    for dir in dirs {
        for name in fsx::list(dir)? {
            let path = dir.join(name);
            if let Some(stamp) = fsx::optional(Stamp::of(&path))?.filter(|stamp| stamp.is_file) {
                visit(&path, &stamp);
            }
        }
    }
    Ok(())
}

/// The digest that a file is named by.
pub(super) fn named(path: &Path) -> Option<Digest> {
    let name = path.file_name()?.to_str()?;
    name.split('.').next()?.parse().ok()
}
