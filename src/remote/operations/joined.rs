//! Work that several tasks of a process want at the same time: one does it, the others join it and get its result.
//!
//! Knows nothing of remotes. The work is part of the future of the task that does it. If that task is cancelled, or
//! declares that its result is for itself alone, one of the others does the work again.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The work that is running, by name.
#[derive(Debug)]
pub(super) struct Joined<T> {
    running: Mutex<HashMap<String, Weak<Slot<T>>>>,
}

/// Whoever holds the lock does the work. `Some`: it is done.
type Slot<T> = tokio::sync::Mutex<Option<T>>;

/// A result, and whose work it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Done<T> {
    /// The caller has done the work itself.
    Own(T),
    /// The caller has waited for another task: the result of that task, or why the caller stopped waiting.
    Joined(T),
}

impl<T> Default for Joined<T> {
    fn default() -> Self {
        Self { running: Mutex::default() }
    }
}

impl<T: Clone> Joined<T> {
    /// Joins the work `name` if it is running, else does `work`. Others get the result if `is_for_all`. A request that
    /// comes after the end begins anew. The caller stops waiting for another task when `stop` ends.
    pub(super) async fn run(
        &self,
        name: &str,
        work: impl Future<Output = T>,
        stop: impl Future<Output = T>,
        is_for_all: impl FnOnce(&T) -> bool,
    ) -> Done<T> {
        let request = Request { joined: self, name, slot: self.slot(name) };
        // The lock is fair: after a cancelled task, the one that has waited longest continues.
        let mut done = tokio::select! {
            biased;
            done = request.slot.lock() => done,
            stopped = stop => return Done::Joined(stopped),
        };
        if let Some(result) = &*done {
            return Done::Joined(result.clone());
        }
        let result = work.await;
        if is_for_all(&result) {
            *done = Some(result.clone());
            request.forget(&mut self.running());
        }
        Done::Own(result)
    }

    fn slot(&self, name: &str) -> Arc<Slot<T>> {
        let mut running = self.running();
        if let Some(slot) = running.get(name).and_then(Weak::upgrade) {
            return slot;
        }
        let slot = Arc::default();
        running.insert(name.to_owned(), Arc::downgrade(&slot));
        slot
    }
}

impl<T> Joined<T> {
    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<String, Weak<Slot<T>>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that does the work or waits for it.
struct Request<'a, T> {
    joined: &'a Joined<T>,
    name: &'a str,
    slot: Arc<Slot<T>>,
}

impl<T> Request<'_, T> {
    /// Removes the work from the table, unless the same name has begun anew.
    fn forget(&self, running: &mut HashMap<String, Weak<Slot<T>>>) {
        if running.get(self.name).is_some_and(|slot| std::ptr::eq(slot.as_ptr(), Arc::as_ptr(&self.slot))) {
            running.remove(self.name);
        }
    }
}

impl<T> Drop for Request<'_, T> {
    fn drop(&mut self) {
        let mut running = self.joined.running();
        // Another request can get the slot only from the table, whose lock is held here.
        if Arc::strong_count(&self.slot) == 1 {
            self.forget(&mut running);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    use super::*;

    /// Work that ends on request, and counts how often it has begun.
    #[derive(Default)]
    struct Fixture {
        joined: Joined<Result<usize, usize>>,
        begun: AtomicUsize,
        go_on: Notify,
        stop: Notify,
    }

    impl Fixture {
        /// Requests `name`, with the `nth` work as its result. An error is for its own task alone.
        fn request(self: &Arc<Self>, name: &'static str, result: Result<usize, usize>) -> JoinHandle<Outcome> {
            let fixture = Arc::clone(self);
            tokio::spawn(async move {
                let work = async {
                    fixture.begun.fetch_add(1, Ordering::Relaxed);
                    fixture.go_on.notified().await;
                    result
                };
                let stop = async {
                    fixture.stop.notified().await;
                    Err(0)
                };
                fixture.joined.run(name, work, stop, Result::is_ok).await
            })
        }

        fn begun(&self) -> usize {
            self.begun.load(Ordering::Relaxed)
        }
    }

    /// Awaits the end of a request, but not for ever.
    async fn ended(task: JoinHandle<Outcome>) -> Outcome {
        tokio::time::timeout(Duration::from_secs(10), task).await.expect("it waits for ever").unwrap()
    }

    type Outcome = Done<Result<usize, usize>>;

    /// Lets all tasks run until each of them waits.
    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_second_request_joins_and_a_later_one_begins_anew() {
        let fixture = Arc::new(Fixture::default());
        let (first, second) = (fixture.request("a", Ok(1)), fixture.request("a", Ok(2)));
        settle().await;
        assert_eq!(fixture.begun(), 1);
        fixture.go_on.notify_one();
        assert_eq!((ended(first).await, ended(second).await), (Done::Own(Ok(1)), Done::Joined(Ok(1))));
        let third = fixture.request("a", Ok(3));
        fixture.go_on.notify_one();
        assert_eq!(ended(third).await, Done::Own(Ok(3)));
        assert!(fixture.joined.running().is_empty(), "nothing is left in the table");
    }

    #[tokio::test]
    async fn other_names_do_not_join() {
        let fixture = Arc::new(Fixture::default());
        let (first, second) = (fixture.request("a", Ok(1)), fixture.request("b", Ok(2)));
        settle().await;
        assert_eq!(fixture.begun(), 2);
        fixture.go_on.notify_waiters();
        assert_eq!((ended(first).await, ended(second).await), (Done::Own(Ok(1)), Done::Own(Ok(2))));
    }

    #[tokio::test]
    async fn after_a_cancelled_task_another_one_continues() {
        let fixture = Arc::new(Fixture::default());
        let (first, second) = (fixture.request("a", Ok(1)), fixture.request("a", Ok(2)));
        settle().await;
        let third = fixture.request("a", Ok(3));
        settle().await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        settle().await;
        assert_eq!(fixture.begun(), 2);
        fixture.go_on.notify_one();
        assert_eq!((ended(second).await, ended(third).await), (Done::Own(Ok(2)), Done::Joined(Ok(2))));
        assert!(fixture.joined.running().is_empty());
    }

    #[tokio::test]
    async fn a_result_for_one_task_is_not_shared() {
        let fixture = Arc::new(Fixture::default());
        let (first, second) = (fixture.request("a", Err(1)), fixture.request("a", Ok(2)));
        settle().await;
        fixture.go_on.notify_one();
        assert_eq!(ended(first).await, Done::Own(Err(1)));
        settle().await;
        assert_eq!(fixture.begun(), 2);
        fixture.go_on.notify_one();
        assert_eq!(ended(second).await, Done::Own(Ok(2)));
        assert!(fixture.joined.running().is_empty());
    }

    #[tokio::test]
    async fn a_task_that_stops_waiting_changes_nothing() {
        let fixture = Arc::new(Fixture::default());
        let (first, second) = (fixture.request("a", Ok(1)), fixture.request("a", Ok(2)));
        let third = fixture.request("a", Ok(3));
        settle().await;
        third.abort();
        fixture.stop.notify_waiters();
        assert_eq!(ended(second).await, Done::Joined(Err(0)));
        fixture.go_on.notify_one();
        assert_eq!(ended(first).await, Done::Own(Ok(1)));
        assert!(fixture.joined.running().is_empty());
    }
}
