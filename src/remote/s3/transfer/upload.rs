//! Uploads: small files in one request, large ones in parts ([`super::multipart`]). A file that does not match its
//! declared size and digest is never uploaded: its object name would be wrong.

use std::path::Path;

use super::super::bucket::Bucket;
use super::super::error::Result;
use super::super::progress::{ActiveTransfer, Phase};
use super::descriptions::Upload;
use super::local_file::{changed_file_error, reserve_memory};
use super::multipart;
use super::stop::unless_stopped;
use crate::fsx;
use crate::model::Digest;
use crate::remote::tasks::run_blocking;

/// Uploads a file. A large one goes in parts, with their state in `states`, so that a killed upload can be resumed.
pub async fn upload_file(bucket: &Bucket, upload: &Upload, states: &Path, transfer: &ActiveTransfer) -> Result<()> {
    let attempt = bucket.attempt("put", &upload.name);
    unless_stopped(&attempt, transfer.control(), from_file(bucket, upload, states, transfer)).await
}

async fn from_file(bucket: &Bucket, upload: &Upload, states: &Path, transfer: &ActiveTransfer) -> Result<()> {
    transfer.enter(Phase::Uploading);
    if upload.size >= bucket.0.tuning.parts_from {
        return multipart::upload(bucket, upload, states, transfer).await;
    }
    let _memory = reserve_memory(bucket, upload.size).await;
    let (path, size, digest) = (upload.path.clone(), upload.size, upload.digest);
    let bytes = run_blocking(move || -> fsx::Result<_> {
        let bytes = fsx::read(&path)?;
        Ok((bytes.len() as u64 == size && Digest::of(&bytes) == digest).then_some(bytes))
    });
    let bytes = bytes.await?.ok_or_else(|| changed_file_error(bucket, upload))?;
    bucket.put(&upload.name, bytes).await?;
    transfer.advance(upload.size);
    Ok(())
}
