//! Entries that come from elsewhere: blobs are staged beside their places, and nothing is visible until all of it is there.
//!
//! The order of publishing is that of a compile: blobs, entry, record. Nothing is synced: the entry bears this boot's name, and
//! after a crash its blobs are read back like all others.

use std::time::Duration;

use super::Store;
use super::entries::Entry;
use super::manifests::Record;
use crate::fsx::{self, Finished, Mtime, Publish, Staged, clock};
use crate::model::{BlobId, Digest, LookupKey};

/// What is on its way into the store. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Incoming<'a> {
    store: &'a Store,
    blobs: Vec<(BlobId, Option<Finished>)>,
}

/// A blob whose bytes are arriving.
#[derive(Debug)]
pub struct Arriving {
    id: BlobId,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    /// New to the store.
    New(Box<Staged>),
    /// There already: its bytes are only compared.
    Known(Box<blake3::Hasher>),
}

impl Arriving {
    /// Takes more bytes.
    pub fn push(&mut self, bytes: &[u8]) -> fsx::Result<()> {
        match &mut self.sink {
            Sink::New(staged) => staged.push(bytes),
            Sink::Known(hasher) => {
                hasher.update(bytes);
                Ok(())
            }
        }
    }
}

impl Incoming<'_> {
    /// A blob comes next. One that the store holds is read back first (the new entry vouches for it) and not written again.
    pub fn begin(&self, id: BlobId) -> fsx::Result<Arriving> {
        let path = self.store.layout.blob(id);
        let has_come = self.blobs.iter().any(|(other, _)| *other == id);
        let is_known = has_come || (fsx::exists(&path) && self.store.verify_blob(id).is_ok());
        let sink = match is_known {
            true => Sink::Known(Box::default()),
            false => Sink::New(Box::new(publish(id).begin(&path)?)),
        };
        Ok(Arriving { id, sink })
    }

    /// All of the blob has come. `false`: its bytes are not those that its name says; it is gone.
    pub fn end(&mut self, blob: Arriving) -> fsx::Result<bool> {
        let finished = match blob.sink {
            Sink::Known(hasher) if Digest::from_bytes(*hasher.finalize().as_bytes()) == blob.id.0 => None,
            Sink::New(staged) if staged.digest() == blob.id.0 => Some(staged.finish()?),
            Sink::Known(_) | Sink::New(_) => return Ok(false),
        };
        self.blobs.push((blob.id, finished));
        Ok(true)
    }

    /// Publishes all blobs, the entry and the record, in this order, and gives the bytes of blobs that were not there.
    ///
    /// The record is added under the lookup key's claim, so that it meets no other; after `wait` it is added without.
    pub fn publish(self, lookup: LookupKey, record: &Record, entry: Entry, wait: Duration) -> fsx::Result<u64> {
        let store = self.store;
        store.mark()?;
        let mut bytes = 0;
        for finished in self.blobs.into_iter().filter_map(|(_, finished)| finished) {
            bytes += finished.commit()?.size;
        }
        store.put_entry(record.key, &Entry { boot: fsx::boot_id(), pulled: true, ..entry })?;
        let _claim = store.claim(lookup, wait);
        store.put_record(lookup, record)?;
        Ok(bytes)
    }
}

/// How blobs are written.
fn publish(id: BlobId) -> Publish {
    let mtime = Mtime::At(clock::CANONICAL);
    Publish { mtime, keep_existing: true, expect: Some(id.0), ..Publish::default() }
}

impl Store {
    /// Puts `bytes`, whose digest is `id`, into the store, and gives how many of them are new to it.
    pub fn put_blob(&self, id: BlobId, bytes: &[u8]) -> fsx::Result<u64> {
        let path = self.layout.blob(id);
        if fsx::exists(&path) && self.verify_blob(id).is_ok() {
            return Ok(0);
        }
        publish(id).bytes(&path, bytes).map(|published| published.size)
    }

    /// Begins to take an entry in.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { store: self, blobs: Vec::new() }
    }
}
