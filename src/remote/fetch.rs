//! Fetches one entry from the remote into the store.
//!
//! Fetches the manifest, then the pack, then calls `pack::import`, which publishes nothing before everything has been
//! checked. A refused entry is not an error: it counts as absent and is recorded, so that the next push replaces it.
//! Errors come from the network and the disk. Any number of fetches may run at once, in any number of processes: the
//! names of their files are unique.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use super::error::RemoteError;
use super::manifest::{MAX_MANIFEST, Manifest};
use super::names::Located;
use super::open::Open;
use super::pack::{self, ImportError};
use super::progress::{self, Cancel, Control, Phase};
use super::transfer::Download;
use super::{Refused, presence};
use crate::events::{Ending, Journal, Transfer, transfer};
use crate::fsx::{self, Stamp, Temp, clock};
use crate::model::{BlobId, EntryKey, LookupKey};
use crate::store::Store;

/// Most entries of one lookup key to fetch; there are several if the input sets differ, as on two branches.
pub const MOST_OF_A_LOOKUP: usize = 4;

/// Packs of up to this many bytes stay in memory until they are unpacked. A pull downloads at most 64 of them at once.
const IN_MEMORY: u64 = 1024 * 1024;

/// Identifies an entry on the remote.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Item {
    /// Crate name, or its spelling in object names.
    pub crate_name: String,
    /// Lookup key that the entry is found under.
    pub lookup: LookupKey,
    /// Key of the entry.
    pub key: EntryKey,
}

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
pub enum Looked {
    /// The remote has the entry that this manifest describes.
    Offered(Arc<Manifest>),
    /// The result is already known: no pack is needed.
    Settled(Fetched),
}

/// Why a pack could not be fetched, before [`end`] makes one error of both.
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
pub async fn fetch(
    remote: &Arc<Open>,
    store: &Arc<Store>,
    item: &Item,
    control: &Control,
) -> Result<Fetched, RemoteError> {
    match look(remote, store, item, false).await? {
        Looked::Settled(fetched) => Ok(fetched),
        Looked::Offered(manifest) => bring(remote, store, &manifest, control).await,
    }
}

/// Requests the manifest of an entry, unless the store has the entry. A dry run writes nothing, and checks only the
/// size of blobs.
pub async fn look(remote: &Open, store: &Arc<Store>, item: &Item, is_dry: bool) -> Result<Looked, RemoteError> {
    if is_here(store, item, is_dry).await {
        return Ok(Looked::Settled(Fetched::AlreadyHere));
    }
    let at = Located::new(&item.crate_name, item.lookup, item.key);
    let decoded = match remote.bucket.get(&remote.names.manifest_at(&at), MAX_MANIFEST).await {
        Ok(Some(bytes)) => Manifest::decode(&bytes, &at, &remote.trust),
        Ok(None) => return Ok(Looked::Settled(Fetched::Absent)),
        Err(RemoteError::Size { .. }) => Err(Refused::TooLarge("the manifest")),
        Err(error) => return Err(error),
    };
    match decoded {
        Ok(manifest) => Ok(Looked::Offered(Arc::new(manifest))),
        Err(refused) => {
            if !is_dry {
                presence::doubt(store.layout(), item.key);
                journal(store, &item.crate_name, item.key, (Ending::Refused, 0, 0.0, refused.id()));
            }
            Ok(Looked::Settled(Fetched::Refused(refused)))
        }
    }
}

/// Downloads the pack of a manifest that [`look`] returned, checks it and imports it into the store.
pub async fn bring(
    remote: &Arc<Open>,
    store: &Arc<Store>,
    manifest: &Arc<Manifest>,
    control: &Control,
) -> Result<Fetched, RemoteError> {
    let began = Instant::now();
    let transfer = control.begin(&manifest.crate_name, Some(manifest.pack.size));
    let brought = bring_in(remote, store, manifest, &transfer).await;
    let (ending, reason) = match &brought {
        Ok(Fetched::Imported { .. }) => (Some(Ending::Fetched), String::new()),
        Ok(Fetched::Refused(refused)) => (Some(Ending::Refused), refused.id().to_owned()),
        Ok(Fetched::AlreadyHere | Fetched::Absent) | Err(FetchError::Remote(RemoteError::Cancelled { .. })) => {
            (None, String::new())
        }
        Err(error) => (Some(Ending::Failed), error.to_string()),
    };
    if matches!(brought, Ok(Fetched::Absent | Fetched::Refused(_))) {
        presence::doubt(store.layout(), manifest.key);
    }
    if let Some(ending) = ending {
        let ms = began.elapsed().as_secs_f64() * 1000.0;
        journal(store, &manifest.crate_name, manifest.key, (ending, manifest.pack.size, ms, &reason));
    }
    end(transfer, brought)
}

/// Ends a transfer according to the result of its fetch.
fn end(transfer: progress::Transfer, brought: Result<Fetched, FetchError>) -> Result<Fetched, RemoteError> {
    let ended = brought.map_err(|error| match error {
        FetchError::Remote(error) => error,
        FetchError::Store(error) => RemoteError::File(error),
    });
    transfer.end(&ended);
    ended
}

async fn bring_in(
    remote: &Arc<Open>,
    store: &Arc<Store>,
    manifest: &Arc<Manifest>,
    transfer: &progress::Transfer,
) -> Result<Fetched, FetchError> {
    let item = Item { crate_name: manifest.crate_name.clone(), lookup: manifest.lookup, key: manifest.key };
    let what = Download {
        name: remote.names.pack(&item.crate_name, item.key),
        label: item.crate_name.clone(),
        size: Some(manifest.pack.size),
        digest: Some(manifest.pack.digest),
    };
    let pack = match download(remote, store, &what, transfer).await {
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
        run_blocking(move || unpack(&store, &item, &manifest, &pack)).await
    };
    let cancelled = || Err(RemoteError::Cancelled { tried: remote.bucket.tried("get", &what.name) }.into());
    unless_cancelled(&transfer.control().cancel, unpacked).await.unwrap_or_else(cancelled)
}

/// A pack that was downloaded completely and has the declared digest.
enum Pack {
    Memory(Vec<u8>),
    File(Temp),
}

async fn download(
    remote: &Arc<Open>,
    store: &Store,
    what: &Download,
    transfer: &progress::Transfer,
) -> Result<Option<Pack>, FetchError> {
    if what.size.is_some_and(|size| size <= IN_MEMORY) {
        return Ok(remote.bucket.download_small(what, transfer).await?.map(Pack::Memory));
    }
    let (file, temp) = fsx::temp::file_beside(&store.layout().remote().join("inbox").join("pack"))?;
    drop(file);
    Ok(remote.bucket.download_in(what, temp.path(), transfer).await?.map(|_| Pack::File(temp)))
}

fn unpack(store: &Store, item: &Item, manifest: &Manifest, pack: &Pack) -> Result<Fetched, FetchError> {
    // Another process may have fetched or compiled it meanwhile.
    if holds(store, item) {
        return Ok(Fetched::AlreadyHere);
    }
    let imported = match pack {
        Pack::Memory(bytes) => pack::import(store, manifest, &mut bytes.as_slice()),
        Pack::File(temp) => pack::import(store, manifest, &mut fsx::open(temp.path())?),
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

async fn is_here(store: &Arc<Store>, item: &Item, is_dry: bool) -> bool {
    let (store, item) = (Arc::clone(store), item.clone());
    run_blocking(move || {
        let has_size = |blob, size| Stamp::of(&store.layout().blob(blob)).is_ok_and(|stamp| stamp.size == size);
        if is_dry { holds_with(&store, &item, has_size) } else { holds(&store, &item) }
    })
    .await
}

/// Whether the store has the whole entry: its record in the manifest, the entry, and all its blobs. Quarantines damaged
/// blobs.
pub fn holds(store: &Store, item: &Item) -> bool {
    holds_with(store, item, |blob, size| store.check_blob(blob, size).is_ok())
}

fn holds_with(store: &Store, item: &Item, is_whole: impl Fn(BlobId, u64) -> bool) -> bool {
    let is_recorded =
        || store.manifest(item.lookup).is_ok_and(|manifest| manifest.records().any(|record| record.key == item.key));
    store.entry(item.key).is_some_and(|entry| entry.outputs.iter().all(|output| is_whole(output.blob, output.size)))
        && is_recorded()
}

/// Appends a line to the journal, and rotates the journal if it is large. Best effort.
pub(super) fn journal(
    store: &Store,
    crate_name: &str,
    key: EntryKey,
    (ending, bytes, ms, reason): (Ending, u64, f64, &str),
) {
    let journal = Journal::of(store.layout().cache_dir());
    let _ = journal.append(&Transfer {
        v: transfer::VERSION,
        at: clock::now().as_millis(),
        ending,
        crate_name: crate_name.to_owned(),
        key: key.0.hex(),
        bytes,
        ms,
        reason: reason.to_owned(),
    });
    let _ = journal.rotate();
}

/// Runs blocking or long work on a separate thread. A panic continues in the caller.
pub(super) async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Runs `work` to its end; returns `None` as soon as cancellation is requested.
pub async fn unless_cancelled<T>(cancel: &Cancel, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut cancelled) = (pin!(work), pin!(cancel.cancelled()));
    poll_fn(|context| match cancelled.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => work.as_mut().poll(context).map(Some),
    })
    .await
}
