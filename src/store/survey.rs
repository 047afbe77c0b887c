//! Lists the contents of a store, for people and for garbage collection.

use std::collections::HashMap;
use std::path::PathBuf;

use super::files::{digest_in_name, each_file};
use super::{Entry, Store, eviction};
use crate::fsx;
use crate::fsx::clock::Time;
use crate::model::{BlobId, EntryKey, LookupKey};

/// The contents of a store.
#[derive(Debug, Default)]
pub struct Survey {
    /// The entries that can be parsed, in no particular order.
    pub entries: Vec<EntryInfo>,
    /// Files of entries that can be read but not parsed, and when each was last changed.
    pub undecodable: Vec<(PathBuf, Time)>,
    /// The blobs, in no particular order.
    pub blobs: Vec<BlobInfo>,
    /// Size of all manifests in bytes.
    pub manifest_bytes: u64,
    /// Size of the key traces of all units, of all calls and of all build snapshots, in bytes.
    pub unit_bytes: u64,
    /// Size of all sessions and offers in bytes. Target directories may hold the same files.
    pub evictable_bytes: u64,
}

/// An entry, with the size and the last use of its file.
#[derive(Debug)]
pub struct EntryInfo {
    /// The key that names the entry.
    pub key: EntryKey,
    /// When the entry was last used, accurate to six hours.
    pub used: Time,
    /// Size of the entry's file in bytes, without its blobs.
    pub bytes: u64,
    /// The entry, as parsed.
    pub entry: Entry,
}

/// Facts about the file of a blob.
#[derive(Debug)]
pub struct BlobInfo {
    /// The digest that names the blob.
    pub id: BlobId,
    /// Size in bytes.
    pub size: u64,
    /// When the blob was last written or linked.
    pub changed: Time,
    /// Whether the blob has hard links outside the store, in target directories. Removing it from the store then frees
    /// no space.
    pub has_other_links: bool,
}

impl Survey {
    /// Returns the size of everything listed, in bytes, each file counted once.
    pub fn total_bytes(&self) -> u64 {
        let blobs: u64 = self.blobs.iter().map(|blob| blob.size).sum();
        let entries: u64 = self.entries.iter().map(|entry| entry.bytes).sum();
        blobs + entries + self.manifest_bytes + self.unit_bytes + self.evictable_bytes
    }
}

/// Surveys the whole store. Skips files that vanish meanwhile.
pub fn survey(store: &Store) -> fsx::Result<Survey> {
    let mut survey = Survey::default();
    let layout = store.layout();
    each_file(&layout.shards("entries"), |path, stamp| {
        let Some(key) = digest_in_name(path).map(EntryKey) else { return };
        // A file that cannot be read just now (too many open files, another owner) is not damaged.
        let Ok(bytes) = fsx::read(path) else { return };
        match Entry::parse(key, &bytes) {
            Some(entry) => survey.entries.push(EntryInfo { key, used: stamp.mtime, bytes: stamp.size, entry }),
            None => survey.undecodable.push((path.to_owned(), stamp.ctime)),
        }
    })?;
    each_file(&layout.shards("blobs"), |path, stamp| {
        if let Some(id) = digest_in_name(path).map(BlobId) {
            let has_other_links = stamp.nlink > 1;
            survey.blobs.push(BlobInfo { id, size: stamp.size, changed: stamp.ctime, has_other_links });
        }
    })?;
    each_file(&layout.shards("manifests"), |_, stamp| survey.manifest_bytes += stamp.size)?;
    for kind in ["units", "calls", "snapshots"] {
        each_file(&layout.shards(kind), |_, stamp| survey.unit_bytes += stamp.size)?;
    }
    survey.evictable_bytes = eviction::all(store)?.iter().map(|item| item.bytes).sum();
    Ok(survey)
}

/// Returns the lookup key under which each recorded entry is found.
pub fn lookup_keys_by_entry(store: &Store) -> fsx::Result<HashMap<EntryKey, LookupKey>> {
    let mut found = HashMap::new();
    each_file(&store.layout().shards("manifests"), |path, _| {
        let Some(lookup) = digest_in_name(path).map(LookupKey) else { return };
        // Skip a manifest that vanished or cannot be read just now.
        let Ok(manifest) = store.manifest(lookup) else { return };
        found.extend(manifest.records().map(|record| (record.key, lookup)));
    })?;
    Ok(found)
}
