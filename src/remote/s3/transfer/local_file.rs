//! The local files of transfers: their digests, and the memory for their content.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::super::bucket::Bucket;
use super::super::error::{RemoteError, Result};
use super::super::tuning::MIB;
use super::descriptions::Upload;
use crate::fsx;
use crate::model::Digest;
use crate::remote::tasks::run_blocking;

/// The digest of a file, and its size in bytes.
pub(super) async fn digest_of(path: PathBuf) -> Result<(Digest, u64)> {
    Ok(run_blocking(move || fsx::digest(&path)).await?)
}

/// The error for a file that does not match its declared size and digest.
pub(super) fn changed_file_error(bucket: &Bucket, upload: &Upload) -> RemoteError {
    RemoteError::Digest { attempt: bucket.attempt("upload", &upload.name) }
}

/// Waits until this many bytes may be held in memory; an upload larger than the limit takes all of it.
pub(super) async fn reserve_memory(bucket: &Bucket, bytes: u64) -> Option<OwnedSemaphorePermit> {
    let wanted = u32::try_from(bytes.div_ceil(MIB)).unwrap_or(u32::MAX).clamp(1, bucket.0.tuning.upload_memory.max(1));
    Arc::clone(&bucket.0.upload_memory).acquire_many_owned(wanted).await.ok()
}
