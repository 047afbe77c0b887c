//! The hook: an object file that is linked into each build script, embedded in kache.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;

use crate::fsx;
use crate::model::Digest;

/// The object. Empty where there is none for this system.
#[cfg(kache_observer)]
const BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hook.o"));
#[cfg(not(kache_observer))]
const BYTES: &[u8] = &[];

/// The triple that the object is for. Only a script for exactly this can take it: glibc hands arguments to constructors, and
/// other C libraries do not.
const HOST: Option<&str> = option_env!("KACHE_HOST");

/// The object, open for the linker as long as this lives, whatever becomes of the cache directory.
#[derive(Debug)]
pub struct Hook(File);

impl Hook {
    /// The hook for a program that is compiled for `triple`. `None`: there is none.
    pub fn open(triple: &str) -> Option<Self> {
        if BYTES.is_empty() || HOST != Some(triple) {
            return None;
        }
        let mut file = fsx::memory_file("kache-hook").ok()?;
        file.write_all(BYTES).ok()?;
        Some(Self(file))
    }

    /// What tells this hook from those of other versions.
    pub fn digest(&self) -> Digest {
        Digest::of(BYTES)
    }

    /// The arguments that make rustc link it.
    pub fn arguments(&self) -> [String; 2] {
        ["-C".to_owned(), format!("link-arg={}", fsx::path_of_descriptor(self.0.as_raw_fd()).display())]
    }
}
