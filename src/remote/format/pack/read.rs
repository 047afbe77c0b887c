//! Reading a pack into the store: everything is staged, and published only once the whole pack has been checked.

use std::collections::HashMap;
use std::io::Read;
use std::time::Duration;

use super::archive::{FileHeader, TarReader};
use super::error::ImportError;
use super::files::{check_entry, files_of};
use super::frame::FrameReader;
use crate::model::{BlobId, Digest};
use crate::remote::format::limits::{MAX_META_BYTES, META};
use crate::remote::format::manifest::{FileRef, PackManifest};
use crate::remote::format::refused::Refused;
use crate::store::import::IncomingEntry;
use crate::store::manifests::ManifestRecord;
use crate::store::{Entry, Store};

/// How long to wait for the claim on the lookup key. A process that holds it longer is compiling; then the record is
/// added without the claim. At worst one of two records is lost, which costs a miss.
const CLAIM_WAIT: Duration = Duration::from_secs(2);

/// Result of an import.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Imported {
    /// Bytes of blobs that are new to the store.
    pub bytes: u64,
}

/// Imports the entry of `manifest` into the store: blobs, entry, record.
pub fn import(store: &Store, manifest: &PackManifest, pack: &mut impl Read) -> Result<Imported, ImportError> {
    manifest.check()?;
    let mut incoming = store.incoming();
    let mut frame = FrameReader::open(pack, manifest.pack, manifest.archive)?;
    let entry = match unpack(&mut frame, manifest, &mut incoming) {
        Err(ImportError::Refused(refused)) => return Err(frame.verify_rest(refused).into()),
        unpacked => unpacked?,
    };
    let entry = Entry { created: manifest.created, cost_ms: manifest.cost_ms, ..entry };
    let record = ManifestRecord { key: manifest.key, inputs: manifest.inputs.clone() };
    let bytes = incoming.publish(manifest.lookup, &record, entry, CLAIM_WAIT)?;
    Ok(Imported { bytes })
}

fn unpack<R: Read>(
    frame: &mut FrameReader<'_, R>,
    manifest: &PackManifest,
    incoming: &mut IncomingEntry<'_>,
) -> Result<Entry, ImportError> {
    frame.check_magic()?;
    let mut archive = TarReader::new(frame);
    let entry = read_entry(&mut archive, manifest)?;
    let packed = files_of(&entry);
    let positions: HashMap<&str, usize> =
        manifest.files.iter().enumerate().map(|(at, file)| (file.name.as_str(), at)).collect();
    let mut seen = vec![false; manifest.files.len()];
    while let Some(header) = archive.next_header()? {
        let Some(at) = positions.get(header.name.as_str()).copied() else {
            let is_again = header.name == META;
            return Err(if is_again { Refused::duplicate(META) } else { Refused::undeclared(&header.name) }.into());
        };
        if std::mem::replace(&mut seen[at], true) {
            return Err(Refused::duplicate(&header.name).into());
        }
        let file = &manifest.files[at];
        check_header(&header, file, packed[at].executable)?;
        let mut blob = incoming.begin(BlobId(file.digest))?;
        archive.read_content(file.size, |bytes| Ok(blob.push(bytes)?))?;
        if !incoming.end(blob)? {
            return Err(Refused::Digest(file.name.clone()).into());
        }
    }
    match seen.iter().position(|seen| !seen) {
        Some(at) => Err(Refused::Missing(manifest.files[at].name.clone()).into()),
        None => Ok(entry),
    }
}

/// Reads the entry, the first file of the pack.
fn read_entry<R: Read>(archive: &mut TarReader<'_, '_, R>, manifest: &PackManifest) -> Result<Entry, ImportError> {
    let Some(header) = archive.next_header()? else { return Err(Refused::Missing(META.into()).into()) };
    if header.name != META {
        return Err(Refused::undeclared(&header.name).into());
    }
    check_header(&header, &manifest.meta, false)?;
    // `PackManifest::check` has checked that this is at most `MAX_META_BYTES`.
    let mut bytes = Vec::with_capacity(usize::try_from(manifest.meta.size.min(MAX_META_BYTES)).unwrap_or(0));
    archive.read_content(manifest.meta.size, |more| {
        bytes.extend_from_slice(more);
        Ok(())
    })?;
    if Digest::of(&bytes) != manifest.meta.digest {
        return Err(Refused::Digest(META.into()).into());
    }
    let entry: Entry = serde_json::from_slice(&bytes).map_err(|_| Refused::Malformed(META))?;
    check_entry(&entry, manifest)?;
    Ok(entry)
}

/// Checks that a file has the declared size, and that its header has the only valid spelling.
fn check_header(header: &FileHeader, file: &FileRef, executable: bool) -> Result<(), Refused> {
    match header.size.cmp(&file.size) {
        std::cmp::Ordering::Greater => return Err(Refused::TooLong(file.name.clone())),
        std::cmp::Ordering::Less => return Err(Refused::TooShort(file.name.clone())),
        std::cmp::Ordering::Equal => {}
    }
    if header.is_canonical(executable) { Ok(()) } else { Err(Refused::Malformed("a header of the archive")) }
}
