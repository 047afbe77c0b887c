//! Downloads: one stream (into memory or a file) for small objects and for servers that do not support ranges, parts
//! for large ones ([`super::parts`]).
//!
//! Whatever the server does, kache keeps the file only if its size and digest are as declared. A broken stream resumes
//! after the bytes that are on disk, as long as the object has the same version.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::super::bucket::Bucket;
use super::super::error::{RemoteError, Result, Tried};
use super::super::progress::{Meter, Phase, Transfer};
use super::Download;
use super::get::{Got, Validator, open};
use super::parts::{self, Ended};
use super::range::{Range, Reply};
use super::sink::{self, Run, Sink};
use crate::fsx;

/// A download in progress.
pub(super) struct Job {
    pub(super) bucket: Bucket,
    pub(super) what: Download,
    pub(super) tried: Tried,
    pub(super) meter: Meter,
}

impl Job {
    fn new(bucket: &Bucket, what: &Download, transfer: &Transfer) -> Arc<Self> {
        transfer.enter(Phase::Downloading);
        Arc::new(Self {
            bucket: bucket.clone(),
            what: what.clone(),
            tried: bucket.tried("get", &what.name),
            meter: transfer.meter().clone(),
        })
    }
}

/// Bytes that one attempt must receive to count as progress.
const PROGRESS: u64 = 64 * 1024;

/// Downloads to `to`, and removes that file unless the download succeeds.
pub(in crate::remote) async fn download(
    bucket: &Bucket,
    what: &Download,
    to: &Path,
    transfer: &Transfer,
) -> Result<Option<u64>> {
    let unfinished = Unfinished(Some(to));
    let job = Job::new(bucket, what, transfer);
    let size = match what.size {
        Some(size) if size >= bucket.0.tuning.parts_from => in_parts(&job, to, size).await?,
        _ => in_one(&job, to, None).await?,
    };
    if size.is_some() {
        unfinished.finish();
    }
    Ok(size)
}

/// Downloads a small object of declared size into memory: all of it and checked, or nothing.
pub(in crate::remote) async fn into_memory(
    bucket: &Bucket,
    what: &Download,
    transfer: &Transfer,
) -> Result<Option<Vec<u8>>> {
    let job = Job::new(bucket, what, transfer);
    let capacity = what.size.and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
    match Stream::new(&job, Sink::Memory(Vec::with_capacity(capacity))).run(None).await? {
        Some(Sink::Memory(bytes)) => Ok(Some(bytes)),
        Some(Sink::File(_)) | None => Ok(None),
    }
}

/// Removes the file on drop, so on cancellation as well.
struct Unfinished<'a>(Option<&'a Path>);

impl Unfinished<'_> {
    fn finish(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            let _ = fsx::remove_file(path);
        }
    }
}

/// Downloads in parts. Falls back to one stream if the server does not support parts, or if the bytes are wrong: ranges
/// may be the cause.
async fn in_parts(job: &Arc<Job>, to: &Path, size: u64) -> Result<Option<u64>> {
    for _ in 0..job.bucket.0.tuning.restarts {
        match parts::download(job, to, size).await? {
            Ended::Absent => return Ok(None),
            Ended::NoRanges(got) => {
                job.meter.rewind(0);
                return in_one(job, to, got.map(|got| *got)).await;
            }
            Ended::Changed => job.meter.rewind(0),
            Ended::Whole => {
                job.meter.enter(Phase::Verifying);
                let Some(expected) = job.what.digest else { return Ok(Some(size)) };
                if super::digest_of(to.to_owned()).await? == (expected, size) {
                    return Ok(Some(size));
                }
                tracing::debug!("{}: wrong in parts, once more in one stream", job.tried);
                job.meter.enter(Phase::Downloading);
                job.meter.rewind(0);
                return in_one(job, to, None).await;
            }
        }
    }
    Err(RemoteError::Changed { tried: job.tried.clone() })
}

/// Downloads in one stream. `first` is an answer that was already requested, from the first byte of the object on.
async fn in_one(job: &Job, to: &Path, first: Option<Got>) -> Result<Option<u64>> {
    let sink = Sink::File(Box::new(Run::new(&sink::create(to)?, 0, true)));
    Ok(Stream::new(job, sink).run(first).await?.map(|sink| sink.reached()))
}

/// A download in one stream.
struct Stream<'a> {
    job: &'a Job,
    sink: Sink,
    /// Version of the object that the received bytes are of.
    version: Validator,
    /// Size of the object in bytes, once it was declared or received.
    total: Option<u64>,
    restarts: u32,
    failures: u32,
}

/// How reading one answer ended.
enum Read {
    ToTheEnd,
    Broken(RemoteError),
}

impl<'a> Stream<'a> {
    fn new(job: &'a Job, sink: Sink) -> Self {
        Self { job, sink, version: Validator::default(), total: job.what.size, restarts: 0, failures: 0 }
    }

    /// Downloads until all bytes have arrived and are correct.
    async fn run(mut self, mut first: Option<Got>) -> Result<Option<Sink>> {
        loop {
            let got = match first.take() {
                Some(got) => got,
                None => match self.ask().await? {
                    Asked::Got(got) => *got,
                    Asked::Absent => return Ok(None),
                    Asked::AtTheEnd => break,
                    Asked::Again => continue,
                },
            };
            if !self.accept(&got).await? {
                continue;
            }
            let from = self.sink.reached();
            let read = self.read(got).await?;
            self.sink.settle().await?;
            if self.sink.reached() - from >= PROGRESS {
                self.failures = 0;
            }
            let error = match (read, self.total) {
                (Read::ToTheEnd, Some(total)) if self.sink.reached() < total => self.garbled("it ended too early"),
                (Read::ToTheEnd, _) => break,
                (Read::Broken(error), _) => error,
            };
            self.job.bucket.pause(&self.job.tried, &mut self.failures, error).await?;
        }
        self.job.meter.enter(Phase::Verifying);
        match self.job.what.digest {
            Some(expected) if self.sink.digest() != Some(expected) => {
                Err(RemoteError::Digest { tried: self.job.tried.clone() })
            }
            _ => Ok(Some(self.sink)),
        }
    }

    /// Requests the missing bytes.
    async fn ask(&mut self) -> Result<Asked> {
        // Bytes of an unknown version cannot be continued, unless the digest will show whether they fit.
        if self.sink.reached() > 0 && !self.version.is_any() && self.job.what.digest.is_none() {
            self.rewind().await?;
        }
        let from = self.sink.reached();
        let range = (from > 0).then_some(Range { first: from, last: None });
        match open(&self.job.bucket, &self.job.what.name, range, &self.version).await {
            Ok(Some(got)) => Ok(Asked::Got(Box::new(got))),
            Ok(None) => Ok(Asked::Absent),
            Err(error) if error.status() == Some(416) && from > 0 && self.total.is_none() => Ok(Asked::AtTheEnd),
            Err(error) if matches!(error.status(), Some(412 | 416)) && from > 0 => {
                self.changed().await?;
                Ok(Asked::Again)
            }
            Err(error) if error.is_transient() => {
                self.job.bucket.pause(&self.job.tried, &mut self.failures, error).await?;
                Ok(Asked::Again)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the body of the answer can be used: it continues the bytes received so far, or starts over. `false`: ask
    /// again.
    async fn accept(&mut self, got: &Got) -> Result<bool> {
        let from = self.sink.reached();
        if from > 0 && !self.version.agrees(&got.validator) {
            self.changed().await?;
            return Ok(false);
        }
        let total = match got.reply {
            Reply::Whole(length) => {
                if from > 0 {
                    self.rewind().await?;
                }
                length
            }
            Reply::Part { total, .. } => total,
            Reply::Lie(why) => {
                self.rewind().await?;
                let error = self.garbled(why);
                self.job.bucket.pause(&self.job.tried, &mut self.failures, error).await?;
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
        self.version = got.validator.clone();
        Ok(true)
    }

    async fn read(&mut self, mut got: Got) -> Result<Read> {
        let left = self.total.map(|total| total.saturating_sub(self.sink.reached()));
        let until = left.map(|left| Instant::now() + self.job.bucket.patience(left));
        loop {
            if let Some(Err(late)) = until.map(|until| got.in_time(until)) {
                return Ok(Read::Broken(late));
            }
            match got.next().await {
                Ok(None) => return Ok(Read::ToTheEnd),
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
                Err(error) => return Ok(Read::Broken(error)),
            }
        }
    }

    /// Starts over because the object has changed; fails if it has changed too often.
    async fn changed(&mut self) -> Result<()> {
        self.restarts += 1;
        if self.restarts > self.job.bucket.0.tuning.restarts {
            return Err(RemoteError::Changed { tried: self.job.tried.clone() });
        }
        self.total = self.job.what.size;
        self.rewind().await
    }

    async fn rewind(&mut self) -> Result<()> {
        self.sink.restart().await?;
        self.version = Validator::default();
        self.job.meter.rewind(0);
        Ok(())
    }

    fn garbled(&self, why: &str) -> RemoteError {
        RemoteError::Garbled { tried: self.job.tried.clone(), reason: why.to_owned() }
    }

    fn wrong_size(&self, declared: u64, actual: u64) -> RemoteError {
        RemoteError::Size { tried: self.job.tried.clone(), declared, actual }
    }
}

/// Result of a request.
enum Asked {
    Got(Box<Got>),
    Absent,
    AtTheEnd,
    Again,
}
