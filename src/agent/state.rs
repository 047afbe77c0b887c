//! The state of the agent, and the answers that follow from it. Does not use the network: `server` and `prefetch` act
//! on it.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use super::answer::SubjectAnswer;
use super::budget::Budget;
use super::fetch_plan::{FetchPlan, FetchState, RemoteUnit};
use super::health::Health;
use super::protocol::{Decline, FetchRequest};
use crate::model::{EntryKey, LookupKey};
use crate::remote::fetch::MOST_OF_A_LOOKUP;

/// How long after it was fetched an entry may be new to a miss, in milliseconds.
const NEWS_MS: f64 = 5_000.0;
/// After this many fetched entries that did not hold, and none that did, the agent stops fetching for a build.
const USELESS: u32 = 6;
/// The longest time to fetch the entries of one lookup key, in milliseconds; more than their deadline allows.
const LONGEST_WAY_MS: f64 = 900_000.0;
/// How many builds the agent remembers.
const BUILDS: usize = 16;

/// The subject of a build record: a workspace, and the target and profile that are built.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    /// Directory of the workspace, if it is known.
    pub(super) workspace: Option<String>,
    /// Target and profile: `<triple or host>/<profile's directory>`.
    pub(super) shape: String,
}

#[derive(Debug)]
struct Build {
    budget: Budget,
    subjects: HashSet<Subject>,
    used: u32,
    unused: u32,
}

/// How to answer a [`FetchRequest`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Answer no, for this reason.
    Decline(Decline),
    /// Answer that the entry is in the store. A compile would have taken this many milliseconds.
    Here(f64),
    /// The entry may come: wait.
    Wait,
}

/// All that the agent has learned.
#[derive(Debug)]
pub(super) struct Knowledge {
    began: Instant,
    jobs: usize,
    pub(super) plan: FetchPlan,
    pub(super) health: Health,
    answers: HashMap<Subject, SubjectAnswer>,
    builds: HashMap<u64, Build>,
    order: Vec<u64>,
    came: HashMap<LookupKey, f64>,
    /// Time of the last question or transfer, in milliseconds since the agent started.
    pub(super) active_ms: f64,
    /// Time of the last question of a build, likewise.
    pub(super) asked_ms: f64,
}

impl Knowledge {
    pub(super) fn new(jobs: usize) -> Self {
        Self {
            began: Instant::now(),
            jobs,
            plan: FetchPlan::default(),
            health: Health::default(),
            answers: HashMap::new(),
            builds: HashMap::new(),
            order: Vec::new(),
            came: HashMap::new(),
            active_ms: 0.0,
            asked_ms: 0.0,
        }
    }

    /// Milliseconds since the agent started.
    pub(super) fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64() * 1000.0
    }

    /// Registers the build of this want, and returns whether to ask the remote about its subject: the build is new to
    /// the subject, the last answer is too old, and the remote is usable. If so, the caller asks, and reports the end
    /// of the answer with [`Self::has_told`].
    pub(super) fn must_ask(&mut self, want: &FetchRequest) -> bool {
        let (now, subject) = (self.now(), subject(want));
        (self.active_ms, self.asked_ms) = (now, now);
        if !self.builds.contains_key(&want.build) {
            let budget = Budget::after(self.jobs, now, self.builds.values().map(|build| &build.budget));
            self.builds.insert(want.build, Build { budget, subjects: HashSet::new(), used: 0, unused: 0 });
            self.order.push(want.build);
            if self.order.len() > BUILDS {
                self.builds.remove(&self.order.remove(0));
            }
        }
        let is_new = self.builds.get_mut(&want.build).is_some_and(|build| build.subjects.insert(subject.clone()));
        let is_fresh = self.answers.get(&subject).is_some_and(|answer| answer.is_fresh(now));
        let must = is_new && !is_fresh && self.health.is_usable(now);
        if must {
            self.answers.insert(subject, SubjectAnswer::new(now));
        } else if is_new
            && let Some(took) = self.answers.get(&subject).and_then(SubjectAnswer::record_ms)
            && let Some(build) = self.builds.get_mut(&want.build)
        {
            build.budget.record_received(took);
        }
        must
    }

    /// Whether to look up this lookup key alone, because a build waits for it and nothing is known about it yet. If so,
    /// the caller asks, and reports the answer with [`Self::has_looked`].
    pub(super) fn must_look(&mut self, want: &FetchRequest) -> bool {
        let is_open = self.plan.unit(want.lookup).is_none() && self.health.is_usable(self.now());
        is_open && self.answers.get_mut(&subject(want)).is_some_and(|answer| answer.begin_look_up(want.lookup))
    }

    /// Records what the remote has under the wanted lookup key, if anything.
    pub(super) fn has_looked(&mut self, want: &FetchRequest, unit: Option<RemoteUnit>) {
        let now = self.now();
        self.active_ms = now;
        match unit {
            Some(unit) => {
                self.plan.add_unit(want.lookup, unit);
                if let Some(build) = self.builds.get_mut(&want.build) {
                    build.budget.entry_named(now);
                }
            }
            None => {
                if let Some(answer) = self.answers.get_mut(&subject(want)) {
                    answer.add_lacking(want.lookup);
                }
            }
        }
    }

    /// Records the build record of the subject: its lookup keys, in build order.
    pub(super) fn has_record(&mut self, subject: &Subject, record: Vec<LookupKey>) {
        let now = self.now();
        self.active_ms = now;
        let Some(answer) = self.answers.get_mut(subject) else { return };
        let (took, early) = answer.set_record(record, now);
        for build in self.builds.values_mut().filter(|build| build.subjects.contains(subject)) {
            build.budget.record_received(took);
        }
        // The misses that asked may have given up by now, but the units after them are still to be compiled.
        for wanted in early {
            self.plan(subject, wanted);
        }
    }

    /// Records that the answer of the remote about the subject is complete, or has failed.
    pub(super) fn has_told(&mut self, subject: &Subject) {
        self.active_ms = self.now();
        if let Some(answer) = self.answers.get_mut(subject) {
            answer.finish();
        }
    }

    /// Lets an entry that was fetched for this want and then removed (`gc`, `purge`) be fetched again. `exists`:
    /// whether the store has an entry.
    pub(super) fn notice_removal(&mut self, want: &FetchRequest, exists: impl Fn(EntryKey) -> bool) {
        let is_gone = |unit: &RemoteUnit| !unit.keys.iter().take(MOST_OF_A_LOOKUP).any(|key| exists(*key));
        if self.plan.unit(want.lookup).is_some_and(|unit| unit.state == FetchState::InStore && is_gone(unit)) {
            self.plan.set_state(want.lookup, FetchState::OnRemote);
        }
    }

    /// Decides how to answer the want now, and queues its unit for fetching if needed.
    pub(super) fn judge(&mut self, want: &FetchRequest) -> Verdict {
        let now = self.now();
        let subject = subject(want);
        let may_come = self.answers.get(&subject).is_some_and(|answer| answer.may_name(want.lookup));
        let Some(unit) = self.plan.unit(want.lookup) else {
            return match () {
                () if !self.health.is_usable(now) => Verdict::Decline(Decline::Unusable),
                () if may_come => Verdict::Wait,
                () => Verdict::Decline(Decline::Unknown),
            };
        };
        match unit.state {
            FetchState::InStore if self.came.get(&want.lookup).is_some_and(|at| now - at < NEWS_MS) => {
                Verdict::Here(unit.cost_ms.unwrap_or(0.0))
            }
            FetchState::InStore | FetchState::Failed => Verdict::Decline(Decline::Unknown),
            _ if !self.health.is_usable(now) => Verdict::Decline(Decline::Unusable),
            _ if self.is_useless(want.build) => Verdict::Decline(Decline::Spent),
            FetchState::OnRemote | FetchState::Fetching => {
                self.plan.request(want.lookup);
                self.plan(&subject, want.lookup);
                Verdict::Wait
            }
        }
    }

    /// Plans to fetch a whole record once a miss asks for one of its units: a build that asks for none of them has no
    /// use for the record.
    fn plan(&mut self, subject: &Subject, wanted: LookupKey) {
        if let Some(record) = self.answers.get_mut(subject).and_then(|answer| answer.record_to_plan(wanted)) {
            self.plan.add_record(record.iter().copied());
        }
    }

    /// Whether questions and transfers ceased more than `idle_ms` ago. Planned units do not keep the agent alive while
    /// the remote cannot be used; nor does a fetch that takes longer than [`LONGEST_WAY_MS`].
    pub(super) fn is_idle(&self, now: f64, idle_ms: f64) -> bool {
        let quiet = now - self.active_ms;
        quiet > idle_ms && (!self.plan.is_fetching() || quiet > idle_ms + LONGEST_WAY_MS)
    }

    /// The workspaces that builds asked about.
    pub(super) fn workspaces(&self) -> Vec<String> {
        let mut found: Vec<String> = self.answers.keys().filter_map(|subject| subject.workspace.clone()).collect();
        found.sort();
        found.dedup();
        found
    }

    fn is_useless(&self, build: u64) -> bool {
        self.builds.get(&build).is_some_and(|build| build.used == 0 && build.unused >= USELESS)
    }

    /// Whether the want may wait for another slice.
    pub(super) fn grant(&mut self, want: &FetchRequest, waited: f64, slice: f64) -> bool {
        let (now, cost) = (self.now(), self.plan.unit(want.lookup).and_then(|unit| unit.cost_ms));
        self.builds.get_mut(&want.build).is_some_and(|build| build.budget.grant(waited, slice, cost, now))
    }

    /// Refunds the unused part of the last slice.
    pub(super) fn refund(&mut self, want: &FetchRequest, unused: f64) {
        if let Some(build) = self.builds.get_mut(&want.build) {
            build.budget.refund(unused);
        }
    }

    /// Records whether the fetched entry was a hit.
    pub(super) fn used(&mut self, want: &FetchRequest, was_hit: bool, cost: f64, waited: f64) {
        self.active_ms = self.now();
        let Some(build) = self.builds.get_mut(&want.build) else { return };
        if was_hit {
            build.used += 1;
            build.budget.hit(cost, waited);
            return;
        }
        build.unused += 1;
        if self.is_useless(want.build) {
            self.plan.clear_records();
        }
    }

    /// Records how fetching the entries of a lookup key ended.
    pub(super) fn ended(&mut self, lookup: LookupKey, fetched: FetchState) {
        self.active_ms = self.now();
        if fetched == FetchState::InStore {
            self.came.insert(lookup, self.active_ms);
        }
        self.plan.set_state(lookup, fetched);
    }
}

/// The subject of a want.
pub(super) fn subject(want: &FetchRequest) -> Subject {
    Subject { workspace: want.workspace.clone(), shape: want.shape.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    fn want(name: &str) -> FetchRequest {
        FetchRequest {
            remote: String::new(),
            workspace: Some("/ws".into()),
            shape: "host/debug".into(),
            build: 7,
            crate_name: name.into(),
            lookup: LookupKey(Digest::of(name.as_bytes())),
        }
    }

    fn knowledge(names: &[&str]) -> Knowledge {
        let mut knowledge = Knowledge::new(2);
        assert!(knowledge.must_ask(&want(names[0])));
        for name in names {
            let keys = vec![EntryKey(Digest::of(name.as_bytes()))];
            let unit =
                RemoteUnit { crate_name: (*name).into(), keys, cost_ms: Some(500.0), state: FetchState::OnRemote };
            knowledge.plan.add_unit(want(name).lookup, unit);
        }
        let record = names.iter().map(|name| want(name).lookup).collect();
        knowledge.has_record(&subject(&want(names[0])), record);
        knowledge.has_told(&subject(&want(names[0])));
        knowledge
    }

    #[test]
    fn a_subject_is_asked_about_once_and_waited_for_until_it_is_told() {
        let mut knowledge = Knowledge::new(2);
        assert!(knowledge.must_ask(&want("a")) && !knowledge.must_ask(&want("b")));
        assert_eq!(knowledge.judge(&want("a")), Verdict::Wait);
        knowledge.has_told(&subject(&want("a")));
        assert_eq!(knowledge.judge(&want("a")), Verdict::Decline(Decline::Unknown));
    }

    #[test]
    fn what_is_wanted_before_the_answer_is_looked_for_on_its_own() {
        let mut knowledge = Knowledge::new(2);
        assert!(knowledge.must_ask(&want("a")));
        assert!(knowledge.must_look(&want("a")) && !knowledge.must_look(&want("a")) && knowledge.must_look(&want("b")));
        knowledge.has_looked(&want("a"), None);
        let unit = RemoteUnit { crate_name: "b".into(), keys: Vec::new(), cost_ms: None, state: FetchState::OnRemote };
        knowledge.has_looked(&want("b"), Some(unit));
        assert_eq!(knowledge.judge(&want("a")), Verdict::Decline(Decline::Unknown));
        assert_eq!(knowledge.judge(&want("b")), Verdict::Wait);
        assert!(knowledge.plan.take_next().is_some(), "b comes");
        assert!(!knowledge.must_look(&want("b")));
        let looks = (0..100).filter(|n| knowledge.must_look(&want(&n.to_string()))).count();
        assert!((1..20).contains(&looks), "{looks}");
        knowledge.has_told(&subject(&want("a")));
        assert!(!knowledge.must_look(&want("c")));
    }

    #[test]
    fn what_was_wanted_before_the_answer_counts() {
        let (mut asked, mut other) = (Knowledge::new(2), Knowledge::new(2));
        for (knowledge, name) in [(&mut asked, "a"), (&mut other, "edited")] {
            assert!(knowledge.must_ask(&want(name)));
            assert!(knowledge.must_look(&want(name)));
            let unit =
                RemoteUnit { crate_name: "a".into(), keys: Vec::new(), cost_ms: None, state: FetchState::OnRemote };
            knowledge.plan.add_unit(want("a").lookup, unit);
            knowledge.has_record(&subject(&want("a")), vec![want("a").lookup]);
        }
        assert_eq!((asked.plan.pending(), other.plan.pending()), (1, 0));
    }

    #[test]
    fn r12_a_record_is_brought_only_for_a_build_that_asks_for_something_of_it() {
        let mut knowledge = knowledge(&["a", "b", "c"]);
        assert_eq!(knowledge.judge(&want("edited")), Verdict::Decline(Decline::Unknown));
        assert_eq!(knowledge.plan.pending(), 0);
        assert_eq!(knowledge.judge(&want("b")), Verdict::Wait);
        let mut came = Vec::new();
        while let Some((lookup, _)) = knowledge.plan.take_next() {
            came.push(lookup);
        }
        assert_eq!(came, ["b", "a", "c"].map(|name| want(name).lookup), "what is waited for, then the rest in order");
        knowledge.ended(want("b").lookup, FetchState::InStore);
        assert_eq!(knowledge.judge(&want("b")), Verdict::Here(500.0));
        knowledge.ended(want("a").lookup, FetchState::Failed);
        assert_eq!(knowledge.judge(&want("a")), Verdict::Decline(Decline::Unknown));
    }

    #[test]
    fn what_came_and_was_removed_can_come_again() {
        let mut knowledge = knowledge(&["a"]);
        knowledge.plan.set_state(want("a").lookup, FetchState::InStore);
        knowledge.notice_removal(&want("a"), |_| true);
        assert_eq!(knowledge.judge(&want("a")), Verdict::Decline(Decline::Unknown), "it does not hold");
        knowledge.notice_removal(&want("a"), |_| false);
        assert_eq!(knowledge.judge(&want("a")), Verdict::Wait);
        knowledge.plan.take_next().unwrap();
        knowledge.notice_removal(&want("a"), |_| false);
        assert_eq!(knowledge.plan.unit(want("a").lookup).unwrap().state, FetchState::Fetching);
        knowledge.ended(want("a").lookup, FetchState::Failed);
        knowledge.notice_removal(&want("a"), |_| false);
        assert_eq!(knowledge.judge(&want("a")), Verdict::Decline(Decline::Unknown), "it was never here");
    }

    #[test]
    fn r12_what_never_holds_is_not_brought_for_ever() {
        let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let mut knowledge = knowledge(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for name in &names[..6] {
            assert_eq!(knowledge.judge(&want(name)), Verdict::Wait);
            knowledge.used(&want(name), false, 500.0, 10.0);
        }
        assert_eq!(knowledge.judge(&want("10")), Verdict::Decline(Decline::Spent));
        assert!(knowledge.plan.pending() <= 6, "only what was asked for");
    }

    #[test]
    fn what_cannot_be_brought_keeps_no_agent_alive() {
        let mut knowledge = knowledge(&["a", "b"]);
        assert_eq!(knowledge.judge(&want("a")), Verdict::Wait);
        let (lookup, _) = knowledge.plan.take_next().unwrap();
        let later = knowledge.now() + 10_000.0;
        assert!(!knowledge.is_idle(later, 5_000.0), "a unit is being fetched");
        assert!(knowledge.is_idle(later + LONGEST_WAY_MS, 5_000.0), "whoever brought it is gone");
        knowledge.ended(lookup, FetchState::Failed);
        knowledge.health.unusable(later);
        assert!(knowledge.plan.pending() > 0);
        assert!(knowledge.is_idle(later, 5_000.0) && !knowledge.is_idle(later, 20_000.0));
    }

    #[test]
    fn r09_a_remote_that_fails_is_left_alone() {
        let mut knowledge = knowledge(&["a"]);
        for _ in 0..3 {
            assert_eq!(knowledge.judge(&want("a")), Verdict::Wait);
            let now = knowledge.now();
            knowledge.health.failed("500".into(), now);
        }
        assert_eq!(knowledge.judge(&want("a")), Verdict::Decline(Decline::Unusable));
        knowledge.health.well();
        assert_eq!(knowledge.judge(&want("a")), Verdict::Wait);
    }
}
