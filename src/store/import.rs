//! Entries from other machines: blobs are staged beside their targets, and nothing is visible until all of the entry
//! has arrived.
//!
//! The order of publishing is that of a compile: blobs, entry, record. Nothing is synced: the entry names the present
//! boot, so after a crash its blobs are read back like all others.

use std::time::Duration;

use super::Store;
use super::entries::Entry;
use super::manifests::ManifestRecord;
use crate::fsx::{self, FinishedFile, Mtime, Publish, StagedFile, clock};
use crate::model::{BlobId, Digest, LookupKey};

/// An entry on its way into the store. Dropping it leaves nothing behind.
#[derive(Debug)]
pub struct IncomingEntry<'a> {
    store: &'a Store,
    blobs: Vec<(BlobId, Option<FinishedFile>)>,
}

/// A blob whose bytes are arriving.
#[derive(Debug)]
pub struct IncomingBlob {
    id: BlobId,
    sink: BlobSink,
}

#[derive(Debug)]
enum BlobSink {
    /// The blob is new to the store.
    New(Box<StagedFile>),
    /// The store has the blob, so its bytes are only compared.
    Known(Box<blake3::Hasher>),
}

impl IncomingBlob {
    /// Adds the next bytes of the blob.
    pub fn push(&mut self, bytes: &[u8]) -> fsx::Result<()> {
        match &mut self.sink {
            BlobSink::New(staged) => staged.push(bytes),
            BlobSink::Known(hasher) => {
                hasher.update(bytes);
                Ok(())
            }
        }
    }
}

impl IncomingEntry<'_> {
    /// Begins the next blob. If the store has it, kache reads it back first (because the new entry vouches for it) and
    /// does not write it again.
    pub fn begin(&self, id: BlobId) -> fsx::Result<IncomingBlob> {
        let path = self.store.layout.blob(id);
        let has_come = self.blobs.iter().any(|(other, _)| *other == id);
        let is_known = has_come || (fsx::exists(&path) && self.store.verify_blob(id).is_ok());
        let sink = match is_known {
            true => BlobSink::Known(Box::default()),
            false => BlobSink::New(Box::new(publish(id).begin(&path)?)),
        };
        Ok(IncomingBlob { id, sink })
    }

    /// Ends a blob. Returns `false` if its bytes do not match its name; the blob is then dropped.
    pub fn end(&mut self, blob: IncomingBlob) -> fsx::Result<bool> {
        let finished = match blob.sink {
            BlobSink::Known(hasher) if Digest::from_bytes(*hasher.finalize().as_bytes()) == blob.id.0 => None,
            BlobSink::New(staged) if staged.digest() == blob.id.0 => Some(staged.finish()?),
            BlobSink::Known(_) | BlobSink::New(_) => return Ok(false),
        };
        self.blobs.push((blob.id, finished));
        Ok(true)
    }

    /// Publishes all blobs, the entry and the record, in this order. Returns the size in bytes of the blobs that were
    /// new.
    ///
    /// The record is added under the claim on the lookup key, so that it does not collide with another. After `wait` it
    /// is added without the claim.
    pub fn publish(self, lookup: LookupKey, record: &ManifestRecord, entry: Entry, wait: Duration) -> fsx::Result<u64> {
        let store = self.store;
        store.mark_as_cache()?;
        let mut bytes = 0;
        for finished in self.blobs.into_iter().filter_map(|(_, finished)| finished) {
            bytes += finished.commit()?.size;
        }
        store.put_entry(record.key, &Entry { boot: fsx::boot_id(), pulled: true, origin: None, ..entry })?;
        let _claim = store.claim(lookup, wait);
        store.put_record(lookup, record)?;
        Ok(bytes)
    }
}

/// The options with which a blob is written.
fn publish(id: BlobId) -> Publish {
    let mtime = Mtime::At(clock::CANONICAL);
    Publish { mtime, keep_existing: true, expect: Some(id.0), ..Publish::default() }
}

impl Store {
    /// Stores `bytes`, whose digest is `id`. Returns the number of bytes added, which is 0 if the store has the blob.
    pub fn put_blob(&self, id: BlobId, bytes: &[u8]) -> fsx::Result<u64> {
        let path = self.layout.blob(id);
        if fsx::exists(&path) && self.verify_blob(id).is_ok() {
            return Ok(0);
        }
        publish(id).bytes(&path, bytes).map(|published| published.size)
    }

    /// Begins to import an entry.
    pub fn incoming(&self) -> IncomingEntry<'_> {
        IncomingEntry { store: self, blobs: Vec::new() }
    }
}
