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

/// At most this often, the parent of a target is created again because another process has removed it.
const MAX_PARENT_ATTEMPTS: u32 = 3;

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

    /// Like [`Self::beside`], but creates no directory: if the parent is absent, the temp is in the nearest directory
    /// above it that exists, which is on the same file system as the parent will be. [`Self::publish`] creates the
    /// parent.
    pub(super) fn near<R>(target: &Path, mut make: impl FnMut(&Path) -> io::Result<R>) -> Result<(R, Self)> {
        let parent = parent_of(target);
        let mut made = create(parent, &mut make);
        for dir in parent.ancestors().skip(1) {
            match &made {
                // Do not check which directory exists: another process may create or remove one meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => made = create(or_current(dir), &mut make),
                _ => break,
            }
        }
        made.at("create a file for", target)
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
        rename_unless_exists(&self.path, target)
    }

    /// Renames the temp to `target`, and creates the parent of `target` if it is absent. An existing `target` stays if
    /// `keep_existing`, else it is replaced. After an error, no directory is left that this call created, unless
    /// another process has put something into it.
    pub(super) fn publish(self, target: &Path, keep_existing: bool) -> Result<()> {
        let rename = || match keep_existing {
            true => rename_unless_exists(&self.path, target),
            false => super::rename(&self.path, target),
        };
        let mut renamed = rename();
        for _ in 0..MAX_PARENT_ATTEMPTS {
            match &renamed {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                _ => break,
            }
            renamed = NewDirectories::create(parent_of(target)).and_then(|created| {
                rename()?;
                created.keep();
                Ok(())
            });
        }
        renamed
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

/// Directories that this process has created. Removed on drop, as far as they are empty.
#[derive(Debug)]
struct NewDirectories(Vec<PathBuf>);

impl NewDirectories {
    /// Creates `dir` and its parents as far as they are absent. Remembers only those that did not exist.
    fn create(dir: &Path) -> Result<Self> {
        let is_absent = |dir: &&Path| super::metadata(or_current(dir)).is_err();
        let missing: Vec<&Path> = dir.ancestors().take_while(is_absent).collect();
        let mut created = Self(Vec::new());
        for dir in missing.into_iter().rev() {
            match std::fs::create_dir(dir) {
                Ok(()) => created.0.push(dir.to_owned()),
                // It is another process's directory, or leads to one that exists, as `a/..` does.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::new("create directory", dir, error)),
            }
        }
        Ok(created)
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for NewDirectories {
    fn drop(&mut self) {
        for dir in self.0.iter().rev() {
            // A directory in use is not empty, and stays. A process of kache that is about to use an empty one creates
            // it again.
            let _ = super::remove_if_empty(dir);
        }
    }
}

/// Creates an empty file beside `target`, open for reading and writing, with the permissions that the umask leaves.
pub(super) fn new_file_beside(target: &Path, executable: bool) -> Result<(File, Temp)> {
    let mode = if executable { 0o777 } else { 0o666 };
    Temp::beside(target, |path| File::options().read(true).write(true).create_new(true).mode(mode).open(path))
}

/// Creates an empty file for `target` like [`new_file_beside`], but creates no directory ([`Temp::near`]).
pub(super) fn new_file_near(target: &Path) -> Result<(File, Temp)> {
    Temp::near(target, |path| File::options().read(true).write(true).create_new(true).mode(0o666).open(path))
}

/// Returns the directory that contains `target`.
pub(super) fn parent_of(target: &Path) -> &Path {
    or_current(target.parent().unwrap_or(Path::new("")))
}

/// The current directory in place of an empty path.
fn or_current(dir: &Path) -> &Path {
    if dir == Path::new("") { Path::new(".") } else { dir }
}

fn rename_unless_exists(from: &Path, to: &Path) -> Result<()> {
    match rename_noreplace(from, to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Not every file system can check this in the rename. On those that cannot, the last rename wins.
        Err(_) if super::exists(to) => Ok(()),
        Err(_) => super::rename(from, to),
        Ok(()) => Ok(()),
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

    fn temp_of(target: &Path) -> Temp {
        new_file_near(target).unwrap().1
    }

    #[test]
    fn a_temp_near_its_target_creates_no_directory() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a/b/target");
        let temp = temp_of(&target);
        assert_eq!(temp.path().parent(), Some(dir.path()));
        assert!(!super::super::exists(&dir.path().join("a")));
        std::fs::create_dir(dir.path().join("a")).unwrap();
        assert_eq!(temp_of(&target).path().parent(), Some(dir.path().join("a").as_path()), "the nearest");
        temp.publish(&target, false).unwrap();
        assert_eq!(super::super::list(dir.path()).unwrap(), ["a"]);
        assert!(super::super::exists(&target));
    }

    #[test]
    fn a_parent_that_another_process_removes_is_created_again() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a/b/target");
        std::fs::create_dir(dir.path().join("a")).unwrap();
        let (_, temp) = new_file_near(&dir.path().join("target")).unwrap();
        std::fs::remove_dir(dir.path().join("a")).unwrap();
        temp.publish(&target, true).unwrap();
        assert!(super::super::exists(&target));
    }

    #[test]
    fn a_failed_rename_leaves_only_directories_that_others_use() {
        for is_used in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let target = dir.path().join("a/b/target");
            let created = NewDirectories::create(parent_of(&target)).unwrap();
            assert_eq!(created.0.len(), 2);
            if is_used {
                File::create_new(dir.path().join("a/other")).unwrap();
            }
            drop(created);
            assert!(!super::super::exists(&dir.path().join("a/b")), "empty");
            assert_eq!(super::super::exists(&dir.path().join("a")), is_used);
            // The temp is gone, so the rename fails.
            let temp = temp_of(&target);
            super::super::remove_file(temp.path()).unwrap();
            assert!(temp.publish(&target, false).is_err());
            assert_eq!(super::super::exists(&dir.path().join("a")), is_used);
            assert!(!super::super::exists(&dir.path().join("a/b")));
        }
    }

    #[test]
    fn a_directory_of_another_process_stays() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        drop(NewDirectories::create(&dir.path().join("a/b")).unwrap());
        assert_eq!(super::super::list(dir.path()).unwrap(), ["a"], "it was there before");
        NewDirectories::create(&dir.path().join("a/b")).unwrap().keep();
        assert!(super::super::exists(&dir.path().join("a/b")));
    }
}
