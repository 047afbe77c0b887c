//! The objects in a directory of this machine, such as a mounted network file system: one file for each.
//!
//! kache creates directories below the root, but never the root: it could be a file system that is not mounted. No link
//! leads out of the root. A file appears under its name only when it is complete. All work is done on threads that may
//! block.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::names;
use super::range::ByteRange;
use crate::fsx::{self, FinishedFile, Publish, StagedFile};
use crate::model::Digest;
use crate::remote::s3::error::{Attempt, RemoteError, Result};
use crate::remote::s3::progress::{ActiveTransfer, Control, Meter, Phase};
use crate::remote::s3::small_objects::ObjectMetadata;
use crate::remote::s3::transfer::{Download, Upload, unless_stopped};
use crate::remote::tasks::run_blocking;

/// Bytes that are copied at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// The objects in a directory.
#[derive(Clone, Debug)]
pub struct DirObjects {
    root: Arc<Path>,
}

impl DirObjects {
    /// The objects below `root`, an absolute path.
    pub fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    pub(super) fn attempt(&self, verb: &'static str, name: &str) -> Attempt {
        Attempt { verb, object: name.to_owned(), place: format!("directory {}", self.root.display()) }
    }

    pub(super) fn root(&self) -> Arc<Path> {
        Arc::clone(&self.root)
    }

    /// Runs `work` with the path of an object.
    async fn at<T: Send + 'static>(
        &self,
        attempt: &Attempt,
        work: impl FnOnce(&Attempt, PathBuf) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        names::check(attempt)?;
        let (root, attempt) = (self.root(), attempt.clone());
        run_blocking(move || {
            let path = locate(&root, &attempt.object)?;
            work(&attempt, path)
        })
        .await
    }

    pub(super) async fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let read = move |attempt: &Attempt, path: PathBuf| {
            let Some((file, size)) = open(&path)? else { return Ok(None) };
            let too_long = |actual| RemoteError::Size { attempt: attempt.clone(), declared: limit, actual };
            if size > limit {
                return Err(too_long(size));
            }
            let mut bytes = Vec::new();
            let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
            read.map_err(|error| fsx::Error::new("read", &path, error))?;
            if bytes.len() as u64 > limit { Err(too_long(bytes.len() as u64)) } else { Ok(Some(bytes)) }
        };
        self.at(&self.attempt("get", name), read).await
    }

    pub(super) async fn get_range(&self, name: &str, range: ByteRange) -> Result<Option<Vec<u8>>> {
        let read = move |attempt: &Attempt, path: PathBuf| {
            let Some((file, size)) = open(&path)? else { return Ok(None) };
            let actual = size.saturating_sub(range.first).min(range.length);
            let length = usize::try_from(range.length).ok().filter(|_| actual == range.length);
            let Some(length) = length else {
                return Err(RemoteError::Size { attempt: attempt.clone(), declared: range.length, actual });
            };
            Ok(Some(fsx::offset::read_at(&file, &path, range.first, length)?))
        };
        self.at(&self.attempt("get", name), read).await
    }

    pub(super) async fn head(&self, name: &str) -> Result<Option<ObjectMetadata>> {
        let read = |_: &Attempt, path: PathBuf| {
            let metadata = fsx::optional(fsx::metadata(&path))?.filter(fsx::Metadata::is_file);
            Ok(metadata.map(|found| ObjectMetadata { size: found.len(), etag: None, modified: found.modified().ok() }))
        };
        self.at(&self.attempt("head", name), read).await
    }

    pub(super) async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let write = move |_: &Attempt, path: PathBuf| Ok(Publish::default().bytes(&path, &bytes).map(|_| ())?);
        self.at(&self.attempt("put", name), write).await
    }

    pub(super) async fn delete(&self, name: &str) -> Result<()> {
        self.at(&self.attempt("delete", name), |_, path| Ok(fsx::remove_file(&path)?)).await
    }

    pub(super) async fn download_bytes(&self, object: &Download, to: &ActiveTransfer) -> Result<Option<Vec<u8>>> {
        let attempt = self.attempt("get", &object.name);
        let copy = Copying::new(&attempt, to, Phase::Downloading);
        let object = object.clone();
        let read = move |attempt: &Attempt, path: PathBuf| {
            let Some((mut file, size)) = open(&path)? else { return Ok(None) };
            check_size(attempt, object.size, size)?;
            copy.meter.set_total(size);
            let mut bytes = Vec::new();
            copy.all(&mut file, &path, |chunk| {
                bytes.extend_from_slice(chunk);
                Ok(())
            })?;
            let digest = object.digest.map(|_| Digest::of(&bytes));
            check(attempt, &object, bytes.len() as u64, digest)?;
            Ok(Some(bytes))
        };
        unless_stopped(&attempt, to.control(), self.at(&attempt, read)).await
    }

    pub(super) async fn download_file(
        &self,
        object: &Download,
        path: &Path,
        to: &ActiveTransfer,
    ) -> Result<Option<FinishedFile>> {
        let attempt = self.attempt("get", &object.name);
        let copy = Copying::new(&attempt, to, Phase::Downloading);
        let (object, target) = (object.clone(), path.to_owned());
        let read = move |attempt: &Attempt, path: PathBuf| {
            let Some((mut file, size)) = open(&path)? else { return Ok(None) };
            check_size(attempt, object.size, size)?;
            copy.meter.set_total(size);
            let mut staged = Publish::default().begin(&target)?;
            let copied = copy.all(&mut file, &path, |chunk| Ok(staged.push(chunk)?))?;
            copy.meter.enter(Phase::Verifying);
            check(attempt, &object, copied, object.digest.map(|_| staged.digest()))?;
            Ok(Some(staged.finish()?))
        };
        unless_stopped(&attempt, to.control(), self.at(&attempt, read)).await
    }

    pub(super) async fn upload_file(&self, upload: &Upload, to: &ActiveTransfer) -> Result<()> {
        let attempt = self.attempt("put", &upload.name);
        let copy = Copying::new(&attempt, to, Phase::Uploading);
        let upload = upload.clone();
        let write = move |attempt: &Attempt, path: PathBuf| {
            let mut file = fsx::open(&upload.path)?;
            let mut staged: StagedFile = Publish::default().begin(&path)?;
            let copied = copy.all(&mut file, &upload.path, |chunk| Ok(staged.push(chunk)?))?;
            copy.meter.enter(Phase::Verifying);
            if (copied, staged.digest()) != (upload.size, upload.digest) {
                return Err(RemoteError::Digest { attempt: attempt.clone() });
            }
            staged.commit()?;
            Ok(())
        };
        unless_stopped(&attempt, to.control(), self.at(&attempt, write)).await
    }
}

/// A copy in progress, on a thread that cannot be aborted.
struct Copying {
    attempt: Attempt,
    control: Control,
    meter: Meter,
}

impl Copying {
    fn new(attempt: &Attempt, transfer: &ActiveTransfer, phase: Phase) -> Self {
        transfer.enter(phase);
        Self { attempt: attempt.clone(), control: transfer.control().clone(), meter: transfer.meter().clone() }
    }

    /// Passes all bytes of the file to `write`, and returns their number. Stops if the transfer is cancelled.
    fn all(&self, file: &mut File, path: &Path, mut write: impl FnMut(&[u8]) -> Result<()>) -> Result<u64> {
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut copied = 0;
        loop {
            if self.control.cancel.is_cancelled() {
                return Err(RemoteError::Cancelled { attempt: self.attempt.clone() });
            }
            if self.control.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(RemoteError::TimedOut { attempt: self.attempt.clone() });
            }
            match file.read(&mut buffer) {
                Ok(0) => return Ok(copied),
                Ok(read) => {
                    write(&buffer[..read])?;
                    copied += read as u64;
                    self.meter.advance(read as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(fsx::Error::new("read", path, error).into()),
            }
        }
    }
}

/// The root as the system knows it. Fails if the directory does not exist.
pub(super) fn real_root(root: &Path) -> fsx::Result<PathBuf> {
    let missing = || {
        let cause = io::Error::other("the directory does not exist, or is not mounted");
        fsx::Error::new("use the remote in", root, cause)
    };
    let is_dir = fsx::optional(fsx::metadata(root))?.is_some_and(|found| found.is_dir());
    if is_dir { fsx::canonicalize(root) } else { Err(missing()) }
}

/// The path of an object with a plain name. Fails if the root does not exist, or if a link leads out of it.
fn locate(root: &Path, name: &str) -> fsx::Result<PathBuf> {
    let root = real_root(root)?;
    let path = root.join(name);
    let existing = path.ancestors().find(|path| fsx::exists(path)).unwrap_or(&root);
    match fsx::canonicalize(existing) {
        Ok(real) if real.starts_with(&root) => Ok(path),
        Ok(_) | Err(_) => {
            let cause = io::Error::new(io::ErrorKind::PermissionDenied, "a link leads out of the remote");
            Err(fsx::Error::new("use", existing, cause))
        }
    }
}

/// Opens an object, and returns its size. `None`: it does not exist.
fn open(path: &Path) -> fsx::Result<Option<(File, u64)>> {
    // Other than regular files could block, such as a pipe.
    let metadata = fsx::optional(fsx::metadata(path))?.filter(fsx::Metadata::is_file);
    let Some(metadata) = metadata else { return Ok(None) };
    Ok(fsx::optional(fsx::open(path))?.map(|file| (file, metadata.len())))
}

fn check_size(attempt: &Attempt, declared: Option<u64>, actual: u64) -> Result<()> {
    match declared {
        Some(declared) if declared != actual => Err(RemoteError::Size { attempt: attempt.clone(), declared, actual }),
        _ => Ok(()),
    }
}

fn check(attempt: &Attempt, object: &Download, size: u64, digest: Option<Digest>) -> Result<()> {
    check_size(attempt, object.size, size)?;
    match digest == object.digest {
        true => Ok(()),
        false => Err(RemoteError::Digest { attempt: attempt.clone() }),
    }
}
