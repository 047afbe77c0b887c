//! The hook: an object file that is embedded in kache and linked into each build script.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;

use crate::fsx;
use crate::model::Digest;

/// The object file. Empty if kache has none for this system.
#[cfg(kache_observer)]
const BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hook.o"));
#[cfg(not(kache_observer))]
const BYTES: &[u8] = &[];

/// The triple that the object file is for. Only scripts for exactly this triple can use it, because glibc passes
/// arguments to constructors and other C libraries do not.
const HOST: Option<&str> = option_env!("KACHE_HOST");

/// The object file. The linker can open it as long as this exists, whatever happens to the cache directory.
#[derive(Debug)]
pub struct Hook(File);

impl Hook {
    /// Opens the hook for a program that is compiled for `triple`. `None` if kache has no hook for it.
    pub fn open(triple: &str) -> Option<Self> {
        if BYTES.is_empty() || HOST != Some(triple) {
            return None;
        }
        let mut file = fsx::memory_file("kache-hook").ok()?;
        file.write_all(BYTES).ok()?;
        Some(Self(file))
    }

    /// Returns the digest that distinguishes this hook from those of other versions.
    pub fn digest(&self) -> Digest {
        Digest::of(BYTES)
    }

    /// Returns the arguments that make rustc link the hook.
    pub fn arguments(&self) -> [String; 2] {
        ["-C".to_owned(), format!("link-arg={}", fsx::path_of_descriptor(self.0.as_raw_fd()).display())]
    }
}
