//! One request: admitted by the breaker, counted, timed, judged; and the loop that tries again.

use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use tokio::sync::OwnedSemaphorePermit;

use super::bucket::Bucket;
use super::error::{RemoteError, Result, Tried, judge};
use super::retry::random;

/// How often in a row a request may fail with the last try ending in silence.
const SILENCES: u32 = 3;

impl Bucket {
    /// One request with a small answer, waited for with this patience. `None`: 404. The SDK's futures are large: callers put
    /// them on the heap.
    pub(super) async fn ask<T, E>(
        &self,
        tried: &Tried,
        patience: Duration,
        send: impl Future<Output = std::result::Result<T, SdkError<E>>>,
    ) -> Result<Option<T>>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let _permit = self.permit(tried).await?;
        self.send(tried, patience, send).await
    }

    /// One of the bucket's connections; to be held until the answer's last byte was read.
    pub(super) async fn permit(&self, tried: &Tried) -> Result<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.0.connections).acquire_owned().await;
        // Nobody closes the semaphore.
        permit.map_err(|_| RemoteError::Cancelled { tried: tried.clone() })
    }

    /// One request under a permit. `None`: 404.
    pub(super) async fn send<T, E>(
        &self,
        tried: &Tried,
        patience: Duration,
        send: impl Future<Output = std::result::Result<T, SdkError<E>>>,
    ) -> Result<Option<T>>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let admitted = self.breaker().admit(Instant::now());
        admitted.map_err(|retry_in| RemoteError::Broken { tried: tried.clone(), retry_in })?;
        let result = match tokio::time::timeout(patience, send).await {
            Err(_) => Err(RemoteError::TimedOut { tried: tried.clone() }),
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(error)) => judge(tried, &error).map_or(Ok(None), Err),
        };
        self.heard(result.as_ref().err());
        result
    }

    /// Tells the breaker how a request went.
    pub(super) fn heard(&self, error: Option<&RemoteError>) {
        match error {
            Some(error) if error.is_unwell() => self.breaker().failure(Instant::now()),
            _ => self.breaker().success(),
        }
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, super::retry::Breaker> {
        self.0.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long an answer may take to a request that sends so many bytes, and a body of so many to come.
    pub(super) fn patience(&self, bytes: u64) -> Duration {
        self.0.tuning.answer + Duration::from_secs(bytes / self.0.tuning.slowest.max(1))
    }

    /// Tries until it goes well, the error is for good, or it is enough.
    pub(super) async fn persist<T, F: Future<Output = Result<T>>>(
        &self,
        tried: &Tried,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T> {
        let mut failures = 0;
        loop {
            match attempt().await {
                Err(error) if error.is_transient() => self.pause(tried, &mut failures, error).await?,
                result => return result,
            }
        }
    }

    /// Pauses after a transient error; the error itself when it is enough.
    pub(super) async fn pause(&self, tried: &Tried, failures: &mut u32, error: RemoteError) -> Result<()> {
        *failures += 1;
        // Silence has cost much time already, and is seldom followed by an answer.
        if matches!(error, RemoteError::TimedOut { .. }) && *failures >= SILENCES {
            return Err(error);
        }
        let Some(pause) = self.0.tuning.backoff.pause(*failures, random()) else { return Err(error) };
        tracing::debug!("{tried}: try {failures} failed, the next in {pause:?}: {error}");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}
