//! Transfers of large objects: downloads in ranges, uploads in parts, both with retries and resumption.
//!
//! A download is `Ok` only when every byte is on disk and the digest matches; until then, its file must not be used. An
//! upload in parts becomes visible only when it is completed; its state on disk allows a killed upload to be resumed.

pub(super) mod download;
pub(super) mod get;
pub(super) mod multipart;
mod pace;
mod parts;
mod range;
mod sink;
mod state;
pub(super) mod upload;

use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::task::Poll;

use super::error::{RemoteError, Result, Tried};
use super::progress::Control;
use crate::fsx;
use crate::model::Digest;

/// An object to download.
#[derive(Clone, Debug)]
pub struct Download {
    /// Full name of the object.
    pub name: String,
    /// Label for progress reports; if empty, the name of the object.
    pub label: String,
    /// Size in bytes, if it was declared; any other size is refused.
    pub size: Option<u64>,
    /// Digest of the bytes, if it was declared; any other digest is refused.
    pub digest: Option<Digest>,
}

/// A file to upload, and the object to upload it to.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Full name of the object.
    pub name: String,
    /// Label for progress reports; if empty, the name of the object.
    pub label: String,
    /// Path of the file.
    pub path: PathBuf,
    /// Size of the file in bytes.
    pub size: u64,
    /// Digest of the bytes; a file with another digest is refused.
    pub digest: Digest,
}

/// Runs `work` until it ends, is cancelled, or passes the deadline. In the last two cases it is dropped where it is.
pub(super) async fn unless_stopped<T>(
    tried: &Tried,
    control: &Control,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    // The SDK's futures are large, and the thread that waits for a transfer may have a small stack.
    let mut work = Box::pin(work);
    let mut stop = pin!(control.cancel.cancelled());
    let either = std::future::poll_fn(|cx| match stop.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(Err(RemoteError::Cancelled { tried: tried.clone() })),
        Poll::Pending => work.as_mut().poll(cx),
    });
    match control.deadline {
        None => either.await,
        Some(deadline) => match tokio::time::timeout_at(deadline.into(), either).await {
            Ok(result) => result,
            Err(_) => Err(RemoteError::TimedOut { tried: tried.clone() }),
        },
    }
}

/// Runs file operations on a thread where they may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> fsx::Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is shutting down cancels this work.
            Err(_) => std::future::pending().await,
        },
    }
}

/// The digest of a file, and its size in bytes.
async fn digest_of(path: PathBuf) -> Result<(Digest, u64)> {
    blocking(move || fsx::offset::digest(&path)).await
}
