//! The time that a pull may take.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::progress::Display;
use super::units;

/// How long a pull may make no progress.
const MAX_SILENCE: Duration = Duration::from_secs(30);
/// How often to look.
const INTERVAL: Duration = Duration::from_millis(100);

/// Why a pull was stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stopped {
    /// It took this long.
    TooLong(Duration),
    /// Nothing came for this long.
    Silent(Duration),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: &Duration| units::millis(time.as_secs_f64() * 1000.0);
        match self {
            Self::TooLong(limit) => write!(f, "the pull was not complete after {} (--timeout)", time(limit)),
            Self::Silent(limit) => write!(f, "the remote sent nothing for {}", time(limit)),
        }
    }
}

/// Whether a pull that has taken `elapsed`, and has been `silent` lately, must stop. Pure.
fn must_stop(elapsed: Duration, silent: Duration, limit: Duration) -> Option<Stopped> {
    match () {
        () if elapsed >= limit => Some(Stopped::TooLong(limit)),
        () if silent >= MAX_SILENCE => Some(Stopped::Silent(MAX_SILENCE)),
        () => None,
    }
}

type Watched = Mutex<Option<Arc<Display>>>;

fn lock(watched: &Watched) -> MutexGuard<'_, Option<Arc<Display>>> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Watches a pull, and cancels it when its time is over.
pub(super) struct PullBudget {
    task: JoinHandle<()>,
    stopped: Arc<OnceLock<Stopped>>,
    watched: Arc<Watched>,
}

impl PullBudget {
    /// Starts the time of the pull. Must be called inside the runtime.
    pub(super) fn start(limit: Duration, cancel: &CancellationToken) -> Self {
        let (stopped, watched, began) = (Arc::new(OnceLock::new()), Arc::<Watched>::default(), Instant::now());
        let (found, display, cancel) = (Arc::clone(&stopped), Arc::clone(&watched), cancel.clone());
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                let silent = lock(&display).as_ref().map_or(Duration::ZERO, |display| display.silent_for());
                if let Some(stop) = must_stop(began.elapsed(), silent, limit) {
                    let _ = found.set(stop);
                    return cancel.cancel();
                }
            }
        });
        Self { task, stopped, watched }
    }

    /// Stops the pull if this display shows no progress for too long. `None`: small requests only, which have limits of
    /// their own.
    pub(super) fn watch(&self, display: Option<&Arc<Display>>) {
        *lock(&self.watched) = display.map(Arc::clone);
    }

    /// Ends the watch. Returns why the pull was stopped, if it was.
    pub(super) fn end(self) -> Option<Stopped> {
        self.task.abort();
        self.stopped.get().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_stops_when_its_time_is_over_or_nothing_comes() {
        let seconds = Duration::from_secs;
        let limit = seconds(300);
        assert_eq!(must_stop(seconds(299), seconds(29), limit), None);
        assert_eq!(must_stop(seconds(300), seconds(0), limit), Some(Stopped::TooLong(limit)));
        assert_eq!(must_stop(seconds(31), seconds(30), limit), Some(Stopped::Silent(seconds(30))));
    }
}
