//! Writes of async tasks at offsets of one file. Received bytes are gathered, then written on a blocking thread, and
//! hashed there if they arrive in order.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::blocking::{join, run_blocking};
use super::{At, Result};
use crate::model::Digest;

/// Bytes that are written at once: enough that switching threads is cheap in comparison, few enough for many writers.
const WRITE_BYTES: u64 = 256 * 1024;

/// Up to this many bytes are written without switching threads.
const MAX_INLINE_WRITE_BYTES: u64 = 64 * 1024;

/// A file that several writers may write to, each at its offset, and its path for errors.
#[derive(Clone, Debug)]
pub(super) struct SharedFile {
    pub(super) file: Arc<File>,
    pub(super) path: Arc<Path>,
}

/// Writes consecutive bytes to a staged file ([`super::StagedParts`]). Call [`Self::flush`] at the end. A write that
/// has begun goes on after a drop.
#[derive(Debug)]
pub struct AsyncWriter {
    to: SharedFile,
    /// Offset of the next gathered bytes.
    at: u64,
    gathered: Vec<Bytes>,
    gathered_len: u64,
    writing: Option<JoinHandle<Result<Option<blake3::Hasher>>>>,
    /// `None` while a write holds it, or if the bytes are not hashed.
    hasher: Option<blake3::Hasher>,
}

impl AsyncWriter {
    /// Creates a writer that begins at offset `at`. With `hash`, it computes the digest of its bytes.
    pub(super) fn new(to: &SharedFile, at: u64, hash: bool) -> Self {
        let hasher = hash.then(blake3::Hasher::new);
        Self { to: to.clone(), at, gathered: Vec::new(), gathered_len: 0, writing: None, hasher }
    }

    /// The offset after the last byte received.
    pub fn reached(&self) -> u64 {
        self.at + self.gathered_len
    }

    /// Gathers received bytes, and starts a write once there are enough. Waits for the write before.
    pub async fn push(&mut self, bytes: Bytes) -> Result<()> {
        self.gathered_len += bytes.len() as u64;
        self.gathered.push(bytes);
        if self.gathered_len >= WRITE_BYTES {
            self.wait().await?;
            self.writing = Some(tokio::task::spawn_blocking(self.take_work()));
        }
        Ok(())
    }

    /// Waits until all bytes are written.
    pub async fn flush(&mut self) -> Result<()> {
        self.wait().await?;
        if self.gathered_len <= MAX_INLINE_WRITE_BYTES {
            self.hasher = self.take_work()()?;
        } else {
            self.hasher = run_blocking(self.take_work()).await?;
        }
        Ok(())
    }

    /// Discards all bytes: the file is empty, and the writer begins again at offset 0.
    pub(super) async fn restart(&mut self) -> Result<()> {
        self.flush().await?;
        self.to.file.set_len(0).at("cut", &self.to.path)?;
        *self = Self::new(&self.to, 0, self.hasher.is_some());
        Ok(())
    }

    /// The digest of the bytes, once they are written. `None`: they are not hashed.
    pub(super) fn digest(&self) -> Option<Digest> {
        self.hasher.as_ref().map(|hasher| Digest::from_bytes(*hasher.finalize().as_bytes()))
    }

    async fn wait(&mut self) -> Result<()> {
        // The handle stays in its place until the write has ended, so that this future may be dropped.
        if let Some(writing) = &mut self.writing {
            let written = join(writing).await;
            self.writing = None;
            self.hasher = written?;
        }
        Ok(())
    }

    fn take_work(&mut self) -> impl FnOnce() -> Result<Option<blake3::Hasher>> + Send + 'static {
        let to = self.to.clone();
        let pieces = std::mem::take(&mut self.gathered);
        let mut hasher = self.hasher.take();
        let mut at = self.at;
        self.at += std::mem::take(&mut self.gathered_len);
        move || {
            for piece in pieces {
                to.file.write_all_at(&piece, at).at("write", &to.path)?;
                at += piece.len() as u64;
                if let Some(hasher) = &mut hasher {
                    hasher.update(&piece);
                }
            }
            Ok(hasher)
        }
    }
}
