//! Tasks: blocking work on its own thread, and at most so many tasks at once.
//!
//! Knows nothing of remotes. A panic of a task continues in its caller.

use tokio::task::{JoinError, JoinSet};

/// Runs blocking or long work on a separate thread.
pub(super) async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Runs a task for each item, at most `limit` at once. Dropping the result aborts the running tasks.
pub(super) fn concurrently<I, F, T, S>(limit: usize, items: I, task: S) -> Concurrent<I::IntoIter, S, T>
where
    I: IntoIterator,
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
    S: FnMut(I::Item) -> F,
{
    Concurrent { limit: limit.max(1), items: items.into_iter(), task, running: JoinSet::new() }
}

/// Tasks that [`concurrently`] runs.
pub(super) struct Concurrent<I, S, T> {
    limit: usize,
    items: I,
    task: S,
    running: JoinSet<T>,
}

impl<I, S, T> Concurrent<I, S, T>
where
    I: Iterator,
    T: Send + 'static,
{
    /// Starts as many tasks as the limit allows, and waits until one has ended. `None`: all have ended.
    pub(super) async fn next<F>(&mut self) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
        S: FnMut(I::Item) -> F,
    {
        while self.running.len() < self.limit
            && let Some(item) = self.items.next()
        {
            self.running.spawn((self.task)(item));
        }
        // Tasks are aborted only by `shutdown` and on drop, so this one has panicked.
        let panicked = |error: JoinError| std::panic::resume_unwind(error.into_panic());
        Some(self.running.join_next().await?.unwrap_or_else(panicked))
    }

    /// Aborts all tasks and waits until they have ended.
    pub(super) async fn shutdown(&mut self) {
        self.running.shutdown().await;
    }
}
