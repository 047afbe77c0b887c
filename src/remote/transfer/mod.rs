//! Large objects: downloads in ranges, uploads in parts, both with retries and resumption.
//!
//! A download is `Ok` only when every byte is on disk and the digest matches; until then its file is nobody's. An upload in
//! parts is visible only once it is completed; its state on disk lets a killed one go on.

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

/// What to download.
#[derive(Clone, Debug)]
pub struct Download {
    /// The object's whole name.
    pub name: String,
    /// What to call it in progress reports; empty: its name.
    pub label: String,
    /// Its size, if it was declared: any other is refused.
    pub size: Option<u64>,
    /// The digest of its bytes, if it was declared: any others are refused.
    pub digest: Option<Digest>,
}

/// What to upload.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The object's whole name.
    pub name: String,
    /// What to call it in progress reports; empty: its name.
    pub label: String,
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub size: u64,
    /// The digest of its bytes; a file that has others is refused.
    pub digest: Digest,
}

/// Runs `work` until it ends, somebody cancels, or the deadline passes; then it is dropped where it stands.
pub(super) async fn unless_stopped<T>(
    tried: &Tried,
    control: &Control,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    // The SDK's futures are large, and who waits for a transfer may have little stack.
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

/// File work on a thread where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> fsx::Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that shuts down cancels such work.
            Err(_) => std::future::pending().await,
        },
    }
}

/// The digest of a file and its size.
async fn digest_of(path: PathBuf) -> Result<(Digest, u64)> {
    blocking(move || fsx::offset::digest(&path)).await
}
