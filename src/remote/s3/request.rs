//! One request: admitted by the breaker, counted, timed and classified; and the retry loop.

use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use tokio::sync::OwnedSemaphorePermit;

use super::bucket::Bucket;
use super::error::{Attempt, RemoteError, Result, classify};
use super::retry::random;

/// Failures in a row after which a request is not retried if the last attempt timed out.
const MAX_FAILURES_ON_TIMEOUT: u32 = 3;

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
        let permit = Arc::clone(&self.0.connections).acquire_owned().await;
        // The semaphore is never closed.
        permit.map_err(|_| RemoteError::Cancelled { attempt: attempt.clone() })
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
        let admitted = self.breaker().admit(Instant::now());
        admitted.map_err(|retry_in| RemoteError::BreakerOpen { attempt: attempt.clone(), retry_in })?;
        let result = match tokio::time::timeout(timeout, send).await {
            Err(_) => Err(RemoteError::TimedOut { attempt: attempt.clone() }),
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(error)) => classify(attempt, &error).map_or(Ok(None), Err),
        };
        self.report_result(result.as_ref().err());
        result
    }

    /// Reports the result of a request to the breaker.
    pub(super) fn report_result(&self, error: Option<&RemoteError>) {
        match error {
            Some(error) if error.is_server_failure() => self.breaker().failure(Instant::now()),
            _ => self.breaker().success(),
        }
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, super::retry::Breaker> {
        self.0.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long to wait for the answer to a request with a body of this many bytes, or for such a body to arrive.
    pub(super) fn timeout(&self, bytes: u64) -> Duration {
        self.0.tuning.answer + Duration::from_secs(bytes / self.0.tuning.slowest.max(1))
    }

    /// Repeats `send` until it succeeds, its error is permanent, or it has failed too often.
    pub(super) async fn with_retries<T, F: Future<Output = Result<T>>>(
        &self,
        attempt: &Attempt,
        mut send: impl FnMut() -> F,
    ) -> Result<T> {
        let mut failures = 0;
        loop {
            match send().await {
                Err(error) if error.is_transient() => self.pause(attempt, &mut failures, error).await?,
                result => return result,
            }
        }
    }

    /// Pauses after a transient error, or returns the error if there were too many.
    pub(super) async fn pause(&self, attempt: &Attempt, failures: &mut u32, error: RemoteError) -> Result<()> {
        *failures += 1;
        // A timeout has already cost much time, and the next attempt seldom gets an answer.
        if matches!(error, RemoteError::TimedOut { .. }) && *failures >= MAX_FAILURES_ON_TIMEOUT {
            return Err(error);
        }
        let Some(pause) = self.0.tuning.backoff.pause(*failures, random()) else { return Err(error) };
        tracing::debug!("{attempt}: try {failures} failed, the next in {pause:?}: {error}");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}
