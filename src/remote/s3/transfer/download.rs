//! Downloads: one stream (into memory or a file) for small objects and for servers that do not support ranges, parts
//! for large ones ([`super::parts`]).
//!
//! Whatever the server does, a download ends in [`Publish`], which compares the declared digest: the caller gets a
//! complete file that is not visible yet, or nothing. A broken stream resumes after the bytes that are on disk, as long
//! as the object has the same version.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::super::bucket::Bucket;
use super::super::error::{RemoteError, Result};
use super::super::progress::{ActiveTransfer, Phase};
use super::super::range::{BodyContent, Range};
use super::super::source::{ObjectBody, Source, Validator};
use super::descriptions::Download;
use super::job::{DownloadJob, MIN_PROGRESS_BYTES};
use super::parts::{self, PartsResult};
use super::sink::{DownloadSink, Downloaded, unless_other_content};
use super::stop::unless_stopped;
use crate::fsx::{FinishedFile, Publish};

/// Downloads an object into a file that is complete and checked. The caller commits it, which makes it visible as
/// `target`, or reads it and drops it. Nothing is left otherwise. `None`: the object does not exist.
pub async fn download_file(
    bucket: &Bucket,
    object: &Download,
    target: &Path,
    transfer: &ActiveTransfer,
) -> Result<Option<FinishedFile>> {
    download_file_from(Arc::new(bucket.clone()), object, target, transfer).await
}

/// Downloads a small object of declared size into memory, complete and checked. `None`: the object does not exist.
pub async fn download_bytes(bucket: &Bucket, object: &Download, transfer: &ActiveTransfer) -> Result<Option<Vec<u8>>> {
    download_bytes_from(Arc::new(bucket.clone()), object, transfer).await
}

/// Like [`download_file`], from any source.
pub(in crate::remote) async fn download_file_from(
    source: Arc<dyn Source>,
    object: &Download,
    target: &Path,
    transfer: &ActiveTransfer,
) -> Result<Option<FinishedFile>> {
    let attempt = source.attempt("get", &object.name);
    unless_stopped(&attempt, transfer.control(), into_file(source, object, target, transfer)).await
}

/// Like [`download_bytes`], from any source.
pub(in crate::remote) async fn download_bytes_from(
    source: Arc<dyn Source>,
    object: &Download,
    transfer: &ActiveTransfer,
) -> Result<Option<Vec<u8>>> {
    let attempt = source.attempt("get", &object.name);
    unless_stopped(&attempt, transfer.control(), into_memory(source, object, transfer)).await
}

async fn into_file(
    source: Arc<dyn Source>,
    object: &Download,
    target: &Path,
    transfer: &ActiveTransfer,
) -> Result<Option<FinishedFile>> {
    let job = DownloadJob::new(source, object, transfer);
    let staging = Staging { publish: Publish { expect: object.digest, ..Publish::default() }, target };
    match object.size {
        Some(size) if size >= job.connections().tuning().parts_from => download_in_parts(&job, &staging, size).await,
        _ => download_in_one_stream(&job, &staging, None).await,
    }
}

/// Downloads to memory: all bytes, and checked, or nothing.
async fn into_memory(source: Arc<dyn Source>, object: &Download, transfer: &ActiveTransfer) -> Result<Option<Vec<u8>>> {
    let job = DownloadJob::new(source, object, transfer);
    let capacity = object.size.and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
    match StreamDownload::new(&job, DownloadSink::Memory(Vec::with_capacity(capacity))).run(None).await? {
        Some(Downloaded::Memory(bytes)) => Ok(Some(bytes)),
        Some(Downloaded::File(_)) | None => Ok(None),
    }
}

/// How and where each attempt of a download stages its file. An attempt that starts over stages a new file, so that a
/// late write of an earlier one goes to a file without a name.
struct Staging<'a> {
    publish: Publish,
    target: &'a Path,
}

/// Downloads in parts. Falls back to one stream if the server does not support parts, or if the bytes are wrong: ranges
/// may be the cause.
async fn download_in_parts(job: &Arc<DownloadJob>, staging: &Staging<'_>, size: u64) -> Result<Option<FinishedFile>> {
    for _ in 0..job.connections().tuning().restarts {
        let stage = || staging.publish.begin_parts(staging.target);
        match parts::download(job, stage, size).await? {
            PartsResult::Absent => return Ok(None),
            PartsResult::NoRanges(body) => {
                job.meter.rewind(0);
                return download_in_one_stream(job, staging, body.map(|body| *body)).await;
            }
            PartsResult::Changed => job.meter.rewind(0),
            PartsResult::Complete(staged) => {
                job.meter.enter(Phase::Verifying);
                if let Some(finished) = unless_other_content(staged.finish().await)? {
                    return Ok(Some(finished));
                }
                tracing::debug!("{}: wrong in parts, once more in one stream", job.attempt);
                job.meter.enter(Phase::Downloading);
                job.meter.rewind(0);
                return download_in_one_stream(job, staging, None).await;
            }
        }
    }
    Err(RemoteError::Changed { attempt: job.attempt.clone() })
}

/// Downloads in one stream. `first` is an answer that was already requested, from the first byte of the object on.
async fn download_in_one_stream(
    job: &DownloadJob,
    staging: &Staging<'_>,
    first: Option<ObjectBody>,
) -> Result<Option<FinishedFile>> {
    let staged = staging.publish.begin_async(staging.target)?;
    match StreamDownload::new(job, DownloadSink::File(Box::new(staged))).run(first).await? {
        Some(Downloaded::File(finished)) => Ok(Some(finished)),
        Some(Downloaded::Memory(_)) | None => Ok(None),
    }
}

/// A download in one stream.
struct StreamDownload<'a> {
    job: &'a DownloadJob,
    sink: DownloadSink,
    /// Version of the object that the received bytes are of.
    version: Validator,
    /// Size of the object in bytes, once it was declared or received.
    total: Option<u64>,
    restarts: u32,
    failures: u32,
}

/// How reading one answer ended.
enum StreamEnd {
    Complete,
    Failed(RemoteError),
}

impl<'a> StreamDownload<'a> {
    fn new(job: &'a DownloadJob, sink: DownloadSink) -> Self {
        Self { job, sink, version: Validator::default(), total: job.object.size, restarts: 0, failures: 0 }
    }

    /// Downloads until all bytes have arrived and are correct.
    async fn run(mut self, mut first: Option<ObjectBody>) -> Result<Option<Downloaded>> {
        loop {
            let body = match first.take() {
                Some(body) => body,
                None => match self.request_missing().await? {
                    RequestOutcome::Body(body) => *body,
                    RequestOutcome::Absent => return Ok(None),
                    RequestOutcome::AtEnd => break,
                    RequestOutcome::Retry => continue,
                },
            };
            if !self.accept(&body).await? {
                continue;
            }
            let from = self.sink.reached();
            let end = self.read(body).await?;
            self.sink.flush().await?;
            if self.sink.reached() - from >= MIN_PROGRESS_BYTES {
                self.failures = 0;
            }
            let error = match (end, self.total) {
                (StreamEnd::Complete, Some(total)) if self.sink.reached() < total => {
                    self.invalid_answer("it ended too early")
                }
                (StreamEnd::Complete, _) => break,
                (StreamEnd::Failed(error), _) => error,
            };
            self.job.connections().pause(&self.job.attempt, &mut self.failures, error).await?;
        }
        self.job.meter.enter(Phase::Verifying);
        match self.sink.finish(self.job.object.digest).await? {
            Some(downloaded) => Ok(Some(downloaded)),
            None => Err(RemoteError::Digest { attempt: self.job.attempt.clone() }),
        }
    }

    /// Requests the missing bytes.
    async fn request_missing(&mut self) -> Result<RequestOutcome> {
        // Bytes of an unknown version cannot be continued, unless the digest will show whether they fit.
        if self.sink.reached() > 0 && !self.version.is_known() && self.job.object.digest.is_none() {
            self.rewind().await?;
        }
        let from = self.sink.reached();
        let range = (from > 0).then_some(Range { first: from, last: None });
        match self.job.source.request_object(&self.job.object.name, range, &self.version).await {
            Ok(Some(body)) => Ok(RequestOutcome::Body(Box::new(body))),
            Ok(None) => Ok(RequestOutcome::Absent),
            Err(error) if error.status() == Some(416) && from > 0 && self.total.is_none() => Ok(RequestOutcome::AtEnd),
            Err(error) if matches!(error.status(), Some(412 | 416)) && from > 0 => {
                self.changed().await?;
                Ok(RequestOutcome::Retry)
            }
            Err(error) if error.is_transient() => {
                self.job.connections().pause(&self.job.attempt, &mut self.failures, error).await?;
                Ok(RequestOutcome::Retry)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the body of the answer can be used: it continues the bytes received so far, or starts over. `false`: ask
    /// again.
    async fn accept(&mut self, body: &ObjectBody) -> Result<bool> {
        let from = self.sink.reached();
        if from > 0 && !self.version.may_match(&body.validator) {
            self.changed().await?;
            return Ok(false);
        }
        let total = match body.content {
            BodyContent::Whole(length) => {
                if from > 0 {
                    self.rewind().await?;
                }
                length
            }
            BodyContent::Part { total, .. } => total,
            BodyContent::Unexpected(why) => {
                self.rewind().await?;
                let error = self.invalid_answer(why);
                self.job.connections().pause(&self.job.attempt, &mut self.failures, error).await?;
                return Ok(false);
            }
        };
        if let Some(total) = total {
            let declared = *self.total.get_or_insert(total);
            if declared != total {
                return Err(self.wrong_size(declared, total));
            }
            self.job.meter.set_total(total);
        }
        self.version = body.validator.clone();
        Ok(true)
    }

    async fn read(&mut self, mut body: ObjectBody) -> Result<StreamEnd> {
        let left = self.total.map(|total| total.saturating_sub(self.sink.reached()));
        let until = left.map(|left| Instant::now() + self.job.connections().timeout(left));
        loop {
            if let Some(Err(late)) = until.map(|until| body.check_deadline(until)) {
                return Ok(StreamEnd::Failed(late));
            }
            match body.next().await {
                Ok(None) => return Ok(StreamEnd::Complete),
                Ok(Some(bytes)) => {
                    let len = bytes.len() as u64;
                    let reached = self.sink.reached() + len;
                    if let Some(total) = self.total
                        && reached > total
                    {
                        return Err(self.wrong_size(total, reached));
                    }
                    self.sink.push(bytes).await?;
                    self.job.meter.advance(len);
                }
                Err(error) => return Ok(StreamEnd::Failed(error)),
            }
        }
    }

    /// Starts over because the object has changed; fails if it has changed too often.
    async fn changed(&mut self) -> Result<()> {
        self.restarts += 1;
        if self.restarts > self.job.connections().tuning().restarts {
            return Err(RemoteError::Changed { attempt: self.job.attempt.clone() });
        }
        self.total = self.job.object.size;
        self.rewind().await
    }

    async fn rewind(&mut self) -> Result<()> {
        self.sink.restart().await?;
        self.version = Validator::default();
        self.job.meter.rewind(0);
        Ok(())
    }

    fn invalid_answer(&self, why: &str) -> RemoteError {
        RemoteError::InvalidAnswer { attempt: self.job.attempt.clone(), reason: why.to_owned() }
    }

    fn wrong_size(&self, declared: u64, actual: u64) -> RemoteError {
        RemoteError::Size { attempt: self.job.attempt.clone(), declared, actual }
    }
}

/// Result of a request.
enum RequestOutcome {
    Body(Box<ObjectBody>),
    Absent,
    AtEnd,
    Retry,
}
