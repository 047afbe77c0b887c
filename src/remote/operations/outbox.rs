//! The outbox: packs that wait to be uploaded, with their unsigned manifests.
//!
//! A pack stays until it is uploaded, so that a push that was killed can be repeated without packing again. Whoever
//! works on an entry holds its lock.

use std::path::PathBuf;

use crate::fsx::clock::Time;
use crate::fsx::lock::FileLock;
use crate::fsx::{self, Publish, Stamp};
use crate::model::EntryId;
use crate::remote::format::manifest::PackManifest;
use crate::remote::format::names::ManifestName;
use crate::remote::format::pack::{self, PackError, PackOptions};
use crate::remote::format::signature::Trust;
use crate::remote::format::signer_id::SignerId;
use crate::store::manifests::ManifestRecord;
use crate::store::withheld::Reason;
use crate::store::{Layout, Store, Withheld};

/// How long a pack waits for its push to be repeated: three days, as long as kache lets servers keep its parts.
const MAX_OUTBOX_AGE_NS: i128 = 3 * 86_400 * 1_000_000_000;

/// Why an entry has no pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotPacked {
    /// The store no longer has the whole entry, or a pack cannot hold it.
    Gone,
    /// A secret may be in the entry.
    Withheld(Reason),
}

/// The files in the outbox of an entry that is being uploaded.
#[derive(Clone, Debug)]
pub(super) struct OutboxFiles {
    pub(super) pack: PathBuf,
    /// The unsigned manifest, written once the pack is complete.
    manifest: PathBuf,
    pub(super) lock: PathBuf,
}

impl OutboxFiles {
    pub(super) fn of(layout: &Layout, id: &EntryId) -> Self {
        let path = |suffix: &str| layout.remote().join("outbox").join(id.key.0.hex() + suffix);
        Self { pack: path(".tar.zst"), manifest: path(".json"), lock: path(".lock") }
    }

    /// The manifest of a pack that was written before, if the pack is complete and still matches the store. The digest
    /// is compared because a crash may have torn the file.
    fn existing(&self, store: &Store, id: &EntryId, record: &ManifestRecord) -> Option<PackManifest> {
        let bytes = fsx::read(&self.manifest).ok()?;
        let name = ManifestName::new(&id.crate_name, id.lookup, id.key, SignerId::NONE);
        let manifest = PackManifest::decode(&bytes, &name, &Trust::Anyone).ok()?;
        let is_complete = || {
            let found = fsx::digest(&self.pack);
            found.is_ok_and(|found| found == (manifest.pack.digest, manifest.pack.size))
        };
        (pack::matches_entry(store, id.lookup, record, &manifest) && is_complete()).then_some(manifest)
    }

    /// Returns the unsigned manifest of the pack, and writes the pack if necessary; else returns why the entry is not
    /// uploaded.
    pub(super) fn prepare(
        &self,
        (store, withheld): (&Store, &Withheld),
        id: &EntryId,
        level: i32,
    ) -> fsx::Result<Result<PackManifest, NotPacked>> {
        let Some(record) = record(store, id) else { return Ok(Err(NotPacked::Gone)) };
        if let Some(reason) = withheld.reason(id.key) {
            return Ok(Err(NotPacked::Withheld(reason.clone())));
        }
        // Nobody knows for which values the earlier push searched. The same entry becomes the same pack.
        if let Some(manifest) = self.existing(store, id, &record).filter(|_| !withheld.searches()) {
            return Ok(Ok(manifest));
        }
        fsx::remove_file(&self.manifest)?;
        let manifest = match pack::write(store, id.lookup, &record, PackOptions { level, withheld }, &self.pack) {
            Ok(manifest) => manifest,
            Err(PackError::Store(error)) => return Err(error),
            Err(PackError::Withheld(reason)) => return Ok(Err(NotPacked::Withheld(reason))),
            // Removed, damaged, or not representable in a pack.
            Err(_) => return Ok(Err(NotPacked::Gone)),
        };
        Publish::default().bytes(&self.manifest, &manifest.encode(None))?;
        Ok(Ok(manifest))
    }

    /// Removes the pack and its manifest. The sweep removes by age what remains.
    pub(super) fn remove(&self) {
        let _ = fsx::remove_file(&self.manifest);
        let _ = fsx::remove_file(&self.pack);
    }
}

/// Removes packs that have waited in the outbox for more than three days.
pub(super) fn sweep(layout: &Layout, now: Time) {
    let outbox = layout.remote().join("outbox");
    let _ = fsx::sweep::sweep(&outbox, now);
    for name in fsx::list(&outbox).unwrap_or_default() {
        let path = outbox.join(&name);
        let age = |stamp: Stamp| now.as_nanos() - stamp.ctime.as_nanos();
        if !Stamp::of(&path).is_ok_and(|stamp| age(stamp) > MAX_OUTBOX_AGE_NS) {
            continue;
        }
        // Another process that holds the lock is about to upload the pack. Dropping a lock removes its file.
        let name = name.to_string_lossy();
        let entry = name.split('.').next().unwrap_or_default();
        if let Ok(Some(_lock)) = FileLock::try_acquire(&outbox.join(format!("{entry}.lock")))
            && !name.ends_with(".lock")
        {
            let _ = fsx::remove_file(&path);
        }
    }
}

/// The record of an entry in its manifest.
fn record(store: &Store, id: &EntryId) -> Option<ManifestRecord> {
    store.manifest(id.lookup).ok()?.records().find(|record| record.key == id.key)
}
