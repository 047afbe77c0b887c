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

use super::super::answer_limit::AnswerLimit;
use super::super::bucket::Bucket;
use super::super::error::{RemoteError, Result, absent_error};
use super::super::progress::{ActiveTransfer, Meter, Phase};
use super::super::small_objects::ObjectMetadata;
use super::super::tuning::MIB;
use super::descriptions::Upload;
use super::local_file::{changed_file_error, digest_of, reserve_memory};
use super::state::{MAX_UPLOAD_AGE, StateFiles, UploadState, UploadedPart};
use crate::config::Checksums;
use crate::fsx::{self, lock::FileLock};
use crate::remote::tasks::{concurrently, run_blocking};

/// Most parts of an upload that S3 accepts.
const MAX_PARTS: u64 = 10_000;

/// How far the server's clock may differ from ours: servers refuse signatures with a larger difference.
const MAX_CLOCK_SKEW: Duration = Duration::from_mins(15);

/// How often to check whether another process is done.
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Uploads a large file in parts.
pub(super) async fn upload(bucket: &Bucket, upload: &Upload, states: &Path, transfer: &ActiveTransfer) -> Result<()> {
    if digest_of(upload.path.clone()).await? != (upload.digest, upload.size) {
        return Err(changed_file_error(bucket, upload));
    }
    let files = StateFiles::of(states, &bucket.0, &upload.name);
    let (begun, now) = (Instant::now(), SystemTime::now());
    let mut lock = FileLock::try_acquire(&files.lock)?;
    let waited = lock.is_none();
    while lock.is_none() && begun.elapsed() < bucket.0.tuning.wait_for_other {
        tokio::time::sleep(LOCK_POLL_INTERVAL).await;
        lock = FileLock::try_acquire(&files.lock)?;
    }
    if waited && is_there(bucket, upload, now).await? {
        transfer.advance(upload.size);
        return Ok(());
    }
    let mut multipart = MultipartUpload {
        bucket,
        upload,
        files: lock.is_some().then_some(files),
        meter: transfer.meter().clone(),
        state: None,
    };
    multipart.resume().await;
    for _ in 0..=bucket.0.tuning.restarts {
        if multipart.run().await? {
            return Ok(());
        }
        multipart.forget();
        transfer.rewind(0);
    }
    Err(RemoteError::Changed { attempt: bucket.attempt("put", &upload.name) })
}

/// Whether another process has written the object after `since`. The name implies the content, but an older object may
/// be damaged.
async fn is_there(bucket: &Bucket, upload: &Upload, since: SystemTime) -> Result<bool> {
    let since = since.checked_sub(MAX_CLOCK_SKEW).unwrap_or(since);
    let is_same = |object: ObjectMetadata| {
        object.size == upload.size && object.modified.is_some_and(|modified| modified >= since)
    };
    Ok(bucket.head(&upload.name).await?.is_some_and(is_same))
}

/// An upload in progress.
struct MultipartUpload<'a> {
    bucket: &'a Bucket,
    upload: &'a Upload,
    /// Where the state is stored; `None`: another process holds the lock, so the state of this upload is not stored.
    files: Option<StateFiles>,
    meter: Meter,
    state: Option<UploadState>,
}

impl MultipartUpload<'_> {
    /// Takes over the upload that an earlier process left if it has the same bytes; otherwise aborts it.
    async fn resume(&mut self) {
        let Some(found) = self.files.as_ref().and_then(StateFiles::load) else { return };
        if found.may_resume(&self.bucket.0, self.upload, SystemTime::now()) {
            self.state = Some(found);
            return;
        }
        if found.belongs_to(&self.bucket.0) {
            let _ = abort(self.bucket, &found.name, &found.upload_id).await;
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.state = None;
        if let Some(files) = &self.files {
            files.remove();
        }
    }

    fn save(&self) -> Result<()> {
        match (&self.files, &self.state) {
            (Some(files), Some(state)) => Ok(files.save(state)?),
            _ => Ok(()),
        }
    }

    /// Uploads the missing parts and completes the upload. `false`: the server does not know this upload, or no longer
    /// does.
    async fn run(&mut self) -> Result<bool> {
        let resumed = self.state.is_some();
        let mut state = match self.state.take() {
            Some(state) => state,
            None => create(self.bucket, self.upload).await?,
        };
        let size_of = |n: i32| part_len(self.upload.size, state.part_size, n);
        self.meter.advance(state.parts.keys().map(|n| size_of(*n)).sum());
        let count = i32::try_from(self.upload.size.div_ceil(state.part_size)).unwrap_or(i32::MAX);
        let missing: Vec<_> = (1..=count).filter(|n| !state.parts.contains_key(n)).collect();
        let uploader = Arc::new(PartUploader::new(self.bucket, self.upload, &state)?);
        self.state = Some(state.clone());
        self.save()?;
        let upload_part = |n| Arc::clone(&uploader).upload(n);
        let mut running = concurrently(self.bucket.0.tuning.parallel_uploads, missing, upload_part);
        let mut is_first_result = true;
        while let Some(uploaded) = running.next().await {
            match uploaded {
                Ok(Some((n, done))) => {
                    state.parts.insert(n, done);
                    self.state = Some(state.clone());
                    self.save()?;
                    self.meter.advance(part_len(self.upload.size, state.part_size, n));
                }
                Ok(None) => return Ok(false),
                Err(error) if resumed && is_first_result && is_unknown_upload(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
            is_first_result = false;
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
    async fn complete(&self, state: &UploadState, resumed: bool) -> Result<bool> {
        let attempt = self.bucket.attempt("complete the upload of", &self.upload.name);
        let part = |(n, done): (&i32, &UploadedPart)| {
            let part = CompletedPart::builder().part_number(*n).e_tag(&done.etag);
            part.set_checksum_crc32(done.crc32.clone()).build()
        };
        let parts: Vec<_> = state.parts.iter().map(part).collect();
        // S3 may take minutes to complete an upload.
        let timeout = self.bucket.0.tuning.answer * 6;
        let (tries, begun) = (AtomicU32::new(0), SystemTime::now());
        let answer = self.bucket.with_retries(&attempt, || async {
            tries.fetch_add(1, Ordering::Relaxed);
            let upload = CompletedMultipartUpload::builder().set_parts(Some(parts.clone())).build();
            let inner = &self.bucket.0;
            let request = inner.client.complete_multipart_upload().bucket(&inner.name).key(&state.name);
            let send = Box::pin(
                request
                    .upload_id(&state.upload_id)
                    .multipart_upload(upload)
                    .customize()
                    .interceptor(AnswerLimit::All)
                    .send(),
            );
            self.bucket.request(&attempt, timeout, send).await
        });
        let error = match answer.await {
            Ok(Some(_)) => return Ok(true),
            Ok(None) => None,
            Err(error) if error.status() == Some(400) || is_unknown_upload(&error) => Some(error),
            Err(error) => return Err(error),
        };
        // An earlier answer may have been lost: then the server has forgotten the upload, and the object exists.
        let again = resumed || tries.load(Ordering::Relaxed) > 1;
        if again && is_there(self.bucket, self.upload, begun).await? {
            return Ok(true);
        }
        match error {
            Some(error) if !again => Err(error),
            _ => Ok(false),
        }
    }
}

/// Whether the error is one that servers return, besides 404, for an upload that they do not know.
fn is_unknown_upload(error: &RemoteError) -> bool {
    matches!(error.status(), Some(403 | 500))
}

async fn create(bucket: &Bucket, upload: &Upload) -> Result<UploadState> {
    let attempt = bucket.attempt("begin the upload of", &upload.name);
    let algorithm = (bucket.0.checksums == Checksums::Crc32).then_some(ChecksumAlgorithm::Crc32);
    let created = bucket
        .with_retries(&attempt, || async {
            let request = bucket.0.client.create_multipart_upload().bucket(&bucket.0.name).key(&upload.name);
            let send = Box::pin(
                request.set_checksum_algorithm(algorithm.clone()).customize().interceptor(AnswerLimit::All).send(),
            );
            let answer = bucket.request(&attempt, bucket.timeout(0), send).await?;
            answer.ok_or_else(|| absent_error(&attempt))
        })
        .await?;
    let Some(id) = created.upload_id() else {
        return Err(RemoteError::InvalidAnswer { attempt, reason: "no upload id is given".to_owned() });
    };
    let part_size = part_size(upload.size, bucket.0.tuning.part_size);
    Ok(UploadState::new(&bucket.0, upload, id.to_owned(), part_size, SystemTime::now()))
}

/// The usual part size, or a larger one if there would be more parts than S3 accepts.
fn part_size(size: u64, usual: u64) -> u64 {
    match size.div_ceil(usual.max(1)) <= MAX_PARTS {
        true => usual.max(1),
        false => size.div_ceil(MAX_PARTS).next_multiple_of(MIB),
    }
}

/// Size of part `n` (from 1) in bytes.
fn part_len(size: u64, part_size: u64, n: i32) -> u64 {
    let before = u64::try_from(n - 1).unwrap_or(0) * part_size;
    size.saturating_sub(before).min(part_size)
}

/// What the uploads of all parts need.
struct PartUploader {
    bucket: Bucket,
    upload: Upload,
    file: Arc<File>,
    upload_id: String,
    part_size: u64,
}

impl PartUploader {
    fn new(bucket: &Bucket, upload: &Upload, state: &UploadState) -> Result<Self> {
        let file = Arc::new(fsx::open(&upload.path)?);
        let (bucket, upload) = (bucket.clone(), upload.clone());
        Ok(Self { bucket, upload, file, upload_id: state.upload_id.clone(), part_size: state.part_size })
    }

    /// Uploads part `n`. `None`: the server does not know the upload.
    async fn upload(self: Arc<Self>, n: i32) -> Result<Option<(i32, UploadedPart)>> {
        let attempt = self.bucket.attempt("upload a part of", &self.upload.name);
        let len = part_len(self.upload.size, self.part_size, n);
        let _memory = reserve_memory(&self.bucket, len).await;
        let offset = u64::try_from(n - 1).unwrap_or(0) * self.part_size;
        let (file, path) = (Arc::clone(&self.file), self.upload.path.clone());
        let wanted = usize::try_from(len).unwrap_or(usize::MAX);
        let bytes = Bytes::from(run_blocking(move || fsx::offset::read_at(&file, &path, offset, wanted)).await?);
        let crc32 = (self.bucket.0.checksums == Checksums::Crc32).then(|| encode_crc32(crc32fast::hash(&bytes)));
        let timeout = self.bucket.timeout(len);
        let sent = self.bucket.with_retries(&attempt, || async {
            let inner = &self.bucket.0;
            let request = inner.client.upload_part().bucket(&inner.name).key(&self.upload.name);
            let request = request.upload_id(&self.upload_id).part_number(n).set_checksum_crc32(crc32.clone());
            let send = Box::pin(
                request.body(ByteStream::from(bytes.clone())).customize().interceptor(AnswerLimit::All).send(),
            );
            self.bucket.request(&attempt, timeout, send).await
        });
        let Some(sent) = sent.await? else { return Ok(None) };
        let Some(etag) = sent.e_tag() else {
            return Err(RemoteError::InvalidAnswer { attempt, reason: "no ETag is given".to_owned() });
        };
        Ok(Some((n, UploadedPart { etag: etag.to_owned(), crc32 })))
    }
}

/// A CRC32 as S3 expects it: four bytes, big-endian, in base64.
fn encode_crc32(crc32: u32) -> String {
    base64::engine::general_purpose::STANDARD.encode(crc32.to_be_bytes())
}

/// Aborts an upload. One that the server does not know, or refuses to abort, counts as aborted.
pub(super) async fn abort(bucket: &Bucket, name: &str, upload_id: &str) -> Result<()> {
    let attempt = bucket.attempt("abort the upload of", name);
    let request = bucket.0.client.abort_multipart_upload().bucket(&bucket.0.name).key(name);
    let aborted = bucket
        .request(
            &attempt,
            bucket.timeout(0),
            Box::pin(request.upload_id(upload_id).customize().interceptor(AnswerLimit::All).send()),
        )
        .await;
    match aborted {
        Err(error) if error.is_transient() && !is_unknown_upload(&error) || error.status().is_none() => Err(error),
        _ => Ok(()),
    }
}

/// Aborts uploads to this bucket whose states are too old, and removes unreadable states of that age. Returns the
/// number of aborted uploads.
pub async fn abort_old_uploads(bucket: &Bucket, states: &Path, now: SystemTime) -> Result<usize> {
    let mut aborted = 0;
    for name in fsx::list(states)? {
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
        let files = StateFiles::named(states, stem);
        // Another process is working on it.
        let Some(_lock) = FileLock::try_acquire(&files.lock)? else { continue };
        match files.load() {
            Some(state) if state.is_stale(now) && state.belongs_to(&bucket.0) => {
                abort(bucket, &state.name, &state.upload_id).await?;
                files.remove();
                aborted += 1;
            }
            Some(_) => {}
            None => {
                let age = files.written().and_then(|written| now.duration_since(written).ok());
                if age.is_some_and(|age| age > MAX_UPLOAD_AGE) {
                    files.remove();
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
        assert!(size.div_ceil(part_size(size, 8 * MIB)) <= MAX_PARTS);
    }

    #[test]
    fn the_last_part_is_what_is_left() {
        let lens: Vec<_> = (1..=4).map(|n| part_len(20, 8, n)).collect();
        assert_eq!(lens, [8, 8, 4, 0]);
    }

    #[test]
    fn checksums_are_spelled_as_s3_does() {
        // The CRC-32 of "123456789" is the published check value, cb f4 39 26; this is its base64.
        assert_eq!(encode_crc32(crc32fast::hash(b"123456789")), "y/Q5Jg==");
        assert_eq!(encode_crc32(0), "AAAAAA==");
        assert_eq!(encode_crc32(u32::MAX), "/////w==");
    }
}
