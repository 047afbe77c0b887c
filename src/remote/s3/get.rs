//! One GET: its range, its conditions, and an answer that is checked before its body is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::answer_limit::AnswerLimit;
use super::bucket::Bucket;
use super::error::{Attempt, RemoteError, Result, root_cause};
use super::range::{BodyContent, Range, interpret};

/// Identifies the version of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Validator {
    etag: Option<String>,
    modified: Option<DateTime>,
}

impl Validator {
    /// Whether it identifies a version.
    pub(super) fn is_known(&self) -> bool {
        self.etag.is_some() || self.modified.is_some()
    }

    /// Whether both may be of one version. If they have nothing in common to compare, they may.
    pub(super) fn may_match(&self, other: &Self) -> bool {
        match (&self.etag, &other.etag) {
            (Some(one), Some(other)) => one == other,
            _ => match (&self.modified, &other.modified) {
                (Some(one), Some(other)) => one == other,
                _ => true,
            },
        }
    }
}

/// The ETag, if it identifies bytes: a weak one (`W/"..."`) does not.
pub(super) fn strong(etag: Option<&str>) -> Option<String> {
    etag.filter(|etag| !etag.is_empty() && !etag.starts_with("W/")).map(str::to_owned)
}

/// An answer whose body has not been read yet. Holds its connection.
pub(super) struct ObjectBody {
    pub(super) content: BodyContent,
    pub(super) validator: Validator,
    stream: ByteStream,
    attempt: Attempt,
    stall: Duration,
    _permit: OwnedSemaphorePermit,
}

impl ObjectBody {
    /// The next bytes of the body; `None` at its end. A body that stalls for too long is an error.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        match tokio::time::timeout(self.stall, self.next_without_timeout()).await {
            Ok(next) => next,
            Err(_) => Err(RemoteError::TimedOut { attempt: self.attempt.clone() }),
        }
    }

    /// Fails after `until`: a body that trickles in never stalls for long, but may never end.
    pub(super) fn check_deadline(&self, until: Instant) -> Result<()> {
        match Instant::now() > until {
            true => Err(RemoteError::TimedOut { attempt: self.attempt.clone() }),
            false => Ok(()),
        }
    }

    /// Like [`Self::next`], without the timeout. The future may be dropped and the call repeated without losing bytes.
    pub(super) async fn next_without_timeout(&mut self) -> Result<Option<Bytes>> {
        let broken = |error| RemoteError::Unreachable { attempt: self.attempt.clone(), reason: root_cause(&error) };
        self.stream.next().await.transpose().map_err(broken)
    }
}

/// Requests an object, or a range of it as long as it has the version `expected`. `None`: the object does not exist.
pub(super) async fn request_object(
    bucket: &Bucket,
    name: &str,
    range: Option<Range>,
    expected: &Validator,
) -> Result<Option<ObjectBody>> {
    let attempt = bucket.attempt("get", name);
    let permit = bucket.permit(&attempt).await?;
    let status = StatusRecorder::default();
    let mut request = bucket.0.client.get_object().bucket(&bucket.0.name).key(name);
    if let Some(range) = range {
        request = request.range(range.header());
        // Not both: S3 ignores the weaker condition if the stronger one holds, other servers do not.
        request = match &expected.etag {
            Some(etag) => request.if_match(etag),
            None => request.set_if_unmodified_since(expected.modified),
        };
    }
    let send = Box::pin(request.customize().interceptor(status.clone()).interceptor(AnswerLimit::Errors).send());
    let Some(answer) = bucket.send_with_permit(&attempt, bucket.0.tuning.answer, send).await? else { return Ok(None) };
    let length = answer.content_length().and_then(|length| u64::try_from(length).ok());
    let content = interpret(range, status.0.load(Ordering::Relaxed), answer.content_range(), length);
    let validator = Validator { etag: strong(answer.e_tag()), modified: answer.last_modified().copied() };
    let stall = bucket.0.tuning.stall;
    Ok(Some(ObjectBody { content, validator, stream: answer.body, attempt, stall, _permit: permit }))
}

/// Reads a small object into memory; more than `limit` bytes are an error.
pub(super) async fn read_small(bucket: &Bucket, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    let Some(mut body) = request_object(bucket, name, None, &Validator::default()).await? else { return Ok(None) };
    let BodyContent::Whole(length) = body.content else {
        return Err(RemoteError::InvalidAnswer { attempt: body.attempt, reason: "a part of it came".to_owned() });
    };
    let check = |actual, attempt: &Attempt| match actual <= limit {
        true => Ok(()),
        false => Err(RemoteError::Size { attempt: attempt.clone(), declared: limit, actual }),
    };
    check(length.unwrap_or(0), &body.attempt)?;
    let until = Instant::now() + bucket.timeout(length.unwrap_or(limit).min(limit));
    let mut bytes = Vec::new();
    while let Some(more) = body.next().await? {
        bytes.extend_from_slice(&more);
        check(bytes.len() as u64, &body.attempt)?;
        body.check_deadline(until)?;
    }
    Ok(Some(bytes))
}

/// Reads `length` bytes of an object from `first` on. A server that sends the whole object instead costs time only.
/// `None`: the object does not exist.
pub(super) async fn read_range(bucket: &Bucket, name: &str, first: u64, length: u64) -> Result<Option<Vec<u8>>> {
    let range = Range { first, last: Some(first + length.saturating_sub(1)) };
    let Some(mut body) = request_object(bucket, name, Some(range), &Validator::default()).await? else {
        return Ok(None);
    };
    let skipped = match body.content {
        BodyContent::Whole(_) => first,
        BodyContent::Part { .. } => 0,
        BodyContent::Unexpected(reason) => {
            return Err(RemoteError::InvalidAnswer { attempt: body.attempt, reason: reason.to_owned() });
        }
    };
    let until = Instant::now() + bucket.timeout(skipped + length);
    let (mut position, mut bytes) = (0_u64, Vec::new());
    while let Some(more) = body.next().await? {
        let skip = usize::try_from(skipped.saturating_sub(position)).unwrap_or(usize::MAX).min(more.len());
        position += more.len() as u64;
        bytes.extend_from_slice(&more[skip..]);
        if bytes.len() as u64 >= length {
            break;
        }
        body.check_deadline(until)?;
    }
    bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
    match bytes.len() as u64 == length {
        true => Ok(Some(bytes)),
        false => Err(RemoteError::Size { attempt: body.attempt.clone(), declared: length, actual: bytes.len() as u64 }),
    }
}

/// Records the HTTP status of an answer, which the SDK does not expose.
#[derive(Clone, Debug, Default)]
struct StatusRecorder(Arc<AtomicU16>);

impl Intercept for StatusRecorder {
    fn name(&self) -> &'static str {
        "kache::StatusRecorder"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        self.0.store(context.response().status().as_u16(), Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_by_the_strongest_thing_in_common() {
        let of = |etag: Option<&str>, modified: Option<i64>| Validator {
            etag: strong(etag),
            modified: modified.map(DateTime::from_secs),
        };
        assert!(of(Some("\"a\""), Some(1)).may_match(&of(Some("\"a\""), Some(2))));
        assert!(!of(Some("\"a\""), Some(1)).may_match(&of(Some("\"b\""), Some(1))));
        assert!(!of(None, Some(1)).may_match(&of(Some("\"b\""), Some(2))));
        assert!(of(None, None).may_match(&of(Some("\"b\""), Some(2))));
        assert!(!of(Some("W/\"a\""), None).is_known() && !of(Some(""), None).is_known(), "weak ones tell nothing");
        assert!(of(None, Some(1)).is_known());
    }
}
