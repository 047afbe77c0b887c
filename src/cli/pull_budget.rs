//! The time that a pull may take.

use std::fmt;
use std::sync::{Arc, OnceLock};
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

/// Watches a pull, and cancels it when its time is over.
pub(super) struct PullBudget {
    task: JoinHandle<()>,
    stopped: Arc<OnceLock<Stopped>>,
}

impl PullBudget {
    /// Starts to watch. Must be called inside the runtime.
    pub(super) fn start(limit: Duration, display: &Arc<Display>, cancel: &CancellationToken) -> Self {
        let (stopped, began) = (Arc::new(OnceLock::new()), Instant::now());
        let (found, display, cancel) = (Arc::clone(&stopped), Arc::clone(display), cancel.clone());
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                if let Some(stop) = must_stop(began.elapsed(), display.silent_for(), limit) {
                    let _ = found.set(stop);
                    return cancel.cancel();
                }
            }
        });
        Self { task, stopped }
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
