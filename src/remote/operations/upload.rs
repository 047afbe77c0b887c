//! Uploads one entry from the store to the remote.
//!
//! The pack is written to the outbox, where it stays until it is uploaded: after a killed push, the next push finds it
//! and resumes the upload. The manifest is uploaded last, after its pack. Overwriting is harmless, because names are
//! derived from the meaning of the bytes; kache does not depend on conditional requests. One process at a time uploads
//! an entry; a process that waited checks whether the remote still lacks it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::journal::FinishedTransfer;
use super::presence;
use super::remote::Remote;
use crate::events::Ending;
use crate::fsx::clock::Time;
use crate::fsx::lock::FileLock;
use crate::fsx::{self, Publish, Stamp};
use crate::model::EntryId;
use crate::remote::format::manifest::PackManifest;
use crate::remote::format::names::ManifestName;
use crate::remote::format::pack::{self, PackError, PackOptions};
use crate::remote::format::signature::Trust;
use crate::remote::s3::error::RemoteError;
use crate::remote::s3::progress::{ActiveTransfer, Control};
use crate::remote::s3::transfer::Upload;
use crate::remote::tasks::run_blocking;
use crate::store::manifests::ManifestRecord;
use crate::store::withheld::Reason;
use crate::store::{Layout, Store, Withheld};

/// Pause between attempts to take a lock that another process holds.
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// How long a pack waits for its push to be repeated: three days, as long as kache lets servers keep its parts.
const MAX_OUTBOX_AGE_NS: i128 = 3 * 86_400 * 1_000_000_000;

/// Result of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uploaded {
    /// The entry was uploaded; the size of its pack in bytes.
    Written(u64),
    /// Another process uploaded the entry meanwhile.
    AlreadyThere,
    /// The store no longer has the whole entry, or a pack cannot hold it.
    Gone,
    /// A secret may be in the entry, so it stays on this machine.
    Withheld(Reason),
    /// The entry was pulled from the remote and would be signed here.
    Pulled,
}

/// Why an entry could not be uploaded.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The settings forbid uploads.
    #[error("the remote is read-only here (KACHE_REMOTE_READONLY or cache.remote.read_only)")]
    ReadOnly,
    /// The network or the server failed.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A local file could not be read or written.
    #[error(transparent)]
    Store(#[from] fsx::Error),
}

/// What uploads come from: the store, and what must not leave it.
#[derive(Clone, Debug)]
pub struct UploadSource {
    /// The store.
    pub store: Arc<Store>,
    /// What must not leave this machine.
    pub withheld: Arc<Withheld>,
}

/// Uploads one entry, whether or not the remote has it.
pub async fn upload_entry(
    remote: &Arc<Remote>,
    source: &UploadSource,
    id: &EntryId,
    control: &Control,
) -> Result<Uploaded, UploadError> {
    if remote.settings.read_only {
        return Err(UploadError::ReadOnly);
    }
    let (began, store) = (Instant::now(), &source.store);
    let files = OutboxFiles::of(store.layout(), id);
    let uploaded = EntryUpload { remote, source, id, control, files }.run().await;
    let ms = began.elapsed().as_secs_f64() * 1000.0;
    let (ending, bytes, reason) = match &uploaded {
        Ok(Uploaded::Written(bytes)) => (Ending::Sent, *bytes, String::new()),
        Ok(_) | Err(UploadError::Remote(RemoteError::Cancelled { .. })) => return uploaded,
        Err(error) => (Ending::Failed, 0, error.to_string()),
    };
    FinishedTransfer { crate_name: &id.crate_name, key: id.key, ending, bytes, ms, reason: &reason }.record(store);
    uploaded
}

/// The upload of one entry.
struct EntryUpload<'a> {
    remote: &'a Arc<Remote>,
    source: &'a UploadSource,
    id: &'a EntryId,
    control: &'a Control,
    files: OutboxFiles,
}

impl EntryUpload<'_> {
    /// Waits for the lock of the entry, and uploads the entry.
    async fn run(&self) -> Result<Uploaded, UploadError> {
        let mut waited = false;
        let _lock = loop {
            match FileLock::try_acquire(&self.files.lock)? {
                Some(lock) => break lock,
                None => waited = true,
            }
            if tokio::time::timeout(LOCK_POLL_INTERVAL, self.control.cancel.cancelled()).await.is_ok() {
                return Err(self.cancelled());
            }
        };
        if waited && presence::has(self.remote, self.source.store.layout(), self.id).await? {
            return Ok(Uploaded::AlreadyThere);
        }
        let manifest = match self.prepare().await? {
            Ok(manifest) => manifest,
            Err(not_uploaded) => return Ok(not_uploaded),
        };
        let transfer = self.control.begin(&self.id.crate_name, Some(manifest.pack.size));
        let uploaded = self.upload_files(&manifest, &transfer).await;
        transfer.end(&uploaded);
        uploaded?;
        presence::clear_mark(self.source.store.layout(), self.id.key);
        self.files.remove();
        Ok(Uploaded::Written(manifest.pack.size))
    }

    /// Returns the unsigned manifest of the pack in the outbox; else returns why the entry is not uploaded.
    async fn prepare(&self) -> Result<Result<PackManifest, Uploaded>, UploadError> {
        let cancel = &self.control.cancel;
        // The semaphore is never closed.
        let core = cancel.run_until_cancelled(Arc::clone(&self.remote.cores).acquire_owned()).await;
        let Some(_core) = core else { return Err(self.cancelled()) };
        let (source, id, files) = (self.source.clone(), self.id.clone(), self.files.clone());
        let (level, is_signed) = (self.remote.settings.level, self.remote.signer.is_some());
        let prepared = run_blocking(move || {
            let prepared = files.prepare(&source, &id, level)?;
            // Checked last: the entry may have been replaced while it was packed.
            let is_pulled = is_signed && source.store.entry(id.key).is_some_and(|entry| entry.pulled);
            fsx::Result::Ok(if is_pulled { Err(Uploaded::Pulled) } else { prepared })
        });
        match cancel.run_until_cancelled(prepared).await {
            Some(prepared) => Ok(prepared?),
            None => Err(self.cancelled()),
        }
    }

    /// Uploads the pack, then the manifest.
    async fn upload_files(&self, manifest: &PackManifest, transfer: &ActiveTransfer) -> Result<(), RemoteError> {
        let (remote, id) = (self.remote, self.id);
        let pack = Upload {
            name: remote.names.pack(&id.crate_name, id.key, manifest.pack.digest),
            path: self.files.pack.clone(),
            size: manifest.pack.size,
            digest: manifest.pack.digest,
        };
        let states = self.source.store.layout().remote().join("uploads");
        remote.objects.upload_file(&pack, &states, transfer).await?;
        let name = remote.names.manifest(&id.crate_name, id.lookup, id.key);
        remote.objects.put(&name, manifest.encode(remote.signer.as_ref())).await
    }

    fn cancelled(&self) -> UploadError {
        let object = self.remote.names.manifest(&self.id.crate_name, self.id.lookup, self.id.key);
        RemoteError::Cancelled { attempt: self.remote.objects.attempt("put", &object) }.into()
    }
}

/// The files in the outbox of an entry that is being uploaded.
#[derive(Clone)]
struct OutboxFiles {
    pack: PathBuf,
    /// The unsigned manifest, written once the pack is complete.
    manifest: PathBuf,
    lock: PathBuf,
}

impl OutboxFiles {
    fn of(layout: &Layout, id: &EntryId) -> Self {
        let path = |suffix: &str| layout.remote().join("outbox").join(id.key.0.hex() + suffix);
        Self { pack: path(".tar.zst"), manifest: path(".json"), lock: path(".lock") }
    }

    /// The manifest of a pack that was written before, if the pack is complete and still matches the store. The digest
    /// is compared because a crash may have torn the file.
    fn existing(&self, store: &Store, id: &EntryId, record: &ManifestRecord) -> Option<PackManifest> {
        let bytes = fsx::read(&self.manifest).ok()?;
        let name = ManifestName::new(&id.crate_name, id.lookup, id.key);
        let manifest = PackManifest::decode(&bytes, &name, &Trust::Anyone).ok()?;
        let is_complete = || {
            let found = fsx::digest(&self.pack);
            found.is_ok_and(|found| found == (manifest.pack.digest, manifest.pack.size))
        };
        (pack::matches_entry(store, id.lookup, record, &manifest) && is_complete()).then_some(manifest)
    }

    /// Returns the unsigned manifest of the pack, and writes the pack if necessary; else returns why the entry is not
    /// uploaded.
    fn prepare(&self, source: &UploadSource, id: &EntryId, level: i32) -> fsx::Result<Result<PackManifest, Uploaded>> {
        let UploadSource { store, withheld } = source;
        let Some(record) = record(store, id) else { return Ok(Err(Uploaded::Gone)) };
        if let Some(reason) = withheld.reason(id.key) {
            return Ok(Err(Uploaded::Withheld(reason.clone())));
        }
        // Nobody knows for which values the earlier push searched. The same entry becomes the same pack.
        if let Some(manifest) = self.existing(store, id, &record).filter(|_| !withheld.searches()) {
            return Ok(Ok(manifest));
        }
        fsx::remove_file(&self.manifest)?;
        let manifest = match pack::write(store, id.lookup, &record, PackOptions { level, withheld }, &self.pack) {
            Ok(manifest) => manifest,
            Err(PackError::Store(error)) => return Err(error),
            Err(PackError::Withheld(reason)) => return Ok(Err(Uploaded::Withheld(reason))),
            // Removed, damaged, or not representable in a pack.
            Err(_) => return Ok(Err(Uploaded::Gone)),
        };
        Publish::default().bytes(&self.manifest, &manifest.encode(None))?;
        Ok(Ok(manifest))
    }

    /// Removes the pack and its manifest. The sweep removes by age what remains.
    fn remove(&self) {
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
        // Taking and dropping a lock removes its file, unless another process holds the lock.
        if Stamp::of(&path).is_ok_and(|stamp| age(stamp) > MAX_OUTBOX_AGE_NS) {
            let _ = match path.extension().is_some_and(|extension| extension == "lock") {
                true => FileLock::try_acquire(&path).map(drop),
                false => fsx::remove_file(&path),
            };
        }
    }
}

/// The record of an entry in its manifest.
fn record(store: &Store, id: &EntryId) -> Option<ManifestRecord> {
    store.manifest(id.lookup).ok()?.records().find(|record| record.key == id.key)
}
