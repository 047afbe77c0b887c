//! The connections to one server, which all its users share: limits, the breaker, deadlines, and the retry loop.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::{Attempt, RemoteError, Result};
use super::retry::{Breaker, random};
use super::tuning::Tuning;

/// Failures in a row after which a request is not retried if the last attempt timed out.
const MAX_FAILURES_ON_TIMEOUT: u32 = 3;

/// The connections to one server. Cheap to clone: clones share limits and the breaker.
#[derive(Clone, Debug)]
pub struct Connections(Arc<ConnectionsInner>);

#[derive(Debug)]
struct ConnectionsInner {
    tuning: Tuning,
    breaker: Mutex<Breaker>,
    /// One permit for each request in flight, including its body.
    permits: Arc<Semaphore>,
}

impl Connections {
    /// Creates connections with these limits and timeouts. Does not connect yet.
    pub(in crate::remote) fn new(tuning: Tuning) -> Self {
        Self(Arc::new(ConnectionsInner {
            tuning,
            breaker: Mutex::new(Breaker::new(tuning.breaker)),
            permits: Arc::new(Semaphore::new(tuning.connections)),
        }))
    }

    /// Limits and timeouts.
    pub(in crate::remote) fn tuning(&self) -> &Tuning {
        &self.0.tuning
    }

    /// Takes one of the connections. Hold it until the last byte of the answer has been read.
    pub(in crate::remote) async fn permit(&self, attempt: &Attempt) -> Result<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.0.permits).acquire_owned().await;
        // The semaphore is never closed.
        permit.map_err(|_| RemoteError::Cancelled { attempt: attempt.clone() })
    }

    /// Sends one request under a permit, if the breaker admits it, and waits for at most `timeout`. Reports the result
    /// to the breaker.
    pub(in crate::remote) async fn send<T>(
        &self,
        attempt: &Attempt,
        timeout: Duration,
        send: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let admitted = self.breaker().admit(Instant::now());
        admitted.map_err(|retry_in| RemoteError::BreakerOpen { attempt: attempt.clone(), retry_in })?;
        let timed_out = || Err(RemoteError::TimedOut { attempt: attempt.clone() });
        let result = tokio::time::timeout(timeout, send).await.unwrap_or_else(|_| timed_out());
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

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.0.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long to wait for the answer to a request with a body of this many bytes, or for such a body to arrive.
    pub(in crate::remote) fn timeout(&self, bytes: u64) -> Duration {
        self.0.tuning.answer + Duration::from_secs(bytes / self.0.tuning.slowest.max(1))
    }

    /// Repeats `send` until it succeeds, its error is permanent, or it has failed too often.
    pub(in crate::remote) async fn with_retries<T, F: Future<Output = Result<T>>>(
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
