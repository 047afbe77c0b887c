//! Packs: one entry as `tar.zst`, streamed both ways.
//!
//! Version 1: one zstd frame around a tar archive: [`META`] (the entry as JSON, without its boot), then each output as a
//! regular file under its name, in the order of the entry, then two blocks of zeros. The files of a build script's run have
//! paths of any length; they are called by their digests, each once, and `meta.json` holds the paths. Headers are plain ustar with mode 0644
//! or 0755, owner 0 and time 0, so that equal entries make equal archives; there is one way to spell a header, and a reader
//! refuses every other.
//!
//! Invariants: no file is held in memory but the entry's; nothing is published before the whole pack was seen to be what its
//! manifest says, and a pack that is refused leaves no file behind. Knows nothing of the network.

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

/// The name of the entry in its pack.
pub const META: &str = "meta.json";

/// The most bytes that the entry of a pack may take: it is the one file that is held in memory.
pub const MAX_META: u64 = 8 << 20;
/// The most files besides it. Debug info that is split makes one per codegen unit, of which cargo asks for 256 at most; a run
/// of a build script that installs a C library leaves some thousands.
pub const MAX_FILES: usize = 8192;
/// The longest name of a file in bytes: what a plain header has room for.
pub const MAX_NAME: usize = 100;
/// The most bytes of all files together; below what a plain header can say of one.
pub const MAX_TOTAL: u64 = 4 << 30;
/// The most bytes of the pack itself: files that do not compress, and what frames and headers take.
pub const MAX_PACK: u64 = MAX_TOTAL + (64 << 20);
/// The largest window of the compressed stream, as a power of two: 8 MiB, what a reader has to hold.
pub const MAX_WINDOW_LOG: u32 = 23;

/// A file of a pack besides [`META`].
struct PackedFile {
    file: FileRef,
    blob: BlobId,
    executable: bool,
}

/// The files that the pack of an entry holds, in order.
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
