//! The local side of a download in one stream: memory for small objects, else a staged file.

use bytes::Bytes;

use super::super::error::Result;
use crate::fsx::{AsyncStagedFile, FinishedFile};
use crate::model::Digest;

/// Where the bytes of one stream are written.
pub(super) enum DownloadSink {
    /// Memory, for an object whose size is known to be small.
    Memory(Vec<u8>),
    /// A file, hashed while it is written.
    File(Box<AsyncStagedFile>),
}

/// The bytes of an object, complete, with the declared digest.
pub(super) enum Downloaded {
    Memory(Vec<u8>),
    File(FinishedFile),
}

impl DownloadSink {
    /// The offset after the last byte received.
    pub(super) fn reached(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(staged) => staged.reached(),
        }
    }

    /// Adds the next received bytes. A file gathers them before it writes them.
    pub(super) async fn push(&mut self, bytes: Bytes) -> Result<()> {
        match self {
            Self::Memory(memory) => memory.extend_from_slice(&bytes),
            Self::File(staged) => staged.push(bytes).await?,
        }
        Ok(())
    }

    /// Waits until all bytes are written.
    pub(super) async fn flush(&mut self) -> Result<()> {
        if let Self::File(staged) = self {
            staged.flush().await?;
        }
        Ok(())
    }

    /// Discards all bytes, for a download that starts again from the first byte.
    pub(super) async fn restart(&mut self) -> Result<()> {
        match self {
            Self::Memory(bytes) => bytes.clear(),
            Self::File(staged) => staged.restart().await?,
        }
        Ok(())
    }

    /// Ends the download. `None`: the bytes do not have the digest `expected`, which a staged file knows itself.
    pub(super) async fn finish(self, expected: Option<Digest>) -> Result<Option<Downloaded>> {
        match self {
            Self::Memory(bytes) => {
                let is_right = expected.is_none_or(|expected| expected == Digest::of(&bytes));
                Ok(is_right.then_some(Downloaded::Memory(bytes)))
            }
            Self::File(staged) => Ok(unless_other_content(staged.finish().await)?.map(Downloaded::File)),
        }
    }
}

/// Turns the error that the bytes of a file are not the expected ones into `None`.
pub(super) fn unless_other_content(finished: crate::fsx::Result<FinishedFile>) -> Result<Option<FinishedFile>> {
    match finished {
        Ok(finished) => Ok(Some(finished)),
        Err(error) if error.is_unexpected_content() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
