//! The parts of a download in progress that one stream and ranged requests share.

use std::sync::Arc;

use super::super::connections::Connections;
use super::super::error::Attempt;
use super::super::progress::{ActiveTransfer, Meter, Phase};
use super::super::source::Source;
use super::descriptions::Download;

/// Bytes that one attempt must receive to count as progress.
pub(super) const MIN_PROGRESS_BYTES: u64 = 64 * 1024;

/// A download in progress.
pub(super) struct DownloadJob {
    pub(super) source: Arc<dyn Source>,
    pub(super) object: Download,
    pub(super) attempt: Attempt,
    pub(super) meter: Meter,
}

impl DownloadJob {
    pub(super) fn new(source: Arc<dyn Source>, object: &Download, transfer: &ActiveTransfer) -> Arc<Self> {
        transfer.enter(Phase::Downloading);
        Arc::new(Self {
            object: object.clone(),
            attempt: source.attempt("get", &object.name),
            source,
            meter: transfer.meter().clone(),
        })
    }

    /// The connections to the server.
    pub(super) fn connections(&self) -> &Connections {
        self.source.connections()
    }
}
