//! The clone ladder: a reflink, else a hard link if the caller allows a shared inode, else a copy.
//!
//! Any error of a reflink or a link (EXDEV, EMLINK, EOPNOTSUPP, EPERM, ...) leads to the next method. After a failed
//! reflink, a [`Ladder`] does not try another.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::publish::Mtime;
use super::temp::{Temp, new_file_beside};
use super::{At, Result, clock, reflink::reflink};

/// The size of the copy buffer. Larger files get their space allocated before the copy.
const COPY_BUFFER_BYTES: usize = 256 * 1024;

/// How a clone was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum LinkMode {
    /// Shared extents, own inode.
    Reflink,
    /// The inode of the source, under another name.
    HardLink,
    /// An inode and bytes that the source does not share.
    Copy,
}

/// Whether the clone may share the inode of its source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sharing {
    /// It may. It has the mode and mtime of the source, however it is made.
    Shared,
    /// It must have its own inode.
    Private {
        /// Whether it may be executed; the umask decides the other permissions.
        executable: bool,
        /// The mtime of the clone.
        mtime: Mtime,
    },
}

/// The clone ladder between one pair of places. After a reflink has failed, it does not try another.
#[derive(Debug, Default)]
pub struct Ladder {
    no_reflink: bool,
}

/// A clone that is not yet visible under the name of its target. Dropping it leaves nothing behind.
#[derive(Debug)]
pub struct PendingClone(Pending);

#[derive(Debug)]
enum Pending {
    /// The bytes are in a temp file beside the target.
    Staged(Temp, LinkMode),
    /// A hard link to this file, made at the commit, because a link needs no staging.
    Link(PathBuf),
}

impl PendingClone {
    /// Makes the clone visible as `target`, replacing an existing file, and returns how it was made.
    pub fn commit(self, target: &Path) -> Result<LinkMode> {
        match self.0 {
            Pending::Staged(temp, mode) => temp.rename_to(target).map(|()| mode),
            Pending::Link(source) => commit_link(&source, target),
        }
    }

    /// Makes the clone visible as `target`, unless `target` exists.
    pub fn commit_new(self, target: &Path) -> Result<()> {
        match self.0 {
            Pending::Staged(temp, _) => temp.rename_unless_exists(target),
            Pending::Link(_) if super::exists(target) => Ok(()),
            Pending::Link(source) => commit_link(&source, target).map(|_| ()),
        }
    }

    /// Returns whether the commit makes a link instead of a rename.
    pub const fn is_link(&self) -> bool {
        matches!(self.0, Pending::Link(_))
    }
}

impl Ladder {
    /// Prepares a clone of `source` for `target`.
    ///
    /// Empty files are never linked: identical empty files are the first to reach the file system's limit of links per
    /// inode.
    pub fn clone_beside(&mut self, source: &Path, target: &Path, sharing: Sharing) -> Result<PendingClone> {
        let from = super::open(source)?;
        let may_link = sharing == Sharing::Shared && from.metadata().at("stat", source)?.len() > 0;
        if may_link && self.no_reflink {
            return Ok(PendingClone(Pending::Link(source.to_owned())));
        }
        let executable = matches!(sharing, Sharing::Private { executable: true, .. });
        let (file, temp) = new_file_beside(target, executable)?;
        let mode = if !self.no_reflink && reflink(&from, &file).is_ok() {
            LinkMode::Reflink
        } else {
            self.no_reflink = true;
            if may_link {
                return Ok(PendingClone(Pending::Link(source.to_owned())));
            }
            copy(&from, &file, temp.path())?;
            LinkMode::Copy
        };
        finish(&file, temp.path(), &from, sharing, mode)?;
        Ok(PendingClone(Pending::Staged(temp, mode)))
    }
}

impl Ladder {
    /// Fills the new, empty file `to` at `path` with the bytes of `source`, by a reflink or else a copy.
    pub(super) fn fill(&mut self, source: &Path, to: &File, path: &Path) -> Result<LinkMode> {
        let from = super::open(source)?;
        if !self.no_reflink && reflink(&from, to).is_ok() {
            return Ok(LinkMode::Reflink);
        }
        self.no_reflink = true;
        copy(&from, to, path).map(|()| LinkMode::Copy)
    }
}

/// Links `target` to `source`, through a temp name if `target` exists. Copies if it cannot link (another file system,
/// too many links).
fn commit_link(source: &Path, target: &Path) -> Result<LinkMode> {
    let parent_is_there = match std::fs::hard_link(source, target) {
        Ok(()) => return Ok(LinkMode::HardLink),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if same_inode(source, target) {
                return Ok(LinkMode::HardLink);
            }
            true
        }
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if parent_is_there && let Ok(((), temp)) = Temp::beside(target, |path| std::fs::hard_link(source, path)) {
        return temp.rename_to(target).map(|()| LinkMode::HardLink);
    }
    let from = super::open(source)?;
    let (file, temp) = new_file_beside(target, false)?;
    copy(&from, &file, temp.path())?;
    finish(&file, temp.path(), &from, Sharing::Shared, LinkMode::Copy)?;
    temp.rename_to(target).map(|()| LinkMode::Copy)
}

fn same_inode(one: &Path, other: &Path) -> bool {
    match (super::symlink_metadata(one), super::symlink_metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

fn copy(from: &File, to: &File, temp: &Path) -> Result<()> {
    let expected = from.metadata().at("stat", temp)?.len();
    // On ext4, a large file is copied up to a quarter faster into room that was allocated at once.
    allocate(to, expected);
    let mut copied = copy_in_kernel(from, to, expected);
    if copied < expected {
        copied += copy_by_buffer(from, to, temp)?;
    }
    if copied == expected {
        return Ok(());
    }
    let error = io::Error::new(io::ErrorKind::UnexpectedEof, format!("{copied} of {expected} bytes"));
    Err(super::Error::new("copy to", temp, error))
}

/// Copies up to `size` bytes from page cache to page cache, and returns the number of bytes copied. Both files are then
/// positioned after these bytes. Stops at the first error: [`copy_by_buffer`] either succeeds where the kernel cannot
/// copy between two files, or reports the error.
#[cfg(target_os = "linux")]
fn copy_in_kernel(from: &File, to: &File, size: u64) -> u64 {
    let mut copied = 0;
    while copied < size {
        let left = usize::try_from(size - copied).unwrap_or(usize::MAX);
        match nix::fcntl::copy_file_range(from, None, to, None, left) {
            Ok(0) => break,
            Ok(n) => copied += n as u64,
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => break,
        }
    }
    copied
}

#[cfg(not(target_os = "linux"))]
fn copy_in_kernel(_from: &File, _to: &File, _size: u64) -> u64 {
    0
}

/// Copies the rest of `from`, and returns the number of bytes copied.
fn copy_by_buffer(mut from: &File, mut to: &File, temp: &Path) -> Result<u64> {
    let mut buffer = vec![0; COPY_BUFFER_BYTES];
    let mut copied = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(n) => {
                to.write_all(&buffer[..n]).at("copy to", temp)?;
                copied += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(super::Error::new("copy to", temp, error)),
        }
    }
}

/// Allocates space in advance. Without support by the file system, each write allocates its own.
#[cfg(target_os = "linux")]
fn allocate(file: &File, size: u64) {
    if size > COPY_BUFFER_BYTES as u64
        && let Ok(size) = i64::try_from(size)
    {
        let _ = nix::fcntl::fallocate(file, nix::fcntl::FallocateFlags::empty(), 0, size);
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(_file: &File, _size: u64) {}

/// Sets permissions and mtime of a clone whose bytes are complete.
fn finish(file: &File, temp: &Path, from: &File, sharing: Sharing, mode: LinkMode) -> Result<()> {
    match sharing {
        // The copy was written just now.
        Sharing::Private { mtime: Mtime::Now, .. } if mode == LinkMode::Copy => Ok(()),
        Sharing::Private { mtime: Mtime::Now, .. } => clock::stamp_now(file, temp),
        Sharing::Private { mtime: Mtime::At(time), .. } => clock::stamp(file, temp, time),
        Sharing::Private { mtime: Mtime::Written, .. } => Ok(()),
        Sharing::Shared => {
            let stamp = super::Stamp::from(&from.metadata().at("stat", temp)?);
            file.set_permissions(Permissions::from_mode(stamp.mode & 0o7777)).at("set the mode of", temp)?;
            clock::stamp(file, temp, stamp.mtime)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::{Publish, Stamp};

    fn place(sharing: Sharing, bytes: &[u8]) -> (Stamp, Stamp, LinkMode) {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let publish = Publish { mtime: Mtime::At(clock::CANONICAL), ..Publish::default() };
        publish.bytes(&from, bytes).unwrap();
        let clone = Ladder::default().clone_beside(&from, &to, sharing).unwrap();
        let mode = clone.commit(&to).unwrap();
        assert_eq!(crate::fsx::read(&to).unwrap(), bytes);
        assert_eq!(crate::fsx::list(dir.path()).unwrap().len(), 2);
        (Stamp::of(&from).unwrap(), Stamp::of(&to).unwrap(), mode)
    }

    #[test]
    fn a_shared_clone_keeps_the_canonical_time() {
        let (from, to, mode) = place(Sharing::Shared, b"bytes");
        assert!(to.is_canonical());
        assert_eq!(from.ino == to.ino, mode == LinkMode::HardLink);
    }

    #[test]
    fn a_private_clone_has_its_own_inode_mode_and_time() {
        let (from, to, mode) = place(Sharing::Private { executable: true, mtime: Mtime::Now }, b"bytes");
        assert_ne!(from.ino, to.ino);
        assert_ne!(mode, LinkMode::HardLink);
        assert!(from.is_canonical() && !to.is_canonical());
        assert_eq!(to.mode & 0o100, 0o100);
    }

    #[test]
    fn i14_empty_files_are_never_linked() {
        let (from, to, _) = place(Sharing::Shared, b"");
        assert_ne!(from.ino, to.ino);
    }

    #[test]
    fn a_copy_has_all_bytes_whichever_way_it_takes() {
        // `/dev/shm` is another file system, and the kernel may refuse to copy between the two.
        let in_memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let dirs = [tempfile::tempdir().unwrap(), in_memory];
        for size in [0, 1, COPY_BUFFER_BYTES, 3 * COPY_BUFFER_BYTES + 7] {
            let bytes: Vec<u8> = (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let source = dirs[0].path().join("source");
            std::fs::write(&source, &bytes).unwrap();
            for target in dirs.iter().map(|dir| dir.path().join("target")) {
                let open = || (File::open(&source).unwrap(), File::create(&target).unwrap());
                let (from, to) = open();
                copy(&from, &to, &target).unwrap();
                assert_eq!(std::fs::read(&target).unwrap(), bytes);
                let (from, to) = open();
                let copied = copy_in_kernel(&from, &to, size as u64 / 2);
                assert_eq!(copied + copy_by_buffer(&from, &to, &target).unwrap(), size as u64);
                assert_eq!(std::fs::read(&target).unwrap(), bytes, "a copy that the kernel gave up half way");
            }
        }
    }

    #[test]
    fn committing_a_link_onto_its_own_inode_leaves_no_temp() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        Publish::default().bytes(&from, b"bytes").unwrap();
        for _ in 0..2 {
            Ladder::default().clone_beside(&from, &to, Sharing::Shared).unwrap().commit(&to).unwrap();
        }
        assert_eq!(crate::fsx::list(dir.path()).unwrap().len(), 2);
    }
}
