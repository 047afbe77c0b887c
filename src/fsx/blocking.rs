//! Blocking work of async tasks, on a thread of its own.

/// Runs blocking or long work on a separate thread. A panic of the work continues in the caller. If the future is
/// dropped, work that has begun goes on to its end.
pub async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    join(tokio::task::spawn_blocking(work)).await
}

/// Waits for work that [`tokio::task::spawn_blocking`] has started. A panic of the work continues in the caller.
pub(super) async fn join<T>(work: impl Future<Output = Result<T, tokio::task::JoinError>>) -> T {
    match work.await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}
