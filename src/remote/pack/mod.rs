//! Packs: one entry as `tar.zst`, streamed both ways.
//!
//! Version 1: one zstd frame around a tar archive. It contains [`META`] (the entry as JSON, without its boot, time and
//! cost), then each output as a regular file under its name, in the order of the entry, then two blocks of zeros. The
//! files of a build script's run have paths of any length: they are named by their digests, each is stored once, and
//! `meta.json` holds the paths. Headers are plain ustar with mode 0644 or 0755, owner 0 and time 0, so that equal
//! entries make equal archives. A header has one valid spelling, and a reader refuses every other.
//!
//! Invariants: the entry is the only file that is held in memory; nothing is published before the whole pack is known
//! to match its manifest, and a refused pack does not leave files behind. Does not know the network.

mod frame;
mod read;
mod tape;
mod write;

use std::collections::HashSet;

use super::FileRef;
use crate::model::BlobId;
use crate::store::Entry;

pub use read::{ImportError, Imported, import};
pub use write::{PackError, is_of, write};

/// File name of the entry in its pack.
pub const META: &str = "meta.json";

/// Largest entry in a pack, in bytes: it is the only file that is held in memory.
pub const MAX_META: u64 = 8 << 20;
/// Most files besides the entry. Split debug info makes one per codegen unit, of which cargo requests at most 256; a
/// run of a build script that installs a C library leaves a few thousand.
pub const MAX_FILES: usize = 8192;
/// Longest file name in bytes: the size of the field in a plain header.
pub const MAX_NAME: usize = 100;
/// Most bytes of all files together; below the largest file that a plain header can describe.
pub const MAX_TOTAL: u64 = 4 << 30;
/// Largest pack in bytes: files that do not compress, with frames and headers.
pub const MAX_PACK: u64 = MAX_TOTAL + (64 << 20);
/// Largest window of the compressed stream, as a power of two: 8 MiB, which a reader must hold in memory.
pub const MAX_WINDOW_LOG: u32 = 23;

/// A file of a pack besides [`META`].
struct PackedFile {
    file: FileRef,
    blob: BlobId,
    executable: bool,
}

/// The files of an entry's pack besides [`META`], in order.
fn files_of(entry: &Entry) -> Vec<PackedFile> {
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
