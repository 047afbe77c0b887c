//! Temp files: they have recognisable names beside their target, and are removed unless they are published.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{At, Error, Result};

/// The prefix of the names of temp files.
pub const PREFIX: &str = ".kache-tmp-";

/// At most this many names are tried; if all exist, something is wrong.
const MAX_ATTEMPTS: u32 = 100;

/// A temp file or directory, which is removed on drop.
#[derive(Debug)]
pub struct Temp {
    path: PathBuf,
}

impl Temp {
    /// Creates a temp beside `target` with `make`, which must fail if its path exists. Creates the parent if it is
    /// absent.
    pub fn beside<R>(target: &Path, mut make: impl FnMut(&Path) -> io::Result<R>) -> Result<(R, Self)> {
        let parent = parent_of(target);
        match create(parent, &mut make) {
            // Do not check whether the parent exists: another process may have created it since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                super::create_dir_all(parent)?;
                create(parent, &mut make).at("create a file beside", target)
            }
            made => made.at("create a file beside", target),
        }
    }

    /// Creates a temp directory in the system's directory for temporary files.
    pub fn dir() -> Result<Self> {
        let parent = std::env::temp_dir();
        create(&parent, &mut |path| std::fs::create_dir(path))
            .at("create a directory in", &parent)
            .map(|((), temp)| temp)
    }

    /// Returns the path of the temp file or directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Renames the temp to `target`, replacing an existing file.
    ///
    /// A rename onto another name of the same inode does nothing and leaves the temp behind (POSIX). The target is then
    /// already correct, and the drop removes the second name.
    pub fn rename_to(self, target: &Path) -> Result<()> {
        super::rename(&self.path, target)
    }

    /// Renames the temp to `target`, unless `target` exists.
    pub fn rename_unless_exists(self, target: &Path) -> Result<()> {
        match rename_noreplace(&self.path, target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // Not every file system can check this in the rename. On those that cannot, the last rename wins.
            Err(_) if super::exists(target) => Ok(()),
            Err(_) => super::rename(&self.path, target),
            Ok(()) => Ok(()),
        }
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        // After a rename, the path is usually absent.
        if super::remove_file(&self.path).is_err() {
            let _ = super::remove_dir_all(&self.path);
        }
    }
}

/// Creates an empty file in the directory of `target`, open for reading and writing. For bytes that are never published
/// under a name.
pub fn file_beside(target: &Path) -> Result<(File, Temp)> {
    new_file_beside(target, false)
}

/// Creates an empty file beside `target`, open for reading and writing, with the permissions that the umask leaves.
pub(super) fn new_file_beside(target: &Path, executable: bool) -> Result<(File, Temp)> {
    let mode = if executable { 0o777 } else { 0o666 };
    Temp::beside(target, |path| File::options().read(true).write(true).create_new(true).mode(mode).open(path))
}

/// Returns the directory that contains `target`.
pub(super) fn parent_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn create<R>(parent: &Path, make: &mut impl FnMut(&Path) -> io::Result<R>) -> io::Result<(R, Temp)> {
    let mut attempt = || {
        let path = parent.join(format!("{PREFIX}{:016x}", RandomState::new().build_hasher().finish()));
        make(&path).map(|made| (made, Temp { path }))
    };
    for _ in 1..MAX_ATTEMPTS {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made,
        }
    }
    attempt()
}

#[cfg(target_os = "linux")]
fn rename_noreplace(from: &Path, to: &Path) -> io::Result<()> {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE).map_err(Into::into)
}

#[cfg(not(target_os = "linux"))]
fn rename_noreplace(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::hard_link(from, to)
}

/// Returns the error for a target that cannot be published.
pub(super) fn refuse(target: &Path, kind: io::ErrorKind, why: &'static str) -> Error {
    Error::new("publish", target, io::Error::new(kind, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_that_appears_meanwhile_is_as_good_as_one_that_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("missing/target");
        let mut is_first = true;
        let make = |path: &Path| {
            if std::mem::take(&mut is_first) {
                let missing = File::create_new(path).expect_err("no parent");
                std::fs::create_dir(path.parent().unwrap()).unwrap();
                return Err(missing);
            }
            File::create_new(path)
        };
        Temp::beside(&target, make).expect("the second try");
    }
}
