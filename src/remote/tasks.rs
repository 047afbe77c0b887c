//! Tasks: blocking work on its own thread, and at most so many tasks at once.
//!
//! Knows nothing of remotes. A panic of a task continues in its caller.

use tokio::task::{JoinError, JoinSet};

pub(super) use crate::fsx::run_blocking;

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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn at_most_so_many_tasks_run_at_once_and_all_of_them_run() {
        let running = Arc::new(AtomicUsize::new(0));
        let task = |item: usize| {
            let running = Arc::clone(&running);
            async move {
                let at_once = running.fetch_add(1, Ordering::Relaxed) + 1;
                tokio::task::yield_now().await;
                running.fetch_sub(1, Ordering::Relaxed);
                (item, at_once)
            }
        };
        let mut tasks = concurrently(3, 0..10, task);
        let mut items = Vec::new();
        while let Some((item, at_once)) = tasks.next().await {
            assert!(at_once <= 3, "{at_once}");
            items.push(item);
        }
        items.sort_unstable();
        assert_eq!(items, (0..10).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_limit_of_zero_counts_as_one() {
        assert_eq!(concurrently(0, ["a"], |item| async move { item }).next().await, Some("a"));
    }

    #[tokio::test]
    #[should_panic(expected = "in the task")]
    async fn a_panic_of_a_task_continues_in_its_caller() {
        let _: Option<()> = concurrently(1, [()], |()| async { panic!("in the task") }).next().await;
    }
}
