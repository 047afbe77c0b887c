//! The trace: shared memory to which an observed program and its children append records.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::library::{self, Library};
use super::wire::{self, IncompleteTrace};
use super::{FirstKind, FirstProcess, Seen, facts};
use crate::fsx;

/// Capacity for records, in bytes. Memory is allocated only as it is filled: a large link writes a few hundred
/// kilobytes, a build of a few hundred C files several megabytes.
const CAPACITY_BYTES: u64 = 512 << 20;

/// A trace that observed programs write to.
#[derive(Debug)]
pub struct Trace {
    file: File,
    library: Library,
}

impl Trace {
    /// Creates an empty trace and unpacks the library into `dir`. `None` if programs cannot be observed here.
    pub fn begin(dir: &Path) -> Option<Self> {
        if !library::is_there() {
            return None;
        }
        let library = Library::unpack(dir).ok()?;
        let file = fsx::unnamed_file(dir).ok()?;
        file.set_len(wire::LOG_AT + CAPACITY_BYTES).ok()?;
        file.write_all_at(&wire::header(CAPACITY_BYTES), 0).ok()?;
        Some(Self { file, library })
    }

    /// The value of `LD_PRELOAD` for the first program: the observer's library, then `preload`, its value so far.
    pub fn preload(&self, preload: Option<OsString>) -> OsString {
        let mut libraries = self.library.path().into_os_string();
        if let Some(preload) = preload {
            libraries.push(":");
            libraries.push(preload);
        }
        libraries
    }

    /// The value of `KACHE_TRACE` for the first program: the letter of its kind, then the path of the trace.
    pub fn place(&self, first: FirstKind) -> OsString {
        let mut place = OsString::from(match first {
            FirstKind::Compiler => "r",
            FirstKind::CompilerWithAlias => "a",
            FirstKind::Script => "p",
        });
        place.push(fsx::path_of_descriptor(self.file.as_raw_fd()));
        place
    }

    /// Makes the C compilers that are started remap directories. Each remap is `FROM=TO`, and the last match wins. Best
    /// effort: without it, an output may contain the real name, and then it can be restored only where that name is the
    /// same.
    pub fn remap(&self, remaps: &[String]) {
        if let Some(bytes) = wire::remaps(remaps) {
            let _ = self.file.write_all_at(&bytes, wire::REMAPS.start);
        }
    }

    /// What was seen of the process `first` and its children, all of which must have ended.
    pub fn read(&self, first: FirstProcess<'_>) -> Result<Seen, IncompleteTrace> {
        let mut header = [0; wire::HEADER_BYTES];
        self.file.read_exact_at(&mut header, 0).map_err(|_| IncompleteTrace)?;
        let mut log = vec![0; wire::used(&header)?];
        self.file.read_exact_at(&mut log, wire::LOG_AT).map_err(|_| IncompleteTrace)?;
        Ok(facts::facts_of(&wire::records(&log)?, first))
    }
}
