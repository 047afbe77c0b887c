//! Limits of packs, which their manifests have to keep as well, and the name of the entry in its pack.

/// File name of the entry in its pack.
pub const META: &str = "meta.json";

/// Largest entry in a pack, in bytes: it is the only file that is held in memory.
pub const MAX_META_BYTES: u64 = 8 << 20;
/// Most files besides the entry. Split debug info makes one per codegen unit, of which cargo requests at most 256; a
/// run of a build script that installs a C library leaves a few thousand.
pub const MAX_FILES: usize = 8192;
/// Longest file name in bytes: the size of the field in a plain header.
pub const MAX_FILE_NAME_BYTES: usize = 100;
/// Most bytes of all files together; below the largest file that a plain header can describe.
pub const MAX_FILES_BYTES: u64 = 4 << 30;
/// Largest pack in bytes: files that do not compress, with frames and headers.
pub const MAX_PACK_BYTES: u64 = MAX_FILES_BYTES + (64 << 20);
/// Largest bundle of small packs, in bytes: a reader holds several of them in memory.
pub const MAX_BUNDLE_BYTES: u64 = 16 << 20;
/// Largest window of the compressed stream, as a power of two: 8 MiB, which a reader must hold in memory.
pub const MAX_WINDOW_LOG: u32 = 23;
