//! Uploads: small files in one request, large ones in parts ([`super::multipart`]). A file that does not match its
//! declared size and digest is never uploaded: its object name would be wrong.

use std::path::Path;

use tokio::sync::OwnedSemaphorePermit;

use super::super::bucket::Bucket;
use super::super::error::{RemoteError, Result};
use super::super::progress::{Phase, Transfer};
use super::super::tuning::MIB;
use super::{Upload, blocking, multipart};
use crate::fsx;
use crate::model::Digest;

/// Uploads a file, in parts if it is large.
pub(in crate::remote) async fn upload(
    bucket: &Bucket,
    what: &Upload,
    states: &Path,
    transfer: &Transfer,
) -> Result<()> {
    transfer.enter(Phase::Uploading);
    if what.size >= bucket.0.tuning.parts_from {
        return multipart::upload(bucket, what, states, transfer).await;
    }
    let _memory = memory(bucket, what.size).await;
    let (path, size, digest) = (what.path.clone(), what.size, what.digest);
    let bytes = blocking(move || {
        let bytes = fsx::read(&path)?;
        Ok((bytes.len() as u64 == size && Digest::of(&bytes) == digest).then_some(bytes))
    });
    let bytes = bytes.await?.ok_or_else(|| other_file(bucket, what))?;
    bucket.put(&what.name, bytes).await?;
    transfer.advance(what.size);
    Ok(())
}

/// The error for a file that does not match its declared size and digest.
pub(super) fn other_file(bucket: &Bucket, what: &Upload) -> RemoteError {
    RemoteError::Digest { tried: bucket.tried("upload", &what.name) }
}

/// Waits until this many bytes may be held in memory; an upload larger than the limit takes all of it.
pub(super) async fn memory(bucket: &Bucket, bytes: u64) -> Option<OwnedSemaphorePermit> {
    let wanted = u32::try_from(bytes.div_ceil(MIB)).unwrap_or(u32::MAX).clamp(1, bucket.0.tuning.upload_memory.max(1));
    std::sync::Arc::clone(&bucket.0.upload_memory).acquire_many_owned(wanted).await.ok()
}
