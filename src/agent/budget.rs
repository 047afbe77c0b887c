//! How long misses may wait for the remote. Pure policy.
//!
//! A build may wait a small fixed time for each job, a small share of its own duration, and half of the time that the
//! remote has saved. So a remote that delivers nothing costs a build little, and misses may wait longer for a remote
//! that delivers much. Times are in milliseconds. Waiting is counted for each miss, because each waiting miss blocks
//! one job of cargo.

/// The time that each job may lose before the remote has answered.
const BASE_MS: f64 = 150.0;
/// The time that each job may lose in addition once the remote has named a requested entry, if it did so early.
const NAMED_BONUS_MS: f64 = 150.0;
/// The time from the start of the build that counts as early.
const NAMED_WITHIN_MS: f64 = 150.0;
/// Once the build record has come quickly, each job may instead lose this multiple of the time that the record took.
const RECORD_BONUS_FACTOR: f64 = 4.0;
/// The upper limit of that time.
const RECORD_BONUS_MS: f64 = 250.0;
/// The time for a record that counts as quick. A slower one adds nothing to [`BASE_MS`].
const RECORD_WITHIN_MS: f64 = 400.0;
/// The share of the saved time that may be spent on waiting.
const SPENDABLE_SHARE: f64 = 0.5;
/// The share of the time of all jobs that may be lost in the long run, also to a remote that stops delivering.
const LONG_RUN_SHARE: f64 = 0.002;
/// The longest wait for a unit whose compile time is unknown.
const UNKNOWN_COST_MS: f64 = 400.0;

/// The waiting account of one build.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    jobs: f64,
    began_ms: f64,
    spent: f64,
    saved: f64,
    is_entry_named: bool,
    record_ms: Option<f64>,
}

impl Budget {
    /// The account of a build that began at `now` and compiles `jobs` units at once.
    pub fn new(jobs: usize, now: f64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a number of cores")]
        let jobs = jobs.max(1) as f64;
        Self { jobs, began_ms: now, spent: 0.0, saved: 0.0, is_entry_named: false, record_ms: None }
    }

    /// The account of a build that follows others. It begins with the largest loss that one of them has not recovered,
    /// so that many short builds lose no more than a long one.
    pub fn after<'a>(jobs: usize, now: f64, others: impl IntoIterator<Item = &'a Self>) -> Self {
        let missing = others.into_iter().map(|other| other.missing(now)).fold(0.0, f64::max);
        Self { spent: missing, ..Self::new(jobs, now) }
    }

    /// Records that the remote has named an entry that this build has requested.
    pub fn entry_named(&mut self, now: f64) {
        self.is_entry_named |= now - self.began_ms <= NAMED_WITHIN_MS;
    }

    /// Records that the build record came, `took_ms` after the query. Only the first call counts.
    pub fn record_received(&mut self, took_ms: f64) {
        self.record_ms = self.record_ms.or(Some(took_ms));
    }

    /// Whether a miss that has waited for `waited` may wait for another `slice`, if its unit takes `cost` to compile.
    /// If so, the slice is taken from the account.
    pub fn grant(&mut self, waited: f64, slice: f64, cost: Option<f64>, now: f64) -> bool {
        let worth = cost.unwrap_or(UNKNOWN_COST_MS);
        if waited + slice > worth || self.available(now) < slice {
            return false;
        }
        self.spent += slice;
        true
    }

    /// Refunds the unused part of a slice. Negative: the slice took longer.
    pub fn refund(&mut self, unused: f64) {
        self.spent = (self.spent - unused).max(0.0);
    }

    /// Records a hit on a unit that takes `cost` to compile, and refunds the time that the miss waited.
    pub fn hit(&mut self, cost: f64, waited: f64) {
        self.refund(waited);
        self.saved += (cost - waited).max(0.0);
    }

    fn available(&self, now: f64) -> f64 {
        let bonus = match self.record_ms {
            None if self.is_entry_named => NAMED_BONUS_MS,
            Some(took) if took <= RECORD_WITHIN_MS => (took * RECORD_BONUS_FACTOR).min(RECORD_BONUS_MS),
            None | Some(_) => 0.0,
        };
        (BASE_MS + bonus) * self.jobs - self.missing(now)
    }

    /// The loss in excess of the long-run share. Negative: the rest of that share.
    fn missing(&self, now: f64) -> f64 {
        let long_run = (now - self.began_ms).max(0.0) * LONG_RUN_SHARE;
        self.spent - long_run * self.jobs - self.saved * SPENDABLE_SHARE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits as long as the budget grants it, and returns the time.
    fn wait(budget: &mut Budget, cost: Option<f64>, now: f64) -> f64 {
        let mut waited = 0.0;
        while budget.grant(waited, 25.0, cost, now + waited) {
            waited += 25.0;
        }
        waited
    }

    #[test]
    fn r09_a_remote_that_never_answers_costs_its_capital_once() {
        let mut budget = Budget::new(2, 0.0);
        let lost: f64 = (0..1000).map(|n| wait(&mut budget, None, f64::from(n) * 20.0)).sum();
        // 20 seconds of two jobs.
        assert!(lost >= 300.0, "it is waited for at all: {lost}");
        assert!(lost <= 300.0 + 2.0 * 20_000.0 * LONG_RUN_SHARE + 25.0, "{lost}");
    }

    #[test]
    fn r09_many_short_builds_lose_no_more_than_a_long_one() {
        let (mut lost, mut now, mut last) = (0.0, 0.0, Budget::new(2, 0.0));
        for _ in 0..100 {
            let mut budget = Budget::after(2, now, [&last]);
            budget.record_received(100.0);
            let waited: f64 = (0..10).map(|_| wait(&mut budget, None, now)).sum();
            (lost, now, last) = (lost + waited, now + 1000.0, budget);
        }
        let most = 2.0 * (BASE_MS + RECORD_BONUS_MS + 100_000.0 * LONG_RUN_SHARE) + 100.0;
        assert!((1000.0..=most).contains(&lost), "{lost} of {most}");
        // Control: saved time pays for the next build.
        last.hit(10_000.0, 0.0);
        let mut budget = Budget::after(2, now, [&last]);
        assert!(wait(&mut budget, Some(1000.0), now) >= 2.0 * BASE_MS);
    }

    #[test]
    fn a_slice_that_took_longer_is_paid_for() {
        let mut budget = Budget::new(1, 0.0);
        assert!(budget.grant(0.0, 25.0, None, 0.0));
        budget.refund(25.0 - BASE_MS);
        assert!(!budget.grant(0.0, 25.0, None, 0.0), "nothing is left");
    }

    #[test]
    fn a_remote_that_delivers_is_waited_for() {
        let mut budget = Budget::new(2, 0.0);
        budget.record_received(100.0);
        for n in 0..100 {
            let waited = wait(&mut budget, Some(1000.0), f64::from(n)).min(200.0);
            assert!(waited >= 200.0, "{n}");
            budget.hit(1000.0, waited);
        }
    }

    #[test]
    fn a_remote_that_names_an_entry_and_delivers_it_slowly_costs_little_more() {
        let mut budget = Budget::new(2, 0.0);
        budget.entry_named(100.0);
        let lost: f64 = (0..1000).map(|_| wait(&mut budget, None, 0.0)).sum();
        assert!((550.0..=600.0).contains(&lost), "{lost}");
        budget.record_received(2000.0);
        assert!(wait(&mut budget, None, 0.0) < 25.0);
        let mut late = Budget::new(2, 0.0);
        late.entry_named(200.0);
        assert!((0..1000).map(|_| wait(&mut late, None, 0.0)).sum::<f64>() <= 300.0);
    }

    #[test]
    fn nothing_is_waited_for_longer_than_it_takes_to_compile() {
        let mut budget = Budget::new(8, 0.0);
        budget.record_received(50.0);
        assert!(wait(&mut budget, Some(80.0), 0.0) <= 80.0);
        assert!(wait(&mut budget, Some(10.0), 0.0) < 25.0);
    }

    #[test]
    fn a_slow_build_record_adds_nothing_to_the_capital() {
        let (mut slow, mut quick) = (Budget::new(1, 0.0), Budget::new(1, 0.0));
        slow.record_received(2000.0);
        quick.record_received(100.0);
        assert!(wait(&mut slow, Some(10_000.0), 0.0) < wait(&mut quick, Some(10_000.0), 0.0));
    }
}
