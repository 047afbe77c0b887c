//! Durations of the parts of one object, to detect a part that falls behind.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The durations of the finished parts.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Vec<Duration>>);

impl Pace {
    /// Records how long a part took.
    pub(super) fn finished(&self, took: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(took);
    }

    /// Whether a part that has taken this long should be requested again.
    pub(super) fn is_slow(&self, takes: Duration, after: Duration, factor: u32) -> bool {
        takes > after && is_slow(takes, &self.0.lock().unwrap_or_else(PoisonError::into_inner), factor)
    }
}

/// A part is slow if it takes more than `factor` times the median of the others. Without others it is not slow.
fn is_slow(takes: Duration, others: &[Duration], factor: u32) -> bool {
    let mut others = others.to_vec();
    others.sort();
    others.get(others.len() / 2).is_some_and(|median| takes > *median * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_is_slower_than_the_others_and_not_just_slow() {
        let seconds = Duration::from_secs;
        let pace = Pace::default();
        assert!(!pace.is_slow(seconds(100), seconds(5), 4), "no others");
        for took in [1, 2, 2, 30] {
            pace.finished(seconds(took));
        }
        assert!(pace.is_slow(seconds(9), seconds(5), 4));
        assert!(!pace.is_slow(seconds(8), seconds(5), 4));
        assert!(!pace.is_slow(seconds(9), seconds(10), 4), "not for long");
    }
}
