//! Ends a transfer early: when it is cancelled, or at its deadline.

use std::convert::Infallible;
use std::future::Future;

use super::super::error::{Attempt, RemoteError, Result};
use super::super::progress::Control;

/// Runs `work` until it ends, is cancelled, or passes the deadline. In the last two cases it is dropped where it is.
pub(in crate::remote) async fn unless_stopped<T>(
    attempt: &Attempt,
    control: &Control,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    // The SDK's futures are large, and the thread that waits for a transfer may have a small stack.
    let work = Box::pin(work);
    let cancelled = || Err(RemoteError::Cancelled { attempt: attempt.clone() });
    let work = async { control.cancel.run_until_cancelled(work).await.unwrap_or_else(cancelled) };
    match control.deadline {
        None => work.await,
        Some(deadline) => match tokio::time::timeout_at(deadline.into(), work).await {
            Ok(result) => result,
            Err(_) => Err(RemoteError::TimedOut { attempt: attempt.clone() }),
        },
    }
}

/// Waits until a transfer with this control has to end, and returns why. For a caller that waits for another one's
/// transfer.
pub async fn must_stop(attempt: &Attempt, control: &Control) -> RemoteError {
    match unless_stopped(attempt, control, std::future::pending::<Result<Infallible>>()).await {
        Err(error) => error,
        Ok(never) => match never {},
    }
}
