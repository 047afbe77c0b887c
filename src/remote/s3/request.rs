//! One request to a bucket: sent over its connections, and its answer classified.

use std::future::Future;
use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use tokio::sync::OwnedSemaphorePermit;

use super::bucket::Bucket;
use super::error::{Attempt, Result, classify};

impl Bucket {
    /// Sends one request with a small answer, and waits for at most `timeout`. `None`: 404. Callers box `send`,
    /// because the SDK's futures are large.
    pub(super) async fn request<T, E>(
        &self,
        attempt: &Attempt,
        timeout: Duration,
        send: impl Future<Output = std::result::Result<T, SdkError<E>>>,
    ) -> Result<Option<T>>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let _permit = self.permit(attempt).await?;
        self.send_with_permit(attempt, timeout, send).await
    }

    /// Takes one of the bucket's connections. Hold it until the last byte of the answer has been read.
    pub(super) async fn permit(&self, attempt: &Attempt) -> Result<OwnedSemaphorePermit> {
        self.0.connections.permit(attempt).await
    }

    /// Sends one request under a permit. `None`: 404.
    pub(super) async fn send_with_permit<T, E>(
        &self,
        attempt: &Attempt,
        timeout: Duration,
        send: impl Future<Output = std::result::Result<T, SdkError<E>>>,
    ) -> Result<Option<T>>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let send = async {
            match send.await {
                Ok(answer) => Ok(Some(answer)),
                Err(error) => classify(attempt, &error).map_or(Ok(None), Err),
            }
        };
        self.0.connections.send(attempt, timeout, send).await
    }

    /// How long to wait for the answer to a request with a body of this many bytes.
    pub(super) fn timeout(&self, bytes: u64) -> Duration {
        self.0.connections.timeout(bytes)
    }

    /// Repeats `send` until it succeeds, its error is permanent, or it has failed too often.
    pub(super) async fn with_retries<T, F: Future<Output = Result<T>>>(
        &self,
        attempt: &Attempt,
        send: impl FnMut() -> F,
    ) -> Result<T> {
        self.0.connections.with_retries(attempt, send).await
    }
}
