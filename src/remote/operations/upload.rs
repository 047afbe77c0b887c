//! Uploads entries from the store to the remote: a large pack as a separate object, several small ones as a bundle.
//!
//! The pack is written to the outbox, where it stays until it is uploaded: after a killed push, the next push finds it
//! and resumes the upload. The manifest is uploaded last, after its pack. Overwriting is harmless: the names of packs
//! and bundles contain the digests of their bytes, and that of a manifest its signer, so kache does not depend on
//! conditional requests. One process at a time uploads an entry.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::bundles::{self, Bundle, MAX_BUNDLED_PACK_BYTES};
use super::denials::DenialCounter;
use super::journal::FinishedTransfer;
use super::known::{Knowledge, KnownEntries};
use super::outbox::{NotPacked, OutboxFiles};
use super::remote::{Layer, Remote};
use crate::events::Ending;
use crate::fsx::lock::FileLock;
use crate::fsx::{self, clock};
use crate::model::EntryId;
use crate::remote::format::manifest::{BundleRef, PackManifest};
use crate::remote::format::names;
use crate::remote::s3::error::RemoteError;
use crate::remote::s3::progress::{ActiveTransfer, Control, Phase};
use crate::remote::s3::transfer::{Upload, unless_stopped};
use crate::remote::tasks::{concurrently, run_blocking};
use crate::store::withheld::Reason;
use crate::store::{Store, Withheld};

/// Pause between attempts to take a lock that another process holds.
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Packs of this many bytes are first looked for: asking costs little beside uploading them again.
const ASK_FROM_BYTES: u64 = 16 << 20;
/// A pack that was uploaded longer ago is uploaded again.
const MAX_ASKED_AGE: Duration = Duration::from_hours(7 * 24);
/// Manifests of one bundle that are uploaded at once.
const CONCURRENT_MANIFESTS: usize = 16;

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
    Remote(Arc<RemoteError>),
    /// A local file could not be read or written.
    #[error(transparent)]
    Store(Arc<fsx::Error>),
}

impl From<fsx::Error> for UploadError {
    fn from(error: fsx::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<RemoteError> for UploadError {
    fn from(error: RemoteError) -> Self {
        Self::Remote(Arc::new(error))
    }
}

impl UploadError {
    /// The same error, for another entry that it ended.
    fn again(&self) -> Self {
        match self {
            Self::ReadOnly => Self::ReadOnly,
            Self::Remote(error) => Self::Remote(Arc::clone(error)),
            Self::Store(error) => Self::Store(Arc::clone(error)),
        }
    }

    /// Whether the upload was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Remote(error) if matches!(**error, RemoteError::Cancelled { .. }))
    }
}

/// What uploads come from: the store, and what must not leave it.
#[derive(Clone, Debug)]
pub struct UploadSource {
    /// The store.
    pub store: Arc<Store>,
    /// What must not leave this machine.
    pub withheld: Arc<Withheld>,
}

/// Uploads entries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Uploader {
    /// Remote to upload to.
    pub remote: Arc<Remote>,
    /// Where the entries are.
    pub source: UploadSource,
    /// What is known of the remote.
    pub known: KnownEntries,
    /// Progress callback, cancellation and deadline.
    pub control: Control,
}

/// A pack in the outbox that is about to be uploaded. Holds the lock of its entry.
#[derive(Debug)]
pub struct PreparedPack {
    /// Which entry it is.
    pub id: EntryId,
    /// The manifest, unsigned.
    pub manifest: PackManifest,
    files: OutboxFiles,
    _lock: FileLock,
    began: Instant,
}

/// The first step of an upload.
#[derive(Debug)]
pub enum Prepared {
    /// The pack is in the outbox.
    Pack(Box<PreparedPack>),
    /// The entry is not uploaded.
    Not(Uploaded),
    /// Another process works on the entry.
    Busy,
}

impl PreparedPack {
    /// Whether the pack is small enough for a bundle.
    pub fn is_small(&self) -> bool {
        self.manifest.pack.size <= MAX_BUNDLED_PACK_BYTES
    }
}

/// Uploads one entry as a separate object, whether or not the remote has it.
pub async fn upload_entry(
    remote: &Arc<Remote>,
    source: &UploadSource,
    id: &EntryId,
    control: &Control,
) -> Result<Uploaded, UploadError> {
    Uploader::new(remote, source, control).upload_alone(id).await
}

impl Uploader {
    /// Uploads from `source` to `remote`.
    pub fn new(remote: &Arc<Remote>, source: &UploadSource, control: &Control) -> Self {
        let known = KnownEntries::of(source.store.layout(), remote);
        Self { remote: Arc::clone(remote), source: source.clone(), known, control: control.clone() }
    }

    fn writer(&self) -> Result<&Layer, UploadError> {
        self.remote.writer().ok_or(UploadError::ReadOnly)
    }

    /// Uploads one entry as a separate object. Waits as long as another process works on it, so the caller must not
    /// hold a [`PreparedPack`].
    pub async fn upload_alone(&self, id: &EntryId) -> Result<Uploaded, UploadError> {
        loop {
            match self.prepare(id).await? {
                Prepared::Pack(pack) => return self.upload(*pack).await,
                Prepared::Not(not_uploaded) => return Ok(not_uploaded),
                Prepared::Busy => {}
            }
            if tokio::time::timeout(LOCK_POLL_INTERVAL, self.control.cancel.cancelled()).await.is_ok() {
                return Err(self.cancelled(id));
            }
            if self.known.knowledge(id.key, clock::now()) == Knowledge::Present {
                return Ok(Uploaded::AlreadyThere);
            }
        }
    }

    /// Takes the lock of the entry, and writes its pack to the outbox. Never waits for the lock: two processes that
    /// each hold packs would wait for each other.
    pub async fn prepare(&self, id: &EntryId) -> Result<Prepared, UploadError> {
        self.writer()?;
        let began = Instant::now();
        let prepared = self.prepare_locked(id, began).await;
        if let Err(error) = &prepared {
            self.record(id, began, 0, Some(error));
        }
        prepared
    }

    async fn prepare_locked(&self, id: &EntryId, began: Instant) -> Result<Prepared, UploadError> {
        let files = OutboxFiles::of(self.source.store.layout(), id);
        let Some(lock) = FileLock::try_acquire(&files.lock)? else { return Ok(Prepared::Busy) };
        Ok(match self.pack(id, &files).await? {
            Ok(manifest) => {
                Prepared::Pack(Box::new(PreparedPack { id: id.clone(), manifest, files, _lock: lock, began }))
            }
            Err(not_uploaded) => Prepared::Not(not_uploaded),
        })
    }

    /// Returns the unsigned manifest of the pack in the outbox; else returns why the entry is not uploaded.
    async fn pack(&self, id: &EntryId, files: &OutboxFiles) -> Result<Result<PackManifest, Uploaded>, UploadError> {
        let cancel = &self.control.cancel;
        // The semaphore is never closed.
        let core = cancel.run_until_cancelled(Arc::clone(&self.remote.cores).acquire_owned()).await;
        let Some(_core) = core else { return Err(self.cancelled(id)) };
        let (source, of, files) = (self.source.clone(), id.clone(), files.clone());
        let (level, is_signed) = (self.remote.settings.level, self.remote.signer.is_some());
        let prepared = run_blocking(move || {
            let prepared = files.prepare((&source.store, &source.withheld), &of, level)?;
            // Checked last: the entry may have been replaced while it was packed.
            let is_pulled = is_signed && source.store.entry(of.key).is_some_and(|entry| entry.pulled);
            let not_packed = |reason| match reason {
                NotPacked::Gone => Uploaded::Gone,
                NotPacked::Withheld(reason) => Uploaded::Withheld(reason),
            };
            fsx::Result::Ok(if is_pulled { Err(Uploaded::Pulled) } else { prepared.map_err(not_packed) })
        });
        match cancel.run_until_cancelled(prepared).await {
            Some(prepared) => Ok(prepared?),
            None => Err(self.cancelled(id)),
        }
    }

    /// Uploads a pack as a separate object, then its manifest.
    pub async fn upload(&self, pack: PreparedPack) -> Result<Uploaded, UploadError> {
        let size = pack.manifest.pack.size;
        let transfer = self.control.begin(&pack.id.crate_name, Some(size));
        let uploaded = self.upload_objects(&pack, &transfer).await;
        transfer.end(&uploaded);
        self.end(&pack, uploaded.map_err(UploadError::from)).1
    }

    async fn upload_objects(&self, pack: &PreparedPack, transfer: &ActiveTransfer) -> Result<(), RemoteError> {
        let Some(writer) = self.remote.writer() else { return Ok(()) };
        let PackManifest { pack: reference, .. } = pack.manifest;
        let upload = Upload {
            name: names::pack(&pack.id.crate_name, pack.id.key, reference.digest),
            path: pack.files.pack.clone(),
            size: reference.size,
            digest: reference.digest,
        };
        let memory = format!("pack-{}", reference.digest.hex());
        let is_there = self.may_be_there(pack, &memory)
            && writer.objects.head(&upload.name).await?.is_some_and(|there| {
                let age = |written: SystemTime| SystemTime::now().duration_since(written).unwrap_or_default();
                // An old one may be deleted soon (`kache remote gc`).
                there.size == reference.size && there.modified.is_some_and(|written| age(written) < MAX_ASKED_AGE)
            });
        if !is_there {
            let states = self.source.store.layout().remote().join("uploads");
            writer.objects.upload_file(&upload, &states, transfer).await?;
            self.known.remember(&memory, "");
        }
        self.put_manifest(pack).await
    }

    /// Whether an object with the name and the size of a pack counts as that pack. Anybody may have put other bytes
    /// there, so a signer believes only in its own uploads (`memory`), and nobody in a pack that was found damaged.
    fn may_be_there(&self, pack: &PreparedPack, memory: &str) -> bool {
        pack.manifest.pack.size >= ASK_FROM_BYTES
            && !self.known.is_doubted(pack.id.key)
            && (self.remote.signer.is_none() || self.known.is_remembered(memory, ""))
    }

    /// Uploads small packs as one object, then their manifests. Returns how each entry ended.
    pub async fn upload_bundle(&self, mut packs: Vec<PreparedPack>) -> Vec<(EntryId, Result<Uploaded, UploadError>)> {
        if packs.len() <= 1 {
            let Some(pack) = packs.pop() else { return Vec::new() };
            return vec![(pack.id.clone(), self.upload(pack).await)];
        }
        let files: Vec<_> = packs.iter().map(|pack| (pack.files.pack.clone(), pack.manifest.pack)).collect();
        let Ok(bundle) = run_blocking(move || bundles::assemble(&files)).await else {
            // One of the files is gone or damaged; the others shall not stay behind because of it.
            let mut ended = Vec::new();
            for pack in packs {
                ended.push((pack.id.clone(), self.upload(pack).await));
            }
            return ended;
        };
        match self.put_bundle(&bundle).await.map_err(UploadError::from) {
            Ok(()) => self.upload_bundled_manifests(packs, &bundle).await,
            Err(error) => packs.into_iter().map(|pack| self.end(&pack, Err(error.again()))).collect(),
        }
    }

    async fn put_bundle(&self, bundle: &Bundle) -> Result<(), RemoteError> {
        let Some(writer) = self.remote.writer() else { return Ok(()) };
        let size = bundle.reference.size;
        let transfer = self.control.begin("small packs", Some(size));
        transfer.enter(Phase::Uploading);
        let name = names::bundle(bundle.reference.digest);
        let attempt = writer.objects.attempt("put", &name);
        let put = writer.objects.put(&name, bundle.bytes.clone());
        let uploaded = unless_stopped(&attempt, &self.control, put).await;
        if uploaded.is_ok() {
            transfer.advance(size);
        }
        transfer.end(&uploaded);
        uploaded
    }

    async fn upload_bundled_manifests(
        &self,
        packs: Vec<PreparedPack>,
        bundle: &Bundle,
    ) -> Vec<(EntryId, Result<Uploaded, UploadError>)> {
        let reference = bundle.reference;
        let placed = packs.into_iter().zip(bundle.offsets.clone()).map(move |(mut pack, offset)| {
            pack.manifest.bundle = Some(BundleRef { offset, ..reference });
            pack
        });
        let denials = Arc::new(DenialCounter::default());
        let mut tasks = concurrently(CONCURRENT_MANIFESTS, placed, |pack: PreparedPack| {
            let (this, denials) = (self.clone(), Arc::clone(&denials));
            async move {
                if denials.should_stop() {
                    return (pack.id.clone(), None);
                }
                let put = this.put_manifest(&pack).await;
                match &put {
                    Ok(()) => denials.record_success(),
                    Err(error) => denials.record_failure(error),
                }
                let (id, ended) = this.end(&pack, put.map_err(UploadError::from));
                (id, Some(ended))
            }
        });
        let (mut all, mut not_tried, mut last_error) = (Vec::new(), Vec::new(), UploadError::ReadOnly);
        while let Some((id, ended)) = tasks.next().await {
            match ended {
                Some(ended) => {
                    last_error = ended.as_ref().err().map_or(last_error, UploadError::again);
                    all.push((id, ended));
                }
                None => not_tried.push(id),
            }
        }
        all.extend(not_tried.into_iter().map(|id| (id, Err(last_error.again()))));
        all
    }

    async fn put_manifest(&self, pack: &PreparedPack) -> Result<(), RemoteError> {
        let Some(writer) = self.remote.writer() else { return Ok(()) };
        let object = pack.manifest.encode(self.remote.signer.as_ref());
        let name = self.remote.own_manifest(&pack.id).object();
        let attempt = writer.objects.attempt("put", &name);
        unless_stopped(&attempt, &self.control, writer.objects.put(&name, object.clone())).await?;
        self.known.confirm(pack.id.key, &object, true);
        Ok(())
    }

    /// Records how the upload of a pack ended, and removes a pack that was uploaded from the outbox.
    fn end(&self, pack: &PreparedPack, uploaded: Result<(), UploadError>) -> (EntryId, Result<Uploaded, UploadError>) {
        let size = pack.manifest.pack.size;
        self.record(&pack.id, pack.began, size, uploaded.as_ref().err());
        if uploaded.is_ok() {
            pack.files.remove();
        }
        (pack.id.clone(), uploaded.map(|()| Uploaded::Written(size)))
    }

    /// Records the end of an upload in the journal, unless it was cancelled.
    fn record(&self, id: &EntryId, began: Instant, size: u64, error: Option<&UploadError>) {
        let (ending, bytes, reason) = match error {
            None => (Ending::Sent, size, String::new()),
            Some(error) if error.is_cancelled() => return,
            Some(error) => (Ending::Failed, 0, error.to_string()),
        };
        let ms = began.elapsed().as_secs_f64() * 1000.0;
        let (crate_name, key) = (&id.crate_name, id.key);
        FinishedTransfer { crate_name, key, ending, bytes, ms, reason: &reason }.record(&self.source.store);
    }

    fn cancelled(&self, id: &EntryId) -> UploadError {
        let object = self.remote.own_manifest(id).object();
        let layer = self.remote.writer().or(self.remote.layers.first());
        let attempt = layer.map(|layer| layer.objects.attempt("put", &object));
        attempt.map_or(UploadError::ReadOnly, |attempt| RemoteError::Cancelled { attempt }.into())
    }
}
