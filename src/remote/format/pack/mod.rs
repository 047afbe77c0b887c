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

mod archive;
mod error;
mod files;
mod frame;
mod read;
mod write;

pub use super::limits::META;
pub use error::ImportError;
pub use read::{Imported, import};
pub use write::{PackError, PackOptions, matches_entry, write};
