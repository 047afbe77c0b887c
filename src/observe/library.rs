//! The observer's library: embedded in kache, unpacked where the dynamic linker can load it.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use crate::fsx::{self, Publish};
use crate::model::Digest;

/// The library. Empty on systems without an observer.
#[cfg(kache_observer)]
const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/observer.so"));
#[cfg(not(kache_observer))]
const LIBRARY: &[u8] = &[];

/// Whether programs can be observed on this system.
pub const fn is_there() -> bool {
    !LIBRARY.is_empty()
}

/// The library as an open file, so that programs can load it even after its path is gone.
#[derive(Debug)]
pub struct Library(File);

impl Library {
    /// Unpacks the library into `dir`, named by its digest, unless the same bytes are there already. If the file cannot
    /// be written, or if `dir` is on a file system mounted `noexec`, the library is a file in memory instead: the
    /// dynamic linker would complain that it cannot load the library, and rustc's output would contain the complaint.
    pub fn unpack(dir: &Path) -> fsx::Result<Self> {
        match unpack_file(dir).and_then(|path| fsx::open(&path)) {
            Ok(file) if !fsx::is_noexec(dir) => Ok(Self(file)),
            _ => in_memory().map(Self),
        }
    }

    /// The path for `LD_PRELOAD`: the open descriptor of this process. The path of a directory may contain colons or
    /// spaces, at which the dynamic linker splits the variable.
    pub fn path(&self) -> PathBuf {
        fsx::path_of_descriptor(self.0.as_raw_fd())
    }
}

fn in_memory() -> fsx::Result<File> {
    let mut file = fsx::memory_file("kache-observer")?;
    file.write_all(LIBRARY).map_err(|error| fsx::Error::new("write", Path::new("a file in memory"), error))?;
    Ok(file)
}

fn unpack_file(dir: &Path) -> fsx::Result<PathBuf> {
    let path = dir.join(format!("{}.so", Digest::of(LIBRARY).short()));
    let is_whole = fsx::read_if_exists(&path)?.is_some_and(|bytes| bytes == LIBRARY);
    if !is_whole {
        Publish::default().bytes(&path, LIBRARY)?;
    }
    Ok(path)
}

#[cfg(all(test, kache_observer))]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_unpacked_once_and_mended() {
        let dir = tempfile::tempdir().unwrap();
        let path = unpack_file(dir.path()).unwrap();
        let before = fsx::Stamp::of(&path).unwrap();
        unpack_file(dir.path()).unwrap();
        assert_eq!(fsx::Stamp::of(&path).unwrap(), before);
        fsx::Publish::default().bytes(&path, b"damaged").unwrap();
        unpack_file(dir.path()).unwrap();
        assert_eq!(fsx::read(&path).unwrap(), LIBRARY);
    }

    #[test]
    fn the_library_outlives_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let library = Library::unpack(&dir.path().join("a b:c")).unwrap();
        fsx::remove_dir_all(dir.path()).unwrap();
        assert_eq!(fsx::read(&library.path()).unwrap(), LIBRARY);
        assert_eq!(fsx::read(&Library(in_memory().unwrap()).path()).unwrap(), LIBRARY);
    }
}
