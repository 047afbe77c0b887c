//! Blobs: content-addressed files.
//!
//! Every blob has the canonical mtime, and mode bits that let its owner write: rustc would refuse to replace a
//! read-only output once kache is gone. If a blob does not have the recorded size and mtime, it was written through
//! some link. kache then reads it again, and either stamps it anew or moves it to quarantine.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::Store;
use crate::fsx::ladder::Sharing;
use crate::fsx::{self, Ladder, Mtime, Stamp, clock};
use crate::model::BlobId;

/// A blob that passed the check of its size and mtime, or of its content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blob {
    /// Path of its file in the store.
    pub path: PathBuf,
    /// Its permission bits, which are those of every file that shares its inode.
    pub mode: u32,
}

/// Why a blob cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BlobProblem {
    /// It does not exist (any more), or cannot be read.
    #[error("the blob is gone")]
    Gone,
    /// Its content does not match its name, so it was moved to quarantine; or its size is not that in the entry.
    #[error("the blob was damaged")]
    Corrupt,
}

impl Store {
    /// Adds the file at `source` to the store, and returns how many bytes this added.
    ///
    /// `read` is the stamp under which the bytes were found to be `id`: a source that was written since is refused.
    /// With `share`, the inode of the source may become the blob, and the source then has the canonical mtime.
    pub fn adopt_blob(
        &self,
        ladder: &mut Ladder,
        source: &Path,
        read: Stamp,
        id: BlobId,
        share: bool,
    ) -> fsx::Result<u64> {
        let target = self.layout.blob(id);
        // A new entry vouches for its blobs: read back one that exists already, perhaps since before a crash.
        if fsx::exists(&target) && self.verify_blob(id).is_ok() {
            return Ok(0);
        }
        let check = || match Stamp::of(source)?.is_same_file(&read) {
            true => Ok(()),
            false => Err(fsx::Error::new("store", source, std::io::Error::other("it was written meanwhile"))),
        };
        if share {
            check()?;
            clock::stamp(&fsx::open(source)?, source, clock::CANONICAL)?;
            return ladder.clone_beside(source, &target, Sharing::Shared)?.commit_new(&target).map(|()| read.size);
        }
        let private = Sharing::Private { executable: false, mtime: Mtime::At(clock::CANONICAL) };
        let clone = ladder.clone_beside(source, &target, private)?;
        check()?;
        clone.commit_new(&target)?;
        Ok(read.size)
    }

    /// Returns the blob, which is read again unless its size and mtime are the recorded ones.
    pub fn check_blob(&self, id: BlobId, size: u64) -> Result<Blob, BlobProblem> {
        let path = self.layout.blob(id);
        let stamp = Stamp::of(&path).map_err(|_| BlobProblem::Gone)?;
        if stamp.size != size || !stamp.is_canonical() {
            self.recheck_blob(&path, id)?;
        }
        Ok(Blob { path, mode: stamp.mode & 0o777 })
    }

    /// Returns the bytes of a blob, after the same check as [`Store::check_blob`]. For small blobs: the bytes are held
    /// in memory.
    pub fn read_blob(&self, id: BlobId, size: u64) -> Result<Vec<u8>, BlobProblem> {
        let path = self.layout.blob(id);
        let mut file = fsx::open(&path).map_err(|_| BlobProblem::Gone)?;
        let stamp = file.metadata().map(|metadata| Stamp::from(&metadata)).map_err(|_| BlobProblem::Gone)?;
        if stamp.size != size || !stamp.is_canonical() {
            self.recheck_blob(&path, id)?;
        }
        // The blob is whole and the entry is wrong. It may name any size, so do not allocate that much memory.
        if stamp.size != size {
            return Err(BlobProblem::Corrupt);
        }
        let mut bytes = vec![0; usize::try_from(size).map_err(|_| BlobProblem::Corrupt)?];
        file.read_exact(&mut bytes).map_err(|_| BlobProblem::Gone)?;
        Ok(bytes)
    }

    /// Reads the blob and compares it with its name. A blob that does not match is moved to quarantine.
    pub fn verify_blob(&self, id: BlobId) -> Result<(), BlobProblem> {
        self.recheck_blob(&self.layout.blob(id), id)
    }

    fn recheck_blob(&self, path: &Path, id: BlobId) -> Result<(), BlobProblem> {
        let fresh = super::Stamps::open(Path::new("/dev/null"));
        let content = fresh.content(path).map_err(|_| BlobProblem::Gone)?;
        if content.digest == id.0 {
            // Only its time was set. If the store is read-only, the blob is checked again next time.
            if let Ok(file) = fsx::open(path) {
                let _ = clock::stamp(&file, path, clock::CANONICAL);
            }
            return Ok(());
        }
        self.quarantine(path, id);
        Err(BlobProblem::Corrupt)
    }

    /// Moves a damaged blob to quarantine. One that cannot be moved is still never restored.
    fn quarantine(&self, path: &Path, id: BlobId) {
        let dir = self.layout.quarantine();
        let _ = fsx::create_dir_all(&dir);
        let _ = fsx::rename(path, &dir.join(id.0.hex()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::Publish;
    use crate::model::Digest;
    use std::io::Write;

    struct StoredBlob {
        dir: tempfile::TempDir,
        store: Store,
        id: BlobId,
    }

    fn stored_blob() -> StoredBlob {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache"));
        let source = dir.path().join("source");
        Publish::default().bytes(&source, b"bytes").unwrap();
        let id = BlobId(Digest::of(b"bytes"));
        let adopt =
            || store.adopt_blob(&mut Ladder::default(), &source, Stamp::of(&source).unwrap(), id, true).unwrap();
        assert_eq!((adopt(), adopt()), (5, 0));
        StoredBlob { dir, store, id }
    }

    #[test]
    fn an_adopted_blob_is_canonical() {
        let f = stored_blob();
        let path = f.store.check_blob(f.id, 5).unwrap().path;
        assert!(Stamp::of(&path).unwrap().is_canonical());
        assert_ne!(Stamp::of(&path).unwrap().mode & 0o200, 0);
    }

    #[test]
    fn i01_a_blob_written_through_a_link_goes_to_quarantine() {
        let f = stored_blob();
        let path = f.store.layout().blob(f.id);
        fsx::open_rw(&path).unwrap().write_all(b"BYTES").unwrap();
        assert_eq!(f.store.check_blob(f.id, 5), Err(BlobProblem::Corrupt));
        assert_eq!(f.store.check_blob(f.id, 5), Err(BlobProblem::Gone));
        assert_eq!(fsx::list(&f.store.layout().quarantine()).unwrap().len(), 1);
    }

    #[test]
    fn i06_a_blob_that_is_there_already_is_read_back() {
        let f = stored_blob();
        let path = f.store.layout().blob(f.id);
        fsx::remove_file(&path).unwrap();
        let torn = Publish { mtime: Mtime::At(clock::CANONICAL), ..Publish::default() };
        torn.bytes(&path, &[0; 5]).unwrap();
        let source = f.dir.path().join("again");
        Publish::default().bytes(&source, b"bytes").unwrap();
        let read = Stamp::of(&source).unwrap();
        assert_eq!(f.store.adopt_blob(&mut Ladder::default(), &source, read, f.id, true).unwrap(), 5);
        f.store.verify_blob(f.id).unwrap();
    }

    #[test]
    fn a_source_that_was_written_since_it_was_read_is_refused() {
        let f = stored_blob();
        let source = f.dir.path().join("other");
        Publish::default().bytes(&source, b"other").unwrap();
        let read = Stamp::of(&source).unwrap();
        fsx::open_rw(&source).unwrap().write_all(b"OTHER!").unwrap();
        let id = BlobId(Digest::of(b"other"));
        assert!(f.store.adopt_blob(&mut Ladder::default(), &source, read, id, false).is_err());
        assert_eq!(f.store.check_blob(id, 5), Err(BlobProblem::Gone));
    }

    #[test]
    fn a_touched_blob_is_read_and_stamped_again() {
        let f = stored_blob();
        let path = f.store.layout().blob(f.id);
        clock::stamp_now(&fsx::open(&path).unwrap(), &path).unwrap();
        f.store.check_blob(f.id, 5).unwrap();
        assert!(Stamp::of(&path).unwrap().is_canonical());
        drop(f.dir);
    }

    #[test]
    fn i07_a_truncated_blob_is_never_used() {
        let f = stored_blob();
        let path = f.store.layout().blob(f.id);
        let file = fsx::open_rw(&path).unwrap();
        file.set_len(3).unwrap();
        clock::stamp(&file, &path, clock::CANONICAL).unwrap();
        assert_eq!(f.store.check_blob(f.id, 5), Err(BlobProblem::Corrupt));
    }
}
