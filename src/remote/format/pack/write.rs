//! Writing a pack from the store: blobs are read, hashed, compressed and hashed again in one pass.

use std::io::{self, Read, Write};
use std::path::Path;

use tar::Builder;
use zstd::stream::write::Encoder;
use zstd::zstd_safe::CParameter;

use super::archive;
use super::files::{PackedFile, check_entry, files_of};
use crate::fsx::{self, Publish, StagedFile};
use crate::model::{BlobId, Digest, LookupKey};
use crate::remote::format::limits::{MAX_WINDOW_LOG, META};
use crate::remote::format::manifest::{FileRef, MAX_MANIFEST_BYTES, PackManifest, PackRef};
use crate::remote::format::refused::Refused;
use crate::store::manifests::ManifestRecord;
use crate::store::withheld::{Reason, Search};
use crate::store::{Entry, Store, Withheld};

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
    /// A secret may be in the entry.
    #[error("the entry must not leave this machine: {0}")]
    Withheld(#[from] Reason),
    /// Readers would refuse the pack.
    #[error("the entry does not fit into a pack: {0}")]
    Unfit(#[from] Refused),
    /// The pack could not be written.
    #[error(transparent)]
    Store(#[from] fsx::Error),
}

/// How to write a pack.
#[derive(Clone, Copy, Debug)]
pub struct PackOptions<'a> {
    /// The compression level.
    pub level: i32,
    /// What must not leave this machine.
    pub withheld: &'a Withheld,
}

/// Writes the pack of the entry of `record` to the file `to`, and returns the manifest that describes it.
pub fn write(
    store: &Store,
    lookup: LookupKey,
    record: &ManifestRecord,
    options: PackOptions<'_>,
    to: &Path,
) -> Result<PackManifest, PackError> {
    let stored = store.entry(record.key).ok_or(PackError::Gone)?;
    if let Some(reason) = options.withheld.reason_with(record.key, &record.inputs) {
        return Err(reason.into());
    }
    let (created, cost_ms) = (stored.created, stored.cost_ms);
    let (entry, meta) = to_packed(stored);
    let mut manifest = PackManifest { created, cost_ms, ..unfinished_manifest(lookup, record, &entry, &meta) };
    manifest.check()?;
    check_entry(&entry, &manifest)?;
    let texts = [meta.as_slice(), &manifest.encode(None)];
    if let Some(variable) = texts.iter().find_map(|text| options.withheld.value_in(text)) {
        return Err(Reason::Holds(variable.to_owned()).into());
    }
    (manifest.pack, manifest.archive) = write_pack(store, &entry, &meta, options, to)?;
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
    let PackManifest { created, cost_ms, pack, archive, bundle, .. } = *manifest;
    let unfinished = unfinished_manifest(lookup, record, &entry, &meta);
    PackManifest { created, cost_ms, pack, archive, bundle, ..unfinished } == *manifest
}

/// The entry as it is packed, and its JSON. Only the manifest holds when and how fast the entry was made: two machines
/// that made the same entry write the same pack, so that either manifest fits either pack.
fn to_packed(stored: Entry) -> (Entry, Vec<u8>) {
    let entry = Entry { cost_ms: 0.0, created: 0, boot: String::new(), pulled: false, origin: None, ..stored };
    let meta = serde_json::to_vec(&entry).unwrap_or_default();
    (entry, meta)
}

/// Creates the manifest without the digests and sizes of the pack and its archive.
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
        archive: PackRef { digest: Digest::of(b""), size: 0 },
        bundle: None,
        meta: FileRef { name: META.to_owned(), digest: Digest::of(meta), size: meta.len() as u64 },
        files: files_of(entry).into_iter().map(|packed| packed.file).collect(),
        inputs: record.inputs.clone(),
    }
}

/// Writes the pack. Returns its digest and size, and those of the archive in it.
fn write_pack(
    store: &Store,
    entry: &Entry,
    meta: &[u8],
    options: PackOptions<'_>,
    to: &Path,
) -> Result<(PackRef, PackRef), PackError> {
    let failed = |error| PackError::Store(fsx::Error::new("write", to, error));
    let inner = encoder(Publish::default().begin(to)?, options.level).map_err(failed)?;
    let mut tar = Builder::new(HashingWriter { inner, hasher: blake3::Hasher::new(), count: 0 });
    tar.append(&archive::file_header(META, meta.len() as u64, false), meta).map_err(failed)?;
    for packed in files_of(entry) {
        append(&mut tar, store, &packed, options.withheld, to)?;
    }
    // The builder appends the two blocks of zeros.
    let HashingWriter { inner, hasher, count } = tar.into_inner().map_err(failed)?;
    let published = inner.finish().map_err(failed)?.commit()?;
    let archive = PackRef { digest: Digest::from_bytes(*hasher.finalize().as_bytes()), size: count };
    Ok((PackRef { digest: published.digest, size: published.size }, archive))
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

/// Appends one output. The bytes read must match the blob and contain no secret; if not, the caller drops the pack.
fn append(
    tar: &mut Builder<impl Write>,
    store: &Store,
    packed: &PackedFile,
    withheld: &Withheld,
    to: &Path,
) -> Result<(), PackError> {
    let PackedFile { file: FileRef { name, size, .. }, blob, executable } = packed;
    let path = store.layout().blob(*blob);
    let file = match fsx::open(&path) {
        Err(error) if error.is_absent() => return Err(PackError::BlobGone(*blob)),
        opened => opened?,
    };
    // Reads one byte more than declared, so that a longer file is noticed.
    let (inner, hasher, search) = (file.take(size.saturating_add(1)), blake3::Hasher::new(), withheld.search());
    let mut source = HashingReader { inner, hasher, search, count: 0 };
    let header = archive::file_header(name, *size, *executable);
    tar.append(&header, &mut source).map_err(|error| PackError::Store(fsx::Error::new("write", to, error)))?;
    if let Some(variable) = source.search.found() {
        return Err(Reason::Holds(variable.to_owned()).into());
    }
    if source.count == *size && *source.hasher.finalize().as_bytes() == *blob.0.as_bytes() {
        return Ok(());
    }
    // Keeps the blob if only this read of it was damaged (a failing disk).
    let _ = store.verify_blob(*blob);
    Err(PackError::BlobDamaged(*blob))
}

/// Hashes and counts the bytes that are written.
struct HashingWriter<W> {
    inner: W,
    hasher: blake3::Hasher,
    count: u64,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.count += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Hashes and counts the bytes that are read, and searches them for secrets.
struct HashingReader<'a, R> {
    inner: R,
    hasher: blake3::Hasher,
    search: Search<'a>,
    count: u64,
}

impl<R: Read> Read for HashingReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        self.search.push(&buffer[..n]);
        self.count += n as u64;
        Ok(n)
    }
}
