//! Packs: one entry as `tar.zst`.

mod read;
mod write;

pub use read::{ImportError, Imported, import};
pub use write::{PackError, write};
