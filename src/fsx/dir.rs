//! A directory that is held open, so that looking up names in it does not walk the path to it again.

use std::fs::File;
use std::io;
use std::path::Path;

#[cfg(target_os = "linux")]
use nix::fcntl::{AtFlags, OFlag, openat};
#[cfg(target_os = "linux")]
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};

use super::{At, Result, Stamp, clock::Time};

/// An open directory, in which names are looked up.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub struct Dir(std::os::fd::OwnedFd);

#[cfg(target_os = "linux")]
impl Dir {
    /// Opens the directory at `path`, following links. `None` if `path` does not exist or is not a directory.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        // `O_PATH` does not need permission to list the directory, and does not read it.
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        super::optional(nix::fcntl::open(path, flags, Mode::empty()).at("open", path).map(Self))
    }

    /// Returns the stamp of the file called `name`, following links.
    pub fn stamp(&self, name: &str) -> Option<Stamp> {
        fstatat(&self.0, name, AtFlags::empty()).ok().as_ref().map(Stamp::from)
    }

    /// Returns whether the directory contains `name` (a dangling link counts).
    pub fn contains(&self, name: &str) -> bool {
        fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// Creates the file `name`, which must not exist, with the permissions of `mode` that the umask leaves.
    pub fn create(&self, name: &str, mode: u32) -> io::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        Ok(openat(&self.0, name, flags, Mode::from_bits_truncate(mode))?.into())
    }
}

#[cfg(target_os = "linux")]
impl From<&FileStat> for Stamp {
    fn from(stat: &FileStat) -> Self {
        let time = |secs, nanos: i64| Time { secs, nanos: u32::try_from(nanos).unwrap_or(0) };
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
            nlink: stat.st_nlink,
            mode: stat.st_mode,
            is_file: SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFREG,
        }
    }
}

/// A directory, identified by its path.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub struct Dir(std::path::PathBuf);

#[cfg(not(target_os = "linux"))]
impl Dir {
    /// Finds the directory at `path`, following links. `None` if `path` does not exist or is not a directory.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let found = super::optional(super::metadata(path))?;
        Ok(found.filter(std::fs::Metadata::is_dir).map(|_| Self(path.to_owned())))
    }

    /// Returns the stamp of the file called `name`, following links.
    pub fn stamp(&self, name: &str) -> Option<Stamp> {
        Stamp::of(&self.0.join(name)).ok()
    }

    /// Returns whether the directory contains `name` (a dangling link counts).
    pub fn contains(&self, name: &str) -> bool {
        super::exists(&self.0.join(name))
    }

    /// Creates the file `name`, which must not exist, with the permissions of `mode` that the umask leaves.
    pub fn create(&self, name: &str, mode: u32) -> io::Result<File> {
        use std::os::unix::fs::OpenOptionsExt;
        File::options().write(true).create_new(true).mode(mode).open(self.0.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::{Publish, canonicalize};

    #[test]
    fn names_are_looked_at_as_by_their_paths() {
        let dir = tempfile::tempdir().unwrap();
        let path = canonicalize(dir.path()).unwrap();
        Publish::default().bytes(&path.join("file"), b"content").unwrap();
        std::os::unix::fs::symlink("file", path.join("link")).unwrap();
        std::os::unix::fs::symlink("none", path.join("dangling")).unwrap();
        let opened = Dir::open(&path).unwrap().unwrap();
        for name in ["file", "link", "dangling", "none", ""] {
            assert_eq!(opened.stamp(name), Stamp::of(&path.join(name)).ok().filter(|_| !name.is_empty()), "{name}");
            assert_eq!(opened.contains(name), !name.is_empty() && crate::fsx::exists(&path.join(name)), "{name}");
        }
        assert!(opened.create("new", 0o600).is_ok() && opened.create("new", 0o600).is_err());
        assert_eq!(Stamp::of(&path.join("new")).unwrap().mode & 0o777, 0o600);
        assert!(Dir::open(&path.join("none")).unwrap().is_none());
        assert!(Dir::open(&path.join("file")).unwrap().is_none());
        assert!(Dir::open(&path.join("file/below")).unwrap().is_none());
    }
}
