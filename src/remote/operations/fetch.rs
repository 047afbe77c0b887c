//! Fetches one entry from the remote into the store.
//!
//! Fetches the manifest, then the pack, then calls `pack::import`, which publishes nothing before everything has been
//! checked. A refused entry is not an error: it counts as absent and is recorded, so that the next push replaces it.
//! Errors come from the network and the disk. Any number of fetches may run at once, in any number of processes: the
//! names of their files are unique.

use std::sync::Arc;
use std::time::Instant;

use super::journal::FinishedTransfer;
use super::presence;
use super::remote::Remote;
use crate::events::Ending;
use crate::fsx::{self, Stamp, Temp};
use crate::model::{BlobId, EntryId};
use crate::remote::format::manifest::{MAX_MANIFEST_BYTES, PackManifest};
use crate::remote::format::names::ManifestName;
use crate::remote::format::pack::{self, ImportError};
use crate::remote::format::refused::Refused;
use crate::remote::s3::error::RemoteError;
use crate::remote::s3::progress::{ActiveTransfer, Control, Phase};
use crate::remote::s3::transfer::Download;
use crate::remote::tasks::run_blocking;
use crate::store::Store;

/// Most entries of one lookup key to fetch; there are several if the input sets differ, as on two branches.
pub const MAX_ENTRIES_PER_LOOKUP: usize = 4;

/// Packs of up to this many bytes stay in memory until they are unpacked. A pull downloads at most 64 of them at once.
const MAX_IN_MEMORY_BYTES: u64 = 1024 * 1024;

/// Result of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The entry was imported into the store.
    Imported {
        /// Size of the pack in bytes.
        pack: u64,
        /// Bytes of blobs that are new to the store.
        bytes: u64,
    },
    /// The store already had the entry.
    AlreadyHere,
    /// The remote does not have the entry, or not all of it.
    Absent,
    /// The remote's copy was refused, so the entry counts as absent.
    Refused(Refused),
}

/// Result of looking up an entry, before its pack is requested.
#[derive(Debug)]
pub enum ManifestLookup {
    /// The remote has the entry that this manifest describes.
    Found(Arc<PackManifest>),
    /// The result is already known: no pack is needed.
    Settled(Fetched),
}

/// Why a pack could not be fetched, before [`end_transfer`] makes one error of both.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    /// The network or the server failed.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] fsx::Error),
}

/// Fetches one entry unless the store has it.
pub async fn fetch_entry(
    remote: &Arc<Remote>,
    store: &Arc<Store>,
    id: &EntryId,
    control: &Control,
) -> Result<Fetched, RemoteError> {
    match find_manifest(remote, store, id, false).await? {
        ManifestLookup::Settled(fetched) => Ok(fetched),
        ManifestLookup::Found(manifest) => fetch_pack(remote, store, &manifest, control).await,
    }
}

/// Requests the manifest of an entry, unless the store has the entry. A dry run writes nothing, and checks only the
/// size of blobs.
pub async fn find_manifest(
    remote: &Remote,
    store: &Arc<Store>,
    id: &EntryId,
    is_dry: bool,
) -> Result<ManifestLookup, RemoteError> {
    if is_stored(store, id, is_dry).await {
        return Ok(ManifestLookup::Settled(Fetched::AlreadyHere));
    }
    let name = ManifestName::new(&id.crate_name, id.lookup, id.key);
    let decoded = match remote.objects.get(&remote.names.manifest_named(&name), MAX_MANIFEST_BYTES).await {
        Ok(Some(bytes)) => PackManifest::decode(&bytes, &name, &remote.trust),
        Ok(None) => return Ok(ManifestLookup::Settled(Fetched::Absent)),
        Err(RemoteError::Size { .. }) => Err(Refused::TooLarge("the manifest")),
        Err(error) => return Err(error),
    };
    match decoded {
        Ok(manifest) => Ok(ManifestLookup::Found(Arc::new(manifest))),
        Err(refused) => {
            if !is_dry {
                presence::mark_unusable(store.layout(), id.key);
                let (crate_name, key, reason) = (&id.crate_name, id.key, refused.id());
                FinishedTransfer { crate_name, key, ending: Ending::Refused, bytes: 0, ms: 0.0, reason }.record(store);
            }
            Ok(ManifestLookup::Settled(Fetched::Refused(refused)))
        }
    }
}

/// Downloads the pack of a manifest that [`find_manifest`] returned, checks it and imports it into the store.
pub async fn fetch_pack(
    remote: &Arc<Remote>,
    store: &Arc<Store>,
    manifest: &Arc<PackManifest>,
    control: &Control,
) -> Result<Fetched, RemoteError> {
    let began = Instant::now();
    let transfer = control.begin(&manifest.crate_name, Some(manifest.pack.size));
    let fetched = download_and_import(remote, store, manifest, &transfer).await;
    let (ending, reason) = match &fetched {
        Ok(Fetched::Imported { .. }) => (Some(Ending::Fetched), String::new()),
        Ok(Fetched::Refused(refused)) => (Some(Ending::Refused), refused.id().to_owned()),
        Ok(Fetched::AlreadyHere | Fetched::Absent) | Err(FetchError::Remote(RemoteError::Cancelled { .. })) => {
            (None, String::new())
        }
        Err(error) => (Some(Ending::Failed), error.to_string()),
    };
    if matches!(fetched, Ok(Fetched::Absent | Fetched::Refused(_))) {
        presence::mark_unusable(store.layout(), manifest.key);
    }
    if let Some(ending) = ending {
        FinishedTransfer {
            crate_name: &manifest.crate_name,
            key: manifest.key,
            ending,
            bytes: manifest.pack.size,
            ms: began.elapsed().as_secs_f64() * 1000.0,
            reason: &reason,
        }
        .record(store);
    }
    end_transfer(transfer, fetched)
}

/// Ends a transfer according to the result of its fetch.
fn end_transfer(transfer: ActiveTransfer, fetched: Result<Fetched, FetchError>) -> Result<Fetched, RemoteError> {
    let fetched = fetched.map_err(|error| match error {
        FetchError::Remote(error) => error,
        FetchError::Store(error) => RemoteError::File(error),
    });
    transfer.end(&fetched);
    fetched
}

async fn download_and_import(
    remote: &Arc<Remote>,
    store: &Arc<Store>,
    manifest: &Arc<PackManifest>,
    transfer: &ActiveTransfer,
) -> Result<Fetched, FetchError> {
    let id = EntryId { crate_name: manifest.crate_name.clone(), lookup: manifest.lookup, key: manifest.key };
    let object = Download {
        name: remote.names.pack(&id.crate_name, id.key, manifest.pack.digest),
        size: Some(manifest.pack.size),
        digest: Some(manifest.pack.digest),
    };
    let pack = match download(remote, store, &object, transfer).await {
        Ok(Some(pack)) => pack,
        Ok(None) => return Ok(Fetched::Absent),
        Err(FetchError::Remote(RemoteError::Digest { .. } | RemoteError::Size { .. })) => {
            return Ok(Fetched::Refused(Refused::Digest("the pack".to_owned())));
        }
        Err(error) => return Err(error),
    };
    transfer.enter(Phase::Verifying);
    // The semaphore is never closed.
    let unpacked = async {
        let _core = Arc::clone(&remote.cores).acquire_owned().await;
        let (store, manifest) = (Arc::clone(store), Arc::clone(manifest));
        run_blocking(move || unpack(&store, &id, &manifest, &pack)).await
    };
    let cancelled = || Err(RemoteError::Cancelled { attempt: remote.objects.attempt("get", &object.name) }.into());
    transfer.control().cancel.run_until_cancelled(unpacked).await.unwrap_or_else(cancelled)
}

/// A pack that was downloaded completely and has the declared digest.
enum DownloadedPack {
    Memory(Vec<u8>),
    File(Temp),
}

async fn download(
    remote: &Arc<Remote>,
    store: &Store,
    object: &Download,
    transfer: &ActiveTransfer,
) -> Result<Option<DownloadedPack>, FetchError> {
    if object.size.is_some_and(|size| size <= MAX_IN_MEMORY_BYTES) {
        return Ok(remote.objects.download_bytes(object, transfer).await?.map(DownloadedPack::Memory));
    }
    let (file, temp) = fsx::temp::file_beside(&store.layout().remote().join("inbox").join("pack"))?;
    drop(file);
    Ok(remote.objects.download_file(object, temp.path(), transfer).await?.map(|_| DownloadedPack::File(temp)))
}

fn unpack(store: &Store, id: &EntryId, manifest: &PackManifest, pack: &DownloadedPack) -> Result<Fetched, FetchError> {
    // Another process may have fetched or compiled it meanwhile.
    if has_entry(store, id) {
        return Ok(Fetched::AlreadyHere);
    }
    let imported = match pack {
        DownloadedPack::Memory(bytes) => pack::import(store, manifest, &mut bytes.as_slice()),
        DownloadedPack::File(temp) => pack::import(store, manifest, &mut fsx::open(temp.path())?),
    };
    match imported {
        Ok(imported) => Ok(Fetched::Imported { pack: manifest.pack.size, bytes: imported.bytes }),
        Err(ImportError::Refused(refused)) => Ok(Fetched::Refused(refused)),
        Err(ImportError::Read(error)) => {
            Err(fsx::Error::new("read the pack in", &store.layout().remote(), error).into())
        }
        Err(ImportError::Store(error)) => Err(error.into()),
    }
}

async fn is_stored(store: &Arc<Store>, id: &EntryId, is_dry: bool) -> bool {
    let (store, id) = (Arc::clone(store), id.clone());
    run_blocking(move || {
        let has_size = |blob, size| Stamp::of(&store.layout().blob(blob)).is_ok_and(|stamp| stamp.size == size);
        if is_dry { has_entry_with(&store, &id, has_size) } else { has_entry(&store, &id) }
    })
    .await
}

/// Whether the store has the whole entry: its record in the manifest, the entry, and all its blobs. Quarantines damaged
/// blobs.
fn has_entry(store: &Store, id: &EntryId) -> bool {
    has_entry_with(store, id, |blob, size| store.check_blob(blob, size).is_ok())
}

fn has_entry_with(store: &Store, id: &EntryId, is_whole: impl Fn(BlobId, u64) -> bool) -> bool {
    let is_recorded =
        || store.manifest(id.lookup).is_ok_and(|manifest| manifest.records().any(|record| record.key == id.key));
    store.entry(id.key).is_some_and(|entry| entry.outputs.iter().all(|output| is_whole(output.blob, output.size)))
        && is_recorded()
}
