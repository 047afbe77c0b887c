//! The parts of a download in progress that one stream and ranged requests share.

use std::sync::Arc;

use super::super::bucket::Bucket;
use super::super::error::Attempt;
use super::super::progress::{ActiveTransfer, Meter, Phase};
use super::descriptions::Download;

/// Bytes that one attempt must receive to count as progress.
pub(super) const MIN_PROGRESS_BYTES: u64 = 64 * 1024;

/// A download in progress.
pub(super) struct DownloadJob {
    pub(super) bucket: Bucket,
    pub(super) object: Download,
    pub(super) attempt: Attempt,
    pub(super) meter: Meter,
}

impl DownloadJob {
    pub(super) fn new(bucket: &Bucket, object: &Download, transfer: &ActiveTransfer) -> Arc<Self> {
        transfer.enter(Phase::Downloading);
        Arc::new(Self {
            bucket: bucket.clone(),
            object: object.clone(),
            attempt: bucket.attempt("get", &object.name),
            meter: transfer.meter().clone(),
        })
    }
}
