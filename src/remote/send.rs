//! Uploads one entry from the store to the remote.
//!
//! The pack is written to the outbox, where it stays until it is uploaded: after a killed push, the next push finds it
//! and resumes the upload. The manifest is uploaded last, after its pack. Overwriting is harmless, because names are
//! derived from the meaning of the bytes; kache does not depend on conditional requests. One process at a time uploads
//! an entry; a process that waited checks whether the remote still lacks it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{RemoteError, Tried};
use super::fetch::{Item, journal, run_blocking, unless_cancelled};
use super::manifest::Manifest;
use super::names::Located;
use super::open::Open;
use super::pack::{self, PackError};
use super::presence;
use super::progress::{Cancel, Control, Transfer};
use super::sign::Trust;
use super::transfer::Upload;
use crate::events::Ending;
use crate::fsx::clock::Time;
use crate::fsx::lock::FileLock;
use crate::fsx::{self, Publish, Stamp};
use crate::store::manifests::Record;
use crate::store::{Layout, Store};

/// Pause between attempts to take a lock that another process holds.
const RETRY: Duration = Duration::from_millis(200);

/// How long a pack waits for its push to be repeated: three days, as long as kache lets servers keep its parts.
const KEPT_NS: i128 = 3 * 86_400 * 1_000_000_000;

/// Result of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The entry was uploaded; the size of its pack in bytes.
    Sent(u64),
    /// Another process uploaded the entry meanwhile.
    AlreadyThere,
    /// The store no longer has the whole entry, or a pack cannot hold it.
    Gone,
    /// The inputs contain a value that looks secret, so the entry stays on this machine.
    Secret,
    /// The entry was pulled from the remote and would be signed here.
    Foreign,
}

/// Why an entry could not be uploaded.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
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

/// Uploads one entry, whether or not the remote has it.
pub async fn send(remote: &Arc<Open>, store: &Arc<Store>, item: &Item, control: &Control) -> Result<Sent, SendError> {
    if remote.settings.read_only {
        return Err(SendError::ReadOnly);
    }
    let began = Instant::now();
    let sent = send_locked(remote, store, item, control).await;
    let ms = began.elapsed().as_secs_f64() * 1000.0;
    match &sent {
        Ok(Sent::Sent(bytes)) => journal(store, &item.crate_name, item.key, (Ending::Sent, *bytes, ms, "")),
        Ok(_) | Err(SendError::Remote(RemoteError::Cancelled { .. })) => {}
        Err(error) => journal(store, &item.crate_name, item.key, (Ending::Failed, 0, ms, &error.to_string())),
    }
    sent
}

async fn send_locked(
    remote: &Arc<Open>,
    store: &Arc<Store>,
    item: &Item,
    control: &Control,
) -> Result<Sent, SendError> {
    let parcel = Parcel::of(store.layout(), item);
    let mut waited = false;
    let _lock = loop {
        match FileLock::try_acquire(&parcel.lock)? {
            Some(lock) => break lock,
            None => waited = true,
        }
        if tokio::time::timeout(RETRY, control.cancel.cancelled()).await.is_ok() {
            return Err(cancelled(remote, item));
        }
    };
    if waited && presence::has(remote, store.layout(), item).await? {
        return Ok(Sent::AlreadyThere);
    }
    let manifest = match pack_up(remote, store, (item, &parcel), &control.cancel).await? {
        Ok(manifest) => manifest,
        Err(unfit) => return Ok(unfit),
    };
    let transfer = control.begin(&item.crate_name, Some(manifest.pack.size));
    let sent = send_parcel(remote, store, item, (&manifest, &parcel), &transfer).await;
    transfer.end(&sent);
    sent?;
    presence::trust_again(store.layout(), item.key);
    parcel.remove();
    Ok(Sent::Sent(manifest.pack.size))
}

/// Uploads the pack, then the manifest.
async fn send_parcel(
    remote: &Open,
    store: &Store,
    item: &Item,
    (manifest, parcel): (&Manifest, &Parcel),
    transfer: &Transfer,
) -> Result<(), RemoteError> {
    let what = Upload {
        name: remote.names.pack(&item.crate_name, item.key),
        label: item.crate_name.clone(),
        path: parcel.pack.clone(),
        size: manifest.pack.size,
        digest: manifest.pack.digest,
    };
    let states = store.layout().remote().join("uploads");
    Box::pin(remote.bucket.upload_in(&what, &states, transfer)).await?;
    let name = remote.names.manifest(&item.crate_name, item.lookup, item.key);
    remote.bucket.put(&name, manifest.encode(remote.signer.as_ref())).await
}

fn cancelled(remote: &Open, item: &Item) -> SendError {
    let object = remote.names.pack(&item.crate_name, item.key);
    RemoteError::Cancelled { tried: Tried { verb: "put", object, bucket: remote.settings.bucket.clone() } }.into()
}

/// The local files of an entry that is being uploaded.
struct Parcel {
    pack: PathBuf,
    /// The unsigned manifest, written once the pack is complete.
    note: PathBuf,
    lock: PathBuf,
}

impl Parcel {
    fn of(layout: &Layout, item: &Item) -> Self {
        let path = |suffix: &str| layout.remote().join("outbox").join(item.key.0.hex() + suffix);
        Self { pack: path(".tar.zst"), note: path(".json"), lock: path(".lock") }
    }

    /// The manifest of a pack that was written before, if the pack is complete and still matches the store. The digest
    /// is compared because a crash may have torn the file.
    fn known(&self, store: &Store, item: &Item, record: &Record) -> Option<Manifest> {
        let bytes = fsx::read(&self.note).ok()?;
        let at = Located::new(&item.crate_name, item.lookup, item.key);
        let manifest = Manifest::decode(&bytes, &at, &Trust::Anyone).ok()?;
        let is_whole = || {
            let found = fsx::offset::digest(&self.pack);
            found.is_ok_and(|found| found == (manifest.pack.digest, manifest.pack.size))
        };
        (pack::is_of(store, item.lookup, record, &manifest) && is_whole()).then_some(manifest)
    }

    /// Returns the unsigned manifest of the pack, and writes the pack if necessary; else returns why the entry is not
    /// uploaded.
    fn make(&self, store: &Store, item: &Item, level: i32) -> fsx::Result<Result<Manifest, Sent>> {
        let Some(record) = record(store, item) else { return Ok(Err(Sent::Gone)) };
        if let Some(manifest) = self.known(store, item, &record) {
            return Ok(Ok(manifest));
        }
        fsx::remove_file(&self.note)?;
        let manifest = match pack::write(store, item.lookup, &record, level, &self.pack) {
            Ok(manifest) => manifest,
            Err(PackError::Store(error)) => return Err(error),
            Err(PackError::Secret(_)) => return Ok(Err(Sent::Secret)),
            // Removed, damaged, or not representable in a pack.
            Err(_) => return Ok(Err(Sent::Gone)),
        };
        Publish::default().bytes(&self.note, &manifest.encode(None))?;
        Ok(Ok(manifest))
    }

    /// Removes the pack and its manifest. The sweep removes by age what remains.
    fn remove(&self) {
        let _ = fsx::remove_file(&self.note);
        let _ = fsx::remove_file(&self.pack);
    }
}

async fn pack_up(
    remote: &Arc<Open>,
    store: &Arc<Store>,
    (item, parcel): (&Item, &Parcel),
    cancel: &Cancel,
) -> Result<Result<Manifest, Sent>, SendError> {
    // The semaphore is never closed.
    let core = unless_cancelled(cancel, Arc::clone(&remote.cores).acquire_owned()).await;
    let Some(_core) = core else { return Err(cancelled(remote, item)) };
    let (store, wanted, level) = (Arc::clone(store), item.clone(), remote.settings.level);
    let parcel = Parcel { pack: parcel.pack.clone(), note: parcel.note.clone(), lock: parcel.lock.clone() };
    let is_signed = remote.signer.is_some();
    let made = run_blocking(move || {
        let made = parcel.make(&store, &wanted, level)?;
        // Checked last: the entry may have been replaced while it was packed.
        let is_foreign = is_signed && store.entry(wanted.key).is_some_and(|entry| entry.pulled);
        fsx::Result::Ok(if is_foreign { Err(Sent::Foreign) } else { made })
    });
    match unless_cancelled(cancel, made).await {
        Some(made) => Ok(made?),
        None => Err(cancelled(remote, item)),
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
        if Stamp::of(&path).is_ok_and(|stamp| age(stamp) > KEPT_NS) {
            let _ = match path.extension().is_some_and(|extension| extension == "lock") {
                true => FileLock::try_acquire(&path).map(drop),
                false => fsx::remove_file(&path),
            };
        }
    }
}

/// The record of an entry in its manifest.
fn record(store: &Store, item: &Item) -> Option<Record> {
    store.manifest(item.lookup).ok()?.records().find(|record| record.key == item.key)
}
