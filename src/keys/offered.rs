//! Turns an offer into an entry: hashes its outputs and scans them for roots and times. A compile on a session leaves
//! that work to the first process that asks for its result.

use std::path::{Path, PathBuf};

use super::Roots;
use super::scan::Scan;
use super::times::Times;
use crate::fsx::Stamp;
use crate::model::{ArtifactKind, BlobId, Input, InputSet};
use crate::rustc::linked;
use crate::store::offers::{CompleteOffer, OfferedFile, StoredOffer};
use crate::store::stamps::StampedDigest;
use crate::store::{Entry, Output};

/// Completes an offer. `None` if its outputs have changed since the compile wrote them, or contain something that an
/// entry must not contain.
pub fn complete(offered: &StoredOffer) -> Option<CompleteOffer> {
    let offer = &offered.offer;
    let roots = Roots::new(offer.roots.iter().map(|(kind, place)| (*kind, Some(PathBuf::from(place)))));
    let mut scan = Scan::new(&roots).with_times(Times::new(offer.times.iter().map(|(_, seconds)| *seconds)));
    offer.pinned.iter().for_each(|kind| scan.pin(*kind));
    let mut files = Vec::with_capacity(offer.outputs.len());
    for file in &offer.outputs {
        files.push(read(&offered.path(file), file, &mut scan)?);
    }
    if offer.alias && scan.holds_alias() {
        return None;
    }
    let mut set = InputSet { inputs: offer.inputs.clone() };
    set.inputs.extend(offer.times.iter().filter(|(_, at)| scan.holds_time(*at)).map(|(input, _)| input.clone()));
    set.inputs.extend(scan.pinned().into_iter().map(|(kind, place)| Input::Pinned(kind, place)));
    let outputs = files.iter().map(|(output, ..)| output.clone()).collect();
    Some(CompleteOffer { entry: Entry { outputs, ..offer.entry.clone() }, set, files })
}

fn read(path: &Path, file: &OfferedFile, scan: &mut Scan<'_>) -> Option<(Output, PathBuf, Stamp)> {
    let StampedDigest { digest, stamp } = scan.file(path).ok()?;
    let output = Output {
        name: file.name.clone(),
        kind: file.kind,
        blob: BlobId(digest),
        size: stamp.size,
        executable: stamp.mode & 0o111 != 0,
        read_only: false,
        mode: None,
        needs_glibc: (file.kind == ArtifactKind::Linked).then(|| linked::glibc_requirement(path)).flatten(),
    };
    file.is_unchanged(&stamp, digest).then(|| (output, path.to_owned(), stamp))
}
