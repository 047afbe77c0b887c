//! Downloads in parts: parallel ranged GETs, each written to its offset, and each resumed and repeated on its own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::super::error::{RemoteError, Result};
use super::download::Job;
use super::get::{Got, Validator, open};
use super::pace::Pace;
use super::range::{Range, Reply};
use super::sink::{self, Run};

/// How a download in parts ended.
pub(super) enum Ended {
    /// All parts are on disk.
    Whole,
    /// The object does not exist.
    Absent,
    /// The object changed during the download.
    Changed,
    /// Parts cannot be used: the server does not support ranges, or identifies no version. Holds the answer if it is
    /// the whole object.
    NoRanges(Option<Box<Got>>),
}

/// Why a part could not be downloaded.
enum Lost {
    Changed,
    NoRanges,
    Failed(RemoteError),
}

/// How often one part is requested again because it is slow.
const HEDGES: u32 = 3;

/// How often a part checks the clock while it receives nothing.
const TICK: Duration = Duration::from_millis(500);

/// Bytes that one attempt must receive to count as progress.
const PROGRESS: u64 = 64 * 1024;

/// Downloads an object of `size` bytes into a new file `to`.
pub(super) async fn download(job: &Arc<Job>, to: &Path, size: u64) -> Result<Ended> {
    let part_size = job.bucket.0.tuning.part_size.max(1);
    let mut parts = (0..size.div_ceil(part_size)).map(|n| (n * part_size, ((n + 1) * part_size).min(size) - 1));
    let Some(mut next) = parts.next() else { return Ok(Ended::NoRanges(None)) };
    let ask = || {
        let range = Range { first: 0, last: Some(next.1) };
        let name = &job.what.name;
        async move { open(&job.bucket, name, Some(range), &Validator::default()).await }
    };
    let first = match job.bucket.persist(&job.tried, ask).await {
        Ok(Some(got)) => got,
        Ok(None) => return Ok(Ended::Absent),
        // An empty object does not have a first byte.
        Err(error) if error.status() == Some(416) => return Ok(Ended::NoRanges(None)),
        Err(error) => return Err(error),
    };
    match first.reply {
        Reply::Whole(_) => return Ok(Ended::NoRanges(Some(Box::new(first)))),
        Reply::Lie(_) => return Ok(Ended::NoRanges(None)),
        Reply::Part { total: Some(total), .. } if total != size => {
            return Err(RemoteError::Size { tried: job.tried.clone(), declared: size, actual: total });
        }
        Reply::Part { .. } if !first.validator.is_any() && job.what.digest.is_none() => {
            return Ok(Ended::NoRanges(None));
        }
        Reply::Part { .. } => {}
    }
    let target = sink::create(to)?;
    let (version, pace) = (Arc::new(first.validator.clone()), Arc::new(Pace::default()));
    let mut first = Some(first);
    let mut running = JoinSet::new();
    loop {
        let part = Part { job: Arc::clone(job), version: Arc::clone(&version), pace: Arc::clone(&pace), last: next.1 };
        running.spawn(part.run(Run::new(&target, next.0, false), first.take()));
        while running.len() >= job.bucket.0.tuning.parallel_downloads.max(1) {
            if let Some(ended) = join_one(&mut running).await? {
                return Ok(ended);
            }
        }
        match parts.next() {
            Some(part) => next = part,
            None => break,
        }
    }
    while !running.is_empty() {
        if let Some(ended) = join_one(&mut running).await? {
            return Ok(ended);
        }
    }
    Ok(Ended::Whole)
}

/// Waits for one part. If it is lost, stops all other parts.
async fn join_one(running: &mut JoinSet<std::result::Result<(), Lost>>) -> Result<Option<Ended>> {
    let lost = match running.join_next().await {
        None | Some(Ok(Ok(()))) => return Ok(None),
        Some(Ok(Err(lost))) => lost,
        Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
    };
    // Other parts must not write to the file once the caller uses it for something else.
    running.shutdown().await;
    match lost {
        Lost::Changed => Ok(Some(Ended::Changed)),
        Lost::NoRanges => Ok(Some(Ended::NoRanges(None))),
        Lost::Failed(error) => Err(error),
    }
}

/// The download of one part.
struct Part {
    job: Arc<Job>,
    version: Arc<Validator>,
    pace: Arc<Pace>,
    last: u64,
}

/// How reading one answer ended.
enum Read {
    ToTheEnd,
    Broken(RemoteError),
    Slow,
}

impl Part {
    async fn run(self, mut sink: Run, mut got: Option<Got>) -> std::result::Result<(), Lost> {
        let (mut failures, mut hedges) = (0, 0);
        let begun = Instant::now();
        while sink.reached() <= self.last {
            let from = sink.reached();
            let answer = match got.take() {
                Some(got) => Ok(got),
                None => self.ask(from).await,
            };
            let read = match answer {
                Ok(got) => self.read(got, &mut sink, hedges < HEDGES).await?,
                Err(Lost::Failed(error)) if error.is_transient() => Read::Broken(error),
                Err(lost) => return Err(lost),
            };
            sink.settle().await.map_err(Lost::Failed)?;
            if sink.reached() - from >= PROGRESS {
                failures = 0;
            }
            let error = match read {
                Read::ToTheEnd if sink.reached() > self.last || sink.reached() - from >= PROGRESS => continue,
                Read::ToTheEnd => {
                    RemoteError::Garbled { tried: self.job.tried.clone(), reason: "a part ended too early".to_owned() }
                }
                Read::Slow => {
                    hedges += 1;
                    tracing::debug!("{}: a part is slow, asking again from {}", self.job.tried, sink.reached());
                    continue;
                }
                Read::Broken(error) => error,
            };
            self.job.bucket.pause(&self.job.tried, &mut failures, error).await.map_err(Lost::Failed)?;
        }
        self.pace.finished(begun.elapsed());
        Ok(())
    }

    async fn ask(&self, from: u64) -> std::result::Result<Got, Lost> {
        let range = Range { first: from, last: Some(self.last) };
        match open(&self.job.bucket, &self.job.what.name, Some(range), &self.version).await {
            // Gone, or shorter: starting over finds out which.
            Ok(None) => Err(Lost::Changed),
            Err(error) if matches!(error.status(), Some(412 | 416)) => Err(Lost::Changed),
            Err(error) => Err(Lost::Failed(error)),
            Ok(Some(got)) if !self.version.agrees(&got.validator) => Err(Lost::Changed),
            Ok(Some(got)) => match got.reply {
                Reply::Part { .. } => Ok(got),
                Reply::Whole(_) | Reply::Lie(_) => Err(Lost::NoRanges),
            },
        }
    }

    async fn read(&self, mut got: Got, sink: &mut Run, may_be_slow: bool) -> std::result::Result<Read, Lost> {
        let tuning = &self.job.bucket.0.tuning;
        let begun = Instant::now();
        let until = begun + self.job.bucket.patience((self.last + 1).saturating_sub(sink.reached()));
        let mut heard = begun;
        loop {
            if let Err(late) = got.in_time(until) {
                return Ok(Read::Broken(late));
            }
            let next = tokio::time::timeout(TICK.min(tuning.stall), got.next_for_ever()).await;
            match next {
                Err(_) if heard.elapsed() >= tuning.stall => {
                    return Ok(Read::Broken(RemoteError::TimedOut { tried: self.job.tried.clone() }));
                }
                Err(_) => {}
                Ok(Ok(None)) => return Ok(Read::ToTheEnd),
                Ok(Ok(Some(bytes))) => {
                    heard = Instant::now();
                    let len = bytes.len() as u64;
                    if sink.reached() + len > self.last + 1 {
                        return Err(Lost::NoRanges);
                    }
                    sink.push(bytes).await.map_err(Lost::Failed)?;
                    self.job.meter.advance(len);
                }
                Ok(Err(error)) => return Ok(Read::Broken(error)),
            }
            if may_be_slow && self.pace.is_slow(begun.elapsed(), tuning.slow_after, tuning.slow_factor) {
                return Ok(Read::Slow);
            }
        }
    }
}
