//! Downloads in parts: parallel ranged GETs, each written to its offset, and each resumed and repeated on its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::error::{RemoteError, Result};
use super::super::range::{BodyContent, Range};
use super::super::source::{ObjectBody, Validator};
use super::job::{DownloadJob, MIN_PROGRESS_BYTES};
use super::pace::Pace;
use crate::fsx::{self, AsyncWriter, StagedParts};
use crate::remote::tasks::concurrently;

/// How a download in parts ended.
pub(super) enum PartsResult {
    /// All parts are on disk.
    Complete(StagedParts),
    /// The object does not exist.
    Absent,
    /// The object changed during the download.
    Changed,
    /// Parts cannot be used: the server does not support ranges, or identifies no version. Holds the answer if it is
    /// the whole object.
    NoRanges(Option<Box<ObjectBody>>),
}

/// Why a part could not be downloaded.
enum PartError {
    Changed,
    NoRanges,
    Failed(RemoteError),
}

impl PartError {
    fn file(error: fsx::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// How often one part is requested again because it is slow.
const MAX_HEDGES: u32 = 3;

/// How often a part checks the clock while it receives nothing.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Downloads an object of `size` bytes into the file that `stage` begins once the object is known to exist.
pub(super) async fn download(
    job: &Arc<DownloadJob>,
    stage: impl FnOnce() -> fsx::Result<StagedParts>,
    size: u64,
) -> Result<PartsResult> {
    let part_size = job.connections().tuning().part_size.max(1);
    let mut parts = (0..size.div_ceil(part_size)).map(|n| (n * part_size, ((n + 1) * part_size).min(size) - 1));
    let Some(first_part) = parts.next() else { return Ok(PartsResult::NoRanges(None)) };
    let request = || {
        let range = Range { first: 0, last: Some(first_part.1) };
        let name = &job.object.name;
        async move { job.source.request_object(name, Some(range), &Validator::default()).await }
    };
    let first = match job.connections().with_retries(&job.attempt, request).await {
        Ok(Some(body)) => body,
        Ok(None) => return Ok(PartsResult::Absent),
        // An empty object does not have a first byte.
        Err(error) if error.status() == Some(416) => return Ok(PartsResult::NoRanges(None)),
        Err(error) => return Err(error),
    };
    match first.content {
        BodyContent::Whole(_) => return Ok(PartsResult::NoRanges(Some(Box::new(first)))),
        BodyContent::Unexpected(_) => return Ok(PartsResult::NoRanges(None)),
        BodyContent::Part { total: Some(total), .. } if total != size => {
            return Err(RemoteError::Size { attempt: job.attempt.clone(), declared: size, actual: total });
        }
        BodyContent::Part { .. } if !first.validator.is_known() && job.object.digest.is_none() => {
            return Ok(PartsResult::NoRanges(None));
        }
        BodyContent::Part { .. } => {}
    }
    let staged = stage()?;
    let (version, pace) = (Arc::new(first.validator.clone()), Arc::new(Pace::default()));
    let mut first = Some(first);
    let download_part = |(begin, last): (u64, u64)| {
        let part = Part { job: Arc::clone(job), version: Arc::clone(&version), pace: Arc::clone(&pace), last };
        part.run(staged.writer_at(begin), first.take())
    };
    let parts = std::iter::once(first_part).chain(parts);
    let mut running = concurrently(job.connections().tuning().parallel_downloads, parts, download_part);
    while let Some(result) = running.next().await {
        let Err(error) = result else { continue };
        // The other parts are of no use any more.
        running.shutdown().await;
        return match error {
            PartError::Changed => Ok(PartsResult::Changed),
            PartError::NoRanges => Ok(PartsResult::NoRanges(None)),
            PartError::Failed(error) => Err(error),
        };
    }
    Ok(PartsResult::Complete(staged))
}

/// The download of one part.
struct Part {
    job: Arc<DownloadJob>,
    version: Arc<Validator>,
    pace: Arc<Pace>,
    last: u64,
}

/// How reading one answer ended.
enum PartEnd {
    Complete,
    Failed(RemoteError),
    Slow,
}

impl Part {
    async fn run(self, mut sink: AsyncWriter, mut body: Option<ObjectBody>) -> std::result::Result<(), PartError> {
        let (mut failures, mut hedges) = (0, 0);
        let begun = Instant::now();
        while sink.reached() <= self.last {
            let from = sink.reached();
            let answer = match body.take() {
                Some(body) => Ok(body),
                None => self.request(from).await,
            };
            let end = match answer {
                Ok(body) => self.read(body, &mut sink, hedges < MAX_HEDGES).await?,
                Err(PartError::Failed(error)) if error.is_transient() => PartEnd::Failed(error),
                Err(error) => return Err(error),
            };
            sink.flush().await.map_err(PartError::file)?;
            if sink.reached() - from >= MIN_PROGRESS_BYTES {
                failures = 0;
            }
            let error = match end {
                PartEnd::Complete if sink.reached() > self.last || sink.reached() - from >= MIN_PROGRESS_BYTES => {
                    continue;
                }
                PartEnd::Complete => RemoteError::InvalidAnswer {
                    attempt: self.job.attempt.clone(),
                    reason: "a part ended too early".to_owned(),
                },
                PartEnd::Slow => {
                    hedges += 1;
                    tracing::debug!("{}: a part is slow, asking again from {}", self.job.attempt, sink.reached());
                    continue;
                }
                PartEnd::Failed(error) => error,
            };
            self.job.connections().pause(&self.job.attempt, &mut failures, error).await.map_err(PartError::Failed)?;
        }
        self.pace.finished(begun.elapsed());
        Ok(())
    }

    async fn request(&self, from: u64) -> std::result::Result<ObjectBody, PartError> {
        let range = Range { first: from, last: Some(self.last) };
        match self.job.source.request_object(&self.job.object.name, Some(range), &self.version).await {
            // Gone, or shorter: starting over finds out which.
            Ok(None) => Err(PartError::Changed),
            Err(error) if matches!(error.status(), Some(412 | 416)) => Err(PartError::Changed),
            Err(error) => Err(PartError::Failed(error)),
            Ok(Some(body)) if !self.version.may_match(&body.validator) => Err(PartError::Changed),
            Ok(Some(body)) => match body.content {
                BodyContent::Part { .. } => Ok(body),
                BodyContent::Whole(_) | BodyContent::Unexpected(_) => Err(PartError::NoRanges),
            },
        }
    }

    async fn read(
        &self,
        mut body: ObjectBody,
        sink: &mut AsyncWriter,
        may_be_slow: bool,
    ) -> std::result::Result<PartEnd, PartError> {
        let tuning = self.job.connections().tuning();
        let begun = Instant::now();
        let until = begun + self.job.connections().timeout((self.last + 1).saturating_sub(sink.reached()));
        let mut last_received = begun;
        loop {
            if let Err(late) = body.check_deadline(until) {
                return Ok(PartEnd::Failed(late));
            }
            let next = tokio::time::timeout(CHECK_INTERVAL.min(tuning.stall), body.next_without_timeout()).await;
            match next {
                Err(_) if last_received.elapsed() >= tuning.stall => {
                    return Ok(PartEnd::Failed(RemoteError::TimedOut { attempt: self.job.attempt.clone() }));
                }
                Err(_) => {}
                Ok(Ok(None)) => return Ok(PartEnd::Complete),
                Ok(Ok(Some(bytes))) => {
                    last_received = Instant::now();
                    let len = bytes.len() as u64;
                    if sink.reached() + len > self.last + 1 {
                        return Err(PartError::NoRanges);
                    }
                    sink.push(bytes).await.map_err(PartError::file)?;
                    self.job.meter.advance(len);
                }
                Ok(Err(error)) => return Ok(PartEnd::Failed(error)),
            }
            if may_be_slow && self.pace.is_slow(begun.elapsed(), tuning.slow_after, tuning.slow_factor) {
                return Ok(PartEnd::Slow);
            }
        }
    }
}
