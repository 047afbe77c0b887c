//! Publishing: the only way in which kache writes a file that others may read. The file appears whole, or not at all.
//!
//! The bytes go to a temp file beside the target, and are hashed on the way. Then the digest is compared with the
//! expected one, and the file becomes visible by one rename ([`StagedFile::commit`]). If the parent of the target does
//! not exist, the temp file is in the nearest directory above it, and the commit creates the parent. So if anything
//! ends before the commit (an error, a drop, other bytes than the expected ones), the temp file is removed, the old
//! target stays, and there is no new directory. Temp files of killed processes are recognised by their names
//! ([`super::temp::PREFIX`]) and removed by age (`fsx::sweep`).

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::clock::{self, Time};
use super::temp::{self, Temp};
use super::{At, Error, Result};
use crate::model::Digest;

/// The mtime of a published file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mtime {
    /// The time of the last write.
    #[default]
    Written,
    /// The kernel's time at the commit.
    Now,
    /// This time, such as [`clock::CANONICAL`] for a blob.
    At(Time),
}

/// How to publish a file. By default, kache replaces an existing target and does not sync.
#[derive(Clone, Debug)]
pub struct Publish {
    /// Permission bits of the file; `None` leaves them to the umask.
    pub mode: Option<u32>,
    /// The mtime of the file.
    pub mtime: Mtime,
    /// Whether `commit` returns only after the file and its directory are on the disk.
    pub sync: bool,
    /// Whether an existing target stays. For content-addressed targets, which have the same bytes.
    pub keep_existing: bool,
    /// If set, the digest of the only bytes that may be published.
    pub expect: Option<Digest>,
}

impl Default for Publish {
    fn default() -> Self {
        Self { mode: None, mtime: Mtime::Written, sync: false, keep_existing: false, expect: None }
    }
}

/// The digest and size of a published file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedFile {
    /// Digest of the bytes.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
}

/// A temp file that is being written, and where its bytes are to be published. There is one for each way to write it.
#[derive(Debug)]
pub(super) struct Staging {
    /// Written at offsets only, so that its cursor stays at the first byte.
    pub(super) file: Arc<File>,
    pub(super) temp: Temp,
    pub(super) options: Publish,
    target: PathBuf,
}

/// A file that is being written, beside its target or above it.
#[derive(Debug)]
pub struct StagedFile {
    staging: Staging,
    hasher: blake3::Hasher,
    size: u64,
}

/// A file that is complete and closed, but not yet visible.
#[derive(Debug)]
pub struct FinishedFile {
    temp: Temp,
    target: PathBuf,
    options: Publish,
    published: PublishedFile,
}

impl Publish {
    /// Begins to write `target`: checks that it can be a file, then creates a temp file. Creates no directory.
    pub fn begin(&self, target: &Path) -> Result<StagedFile> {
        Ok(StagedFile { staging: self.stage(target)?, hasher: blake3::Hasher::new(), size: 0 })
    }

    pub(super) fn stage(&self, target: &Path) -> Result<Staging> {
        check_shape(target)?;
        let (file, temp) = temp::new_file_near(target)?;
        Ok(Staging { file: Arc::new(file), temp, options: self.clone(), target: target.to_owned() })
    }

    /// Publishes these bytes as `target`.
    pub fn bytes(&self, target: &Path, bytes: &[u8]) -> Result<PublishedFile> {
        let mut staged = self.begin(target)?;
        staged.push(bytes)?;
        staged.commit()
    }

    /// Publishes all bytes of `source`. If reading it fails, `target` stays as it is.
    pub fn reader(&self, target: &Path, source: &mut impl io::Read) -> Result<PublishedFile> {
        let mut staged = self.begin(target)?;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return staged.commit(),
                Ok(n) => staged.push(&buffer[..n])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::new("read the source of", target, error)),
            }
        }
    }
}

impl Staging {
    /// Refuses bytes that are not the expected ones.
    pub(super) fn compare(&self, written: PublishedFile) -> Result<()> {
        if self.options.expect.is_some_and(|expected| expected != written.digest) {
            return Err(temp::refuse(&self.target, io::ErrorKind::InvalidData, "the bytes are not the expected ones"));
        }
        Ok(())
    }

    /// The file after [`Self::compare`] and [`finish_inode`].
    pub(super) fn finished(self, published: PublishedFile) -> FinishedFile {
        FinishedFile { temp: self.temp, target: self.target, options: self.options, published }
    }
}

impl StagedFile {
    /// Appends bytes to the temp file, and adds them to the digest.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.staging.file.write_all_at(bytes, self.size).at("write", self.staging.temp.path())?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Returns the digest of the bytes so far.
    pub fn digest(&self) -> Digest {
        Digest::from_bytes(*self.hasher.finalize().as_bytes())
    }

    /// Makes the file visible under its target's name. Call it once the source has ended without an error.
    pub fn commit(self) -> Result<PublishedFile> {
        self.finish()?.commit()
    }

    /// Closes the file without making it visible, so that any number of files can be committed together. Call it once
    /// the source has ended without an error. Fails if the bytes are not the expected ones
    /// ([`Error::is_unexpected_content`]).
    pub fn finish(self) -> Result<FinishedFile> {
        let published = PublishedFile { digest: self.digest(), size: self.size };
        self.staging.compare(published)?;
        finish_inode(&self.staging.file, self.staging.temp.path(), &self.staging.options)?;
        Ok(self.staging.finished(published))
    }
}

impl FinishedFile {
    /// The digest and size of the file.
    pub fn published(&self) -> PublishedFile {
        self.published
    }

    /// Opens the file for reading, for bytes that are used without a name. It is removed with `self`.
    pub fn open(&self) -> Result<File> {
        super::open(self.temp.path())
    }

    /// Makes the file visible under its target's name. Creates the parent of the target if it is absent.
    pub fn commit(self) -> Result<PublishedFile> {
        let sync = self.sync_after_rename();
        let published = self.rename()?;
        sync.map_or(Ok(()), |sync| sync())?;
        Ok(published)
    }

    pub(super) fn rename(self) -> Result<PublishedFile> {
        self.temp.publish(&self.target, self.options.keep_existing)?;
        Ok(self.published)
    }

    /// What is left to do after the rename, if the file is to be synced.
    pub(super) fn sync_after_rename(&self) -> Option<impl FnOnce() -> Result<()> + Send + 'static> {
        let target = self.target.clone();
        self.options.sync.then_some(move || sync_parent(&target))
    }
}

impl Write for StagedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.staging.file.write_at(bytes, self.size)?;
        self.hasher.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn finish_inode(file: &File, temp: &Path, options: &Publish) -> Result<()> {
    if let Some(mode) = options.mode {
        file.set_permissions(Permissions::from_mode(mode)).at("set the mode of", temp)?;
    }
    match options.mtime {
        Mtime::Written => {}
        Mtime::Now => clock::stamp_now(file, temp)?,
        Mtime::At(time) => clock::stamp(file, temp, time)?,
    }
    if options.sync {
        file.sync_all().at("sync", temp)?;
    }
    Ok(())
}

/// Refuses a target that cannot become a file, before anything is created.
fn check_shape(target: &Path) -> Result<()> {
    let refuse = |kind, why| Err(temp::refuse(target, kind, why));
    let ends_in_name =
        target.file_name().is_some_and(|name| target.as_os_str().as_encoded_bytes().ends_with(name.as_encoded_bytes()));
    if !ends_in_name {
        return refuse(io::ErrorKind::InvalidInput, "the target has no file name");
    }
    match super::metadata(target) {
        Ok(metadata) if metadata.is_dir() => refuse(io::ErrorKind::IsADirectory, "the target is a directory"),
        _ => Ok(()),
    }
}

fn sync_parent(target: &Path) -> Result<()> {
    let parent = temp::parent_of(target);
    super::open(parent)?.sync_all().at("sync", parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            crate::fsx::list(dir).unwrap().into_iter().map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A source that fails after its first bytes.
    struct Failing(bool);

    impl io::Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(io::Error::other("cut"));
            }
            buffer[..3].copy_from_slice(b"new");
            Ok(3)
        }
    }

    #[test]
    fn bytes_arrive_whole_with_mode_and_mtime() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a/b/file");
        let publish =
            Publish { mode: Some(0o755), mtime: Mtime::At(clock::CANONICAL), sync: true, ..Publish::default() };
        let published = publish.bytes(&target, b"hello").unwrap();
        assert_eq!(published, PublishedFile { digest: Digest::of(b"hello"), size: 5 });
        let stamp = super::super::Stamp::of(&target).unwrap();
        assert!(stamp.is_canonical());
        assert_eq!(stamp.mode & 0o777, 0o755);
        assert_eq!(names(&dir.path().join("a/b")), ["file"]);
    }

    #[test]
    fn a_failing_or_dropped_source_leaves_the_old_target_and_no_temp() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("file");
        Publish::default().bytes(&target, b"old").unwrap();
        assert!(Publish::default().reader(&target, &mut Failing(false)).is_err());
        let mut dropped = Publish::default().begin(&target).unwrap();
        dropped.push(b"half").unwrap();
        drop(dropped);
        assert_eq!(super::super::read(&target).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["file"]);
    }

    #[test]
    fn other_bytes_than_expected_are_not_published() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("file");
        let publish = Publish { expect: Some(Digest::of(b"right")), ..Publish::default() };
        assert!(publish.bytes(&target, b"wrong").is_err());
        assert!(names(dir.path()).is_empty());
        publish.bytes(&target, b"right").unwrap();
    }

    #[test]
    fn a_directory_is_created_only_for_a_file_that_becomes_visible() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a/b/file");
        let publish = Publish { expect: Some(Digest::of(b"right")), ..Publish::default() };
        let is_clean = || names(dir.path()).is_empty();
        assert!(publish.bytes(&target, b"wrong").is_err() && is_clean());
        assert!(Publish::default().reader(&target, &mut Failing(false)).is_err() && is_clean());
        let mut staged = publish.begin(&target).unwrap();
        staged.push(b"right").unwrap();
        assert!(!is_clean(), "control: the temp file is here");
        let finished = staged.finish().unwrap();
        assert!(!super::super::exists(&dir.path().join("a")));
        drop(finished);
        assert!(is_clean());
        publish.bytes(&target, b"right").unwrap();
        assert_eq!(names(dir.path()), ["a"]);
        assert_eq!(names(target.parent().unwrap()), ["file"]);
    }

    #[test]
    fn a_target_that_cannot_be_a_file_is_refused_before_any_side_effect() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("sub");
        crate::fsx::create_dir_all(&sub).unwrap();
        assert!(Publish::default().begin(&sub).is_err());
        assert!(Publish::default().begin(&dir.path().join("new/..")).is_err());
        assert!(Publish::default().begin(&dir.path().join("new/x/")).is_err());
        assert_eq!(names(dir.path()), ["sub"]);
    }

    #[test]
    fn thirty_two_writers_leave_one_whole_file() {
        let root = tempfile::tempdir().unwrap();
        // All of them create the directories.
        let dir = root.path().join("a/b");
        let target = dir.join("file");
        std::thread::scope(|scope| {
            for writer in 0..32_u8 {
                let target = &target;
                scope.spawn(move || Publish::default().bytes(target, &vec![writer; 100_000]).unwrap());
            }
        });
        let bytes = crate::fsx::read(&target).unwrap();
        assert_eq!(bytes.len(), 100_000);
        assert!(bytes.iter().all(|byte| *byte == bytes[0]));
        assert_eq!(names(&dir), ["file"]);
        assert_eq!(names(root.path()), ["a"]);
    }

    #[test]
    fn an_existing_target_may_stay() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("file");
        Publish::default().bytes(&target, b"first").unwrap();
        Publish { keep_existing: true, ..Publish::default() }.bytes(&target, b"second").unwrap();
        assert_eq!(crate::fsx::read(&target).unwrap(), b"first");
        assert_eq!(names(dir.path()), ["file"]);
    }
}
