//! One entry from the remote into the store.
//!
//! Manifest, then pack, then `pack::import`, which publishes nothing before all of it was compared. What is refused counts as
//! absent and is noted, so that the next push replaces it; it is no error. Errors are the network's and the disk's. Any
//! number of these may run at once, in any number of processes: downloads have names of their own.

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

/// How many entries of one lookup key are brought: more than one where the input sets differ, such as two branches.
pub const MOST_OF_A_LOOKUP: usize = 4;

/// Packs up to this size wait in memory until they are unpacked. A pull has at most 64 of them on their way.
const IN_MEMORY: u64 = 1024 * 1024;

/// An entry of the remote.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Item {
    /// Crate name, or the part of an object name that stands for it.
    pub crate_name: String,
    /// What it is found by.
    pub lookup: LookupKey,
    /// The entry itself.
    pub key: EntryKey,
}

/// What became of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It is in the store now.
    Imported {
        /// Bytes of the pack.
        pack: u64,
        /// Bytes that the store has gained.
        bytes: u64,
    },
    /// It was in the store.
    AlreadyHere,
    /// The remote does not have it, or not all of it.
    Absent,
    /// What the remote has is not believed, so it counts as absent.
    Refused(Refused),
}

/// What is known of an entry before its pack is asked for.
#[derive(Debug)]
pub enum Looked {
    /// The remote offers it, by this manifest.
    Offered(Arc<Manifest>),
    /// Nothing is to be brought.
    Settled(Fetched),
}

/// An entry could not be brought.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The network's fault, or the server's.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] fsx::Error),
}

/// Brings one entry, unless it is here.
pub async fn fetch(
    remote: &Arc<Open>,
    store: &Arc<Store>,
    item: &Item,
    control: &Control,
) -> Result<Fetched, FetchError> {
    match look(remote, store, item, false).await? {
        Looked::Settled(fetched) => Ok(fetched),
        Looked::Offered(manifest) => bring(remote, store, &manifest, control).await,
    }
}

/// Asks for the manifest of an entry, unless the entry is here. A dry look writes nothing, and believes blobs of the right size.
pub async fn look(remote: &Open, store: &Arc<Store>, item: &Item, is_dry: bool) -> Result<Looked, FetchError> {
    if is_here(store, item, is_dry).await {
        return Ok(Looked::Settled(Fetched::AlreadyHere));
    }
    let at = Located::new(&item.crate_name, item.lookup, item.key);
    let decoded = match remote.bucket.get(&remote.names.manifest_at(&at), MAX_MANIFEST).await {
        Ok(Some(bytes)) => Manifest::decode(&bytes, &at, &remote.trust),
        Ok(None) => return Ok(Looked::Settled(Fetched::Absent)),
        Err(RemoteError::Size { .. }) => Err(Refused::TooLarge("the manifest")),
        Err(error) => return Err(error.into()),
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

/// Brings the pack of a manifest that was looked at, checks it and puts it into the store.
pub async fn bring(
    remote: &Arc<Open>,
    store: &Arc<Store>,
    manifest: &Arc<Manifest>,
    control: &Control,
) -> Result<Fetched, FetchError> {
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

/// Ends a transfer as its fetch ended.
fn end(transfer: progress::Transfer, brought: Result<Fetched, FetchError>) -> Result<Fetched, FetchError> {
    match brought {
        Err(FetchError::Remote(error)) => {
            let failed: Result<(), _> = Err(error);
            transfer.end(&failed);
            failed.map(|()| Fetched::Absent).map_err(FetchError::Remote)
        }
        Err(FetchError::Store(error)) => {
            let failed: Result<(), _> = Err(RemoteError::File(error));
            transfer.end(&failed);
            failed.map(|()| Fetched::Absent).map_err(FetchError::Remote)
        }
        Ok(fetched) => {
            transfer.end(&Ok(()));
            Ok(fetched)
        }
    }
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
    // Closed only with the whole remote, which never happens.
    let unpacked = async {
        let _core = Arc::clone(&remote.cores).acquire_owned().await;
        let (store, manifest) = (Arc::clone(store), Arc::clone(manifest));
        run_blocking(move || unpack(&store, &item, &manifest, &pack)).await
    };
    let cancelled = || Err(RemoteError::Cancelled { tried: remote.bucket.tried("get", &what.name) }.into());
    unless_cancelled(&transfer.control().cancel, unpacked).await.unwrap_or_else(cancelled)
}

/// A pack that came whole, with the declared digest.
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
    // Somebody else may have brought it, or compiled it.
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

/// Whether the store has the whole entry: its record in the manifest, itself, and all its blobs. Damaged blobs are put aside.
pub fn holds(store: &Store, item: &Item) -> bool {
    holds_with(store, item, |blob, size| store.check_blob(blob, size).is_ok())
}

fn holds_with(store: &Store, item: &Item, is_whole: impl Fn(BlobId, u64) -> bool) -> bool {
    let is_recorded =
        || store.manifest(item.lookup).is_ok_and(|manifest| manifest.records().any(|record| record.key == item.key));
    store.entry(item.key).is_some_and(|entry| entry.outputs.iter().all(|output| is_whole(output.blob, output.size)))
        && is_recorded()
}

/// Writes a line of the journal, and puts a large journal aside. Best effort.
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

/// Runs what reads, writes or computes for long on a thread of its own. A panic goes on here.
pub(super) async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down with us on it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// What `work` comes to; `None` as soon as somebody asks to stop.
pub async fn unless_cancelled<T>(cancel: &Cancel, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut cancelled) = (pin!(work), pin!(cancel.cancelled()));
    poll_fn(|context| match cancelled.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => work.as_mut().poll(context).map(Some),
    })
    .await
}
