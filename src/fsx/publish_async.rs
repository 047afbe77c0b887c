//! Publishing from async tasks, with the rules of [`super::publish`]: bytes that arrive in order
//! ([`AsyncStagedFile`]), or at offsets from several tasks ([`StagedParts`]).
//!
//! Bytes are written and hashed on blocking threads. The caller's future owns the temp file, and the threads only have
//! the open file. So when the future is dropped, the temp file is removed at once, and a write that has begun goes to a
//! file without a name.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::async_writer::{AsyncWriter, SharedFile};
use super::blocking::run_blocking;
use super::file_digest;
use super::publish::{FinishedFile, Publish, PublishedFile, Staging, finish_inode};
use super::{Error, Result};

/// Space for the bytes that are read from a source at once.
const READ_BYTES: usize = 64 * 1024;

/// A file that an async task writes from its first byte to its last.
#[derive(Debug)]
pub struct AsyncStagedFile {
    staging: Staging,
    writer: AsyncWriter,
}

/// A file that async tasks write at offsets. Every byte must be written once, and every writer flushed, before
/// [`Self::finish`].
#[derive(Debug)]
pub struct StagedParts {
    staging: Staging,
}

impl Publish {
    /// Like [`Self::begin`], for bytes that arrive in an async task.
    pub fn begin_async(&self, target: &Path) -> Result<AsyncStagedFile> {
        let staging = self.stage(target)?;
        let writer = AsyncWriter::new(&shared(&staging), 0, true);
        Ok(AsyncStagedFile { staging, writer })
    }

    /// Like [`Self::begin`], for bytes that arrive at offsets.
    pub fn begin_parts(&self, target: &Path) -> Result<StagedParts> {
        Ok(StagedParts { staging: self.stage(target)? })
    }

    /// Publishes all bytes of `source`. If reading it fails, or if the future is dropped before the file is visible,
    /// `target` stays as it is, and neither a temp file nor a new directory is left.
    pub async fn async_reader(&self, target: &Path, mut source: impl AsyncRead + Unpin) -> Result<PublishedFile> {
        let mut staged = self.begin_async(target)?;
        let mut buffer = BytesMut::new();
        loop {
            // Pieces share the space, so that a source of single bytes does not take much memory.
            buffer.reserve(if buffer.capacity() < READ_BYTES / 16 { READ_BYTES } else { 1 });
            match source.read_buf(&mut buffer).await {
                Ok(0) => break,
                Ok(_) => staged.push(buffer.split().freeze()).await?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::new("read the source of", target, error)),
            }
        }
        staged.finish().await?.commit_async().await
    }
}

impl AsyncStagedFile {
    /// Number of bytes received so far.
    pub fn reached(&self) -> u64 {
        self.writer.reached()
    }

    /// Appends bytes, and adds them to the digest. They are gathered before they are written.
    pub async fn push(&mut self, bytes: Bytes) -> Result<()> {
        self.writer.push(bytes).await
    }

    /// Waits until all bytes so far are written.
    pub async fn flush(&mut self) -> Result<()> {
        self.writer.flush().await
    }

    /// Discards all bytes, for a source that starts again from its first byte.
    pub async fn restart(&mut self) -> Result<()> {
        self.writer.restart().await
    }

    /// Writes what is gathered, compares the digest, and closes the file without making it visible. Call it once the
    /// source has ended without an error.
    pub async fn finish(mut self) -> Result<FinishedFile> {
        self.writer.flush().await?;
        let size = self.writer.reached();
        // A failed write loses the hasher, and the file is not whole.
        let failed = || Error::new("write", self.staging.temp.path(), io::Error::other("an earlier write failed"));
        let digest = self.writer.digest().ok_or_else(failed)?;
        finish(self.staging, PublishedFile { digest, size }).await
    }
}

impl StagedParts {
    /// A writer that begins at `offset`.
    pub fn writer_at(&self, offset: u64) -> AsyncWriter {
        AsyncWriter::new(&shared(&self.staging), offset, false)
    }

    /// Reads the file back, compares the digest, and closes the file without making it visible.
    pub async fn finish(self) -> Result<FinishedFile> {
        let SharedFile { file, path } = shared(&self.staging);
        let (digest, size) = run_blocking(move || file_digest::of_open(&file, &path)).await?;
        finish(self.staging, PublishedFile { digest, size }).await
    }
}

impl FinishedFile {
    /// Makes the file visible like [`Self::commit`]. The rename happens before the first suspension, so a dropped
    /// future has either published the file or not begun.
    pub async fn commit_async(self) -> Result<PublishedFile> {
        let sync = self.sync_after_rename();
        let published = self.rename()?;
        match sync {
            Some(sync) => run_blocking(sync).await.map(|()| published),
            None => Ok(published),
        }
    }
}

fn shared(staging: &Staging) -> SharedFile {
    SharedFile { file: Arc::clone(&staging.file), path: staging.temp.path().into() }
}

async fn finish(staging: Staging, published: PublishedFile) -> Result<FinishedFile> {
    staging.compare(published)?;
    let (SharedFile { file, path }, options) = (shared(&staging), staging.options.clone());
    let work = move || finish_inode(&file, &path, &options);
    // Only a sync takes long.
    if staging.options.sync {
        run_blocking(work).await?;
    } else {
        work()?;
    }
    Ok(staging.finished(published))
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncWriteExt, ReadBuf};

    use super::*;
    use crate::fsx;
    use crate::model::Digest;

    /// A directory, and a target in a directory that does not exist.
    struct Place {
        dir: tempfile::TempDir,
        bytes: Vec<u8>,
    }

    impl Place {
        fn new() -> Self {
            let mut random = fastrand::Rng::with_seed(3);
            let bytes = std::iter::repeat_with(|| random.u8(..)).take(700_001).collect();
            Self { dir: tempfile::tempdir().unwrap(), bytes }
        }

        fn target(&self) -> std::path::PathBuf {
            self.dir.path().join("a/b/file")
        }

        fn is_clean(&self) -> bool {
            fsx::list(self.dir.path()).unwrap().is_empty()
        }

        fn expecting(bytes: &[u8]) -> Publish {
            Publish { expect: Some(Digest::of(bytes)), ..Publish::default() }
        }
    }

    /// A source that always fails.
    struct Broken;

    impl AsyncRead for Broken {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::Error::other("cut")))
        }
    }

    #[tokio::test]
    async fn all_bytes_of_a_source_are_published() {
        for (sync, len) in [(false, 700_001), (true, 700_001), (false, 0), (false, 1)] {
            let place = Place::new();
            let bytes = &place.bytes[..len];
            let publish = Publish { sync, mode: Some(0o600), ..Place::expecting(bytes) };
            let published = publish.async_reader(&place.target(), bytes).await.unwrap();
            assert_eq!(published, PublishedFile { digest: Digest::of(bytes), size: len as u64 });
            assert_eq!(fsx::read(&place.target()).unwrap(), bytes);
            assert_eq!(fsx::Stamp::of(&place.target()).unwrap().mode & 0o777, 0o600);
            assert_eq!(fsx::list(place.dir.path()).unwrap(), ["a"]);
        }
    }

    #[tokio::test]
    async fn other_bytes_than_expected_leave_nothing() {
        let place = Place::new();
        let other = Place::expecting(b"other").async_reader(&place.target(), &place.bytes[..]).await;
        assert!(other.unwrap_err().is_unexpected_content() && place.is_clean());
        let right = Place::expecting(&place.bytes).async_reader(&place.target(), &place.bytes[..]).await;
        assert!(right.is_ok() && !place.is_clean(), "control");
    }

    #[tokio::test]
    async fn a_source_that_fails_half_way_leaves_the_old_target_and_nothing_else() {
        let place = Place::new();
        let failed = Publish::default().async_reader(&place.target(), (&place.bytes[..]).chain(Broken)).await;
        assert!(failed.is_err() && place.is_clean());
        Publish::default().bytes(&place.target(), b"old").unwrap();
        let failed = Publish::default().async_reader(&place.target(), (&place.bytes[..]).chain(Broken)).await;
        assert!(failed.is_err());
        assert_eq!(fsx::read(&place.target()).unwrap(), b"old");
        assert_eq!(fsx::list(place.target().parent().unwrap()).unwrap(), ["file"]);
    }

    #[tokio::test]
    async fn a_dropped_future_leaves_nothing() {
        let place = Place::new();
        let (mut sender, source) = tokio::io::duplex(64 * 1024);
        let (publish, target) = (Publish::default(), place.target());
        tokio::select! {
            biased;
            ended = publish.async_reader(&target, source) => panic!("{ended:?}"),
            () = async {
                sender.write_all(&place.bytes).await.unwrap();
                assert!(!place.is_clean(), "control: the temp file is here");
            } => {}
        }
        assert!(place.is_clean(), "even if a write has not ended yet");
    }

    #[tokio::test]
    async fn parts_are_compared_as_a_whole() {
        let place = Place::new();
        let write = async |publish: Publish, lens: [usize; 2]| {
            let staged = publish.begin_parts(&place.target()).unwrap();
            let (mut first, mut second) = (staged.writer_at(0), staged.writer_at(300_000));
            second.push(Bytes::copy_from_slice(&place.bytes[300_000..300_000 + lens[1]])).await.unwrap();
            first.push(Bytes::copy_from_slice(&place.bytes[..lens[0]])).await.unwrap();
            second.flush().await.unwrap();
            first.flush().await.unwrap();
            staged.finish().await
        };
        let expecting = || Place::expecting(&place.bytes);
        for lens in [[300_000, 400_000], [299_999, 400_001]] {
            assert!(write(expecting(), lens).await.unwrap_err().is_unexpected_content(), "{lens:?}");
            assert!(place.is_clean());
        }
        let finished = write(expecting(), [300_000, 400_001]).await.unwrap();
        assert_eq!(finished.published().size, 700_001);
        assert!(!fsx::exists(&place.target()), "not yet");
        let mut read = Vec::new();
        io::Read::read_to_end(&mut finished.open().unwrap(), &mut read).unwrap();
        assert!(read == place.bytes);
        drop(finished);
        assert!(place.is_clean(), "handed over, not published");
        write(expecting(), [300_000, 400_001]).await.unwrap().commit_async().await.unwrap();
        assert!(fsx::read(&place.target()).unwrap() == place.bytes);
    }

    #[tokio::test]
    async fn a_file_is_not_finished_after_a_failed_write() {
        for fails in [false, true] {
            let place = Place::new();
            let mut staged = Publish::default().begin_async(&place.target()).unwrap();
            if fails {
                // Nothing can be written to a file that is open for reading only.
                let path = staged.staging.temp.path().to_owned();
                staged.staging.file = Arc::new(fsx::open(&path).unwrap());
                staged.writer = AsyncWriter::new(&shared(&staged.staging), 0, true);
            }
            staged.push(Bytes::from_static(b"bytes")).await.unwrap();
            assert_eq!(staged.flush().await.is_err(), fails);
            assert_eq!(staged.finish().await.is_err(), fails);
            assert!(place.is_clean());
        }
    }

    #[tokio::test]
    async fn a_source_that_starts_again_is_published_once() {
        let place = Place::new();
        let mut staged = Place::expecting(b"new").begin_async(&place.target()).unwrap();
        staged.push(Bytes::copy_from_slice(&place.bytes)).await.unwrap();
        assert_eq!(staged.reached(), 700_001);
        staged.restart().await.unwrap();
        staged.push(Bytes::from_static(b"new")).await.unwrap();
        staged.finish().await.unwrap().commit_async().await.unwrap();
        assert_eq!(fsx::read(&place.target()).unwrap(), b"new");
    }
}
