//! The clone ladder: reflink, else hard link where the caller allows a shared inode, else copy.
//!
//! Any error of a rung above copy means the next rung (EXDEV, EMLINK, EOPNOTSUPP, EPERM, ...). What did not work between the
//! two places once is not tried again by the same [`Ladder`].

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::publish::Mtime;
use super::temp::{Temp, new_file_beside};
use super::{At, Result, clock, sys_clone};

/// How bytes came to be at a second place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum LinkMode {
    /// Shared extents, own inode.
    Reflink,
    /// Shared inode.
    HardLink,
    /// Own bytes.
    Copy,
}

/// Whether the new name may share the inode of the old one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sharing {
    /// It may.
    Shared,
    /// It must have its own inode, with this mode and mtime.
    Private(u32, Mtime),
}

/// The ladder between one pair of places, with what was learned on it.
#[derive(Debug, Default)]
pub struct Ladder {
    no_reflink: bool,
    no_hard_link: bool,
}

/// A clone beside its target, not yet visible under the target's name. Dropping it removes it.
#[derive(Debug)]
pub struct Clone {
    temp: Temp,
    /// The rung that worked.
    pub mode: LinkMode,
}

impl Clone {
    /// Makes the clone visible as `target`, replacing what is there.
    pub fn commit(self, target: &Path) -> Result<()> {
        self.temp.persist(target)
    }

    /// Makes the clone visible as `target` unless something is there.
    pub fn commit_new(self, target: &Path) -> Result<()> {
        self.temp.persist_new(target)
    }

    /// Where the clone stands until it is committed.
    pub fn path(&self) -> &Path {
        self.temp.path()
    }
}

impl Ladder {
    /// Clones `source` to a temp beside `target`.
    ///
    /// A shared clone keeps the source's mode and mtime, on every rung. Empty files are never linked: identical empty files
    /// are what meets the file system's limit of names per inode first.
    pub fn clone_beside(&mut self, source: &Path, target: &Path, sharing: Sharing) -> Result<Clone> {
        let from = super::open(source)?;
        let metadata = from.metadata().at("stat", source)?;
        if let Some((file, temp)) = self.try_reflink(&from, target) {
            finish(&file, temp.path(), &from, sharing)?;
            return Ok(Clone { temp, mode: LinkMode::Reflink });
        }
        if sharing == Sharing::Shared
            && metadata.len() > 0
            && let Some(temp) = self.try_hard_link(source, target)
        {
            return Ok(Clone { temp, mode: LinkMode::HardLink });
        }
        let (file, temp) = copy_beside(&from, target)?;
        finish(&file, temp.path(), &from, sharing)?;
        Ok(Clone { temp, mode: LinkMode::Copy })
    }

    fn try_reflink(&mut self, from: &File, target: &Path) -> Option<(File, Temp)> {
        if self.no_reflink {
            return None;
        }
        let made = new_file_beside(target).ok().filter(|(file, _)| sys_clone::reflink(from, file).is_ok());
        self.no_reflink = made.is_none();
        made
    }

    fn try_hard_link(&mut self, source: &Path, target: &Path) -> Option<Temp> {
        if self.no_hard_link {
            return None;
        }
        let made = Temp::beside(target, |path| std::fs::hard_link(source, path));
        match made {
            Ok(((), temp)) => Some(temp),
            Err(error) => {
                // One inode at its limit says nothing of the next one.
                self.no_hard_link = error.kind() != io::ErrorKind::TooManyLinks;
                None
            }
        }
    }
}

fn copy_beside(mut from: &File, target: &Path) -> Result<(File, Temp)> {
    let (to, temp) = new_file_beside(target)?;
    let expected = from.metadata().at("stat", target)?.len();
    let copied = io::copy(&mut from, &mut &to).at("copy to", target)?;
    if copied == expected {
        return Ok((to, temp));
    }
    let error = io::Error::new(io::ErrorKind::UnexpectedEof, format!("{copied} of {expected} bytes"));
    Err(super::Error::new("copy to", target, error))
}

fn finish(file: &File, temp: &Path, from: &File, sharing: Sharing) -> Result<()> {
    let (mode, mtime) = match sharing {
        Sharing::Private(mode, mtime) => (mode, mtime),
        Sharing::Shared => {
            let stamp = super::Stamp::from(&from.metadata().at("stat", temp)?);
            (stamp.mode & 0o7777, Mtime::At(stamp.mtime))
        }
    };
    file.set_permissions(Permissions::from_mode(mode)).at("set the mode of", temp)?;
    match mtime {
        Mtime::Written => Ok(()),
        Mtime::Now => clock::stamp_now(file, temp),
        Mtime::At(time) => clock::stamp(file, temp, time),
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
        let mode = clone.mode;
        clone.commit(&to).unwrap();
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
        let (from, to, mode) = place(Sharing::Private(0o755, Mtime::Now), b"bytes");
        assert_ne!(from.ino, to.ino);
        assert_ne!(mode, LinkMode::HardLink);
        assert!(from.is_canonical() && !to.is_canonical());
        assert_eq!(to.mode & 0o777, 0o755);
    }

    #[test]
    fn i14_empty_files_are_never_linked() {
        let (from, to, _) = place(Sharing::Shared, b"");
        assert_ne!(from.ino, to.ino);
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
