//! Reading a pack into the store: everything is staged, and published only once the whole pack has been checked.

use std::collections::HashMap;
use std::io::{self, Read};
use std::time::Duration;

use super::frame::Frame;
use super::tape::{Next, Tape};
use super::{MAX_META, META, files_of};
use crate::fsx;
use crate::model::{BlobId, Digest};
use crate::remote::{FileRef, Manifest, Refused};
use crate::store::import::Incoming;
use crate::store::manifests::Record;
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

/// Why an import published nothing.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The pack does not match its manifest or the format.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The pack could not be read.
    #[error("cannot read the pack: {0}")]
    Read(#[source] io::Error),
    /// The store could not be written.
    #[error(transparent)]
    Store(#[from] fsx::Error),
}

/// Imports the entry of `manifest` into the store: blobs, entry, record.
pub fn import(store: &Store, manifest: &Manifest, pack: &mut impl Read) -> Result<Imported, ImportError> {
    manifest.check()?;
    let mut incoming = store.incoming();
    let mut frame = Frame::open(pack, manifest.pack)?;
    let entry = match unpack(&mut frame, manifest, &mut incoming) {
        Err(ImportError::Refused(refused)) => return Err(frame.settle(refused).into()),
        unpacked => unpacked?,
    };
    let entry = Entry { created: manifest.created, cost_ms: manifest.cost_ms, ..entry };
    let record = Record { key: manifest.key, inputs: manifest.inputs.clone() };
    let bytes = incoming.publish(manifest.lookup, &record, entry, CLAIM_WAIT)?;
    Ok(Imported { bytes })
}

fn unpack<R: Read>(
    frame: &mut Frame<'_, R>,
    manifest: &Manifest,
    incoming: &mut Incoming<'_>,
) -> Result<Entry, ImportError> {
    frame.begin()?;
    let mut tape = Tape::new(frame);
    let entry = read_entry(&mut tape, manifest)?;
    let packed = files_of(&entry);
    let places: HashMap<&str, usize> =
        manifest.files.iter().enumerate().map(|(at, file)| (file.name.as_str(), at)).collect();
    let mut seen = vec![false; manifest.files.len()];
    while let Some(next) = tape.next()? {
        let Some(at) = places.get(next.name.as_str()).copied() else {
            let is_again = next.name == META;
            return Err(if is_again { Refused::duplicate(META) } else { Refused::undeclared(&next.name) }.into());
        };
        if std::mem::replace(&mut seen[at], true) {
            return Err(Refused::duplicate(&next.name).into());
        }
        let file = &manifest.files[at];
        check_header(&next, file, packed[at].executable)?;
        let mut blob = incoming.begin(BlobId(file.digest))?;
        tape.content(file.size, |bytes| Ok(blob.push(bytes)?))?;
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
fn read_entry<R: Read>(tape: &mut Tape<'_, '_, R>, manifest: &Manifest) -> Result<Entry, ImportError> {
    let Some(next) = tape.next()? else { return Err(Refused::Missing(META.into()).into()) };
    if next.name != META {
        return Err(Refused::undeclared(&next.name).into());
    }
    check_header(&next, &manifest.meta, false)?;
    // `Manifest::check` has checked that this is at most `MAX_META`.
    let mut bytes = Vec::with_capacity(usize::try_from(manifest.meta.size.min(MAX_META)).unwrap_or(0));
    tape.content(manifest.meta.size, |more| {
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
fn check_header(next: &Next, file: &FileRef, executable: bool) -> Result<(), Refused> {
    match next.size.cmp(&file.size) {
        std::cmp::Ordering::Greater => return Err(Refused::TooLong(file.name.clone())),
        std::cmp::Ordering::Less => return Err(Refused::TooShort(file.name.clone())),
        std::cmp::Ordering::Equal => {}
    }
    if next.is_spelled(executable) { Ok(()) } else { Err(Refused::Malformed("a header of the archive")) }
}

/// Checks that the entry is the one that the manifest describes, and that its names do not lead elsewhere.
pub(super) fn check_entry(entry: &Entry, manifest: &Manifest) -> Result<(), Refused> {
    let texts = |entry: &Entry| [&entry.crate_name, &entry.package, &entry.kind, &entry.emit].map(String::clone);
    let same_texts =
        texts(entry) == [&manifest.crate_name, &manifest.package, &manifest.kind, &manifest.emit].map(String::clone);
    let has_own_time = entry.cost_ms.to_bits() != 0 || entry.created != 0;
    if !same_texts || has_own_time {
        return Err(Refused::Entry("another crate or compile"));
    }
    if !files_of(entry).iter().map(|packed| &packed.file).eq(&manifest.files) {
        return Err(Refused::Entry("other outputs"));
    }
    if !entry.names_are_safe() {
        return Err(Refused::Entry("a name that leads elsewhere"));
    }
    if entry.tree.is_none() && entry.outputs.iter().any(|output| output.name == entry.dep_info_name) {
        return Err(Refused::Entry("an output in the place of its dep-info"));
    }
    Ok(())
}
