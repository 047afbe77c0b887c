//! Writing a pack from the store: blobs are read, hashed, compressed and hashed again in one pass.

use std::io::{self, Read, Write};
use std::path::Path;

use tar::Builder;
use zstd::stream::write::Encoder;
use zstd::zstd_safe::CParameter;

use super::archive;
use super::files::{PackedFile, check_entry, files_of};
use crate::fsx::{self, Publish, PublishedFile, StagedFile};
use crate::model::secret::is_secret;
use crate::model::{BlobId, Digest, Input, LookupKey};
use crate::remote::format::limits::{MAX_WINDOW_LOG, META};
use crate::remote::format::manifest::{FileRef, MAX_MANIFEST_BYTES, PackManifest, PackRef};
use crate::remote::format::refused::Refused;
use crate::store::manifests::ManifestRecord;
use crate::store::{Entry, Store};

/// Bytes by which a signature may enlarge a manifest.
const RESERVED_SIGNATURE_BYTES: u64 = 4096;

/// Why an entry cannot be packed. A pack that was begun is removed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The entry is gone, or cannot be read.
    #[error("the entry is gone")]
    Gone,
    /// A blob is gone.
    #[error("a blob of the entry is gone: {0}")]
    BlobGone(BlobId),
    /// The content of a blob does not match its digest. The blob is in quarantine, unless a second read found it
    /// intact.
    #[error("a blob of the entry is damaged: {0}")]
    BlobDamaged(BlobId),
    /// The compile read this variable, whose value looks secret, and the manifest would contain the value.
    #[error("the compile read {0}, which looks secret")]
    Secret(String),
    /// Readers would refuse the pack.
    #[error("the entry does not fit into a pack: {0}")]
    Unfit(#[from] Refused),
    /// The pack could not be written.
    #[error(transparent)]
    Store(#[from] fsx::Error),
}

/// Writes the pack of the entry of `record` to the file `to`, and returns the manifest that describes it.
pub fn write(
    store: &Store,
    lookup: LookupKey,
    record: &ManifestRecord,
    level: i32,
    to: &Path,
) -> Result<PackManifest, PackError> {
    let stored = store.entry(record.key).ok_or(PackError::Gone)?;
    if let Some(name) = secret_variable(&record.inputs) {
        return Err(PackError::Secret(name.to_owned()));
    }
    let (created, cost_ms) = (stored.created, stored.cost_ms);
    let (entry, meta) = to_packed(stored);
    let mut manifest = PackManifest { created, cost_ms, ..unfinished_manifest(lookup, record, &entry, &meta) };
    manifest.check()?;
    check_entry(&entry, &manifest)?;
    let published = write_pack(store, &entry, &meta, level, to)?;
    manifest.pack = PackRef { digest: published.digest, size: published.size };
    let fits = manifest.check().and_then(|()| match manifest.encode(None).len() as u64 + RESERVED_SIGNATURE_BYTES {
        0..MAX_MANIFEST_BYTES => Ok(()),
        _ => Err(Refused::TooLarge("the manifest")),
    });
    if let Err(refused) = fits {
        let _ = fsx::remove_file(to);
        return Err(refused.into());
    }
    Ok(manifest)
}

/// Whether a pack that was written earlier for this manifest still matches the entry of `record`.
pub fn matches_entry(store: &Store, lookup: LookupKey, record: &ManifestRecord, manifest: &PackManifest) -> bool {
    let Some((entry, meta)) = store.entry(record.key).map(to_packed) else { return false };
    let PackManifest { created, cost_ms, pack, .. } = *manifest;
    PackManifest { created, cost_ms, pack, ..unfinished_manifest(lookup, record, &entry, &meta) } == *manifest
}

/// The entry as it is packed, and its JSON. Only the manifest holds when and how fast the entry was made: two machines
/// that made the same entry write the same pack, so that either manifest fits either pack.
fn to_packed(stored: Entry) -> (Entry, Vec<u8>) {
    let entry = Entry { boot: String::new(), pulled: false, created: 0, cost_ms: 0.0, ..stored };
    let meta = serde_json::to_vec(&entry).unwrap_or_default();
    (entry, meta)
}

/// Finds a variable among the inputs whose value looks secret. The remote holds inputs in plain text, for all who can
/// read there, and results that depend on a secret need not be shared.
fn secret_variable(inputs: &[Input]) -> Option<&str> {
    inputs.iter().find_map(|input| match input {
        Input::Env(name, Some(value)) if !value.as_str().is_empty() => {
            is_secret(name, value.as_str()).then_some(name.as_str())
        }
        _ => None,
    })
}

/// Creates the manifest without the digest and size of the pack.
fn unfinished_manifest(lookup: LookupKey, record: &ManifestRecord, entry: &Entry, meta: &[u8]) -> PackManifest {
    PackManifest {
        lookup,
        key: record.key,
        crate_name: entry.crate_name.clone(),
        package: entry.package.clone(),
        kind: entry.kind.clone(),
        emit: entry.emit.clone(),
        created: entry.created,
        cost_ms: entry.cost_ms,
        pack: PackRef { digest: Digest::of(b""), size: 0 },
        meta: FileRef { name: META.to_owned(), digest: Digest::of(meta), size: meta.len() as u64 },
        files: files_of(entry).into_iter().map(|packed| packed.file).collect(),
        inputs: record.inputs.clone(),
    }
}

fn write_pack(store: &Store, entry: &Entry, meta: &[u8], level: i32, to: &Path) -> Result<PublishedFile, PackError> {
    let failed = |error| PackError::Store(fsx::Error::new("write", to, error));
    let mut tar = Builder::new(encoder(Publish::default().begin(to)?, level).map_err(failed)?);
    tar.append(&archive::file_header(META, meta.len() as u64, false), meta).map_err(failed)?;
    for packed in files_of(entry) {
        append(&mut tar, store, &packed, to)?;
    }
    // The builder appends the two blocks of zeros.
    let staged = tar.into_inner().and_then(Encoder::finish).map_err(failed)?;
    Ok(staged.commit()?)
}

fn encoder(to: StagedFile, level: i32) -> io::Result<Encoder<'static, StagedFile>> {
    let range = zstd::compression_level_range();
    let level = level.clamp(*range.start(), *range.end());
    let mut encoder = Encoder::new(to, level)?;
    encoder.long_distance_matching(false)?;
    encoder.include_checksum(false)?;
    // Higher levels would need more memory than a reader allows.
    if level > 19 {
        encoder.set_parameter(CParameter::WindowLog(MAX_WINDOW_LOG))?;
    }
    Ok(encoder)
}

/// Appends one output. The bytes read must match the blob; if they do not, the caller drops the pack.
fn append(tar: &mut Builder<impl Write>, store: &Store, packed: &PackedFile, to: &Path) -> Result<(), PackError> {
    let PackedFile { file: FileRef { name, size, .. }, blob, executable } = packed;
    let path = store.layout().blob(*blob);
    let file = match fsx::open(&path) {
        Err(error) if error.is_absent() => return Err(PackError::BlobGone(*blob)),
        opened => opened?,
    };
    // Reads one byte more than declared, so that a longer file is noticed.
    let mut source =
        HashingReader { inner: file.take(size.saturating_add(1)), hasher: blake3::Hasher::new(), count: 0 };
    let header = archive::file_header(name, *size, *executable);
    tar.append(&header, &mut source).map_err(|error| PackError::Store(fsx::Error::new("write", to, error)))?;
    if source.count == *size && *source.hasher.finalize().as_bytes() == *blob.0.as_bytes() {
        return Ok(());
    }
    // Keeps the blob if only this read of it was damaged (a failing disk).
    let _ = store.verify_blob(*blob);
    Err(PackError::BlobDamaged(*blob))
}

/// Hashes and counts the bytes that are read.
struct HashingReader<R> {
    inner: R,
    hasher: blake3::Hasher,
    count: u64,
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        self.count += n as u64;
        Ok(n)
    }
}
