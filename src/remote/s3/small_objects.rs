//! Requests for whole small objects: their metadata, their bytes, writing and deleting them.

use std::time::SystemTime;

use aws_sdk_s3::primitives::ByteStream;

use super::answer_limit::AnswerLimit;
use super::bucket::{Bucket, system_time};
use super::error::{Attempt, RemoteError, Result, absent_error};
use super::source;

/// Metadata of an object, read without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMetadata {
    /// Size of the object in bytes, as the server declares it.
    pub size: u64,
    /// Strong ETag, including its quotes. `None`: the server sent none, or a weak one.
    pub etag: Option<String>,
    /// Time of the last write, by the server's clock.
    pub modified: Option<SystemTime>,
}

impl Bucket {
    /// Reads the metadata of an object. `None`: the object does not exist.
    pub async fn head(&self, name: &str) -> Result<Option<ObjectMetadata>> {
        let attempt = self.attempt("head", name);
        self.with_retries(&attempt, || async {
            let request = self.0.client.head_object().bucket(&self.0.name).key(name);
            let Some(head) = self
                .request(&attempt, self.timeout(0), Box::pin(request.customize().interceptor(AnswerLimit::All).send()))
                .await?
            else {
                return Ok(None);
            };
            let size = size(&attempt, head.content_length().unwrap_or(-1))?;
            let modified = head.last_modified().and_then(system_time);
            Ok(Some(ObjectMetadata { size, etag: source::strong(head.e_tag()), modified }))
        })
        .await
    }

    /// Reads a small object; more than `limit` bytes are an error. `None`: the object does not exist.
    pub async fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        source::get(self, name, limit).await
    }

    /// Reads `length` bytes of an object from `first` on. An object that is too short is an error. `None`: the object
    /// does not exist.
    pub async fn get_range(&self, name: &str, first: u64, length: u64) -> Result<Option<Vec<u8>>> {
        source::get_range(self, name, first, length).await
    }

    /// Writes a small object in one request.
    pub async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let attempt = self.attempt("put", name);
        let bytes = bytes::Bytes::from(bytes);
        let timeout = self.timeout(bytes.len() as u64);
        self.with_retries(&attempt, || async {
            let request = self.0.client.put_object().bucket(&self.0.name).key(name);
            let send = Box::pin(
                request.body(ByteStream::from(bytes.clone())).customize().interceptor(AnswerLimit::All).send(),
            );
            match self.request(&attempt, timeout, send).await? {
                Some(_) => Ok(()),
                None => Err(absent_error(&attempt)),
            }
        })
        .await
    }

    /// Deletes an object; an absent one counts as deleted.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let attempt = self.attempt("delete", name);
        self.with_retries(&attempt, || async {
            let request = self.0.client.delete_object().bucket(&self.0.name).key(name);
            self.request(&attempt, self.timeout(0), Box::pin(request.customize().interceptor(AnswerLimit::All).send()))
                .await
                .map(|_| ())
        })
        .await
    }
}

/// Checks a size that the server sent; callers pass -1 for a missing one.
fn size(attempt: &Attempt, size: i64) -> Result<u64> {
    let invalid_answer =
        |_| RemoteError::InvalidAnswer { attempt: attempt.clone(), reason: "no size is given".to_owned() };
    u64::try_from(size).map_err(invalid_answer)
}
