//! How long misses may wait for the remote: a policy, pure.
//!
//! Waiting is paid for out of a small capital, and out of what the remote has saved. A remote that brings nothing costs a
//! build the capital and no more; one that brings much may be waited for. Times are milliseconds; waiting is counted per
//! asker, as each asker keeps one of cargo's jobs from compiling.

/// What every job may lose before the remote has shown anything.
const SILENT_MS: f64 = 150.0;
/// What every job may lose on top once the remote has named something that is wanted, if it did so at once.
const HEARD_MS: f64 = 150.0;
/// How soon that is.
const AT_ONCE_MS: f64 = 150.0;
/// What every job may lose instead once the remote has told quickly what it has: this many times what telling took.
const ALIVE_FACTOR: f64 = 4.0;
/// The most that this comes to.
const ALIVE_MS: f64 = 250.0;
/// How quick that is.
const QUICKLY_MS: f64 = 400.0;
/// The part of what was saved that may be spent.
const SPENDABLE: f64 = 0.5;
/// The part of all jobs' time that may be spent in the long run, or lost to a remote that stops bringing.
const SHARE: f64 = 0.002;
/// A unit whose cost nobody told is waited for at most so long.
const UNKNOWN_COST_MS: f64 = 400.0;

/// The account of one build.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    jobs: f64,
    began_ms: f64,
    spent: f64,
    saved: f64,
    was_heard: bool,
    told_in: Option<f64>,
}

impl Budget {
    /// The account of a build that began at `now` and compiles as many units at once.
    pub fn new(jobs: usize, now: f64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a number of cores")]
        let jobs = jobs.max(1) as f64;
        Self { jobs, began_ms: now, spent: 0.0, saved: 0.0, was_heard: false, told_in: None }
    }

    /// The same, begun after others: what they have lost and not got back is missing, so that many short builds lose no more
    /// than a long one.
    pub fn after<'a>(jobs: usize, now: f64, others: impl IntoIterator<Item = &'a Self>) -> Self {
        let missing = others.into_iter().map(|other| other.missing(now)).fold(0.0, f64::max);
        Self { spent: missing, ..Self::new(jobs, now) }
    }

    /// The remote has named something that this build wants.
    pub fn heard(&mut self, now: f64) {
        self.was_heard |= now - self.began_ms <= AT_ONCE_MS;
    }

    /// The remote has told what it has, so long after it was first asked.
    pub fn told(&mut self, in_ms: f64) {
        self.told_in = self.told_in.or(Some(in_ms));
    }

    /// Whether an asker that has waited for `waited` already may wait for `slice` more for a unit that takes `cost` to
    /// compile. If so, the slice is taken from the account.
    pub fn grant(&mut self, waited: f64, slice: f64, cost: Option<f64>, now: f64) -> bool {
        let worth = cost.unwrap_or(UNKNOWN_COST_MS);
        if waited + slice > worth || self.available(now) < slice {
            return false;
        }
        self.spent += slice;
        true
    }

    /// A part of a slice was not needed; less than nothing: it took longer.
    pub fn refund(&mut self, unused: f64) {
        self.spent = (self.spent - unused).max(0.0);
    }

    /// A hit that would have cost that much to compile, and was waited for that long: the wait is given back.
    pub fn hit(&mut self, cost: f64, waited: f64) {
        self.refund(waited);
        self.saved += (cost - waited).max(0.0);
    }

    fn available(&self, now: f64) -> f64 {
        let heard = if self.was_heard { HEARD_MS } else { 0.0 };
        let alive = match self.told_in {
            None => heard,
            Some(told) if told <= QUICKLY_MS => (told * ALIVE_FACTOR).min(ALIVE_MS),
            Some(_) => 0.0,
        };
        (SILENT_MS + alive) * self.jobs - self.missing(now)
    }

    /// What was lost beyond what may be lost in the long run; below zero: what is left of that.
    fn missing(&self, now: f64) -> f64 {
        let long_run = (now - self.began_ms).max(0.0) * SHARE;
        self.spent - long_run * self.jobs - self.saved * SPENDABLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits as long as it is granted, and gives the time.
    fn wait(budget: &mut Budget, cost: Option<f64>, now: f64) -> f64 {
        let mut waited = 0.0;
        while budget.grant(waited, 25.0, cost, now + waited) {
            waited += 25.0;
        }
        waited
    }

    #[test]
    fn r09_a_silent_remote_costs_its_capital_once() {
        let mut budget = Budget::new(2, 0.0);
        let lost: f64 = (0..1000).map(|n| wait(&mut budget, None, f64::from(n) * 20.0)).sum();
        // 20 seconds of two jobs.
        assert!(lost >= 300.0, "it is waited for at all: {lost}");
        assert!(lost <= 300.0 + 2.0 * 20_000.0 * SHARE + 25.0, "{lost}");
    }

    #[test]
    fn r09_many_short_builds_lose_no_more_than_a_long_one() {
        let (mut lost, mut now, mut last) = (0.0, 0.0, Budget::new(2, 0.0));
        for _ in 0..100 {
            let mut budget = Budget::after(2, now, [&last]);
            budget.told(100.0);
            let waited: f64 = (0..10).map(|_| wait(&mut budget, None, now)).sum();
            (lost, now, last) = (lost + waited, now + 1000.0, budget);
        }
        let most = 2.0 * (SILENT_MS + ALIVE_MS + 100_000.0 * SHARE) + 100.0;
        assert!((1000.0..=most).contains(&lost), "{lost} of {most}");
        // Control: what was saved pays for the next.
        last.hit(10_000.0, 0.0);
        let mut budget = Budget::after(2, now, [&last]);
        assert!(wait(&mut budget, Some(1000.0), now) >= 2.0 * SILENT_MS);
    }

    #[test]
    fn a_slice_that_took_longer_is_paid_for() {
        let mut budget = Budget::new(1, 0.0);
        assert!(budget.grant(0.0, 25.0, None, 0.0));
        budget.refund(25.0 - SILENT_MS);
        assert!(!budget.grant(0.0, 25.0, None, 0.0), "nothing is left");
    }

    #[test]
    fn a_remote_that_brings_is_waited_for() {
        let mut budget = Budget::new(2, 0.0);
        budget.told(100.0);
        for n in 0..100 {
            let waited = wait(&mut budget, Some(1000.0), f64::from(n)).min(200.0);
            assert!(waited >= 200.0, "{n}");
            budget.hit(1000.0, waited);
        }
    }

    #[test]
    fn a_remote_that_names_what_is_wanted_and_is_slow_to_bring_it_costs_little_more() {
        let mut budget = Budget::new(2, 0.0);
        budget.heard(100.0);
        let lost: f64 = (0..1000).map(|_| wait(&mut budget, None, 0.0)).sum();
        assert!((550.0..=600.0).contains(&lost), "{lost}");
        budget.told(2000.0);
        assert!(wait(&mut budget, None, 0.0) < 25.0);
        let mut late = Budget::new(2, 0.0);
        late.heard(200.0);
        assert!((0..1000).map(|_| wait(&mut late, None, 0.0)).sum::<f64>() <= 300.0);
    }

    #[test]
    fn nothing_is_waited_for_longer_than_it_takes_to_compile() {
        let mut budget = Budget::new(8, 0.0);
        budget.told(50.0);
        assert!(wait(&mut budget, Some(80.0), 0.0) <= 80.0);
        assert!(wait(&mut budget, Some(10.0), 0.0) < 25.0);
    }

    #[test]
    fn a_remote_that_was_slow_to_tell_gets_no_more_than_the_capital() {
        let (mut slow, mut quick) = (Budget::new(1, 0.0), Budget::new(1, 0.0));
        slow.told(2000.0);
        quick.told(100.0);
        assert!(wait(&mut slow, Some(10_000.0), 0.0) < wait(&mut quick, Some(10_000.0), 0.0));
    }
}
