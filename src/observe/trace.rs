//! One trace: shared memory that an observed rustc and its children append to.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::library::{self, Library};
use super::wire::{self, Torn};
use super::{Root, Seen, seen};
use crate::fsx;

/// How much is kept, in bytes. Memory is taken as it is filled: a large link writes a few hundred kilobytes, a build of some
/// hundred C files several megabytes.
const CAPACITY: u64 = 512 << 20;

/// The first program that is observed. The letters are those of `preload/start.c`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum First {
    /// rustc: calls from libraries that it loads later come from plugins.
    Compiler,
    /// The same, and it calls its working directory by `rustc::alias`.
    CompilerWithAlias,
    /// A build script, which may put anything that it sees into its result, as a plugin may.
    Script,
}

/// A trace that is being written.
#[derive(Debug)]
pub struct Trace {
    file: File,
    library: Library,
}

impl Trace {
    /// An empty trace, and the library unpacked in `dir`. `None` where programs cannot be observed.
    pub fn begin(dir: &Path) -> Option<Self> {
        if !library::is_there() {
            return None;
        }
        let library = Library::unpack(dir).ok()?;
        let file = fsx::unnamed_file(dir).ok()?;
        file.set_len(wire::LOG_AT + CAPACITY).ok()?;
        file.write_all_at(&wire::header(CAPACITY), 0).ok()?;
        Some(Self { file, library })
    }

    /// The value of `LD_PRELOAD` for rustc. `preload`: what it is already.
    pub fn preload(&self, preload: Option<OsString>) -> OsString {
        let mut libraries = self.library.path().into_os_string();
        if let Some(preload) = preload {
            libraries.push(":");
            libraries.push(preload);
        }
        libraries
    }

    /// The value of `KACHE_TRACE` for the first program.
    pub fn place(&self, first: First) -> OsString {
        let mut place = OsString::from(match first {
            First::Compiler => "r",
            First::CompilerWithAlias => "a",
            First::Script => "p",
        });
        place.push(fsx::path_of_descriptor(self.file.as_raw_fd()));
        place
    }

    /// Lets the C compilers that are started call directories by other names: `FROM=TO` each, the last one wins. Best effort:
    /// an output that holds the real name serves only where that is the same.
    pub fn remap(&self, remaps: &[String]) {
        if let Some(bytes) = wire::remaps(remaps) {
            let _ = self.file.write_all_at(&bytes, wire::REMAPS.start);
        }
    }

    /// What was seen of the process `root` and its children, all of which have ended.
    pub fn read(&self, root: Root<'_>) -> Result<Seen, Torn> {
        let mut header = [0; wire::HEADER];
        self.file.read_exact_at(&mut header, 0).map_err(|_| Torn)?;
        let mut log = vec![0; wire::used(&header)?];
        self.file.read_exact_at(&mut log, wire::LOG_AT).map_err(|_| Torn)?;
        Ok(seen::tell(&wire::records(&log)?, root))
    }
}
