//! Uploads in parts. The id and the finished parts of an upload are recorded on disk, so that a killed upload can be
//! resumed.
//!
//! Checksums are either complete (named when the upload is created, passed with each part and again at the end) or off:
//! servers disagree about the forms in between. If the server no longer knows an upload (404, 403 or 500, depending on
//! the server), a new one is begun. Whoever works on a state holds its lock.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use base64::Engine;
use bytes::Bytes;
use tokio::task::JoinSet;

use super::super::bucket::{Bucket, Head, absent};
use super::super::error::{RemoteError, Result};
use super::super::limit::Limit;
use super::super::progress::{Meter, Phase, Transfer};
use super::super::tuning::MIB;
use super::state::{Done, Place, STALE, State};
use super::upload::{memory, other_file};
use super::{Upload, blocking, digest_of};
use crate::config::Checksums;
use crate::fsx::{self, lock::FileLock};

/// Most parts of an upload that S3 accepts.
const MOST_PARTS: u64 = 10_000;

/// How far the server's clock may differ from ours: servers refuse signatures with a larger difference.
const CLOCKS: Duration = Duration::from_mins(15);

/// How often to check whether another process is done.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Uploads a large file in parts.
pub(super) async fn upload(bucket: &Bucket, what: &Upload, states: &Path, transfer: &Transfer) -> Result<()> {
    if digest_of(what.path.clone()).await? != (what.digest, what.size) {
        return Err(other_file(bucket, what));
    }
    let place = Place::of(states, &bucket.0, &what.name);
    let (begun, now) = (Instant::now(), SystemTime::now());
    let mut lock = FileLock::try_acquire(&place.lock)?;
    let waited = lock.is_none();
    while lock.is_none() && begun.elapsed() < bucket.0.tuning.wait_for_other {
        tokio::time::sleep(LOOK_AGAIN).await;
        lock = FileLock::try_acquire(&place.lock)?;
    }
    if waited && is_there(bucket, what, now).await? {
        transfer.advance(what.size);
        return Ok(());
    }
    let mut work =
        Work { bucket, what, place: lock.is_some().then_some(place), meter: transfer.meter().clone(), state: None };
    work.resume().await;
    for _ in 0..=bucket.0.tuning.restarts {
        if work.go().await? {
            return Ok(());
        }
        work.forget();
        transfer.rewind(0);
    }
    Err(RemoteError::Changed { tried: bucket.tried("put", &what.name) })
}

/// Whether another process has written the object after `since`. The name implies the content, but an older object may
/// be damaged.
async fn is_there(bucket: &Bucket, what: &Upload, since: SystemTime) -> Result<bool> {
    let since = since.checked_sub(CLOCKS).unwrap_or(since);
    let is_it = |head: Head| head.size == what.size && head.modified.is_some_and(|modified| modified >= since);
    Ok(bucket.head(&what.name).await?.is_some_and(is_it))
}

/// An upload in progress.
struct Work<'a> {
    bucket: &'a Bucket,
    what: &'a Upload,
    /// Where the state is stored; `None`: another process holds the lock, so the state of this upload is not stored.
    place: Option<Place>,
    meter: Meter,
    state: Option<State>,
}

impl Work<'_> {
    /// Takes over the upload that an earlier process left if it has the same bytes; otherwise aborts it.
    async fn resume(&mut self) {
        let Some(found) = self.place.as_ref().and_then(Place::load) else { return };
        if found.serves(&self.bucket.0, self.what, SystemTime::now()) {
            self.state = Some(found);
            return;
        }
        if found.belongs_to(&self.bucket.0) {
            let _ = abort(self.bucket, &found).await;
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.state = None;
        if let Some(place) = &self.place {
            place.remove();
        }
    }

    fn save(&self) -> Result<()> {
        match (&self.place, &self.state) {
            (Some(place), Some(state)) => Ok(place.save(state)?),
            _ => Ok(()),
        }
    }

    /// Uploads the missing parts and completes the upload. `false`: the server does not know this upload, or no longer
    /// does.
    async fn go(&mut self) -> Result<bool> {
        let resumed = self.state.is_some();
        let mut state = match self.state.take() {
            Some(state) => state,
            None => create(self.bucket, self.what).await?,
        };
        let size_of = |n: i32| part_len(self.what.size, state.part_size, n);
        self.meter.advance(state.parts.keys().map(|n| size_of(*n)).sum());
        let count = i32::try_from(self.what.size.div_ceil(state.part_size)).unwrap_or(i32::MAX);
        let missing: Vec<_> = (1..=count).filter(|n| !state.parts.contains_key(n)).collect();
        let mut missing = missing.into_iter();
        let sender = Arc::new(Sender::new(self.bucket, self.what, &state)?);
        self.state = Some(state.clone());
        self.save()?;
        let mut running = JoinSet::new();
        let mut first_news = true;
        loop {
            while running.len() < self.bucket.0.tuning.parallel_uploads.max(1)
                && let Some(n) = missing.next()
            {
                running.spawn(Arc::clone(&sender).send(n));
            }
            let sent = match running.join_next().await {
                None => break,
                Some(Ok(sent)) => sent,
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            };
            match sent {
                Ok(Some((n, done))) => {
                    state.parts.insert(n, done);
                    self.state = Some(state.clone());
                    self.save()?;
                    self.meter.advance(part_len(self.what.size, state.part_size, n));
                }
                Ok(None) => return Ok(false),
                Err(error) if resumed && first_news && is_unknown(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
            first_news = false;
        }
        self.meter.enter(Phase::Verifying);
        let done = self.complete(&state, resumed).await?;
        if done {
            self.forget();
        } else {
            self.meter.enter(Phase::Uploading);
        }
        Ok(done)
    }

    /// Completes the object from its parts. `false`: the server does not know them.
    async fn complete(&self, state: &State, resumed: bool) -> Result<bool> {
        let tried = self.bucket.tried("complete the upload of", &self.what.name);
        let part = |(n, done): (&i32, &Done)| {
            let part = CompletedPart::builder().part_number(*n).e_tag(&done.etag);
            part.set_checksum_crc32(done.crc32.clone()).build()
        };
        let parts: Vec<_> = state.parts.iter().map(part).collect();
        // S3 may take minutes to complete an upload.
        let patience = self.bucket.0.tuning.answer * 6;
        let (tries, begun) = (AtomicU32::new(0), SystemTime::now());
        let answer = self.bucket.persist(&tried, || async {
            tries.fetch_add(1, Ordering::Relaxed);
            let upload = CompletedMultipartUpload::builder().set_parts(Some(parts.clone())).build();
            let shared = &self.bucket.0;
            let request = shared.client.complete_multipart_upload().bucket(&shared.name).key(&state.name);
            let send = Box::pin(
                request.upload_id(&state.upload).multipart_upload(upload).customize().interceptor(Limit::Each).send(),
            );
            self.bucket.ask(&tried, patience, send).await
        });
        let error = match answer.await {
            Ok(Some(_)) => return Ok(true),
            Ok(None) => None,
            Err(error) if error.status() == Some(400) || is_unknown(&error) => Some(error),
            Err(error) => return Err(error),
        };
        // An earlier answer may have been lost: then the server has forgotten the upload, and the object exists.
        let again = resumed || tries.load(Ordering::Relaxed) > 1;
        if again && is_there(self.bucket, self.what, begun).await? {
            return Ok(true);
        }
        match error {
            Some(error) if !again => Err(error),
            _ => Ok(false),
        }
    }
}

/// Whether the error is one that servers return, besides 404, for an upload that they do not know.
fn is_unknown(error: &RemoteError) -> bool {
    matches!(error.status(), Some(403 | 500))
}

async fn create(bucket: &Bucket, what: &Upload) -> Result<State> {
    let tried = bucket.tried("begin the upload of", &what.name);
    let algorithm = (bucket.0.checksums == Checksums::Crc32).then_some(ChecksumAlgorithm::Crc32);
    let created = bucket
        .persist(&tried, || async {
            let request = bucket.0.client.create_multipart_upload().bucket(&bucket.0.name).key(&what.name);
            let send =
                Box::pin(request.set_checksum_algorithm(algorithm.clone()).customize().interceptor(Limit::Each).send());
            let answer = bucket.ask(&tried, bucket.patience(0), send).await?;
            answer.ok_or_else(|| absent(&tried))
        })
        .await?;
    let Some(id) = created.upload_id() else {
        return Err(RemoteError::Garbled { tried, reason: "no upload id is given".to_owned() });
    };
    let part_size = part_size(what.size, bucket.0.tuning.part_size);
    Ok(State::new(&bucket.0, what, id.to_owned(), part_size, SystemTime::now()))
}

/// The usual part size, or a larger one if there would be more parts than S3 accepts.
fn part_size(size: u64, usual: u64) -> u64 {
    match size.div_ceil(usual.max(1)) <= MOST_PARTS {
        true => usual.max(1),
        false => size.div_ceil(MOST_PARTS).next_multiple_of(MIB),
    }
}

/// Size of part `n` (from 1) in bytes.
fn part_len(size: u64, part_size: u64, n: i32) -> u64 {
    let before = u64::try_from(n - 1).unwrap_or(0) * part_size;
    size.saturating_sub(before).min(part_size)
}

/// What the uploads of all parts need.
struct Sender {
    bucket: Bucket,
    what: Upload,
    file: Arc<File>,
    upload: String,
    part_size: u64,
}

impl Sender {
    fn new(bucket: &Bucket, what: &Upload, state: &State) -> Result<Self> {
        let file = Arc::new(fsx::open(&what.path)?);
        let (bucket, what) = (bucket.clone(), what.clone());
        Ok(Self { bucket, what, file, upload: state.upload.clone(), part_size: state.part_size })
    }

    /// Uploads part `n`. `None`: the server does not know the upload.
    async fn send(self: Arc<Self>, n: i32) -> Result<Option<(i32, Done)>> {
        let tried = self.bucket.tried("upload a part of", &self.what.name);
        let len = part_len(self.what.size, self.part_size, n);
        let _memory = memory(&self.bucket, len).await;
        let offset = u64::try_from(n - 1).unwrap_or(0) * self.part_size;
        let (file, path) = (Arc::clone(&self.file), self.what.path.clone());
        let wanted = usize::try_from(len).unwrap_or(usize::MAX);
        let bytes = Bytes::from(blocking(move || fsx::offset::read_at(&file, &path, offset, wanted)).await?);
        let crc32 = (self.bucket.0.checksums == Checksums::Crc32).then(|| spelled(crc32fast::hash(&bytes)));
        let patience = self.bucket.patience(len);
        let sent = self.bucket.persist(&tried, || async {
            let shared = &self.bucket.0;
            let request = shared.client.upload_part().bucket(&shared.name).key(&self.what.name);
            let request = request.upload_id(&self.upload).part_number(n).set_checksum_crc32(crc32.clone());
            let send =
                Box::pin(request.body(ByteStream::from(bytes.clone())).customize().interceptor(Limit::Each).send());
            self.bucket.ask(&tried, patience, send).await
        });
        let Some(sent) = sent.await? else { return Ok(None) };
        let Some(etag) = sent.e_tag() else {
            return Err(RemoteError::Garbled { tried, reason: "no ETag is given".to_owned() });
        };
        Ok(Some((n, Done { etag: etag.to_owned(), crc32 })))
    }
}

/// A CRC32 as S3 expects it: four bytes, big-endian, in base64.
fn spelled(crc32: u32) -> String {
    base64::engine::general_purpose::STANDARD.encode(crc32.to_be_bytes())
}

/// Aborts an upload. One that the server does not know, or refuses to abort, counts as aborted.
async fn abort(bucket: &Bucket, state: &State) -> Result<()> {
    let tried = bucket.tried("abort the upload of", &state.name);
    let request = bucket.0.client.abort_multipart_upload().bucket(&bucket.0.name).key(&state.name);
    let aborted = bucket
        .ask(
            &tried,
            bucket.patience(0),
            Box::pin(request.upload_id(&state.upload).customize().interceptor(Limit::Each).send()),
        )
        .await;
    match aborted {
        Err(error) if error.is_transient() && !is_unknown(&error) || error.status().is_none() => Err(error),
        _ => Ok(()),
    }
}

/// Aborts uploads to this bucket whose states are too old, and removes unreadable states of that age. Returns the
/// number of aborted uploads.
pub(in crate::remote) async fn sweep(bucket: &Bucket, states: &Path, now: SystemTime) -> Result<usize> {
    let mut aborted = 0;
    for name in fsx::list(states)? {
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
        let place = Place::named(states, stem);
        // Another process is working on it.
        let Some(_lock) = FileLock::try_acquire(&place.lock)? else { continue };
        match place.load() {
            Some(state) if state.is_stale(now) && state.belongs_to(&bucket.0) => {
                abort(bucket, &state).await?;
                place.remove();
                aborted += 1;
            }
            Some(_) => {}
            None => {
                let age = place.written().and_then(|written| now.duration_since(written).ok());
                if age.is_some_and(|age| age > STALE) {
                    place.remove();
                }
            }
        }
    }
    Ok(aborted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_larger_where_there_would_be_too_many() {
        assert_eq!(part_size(20 * MIB, 8 * MIB), 8 * MIB);
        assert_eq!(part_size(80_000 * MIB, 8 * MIB), 8 * MIB);
        let size = 80_000 * MIB + 1;
        assert_eq!(part_size(size, 8 * MIB), 9 * MIB);
        assert!(size.div_ceil(part_size(size, 8 * MIB)) <= MOST_PARTS);
    }

    #[test]
    fn the_last_part_is_what_is_left() {
        let lens: Vec<_> = (1..=4).map(|n| part_len(20, 8, n)).collect();
        assert_eq!(lens, [8, 8, 4, 0]);
    }

    #[test]
    fn checksums_are_spelled_as_s3_does() {
        // The CRC-32 of "123456789" is the published check value, cb f4 39 26; this is its base64.
        assert_eq!(spelled(crc32fast::hash(b"123456789")), "y/Q5Jg==");
        assert_eq!(spelled(0), "AAAAAA==");
        assert_eq!(spelled(u32::MAX), "/////w==");
    }
}
