//! The near end of a download: memory for what is small, else a file. For a file, pieces are gathered, then written (and
//! hashed, if they come in order) off the network's thread.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::super::error::Result;
use super::blocking;
use crate::fsx;
use crate::model::Digest;

/// So many bytes are written at once: enough that the change of threads does not count, few enough for many connections.
const ENOUGH: u64 = 256 * 1024;

/// So few are written where they are.
const LITTLE: u64 = 64 * 1024;

/// A file that several sinks may write to, each at its place.
pub(super) type Target = Arc<(File, Box<Path>)>;

/// A new file for a new attempt. A write of an older one that is still on its way goes to that one's own, nameless file.
pub(super) fn create(path: &Path) -> Result<Target> {
    fsx::remove_file(path)?;
    Ok(Arc::new((fsx::offset::create_empty(path)?, path.into())))
}

/// Where the bytes of one stream go.
pub(super) enum Sink {
    /// Into memory, for an object whose size is known to be small.
    Memory(Vec<u8>),
    /// Into a file.
    File(Box<Run>),
}

impl Sink {
    /// The offset after the last byte that was taken.
    pub(super) fn reached(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(run) => run.reached(),
        }
    }

    /// Takes more bytes.
    pub(super) async fn push(&mut self, bytes: Bytes) -> Result<()> {
        match self {
            Self::Memory(memory) => {
                memory.extend_from_slice(&bytes);
                Ok(())
            }
            Self::File(run) => run.push(bytes).await,
        }
    }

    /// Returns when all bytes are where they belong.
    pub(super) async fn settle(&mut self) -> Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::File(run) => run.settle().await,
        }
    }

    /// Forgets all bytes.
    pub(super) async fn restart(&mut self) -> Result<()> {
        match self {
            Self::Memory(bytes) => {
                bytes.clear();
                Ok(())
            }
            Self::File(run) => run.restart().await,
        }
    }

    /// The digest of the bytes, once they are settled.
    pub(super) fn digest(&self) -> Option<Digest> {
        match self {
            Self::Memory(bytes) => Some(Digest::of(bytes)),
            Self::File(run) => run.digest(),
        }
    }
}

/// A run of bytes of a file.
pub(super) struct Run {
    target: Target,
    /// Where the next gathered bytes belong.
    at: u64,
    gathered: Vec<Bytes>,
    gathered_len: u64,
    writing: Option<JoinHandle<fsx::Result<Option<blake3::Hasher>>>>,
    /// `None` while a write holds it, or for a run that is not hashed.
    hasher: Option<blake3::Hasher>,
}

impl Run {
    /// A run from offset `at` on.
    pub(super) fn new(target: &Target, at: u64, hash: bool) -> Self {
        let hasher = hash.then(blake3::Hasher::new);
        Self { target: Arc::clone(target), at, gathered: Vec::new(), gathered_len: 0, writing: None, hasher }
    }

    /// The offset after the last byte that was taken.
    pub(super) fn reached(&self) -> u64 {
        self.at + self.gathered_len
    }

    /// Takes more bytes.
    pub(super) async fn push(&mut self, bytes: Bytes) -> Result<()> {
        self.gathered_len += bytes.len() as u64;
        self.gathered.push(bytes);
        if self.gathered_len >= ENOUGH {
            self.wait().await?;
            self.writing = Some(tokio::task::spawn_blocking(self.take_work()));
        }
        Ok(())
    }

    /// Returns when all bytes are written.
    pub(super) async fn settle(&mut self) -> Result<()> {
        self.wait().await?;
        if self.gathered_len <= LITTLE {
            self.hasher = self.take_work()()?;
        } else {
            self.hasher = blocking(self.take_work()).await?;
        }
        Ok(())
    }

    /// Forgets all: the run begins again at offset 0.
    async fn restart(&mut self) -> Result<()> {
        self.settle().await?;
        let hash = self.hasher.is_some();
        fsx::offset::set_len(&self.target.0, &self.target.1, 0)?;
        *self = Self::new(&self.target, 0, hash);
        Ok(())
    }

    /// The digest of the run, once it is settled.
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
        let target = Arc::clone(&self.target);
        let pieces = std::mem::take(&mut self.gathered);
        let mut hasher = self.hasher.take();
        let mut at = self.at;
        self.at += std::mem::take(&mut self.gathered_len);
        move || {
            for piece in pieces {
                fsx::offset::write_at(&target.0, &target.1, at, &piece)?;
                at += piece.len() as u64;
                if let Some(hasher) = &mut hasher {
                    hasher.update(&piece);
                }
            }
            Ok(hasher)
        }
    }
}
