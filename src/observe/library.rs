//! The observer's library: embedded in the program, unpacked where the dynamic linker can load it.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use crate::fsx::{self, Publish};
use crate::model::Digest;

/// The library. Empty where there is none for this system.
#[cfg(kache_observer)]
const BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/observer.so"));
#[cfg(not(kache_observer))]
const BYTES: &[u8] = &[];

/// Whether programs can be observed on this system.
pub const fn is_there() -> bool {
    !BYTES.is_empty()
}

/// The library where it can be loaded from.
#[derive(Debug)]
pub struct Library {
    path: PathBuf,
    /// Keeps an unnamed file alive.
    _file: Option<File>,
}

impl Library {
    /// Unpacks the library into `dir` under its own digest, unless it is there already, byte for byte. Where it could not
    /// be loaded from there it becomes a file in memory.
    pub fn unpack(dir: &Path) -> fsx::Result<Self> {
        if is_loadable(dir)
            && let Ok(path) = unpack_file(dir)
        {
            return Ok(Self { path, _file: None });
        }
        let mut file = fsx::memory_file("kache-observer")?;
        file.write_all(BYTES).map_err(|error| fsx::Error::new("write", Path::new("a file in memory"), error))?;
        Ok(Self { path: fsx::path_of_descriptor(file.as_raw_fd()), _file: Some(file) })
    }

    /// What `LD_PRELOAD` names.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn unpack_file(dir: &Path) -> fsx::Result<PathBuf> {
    let path = dir.join(format!("{}.so", Digest::of(BYTES).short()));
    let is_whole = fsx::read_if_exists(&path)?.is_some_and(|bytes| bytes == BYTES);
    if !is_whole {
        Publish::default().bytes(&path, BYTES)?;
    }
    Ok(path)
}

/// `LD_PRELOAD` is split at colons and spaces, and from some file systems no program may be loaded; the dynamic linker
/// would complain about that, and rustc's output would hold the complaint.
fn is_loadable(dir: &Path) -> bool {
    let splits = |c: char| c == ':' || c.is_whitespace();
    dir.to_str().is_some_and(|text| !text.contains(splits)) && !fsx::forbids_programs(dir)
}

#[cfg(all(test, kache_observer))]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_unpacked_once_and_mended() {
        let dir = tempfile::tempdir().unwrap();
        let library = Library::unpack(dir.path()).unwrap();
        assert_eq!(fsx::read(library.path()).unwrap(), BYTES);
        let before = fsx::Stamp::of(library.path()).unwrap();
        let again = Library::unpack(dir.path()).unwrap();
        assert_eq!(fsx::Stamp::of(again.path()).unwrap(), before);
        fsx::Publish::default().bytes(library.path(), b"damaged").unwrap();
        Library::unpack(dir.path()).unwrap();
        assert_eq!(fsx::read(library.path()).unwrap(), BYTES);
    }

    #[test]
    fn a_directory_that_the_linker_would_misread_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a b", "a:b"] {
            let library = Library::unpack(&dir.path().join(name)).unwrap();
            assert!(library.path().starts_with("/proc"), "{}", library.path().display());
            assert_eq!(fsx::read(library.path()).unwrap(), BYTES);
        }
    }
}
