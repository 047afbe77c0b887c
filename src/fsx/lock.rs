//! File locks: `flock`, never PIDs, so that the death of a holder releases them and containers cannot confuse them.
//!
//! The holder removes its lock file. A process that gets the lock of a removed file tries again with the new file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::{At, Result, Stamp};

/// An exclusive lock. Dropping it removes its file and releases it.
#[derive(Debug)]
pub struct FileLock {
    file: Flock<File>,
    path: PathBuf,
}

impl FileLock {
    /// Acquires the lock at `path`, or returns `None` if it is held. Creates the parent directory if it is absent.
    pub fn try_acquire(path: &Path) -> Result<Option<Self>> {
        loop {
            let file = match Flock::lock(open(path)?, FlockArg::LockExclusiveNonblock) {
                Ok(file) => file,
                Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
                Err((_, Errno::EINTR)) => continue,
                Err((_, error)) => return Err(error).at("lock", path),
            };
            if still_named(&file, path)? {
                return Ok(Some(Self { file, path: path.to_owned() }));
            }
        }
    }
}

impl FileLock {
    /// Returns whether its file is still at its path. If not, other processes do not see this lock.
    pub fn is_visible(&self) -> bool {
        still_named(&self.file, &self.path).unwrap_or(false)
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // First the name, then (with the file) the lock: a process that waits for this file sees that it lost its name.
        // Do not remove the name if another process has taken it meanwhile.
        if self.is_visible() {
            let _ = super::remove_file(&self.path);
        }
    }
}

/// An exclusive lock on a file of another program, which stays. Dropping it releases the lock.
#[derive(Debug)]
pub struct HeldFile {
    file: Flock<File>,
    path: PathBuf,
}

impl HeldFile {
    /// Acquires the lock at `path`, or returns `None` if it is held. Creates the file and its directory.
    pub fn try_acquire(path: &Path) -> Result<Option<Self>> {
        match Flock::lock(open(path)?, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(Self { file, path: path.to_owned() })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(error).at("lock", path),
        }
    }

    /// Replaces the content of the file.
    pub fn set_content(&self, bytes: &[u8]) -> Result<()> {
        self.file.set_len(0).and_then(|()| self.file.write_all_at(bytes, 0)).at("write", &self.path)
    }
}

fn open(path: &Path) -> Result<File> {
    match super::open_rw(path) {
        Err(error) if error.is_absent() => {
            super::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            super::open_rw(path)
        }
        opened => opened,
    }
}

fn still_named(file: &File, path: &Path) -> Result<bool> {
    let held = Stamp::from(&file.metadata().at("stat", path)?);
    let named = super::optional(Stamp::of(path))?;
    Ok(named.is_some_and(|named| (named.dev, named.ino) == (held.dev, held.ino)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_excludes_and_is_freed_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("locks/a");
        let held = FileLock::try_acquire(&path).unwrap().unwrap();
        assert!(FileLock::try_acquire(&path).unwrap().is_none());
        drop(held);
        assert!(!crate::fsx::exists(&path));
        assert!(FileLock::try_acquire(&path).unwrap().is_some());
    }
}
