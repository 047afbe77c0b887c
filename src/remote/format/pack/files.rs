//! The files of a pack: which ones an entry has, and whether an entry matches its manifest.

use std::collections::HashSet;

use crate::model::BlobId;
use crate::remote::format::manifest::{FileRef, PackManifest};
use crate::remote::format::refused::Refused;
use crate::store::Entry;

/// A file of a pack besides `meta.json`.
pub(super) struct PackedFile {
    pub(super) file: FileRef,
    pub(super) blob: BlobId,
    pub(super) executable: bool,
}

/// The files of an entry's pack besides `meta.json`, in order.
pub(super) fn files_of(entry: &Entry) -> Vec<PackedFile> {
    let mut seen = HashSet::new();
    let is_run = entry.tree.is_some();
    let outputs = entry.outputs.iter().filter(|output| !is_run || seen.insert(output.blob));
    let packed = outputs.map(|output| {
        let (blob, digest, size) = (output.blob, output.blob.0, output.size);
        let name = if is_run { digest.hex() } else { output.name.clone() };
        PackedFile { file: FileRef { name, digest, size }, blob, executable: output.executable && !is_run }
    });
    packed.collect()
}

/// Checks that the entry is the one that the manifest describes, and that its names do not lead elsewhere.
pub(super) fn check_entry(entry: &Entry, manifest: &PackManifest) -> Result<(), Refused> {
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
    if !entry.has_safe_names() {
        return Err(Refused::Entry("a name that leads elsewhere"));
    }
    if entry.tree.is_none() && entry.outputs.iter().any(|output| output.name == entry.dep_info_name) {
        return Err(Refused::Entry("an output in the place of its dep-info"));
    }
    Ok(())
}
