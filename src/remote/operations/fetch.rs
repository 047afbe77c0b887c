//! Fetches one entry from the remote into the store.
//!
//! Finds its manifest (in a build record, or by a request), then its pack (in a bundle, or a separate object), then
//! calls `pack::import`, which publishes nothing before everything has been checked. A refused entry is not an error:
//! it counts as absent and is recorded, so that the next push replaces it. Errors come from the network and the disk.
//! Any number of fetches may run at once, in any number of processes: the names of their files are unique.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

pub use super::fetched::Fetched;
use super::joined::Done;
use super::journal::FinishedTransfer;
use super::known::KnownEntries;
use super::remote::Remote;
use super::remote_entry::{LocatedManifest, ManifestPlace, RemoteEntry};
use crate::events::Ending;
use crate::fsx::{self, FinishedFile, Stamp};
use crate::model::{BlobId, Digest, EntryId};
use crate::remote::format::manifest::{BundleRef, MAX_MANIFEST_BYTES, PackManifest};
use crate::remote::format::names::{self, ManifestName};
use crate::remote::format::pack::{self, ImportError};
use crate::remote::format::refused::Refused;
use crate::remote::objects::ByteRange;
use crate::remote::s3::error::RemoteError;
use crate::remote::s3::progress::{ActiveTransfer, Control, Phase};
use crate::remote::s3::transfer::{Download, must_stop, unless_stopped};
use crate::remote::tasks::run_blocking;
use crate::store::Store;

/// Most entries of one lookup key to fetch; there are several if the input sets differ, as on two branches.
pub const MAX_ENTRIES_PER_LOOKUP: usize = 4;

/// Packs of up to this many bytes stay in memory until they are unpacked. A pull downloads at most 64 of them at once.
const MAX_IN_MEMORY_BYTES: u64 = 1024 * 1024;

/// Result of looking up an entry, before its pack is requested.
#[derive(Debug)]
pub enum ManifestLookup {
    /// The remote has the entry that this manifest describes.
    Found(Arc<LocatedManifest>),
    /// The result is already known: no pack is needed.
    Settled(Fetched),
}

/// What else of the bundle of a pack is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BundleUse {
    /// Other packs, too: download all of it.
    Whole,
    /// Nothing: download only the pack.
    OnlyThis,
}

/// Why a pack could not be fetched, before [`Fetcher::fetch_pack`] makes one error of both.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    /// The network or the server failed.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] fsx::Error),
}

/// What a fetch needs.
#[derive(Clone, Debug)]
pub struct Fetcher {
    /// Remote to fetch from.
    pub remote: Arc<Remote>,
    /// Store to fetch into.
    pub store: Arc<Store>,
    /// What is known of the remote.
    pub known: KnownEntries,
    /// Whether this is a dry run, which writes nothing.
    pub is_dry: bool,
}

impl Fetcher {
    /// Fetches from `remote` into `store`.
    pub fn new(remote: &Arc<Remote>, store: &Arc<Store>, is_dry: bool) -> Self {
        let known = KnownEntries::of(store.layout(), remote);
        Self { remote: Arc::clone(remote), store: Arc::clone(store), known, is_dry }
    }

    /// Fetches one entry unless the store has it.
    pub async fn fetch(&self, entry: &RemoteEntry, uses: BundleUse, control: &Control) -> Result<Fetched, RemoteError> {
        match self.find_manifest(entry).await? {
            ManifestLookup::Settled(fetched) => Ok(fetched),
            ManifestLookup::Found(located) => self.fetch_pack(&located, uses, control).await,
        }
    }

    /// Finds the manifest of an entry, unless the store has the entry. A dry run checks only the size of blobs.
    pub async fn find_manifest(&self, entry: &RemoteEntry) -> Result<ManifestLookup, RemoteError> {
        let id = &entry.id;
        if self.is_stored(id).await {
            if let (ManifestPlace::Here(located), false) = (&entry.manifest, self.is_dry) {
                self.known.confirm(id.key, &located.object, false);
            }
            return Ok(ManifestLookup::Settled(Fetched::AlreadyHere));
        }
        let found = match &entry.manifest {
            ManifestPlace::Here(located) => Ok(Arc::clone(located)),
            ManifestPlace::Refused(refused) => Err(refused.clone()),
            ManifestPlace::Object(name) => match self.request_manifest(entry.layer, name).await? {
                Some(found) => found,
                None => return Ok(ManifestLookup::Settled(Fetched::Absent)),
            },
        };
        found.map(ManifestLookup::Found).or_else(|refused| {
            self.record_refusal(id, &refused);
            Ok(ManifestLookup::Settled(Fetched::Refused(refused)))
        })
    }

    async fn request_manifest(
        &self,
        layer: usize,
        name: &ManifestName,
    ) -> Result<Option<Result<Arc<LocatedManifest>, Refused>>, RemoteError> {
        let place = &self.remote.layers[layer];
        let object = match place.objects.get(&name.object(), MAX_MANIFEST_BYTES).await {
            Ok(Some(object)) => object,
            Ok(None) => return Ok(None),
            Err(RemoteError::Size { .. }) => return Ok(Some(Err(Refused::TooLarge("the manifest")))),
            Err(error) => return Err(error),
        };
        let decoded = PackManifest::decode(&object, name, &place.trust);
        Ok(Some(decoded.map(|manifest| Arc::new(LocatedManifest { manifest, object, layer }))))
    }

    /// Records that the manifest of an entry was refused.
    fn record_refusal(&self, id: &EntryId, refused: &Refused) {
        if self.is_dry {
            return;
        }
        // Somebody who is not trusted wrote that object, so it does not show that ours is damaged.
        if !refused.is_by_policy() {
            self.known.doubt(id.key);
        }
        let (crate_name, key, reason) = (&id.crate_name, id.key, refused.id());
        FinishedTransfer { crate_name, key, ending: Ending::Refused, bytes: 0, ms: 0.0, reason }.record(&self.store);
    }

    /// Downloads the pack of a manifest that [`Self::find_manifest`] returned, checks it and imports it into the store.
    /// Joins a fetch of the same pack that is running in this process; takes it over if that one is cancelled or at its
    /// deadline.
    pub async fn fetch_pack(
        &self,
        located: &Arc<LocatedManifest>,
        uses: BundleUse,
        control: &Control,
    ) -> Result<Fetched, RemoteError> {
        let manifest = &located.manifest;
        let transfer = control.begin(&manifest.crate_name, Some(manifest.pack.size));
        let attempt = self.attempt(located);
        let name = format!("{} for {}", pack_name(manifest), self.store.layout().root().display());
        // The futures of the SDK are large.
        let work = Box::pin(self.fetch_alone(located, uses, &transfer));
        let stop = async { Err(must_stop(&attempt, control).await) };
        let is_for_all = |fetched: &Result<_, _>| match fetched {
            Err(RemoteError::Cancelled { .. }) => false,
            Err(RemoteError::TimedOut { .. }) => control.deadline.is_none_or(|deadline| Instant::now() < deadline),
            _ => true,
        };
        let fetched = match self.remote.fetches.run(&name, work, stop, is_for_all).await {
            Done::Joined(Ok(Fetched::Imported { .. })) => Ok(Fetched::Imported { pack: 0, bytes: 0 }),
            Done::Own(fetched) | Done::Joined(fetched) => fetched,
        };
        transfer.end(&fetched);
        fetched
    }

    /// Fetches a pack, and records how that ended.
    async fn fetch_alone(
        &self,
        located: &Arc<LocatedManifest>,
        uses: BundleUse,
        transfer: &ActiveTransfer,
    ) -> Result<Fetched, RemoteError> {
        let (began, manifest) = (Instant::now(), &located.manifest);
        let fetched = self.download_and_import(located, uses, transfer).await;
        let (ending, reason) = match &fetched {
            Ok(Fetched::Imported { .. }) => (Some(Ending::Fetched), String::new()),
            Ok(Fetched::Refused(refused)) => (Some(Ending::Refused), refused.id().to_owned()),
            Ok(Fetched::AlreadyHere | Fetched::Absent) | Err(FetchError::Remote(RemoteError::Cancelled { .. })) => {
                (None, String::new())
            }
            Err(error) => (Some(Ending::Failed), error.to_string()),
        };
        match &fetched {
            Ok(Fetched::Absent | Fetched::Refused(_)) => self.known.doubt(manifest.key),
            Ok(Fetched::Imported { .. }) => self.known.confirm(manifest.key, &located.object, false),
            _ => {}
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
            .record(&self.store);
        }
        fetched.map_err(|error| match error {
            FetchError::Remote(error) => error,
            FetchError::Store(error) => RemoteError::File(error),
        })
    }

    async fn download_and_import(
        &self,
        located: &Arc<LocatedManifest>,
        uses: BundleUse,
        transfer: &ActiveTransfer,
    ) -> Result<Fetched, FetchError> {
        let pack = match self.download(located, uses, transfer).await {
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
            let _core = Arc::clone(&self.remote.cores).acquire_owned().await;
            let (store, located) = (Arc::clone(&self.store), Arc::clone(located));
            run_blocking(move || unpack(&store, &located.manifest, &pack)).await
        };
        let cancelled = || Err(RemoteError::Cancelled { attempt: self.attempt(located) }.into());
        transfer.control().cancel.run_until_cancelled(unpacked).await.unwrap_or_else(cancelled)
    }

    fn attempt(&self, located: &LocatedManifest) -> crate::remote::s3::error::Attempt {
        self.remote.layers[located.layer].objects.attempt("get", &pack_name(&located.manifest))
    }

    /// Downloads a pack from the layer of its manifest, else from another one: a build record may name entries of a
    /// layer that its writer only reads.
    async fn download(
        &self,
        located: &LocatedManifest,
        uses: BundleUse,
        transfer: &ActiveTransfer,
    ) -> Result<Option<DownloadedPack>, FetchError> {
        let others = (0..self.remote.layers.len()).filter(|layer| *layer != located.layer);
        for layer in std::iter::once(located.layer).chain(others) {
            let pack = match located.manifest.bundle {
                Some(bundle) => self.download_bundled(layer, &located.manifest, bundle, uses, transfer).await?,
                None => self.download_object(layer, &located.manifest, transfer).await?,
            };
            if pack.is_some() {
                return Ok(pack);
            }
        }
        Ok(None)
    }

    async fn download_bundled(
        &self,
        layer: usize,
        manifest: &PackManifest,
        bundle: BundleRef,
        uses: BundleUse,
        transfer: &ActiveTransfer,
    ) -> Result<Option<DownloadedPack>, FetchError> {
        let objects = &self.remote.layers[layer].objects;
        transfer.enter(Phase::Downloading);
        let range = ByteRange { first: bundle.offset, length: manifest.pack.size };
        let requested = async {
            match uses {
                // `PackManifest::check` has checked that the pack lies inside the bundle.
                BundleUse::Whole => Ok(self.remote.bundles.get(layer, objects, bundle).await?.map(|whole| {
                    let at = |position: u64| usize::try_from(position).unwrap_or(usize::MAX).min(whole.len());
                    whole.slice(at(range.first)..at(range.first + range.length))
                })),
                BundleUse::OnlyThis => {
                    Ok(objects.get_range(&names::bundle(bundle.digest), range).await?.map(Bytes::from))
                }
            }
        };
        let attempt = objects.attempt("get", &pack_name(manifest));
        let Some(bytes) = unless_stopped(&attempt, transfer.control(), requested).await? else { return Ok(None) };
        if Digest::of(&bytes) != manifest.pack.digest {
            return Err(RemoteError::Digest { attempt }.into());
        }
        transfer.advance(manifest.pack.size);
        Ok(Some(DownloadedPack::Memory(bytes)))
    }

    async fn download_object(
        &self,
        layer: usize,
        manifest: &PackManifest,
        transfer: &ActiveTransfer,
    ) -> Result<Option<DownloadedPack>, FetchError> {
        let objects = &self.remote.layers[layer].objects;
        let object =
            Download { name: pack_name(manifest), size: Some(manifest.pack.size), digest: Some(manifest.pack.digest) };
        if manifest.pack.size <= MAX_IN_MEMORY_BYTES {
            let bytes = objects.download_bytes(&object, transfer).await?;
            return Ok(bytes.map(|bytes| DownloadedPack::Memory(Bytes::from(bytes))));
        }
        // The pack is never published, so it would stay above the inbox if there were none.
        let inbox = self.store.layout().remote().join("inbox");
        fsx::create_dir_all(&inbox)?;
        Ok(objects.download_file(&object, &inbox.join("pack"), transfer).await?.map(DownloadedPack::File))
    }

    async fn is_stored(&self, id: &EntryId) -> bool {
        let (store, id, is_dry) = (Arc::clone(&self.store), id.clone(), self.is_dry);
        run_blocking(move || {
            let has_size = |blob, size| Stamp::of(&store.layout().blob(blob)).is_ok_and(|stamp| stamp.size == size);
            if is_dry { has_entry_with(&store, &id, has_size) } else { has_entry(&store, &id) }
        })
        .await
    }
}

/// The name of the object that holds the pack, if it is not in a bundle.
fn pack_name(manifest: &PackManifest) -> String {
    names::pack(&manifest.crate_name, manifest.key, manifest.pack.digest)
}

/// A pack that was downloaded completely and has the declared digest.
enum DownloadedPack {
    Memory(Bytes),
    File(FinishedFile),
}

fn unpack(store: &Store, manifest: &PackManifest, pack: &DownloadedPack) -> Result<Fetched, FetchError> {
    let id = EntryId { crate_name: manifest.crate_name.clone(), lookup: manifest.lookup, key: manifest.key };
    // Another process may have fetched or compiled it meanwhile.
    if has_entry(store, &id) {
        return Ok(Fetched::AlreadyHere);
    }
    let imported = match pack {
        DownloadedPack::Memory(bytes) => pack::import(store, manifest, &mut &bytes[..]),
        DownloadedPack::File(file) => pack::import(store, manifest, &mut file.open()?),
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
