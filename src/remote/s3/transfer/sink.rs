//! The local side of a download: memory for small objects, else a file. For a file, received bytes are gathered, then
//! written on a blocking thread (and hashed there, if they arrive in order).

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::super::error::Result;
use crate::fsx;
use crate::model::Digest;
use crate::remote::tasks::run_blocking;

/// Bytes that are written at once: enough that switching threads is cheap in comparison, few enough for many
/// connections.
const WRITE_BYTES: u64 = 256 * 1024;

/// Up to this many bytes are written without switching threads.
const MAX_INLINE_WRITE_BYTES: u64 = 64 * 1024;

/// A file that several sinks may write to, each at its offset.
pub(super) type SharedFile = Arc<(File, Box<Path>)>;

/// Creates a file for a new attempt. A write that an earlier attempt has not finished goes to the earlier file, which
/// no longer has a name.
pub(super) fn create(path: &Path) -> Result<SharedFile> {
    fsx::remove_file(path)?;
    Ok(Arc::new((fsx::offset::create_empty(path)?, path.into())))
}

/// Where the bytes of one stream are written.
pub(super) enum DownloadSink {
    /// Memory, for an object whose size is known to be small.
    Memory(Vec<u8>),
    /// A file, hashed while it is written.
    File(Box<FileWriter>),
}

impl DownloadSink {
    /// The offset after the last byte received.
    pub(super) fn reached(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(writer) => writer.reached(),
        }
    }

    /// Adds the next received bytes. A file gathers them before it writes them.
    pub(super) async fn push(&mut self, bytes: Bytes) -> Result<()> {
        match self {
            Self::Memory(memory) => {
                memory.extend_from_slice(&bytes);
                Ok(())
            }
            Self::File(writer) => writer.push(bytes).await,
        }
    }

    /// Waits until all bytes are written.
    pub(super) async fn flush(&mut self) -> Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::File(writer) => writer.flush().await,
        }
    }

    /// Discards all bytes, for a download that starts again from the first byte.
    pub(super) async fn restart(&mut self) -> Result<()> {
        match self {
            Self::Memory(bytes) => {
                bytes.clear();
                Ok(())
            }
            Self::File(writer) => writer.restart().await,
        }
    }

    /// The digest of the bytes, once they are written.
    pub(super) fn digest(&self) -> Option<Digest> {
        match self {
            Self::Memory(bytes) => Some(Digest::of(bytes)),
            Self::File(writer) => writer.digest(),
        }
    }
}

/// Writes consecutive bytes to a file.
pub(super) struct FileWriter {
    file: SharedFile,
    /// Offset of the next gathered bytes.
    at: u64,
    gathered: Vec<Bytes>,
    gathered_len: u64,
    writing: Option<JoinHandle<fsx::Result<Option<blake3::Hasher>>>>,
    /// `None` while a write holds it, or if the bytes are not hashed.
    hasher: Option<blake3::Hasher>,
}

impl FileWriter {
    /// Creates a writer that begins at offset `at`.
    pub(super) fn new(file: &SharedFile, at: u64, hash: bool) -> Self {
        let hasher = hash.then(blake3::Hasher::new);
        Self { file: Arc::clone(file), at, gathered: Vec::new(), gathered_len: 0, writing: None, hasher }
    }

    /// The offset after the last byte received.
    pub(super) fn reached(&self) -> u64 {
        self.at + self.gathered_len
    }

    /// Gathers received bytes, and starts a write once there are [`WRITE_BYTES`].
    pub(super) async fn push(&mut self, bytes: Bytes) -> Result<()> {
        self.gathered_len += bytes.len() as u64;
        self.gathered.push(bytes);
        if self.gathered_len >= WRITE_BYTES {
            self.wait().await?;
            self.writing = Some(tokio::task::spawn_blocking(self.take_work()));
        }
        Ok(())
    }

    /// Waits until all bytes are written.
    pub(super) async fn flush(&mut self) -> Result<()> {
        self.wait().await?;
        if self.gathered_len <= MAX_INLINE_WRITE_BYTES {
            self.hasher = self.take_work()()?;
        } else {
            self.hasher = run_blocking(self.take_work()).await?;
        }
        Ok(())
    }

    /// Discards all bytes: the writer begins again at offset 0.
    async fn restart(&mut self) -> Result<()> {
        self.flush().await?;
        let hash = self.hasher.is_some();
        fsx::offset::set_len(&self.file.0, &self.file.1, 0)?;
        *self = Self::new(&self.file, 0, hash);
        Ok(())
    }

    /// The digest of the bytes, once they are written.
    fn digest(&self) -> Option<Digest> {
        self.hasher.as_ref().map(|hasher| Digest::from_bytes(*hasher.finalize().as_bytes()))
    }

    async fn wait(&mut self) -> Result<()> {
        if let Some(writing) = &mut self.writing {
            let written = writing.await;
            self.writing = None;
            match written {
                Ok(hasher) => self.hasher = hasher?,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        Ok(())
    }

    fn take_work(&mut self) -> impl FnOnce() -> fsx::Result<Option<blake3::Hasher>> + Send + 'static {
        let file = Arc::clone(&self.file);
        let pieces = std::mem::take(&mut self.gathered);
        let mut hasher = self.hasher.take();
        let mut at = self.at;
        self.at += std::mem::take(&mut self.gathered_len);
        move || {
            for piece in pieces {
                fsx::offset::write_at(&file.0, &file.1, at, &piece)?;
                at += piece.len() as u64;
                if let Some(hasher) = &mut hasher {
                    hasher.update(&piece);
                }
            }
            Ok(hasher)
        }
    }
}
