//! A source of objects: one GET, with its range and its conditions, and an answer that is checked before its body is
//! read. Reads of small objects and of ranges, and all downloads, work with any source.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::{ByteStream, DateTime};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::connections::Connections;
use super::error::{Attempt, RemoteError, Result, root_cause};
use super::range::{BodyContent, Range};

/// The result of a request for an object. `None`: the object does not exist.
pub(in crate::remote) type BodyFuture<'a> = Pin<Box<dyn Future<Output = Result<Option<ObjectBody>>> + Send + 'a>>;

/// A place from which objects can be downloaded.
pub(in crate::remote) trait Source: Send + Sync {
    /// The connections to the server.
    fn connections(&self) -> &Connections;

    /// Describes a request, for errors.
    fn attempt(&self, verb: &'static str, object: &str) -> Attempt;

    /// Requests an object once, or a range of it as long as it has the version `expected`.
    fn request_object<'a>(&'a self, name: &'a str, range: Option<Range>, expected: &'a Validator) -> BodyFuture<'a>;
}

/// Identifies the version of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::remote) struct Validator {
    /// Strong ETag, including its quotes.
    pub(in crate::remote) etag: Option<String>,
    pub(in crate::remote) modified: Option<DateTime>,
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
pub(in crate::remote) fn strong(etag: Option<&str>) -> Option<String> {
    etag.filter(|etag| !etag.is_empty() && !etag.starts_with("W/")).map(str::to_owned)
}

/// An answer whose body has not been read yet. Holds its connection.
pub(in crate::remote) struct ObjectBody {
    pub(in crate::remote) content: BodyContent,
    pub(in crate::remote) validator: Validator,
    pub(in crate::remote) stream: ByteStream,
    pub(in crate::remote) attempt: Attempt,
    /// How long the body may stall.
    pub(in crate::remote) stall: Duration,
    /// The connection, which is taken until the body is dropped.
    pub(in crate::remote) _permit: OwnedSemaphorePermit,
}

impl ObjectBody {
    /// The next bytes of the body; `None` at its end. A body that stalls for too long is an error.
    pub(in crate::remote) async fn next(&mut self) -> Result<Option<Bytes>> {
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

/// Reads a small object into memory, with retries; more than `limit` bytes are an error.
pub(in crate::remote) async fn get(source: &dyn Source, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    let attempt = source.attempt("get", name);
    source.connections().with_retries(&attempt, || read_small(source, name, limit)).await
}

/// Reads `length` bytes of an object from `first` on, with retries. `None`: the object does not exist.
pub(in crate::remote) async fn get_range(
    source: &dyn Source,
    name: &str,
    first: u64,
    length: u64,
) -> Result<Option<Vec<u8>>> {
    let attempt = source.attempt("get", name);
    source.connections().with_retries(&attempt, || read_range(source, name, first, length)).await
}

/// Reads a small object into memory; more than `limit` bytes are an error.
async fn read_small(source: &dyn Source, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    let Some(mut body) = source.request_object(name, None, &Validator::default()).await? else { return Ok(None) };
    let BodyContent::Whole(length) = body.content else {
        return Err(RemoteError::InvalidAnswer { attempt: body.attempt, reason: "a part of it came".to_owned() });
    };
    let check = |actual, attempt: &Attempt| match actual <= limit {
        true => Ok(()),
        false => Err(RemoteError::Size { attempt: attempt.clone(), declared: limit, actual }),
    };
    check(length.unwrap_or(0), &body.attempt)?;
    let until = Instant::now() + source.connections().timeout(length.unwrap_or(limit).min(limit));
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
async fn read_range(source: &dyn Source, name: &str, first: u64, length: u64) -> Result<Option<Vec<u8>>> {
    let range = Range { first, last: Some(first + length.saturating_sub(1)) };
    let Some(mut body) = source.request_object(name, Some(range), &Validator::default()).await? else {
        return Ok(None);
    };
    let skipped = match body.content {
        BodyContent::Whole(_) => first,
        BodyContent::Part { .. } => 0,
        BodyContent::Unexpected(reason) => {
            return Err(RemoteError::InvalidAnswer { attempt: body.attempt, reason: reason.to_owned() });
        }
    };
    let until = Instant::now() + source.connections().timeout(skipped + length);
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
