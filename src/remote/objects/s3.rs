//! The objects in an S3 bucket, below a prefix.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::listing::ObjectListing;
use super::range::ByteRange;
use crate::fsx::FinishedFile;
use crate::remote::s3::bucket::Bucket;
use crate::remote::s3::error::{Attempt, Result};
use crate::remote::s3::progress::ActiveTransfer;
use crate::remote::s3::small_objects::ObjectMetadata;
use crate::remote::s3::transfer::{self, Download, Upload};

/// The objects in a bucket below a prefix.
#[derive(Clone, Debug)]
pub struct S3Objects {
    bucket: Bucket,
    /// Empty, or ends with a slash.
    prefix: String,
}

impl S3Objects {
    /// The objects below `prefix`, which has no slashes at its ends and may be empty.
    pub fn new(bucket: Bucket, prefix: &str) -> Self {
        Self { bucket, prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") } }
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(super) async fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        self.bucket.get(&self.full(name), limit).await
    }

    pub(super) async fn get_range(&self, name: &str, range: ByteRange) -> Result<Option<Vec<u8>>> {
        self.bucket.get_range(&self.full(name), range.first, range.length).await
    }

    pub(super) async fn head(&self, name: &str) -> Result<Option<ObjectMetadata>> {
        self.bucket.head(&self.full(name)).await
    }

    pub(super) async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        self.bucket.put(&self.full(name), bytes).await
    }

    pub(super) async fn delete(&self, name: &str) -> Result<()> {
        self.bucket.delete(&self.full(name)).await
    }

    pub(super) fn list(&self, prefix: &str) -> ObjectListing {
        ObjectListing::S3(self.bucket.list(&self.full(prefix)), self.prefix.len())
    }

    pub(super) async fn download_bytes(&self, object: &Download, to: &ActiveTransfer) -> Result<Option<Vec<u8>>> {
        transfer::download_bytes(&self.bucket, &self.download(object), to).await
    }

    pub(super) async fn download_file(
        &self,
        object: &Download,
        path: &Path,
        to: &ActiveTransfer,
    ) -> Result<Option<FinishedFile>> {
        transfer::download_file(&self.bucket, &self.download(object), path, to).await
    }

    pub(super) async fn upload_file(&self, upload: &Upload, states: &Path, to: &ActiveTransfer) -> Result<()> {
        let upload = Upload { name: self.full(&upload.name), ..upload.clone() };
        Box::pin(transfer::upload_file(&self.bucket, &upload, states, to)).await
    }

    pub(super) async fn abort_old_uploads(&self, states: &Path) -> Result<()> {
        transfer::abort_old_uploads(&self.bucket, states, SystemTime::now()).await.map(|_| ())
    }

    pub(super) async fn abort_uploads_older_than(&self, age: Duration) -> Result<u64> {
        transfer::abort_uploads_older_than(&self.bucket, &self.prefix, age).await
    }

    pub(super) fn attempt(&self, verb: &'static str, name: &str) -> Attempt {
        self.bucket.attempt(verb, &self.full(name))
    }

    fn download(&self, object: &Download) -> Download {
        Download { name: self.full(&object.name), ..object.clone() }
    }
}
