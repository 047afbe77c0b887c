//! The state of the agent, and the one place where a fetch request is decided: [`AgentState::begin`] says what to find
//! out for it, [`AgentState::decide`] how to answer it. (`server` declines clients of another version or remote.) Does
//! not use the network: `server` and `prefetch` act on it.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::answer::SubjectAnswer;
use super::budget::Budget;
use super::fetch_plan::{FetchPlan, FetchState, RemoteUnit};
use super::health::Health;
use super::protocol::{Decline, FetchRequest};
use crate::model::{EntryKey, LookupKey};
use crate::remote::operations::fetch::MAX_ENTRIES_PER_LOOKUP;

/// How long a miss may wait before the next decision.
pub(super) const WAIT_SLICE: Duration = Duration::from_millis(25);
/// How long after its fetch an entry may be new to a miss.
const RECENT_FETCH: Duration = Duration::from_secs(5);
/// After this many fetched entries that were not hits, and none that was, the agent stops fetching for a build.
const MAX_UNUSED: u32 = 6;
/// The longest time to fetch the entries of one lookup key; more than their deadline allows.
const MAX_FETCH_TIME: Duration = Duration::from_mins(15);
/// How many builds the agent remembers.
const MAX_BUILDS: usize = 16;

/// The subject of a build record: a workspace, and the target and profile that are built.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct BuildSubject {
    /// Directory of the workspace, if it is known.
    pub(super) workspace: Option<String>,
    /// Target and profile: `<triple or host>/<profile's directory>`.
    pub(super) shape: String,
}

#[derive(Debug)]
struct ActiveBuild {
    budget: Budget,
    subjects: HashSet<BuildSubject>,
    used: u32,
    unused: u32,
}

/// What to find out about a [`FetchRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queries {
    /// Query the remote about the subject. [`AgentState::finish_answer`] takes the end of the answer.
    pub(super) subject: bool,
    /// List the remote under the lookup key. [`AgentState::set_lookup_result`] takes the result.
    pub(super) lookup: bool,
}

/// How to answer a [`FetchRequest`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Decision {
    /// Decline the request, for this reason.
    Decline(Decline),
    /// The entry is in the store. A compile would have taken this many milliseconds.
    InStore(f64),
    /// The entry may come: wait for a [`WAIT_SLICE`], then report [`AgentState::end_slice`] and decide again.
    Wait,
}

/// What the agent has done so far, for people.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Number of fetched entries.
    pub(super) fetched: u64,
    /// Bytes of the fetched packs.
    pub(super) fetched_bytes: u64,
    /// Bytes by which the store has grown.
    pub(super) grown_bytes: u64,
    /// Number of uploaded entries.
    pub(super) uploaded: u64,
    /// Why uploads wait; empty if they do not.
    pub(super) uploads_wait: String,
}

/// The state of the agent.
#[derive(Debug)]
pub(super) struct AgentState {
    began: Instant,
    jobs: usize,
    pub(super) plan: FetchPlan,
    pub(super) health: Health,
    pub(super) counters: Counters,
    answers: HashMap<BuildSubject, SubjectAnswer>,
    builds: HashMap<u64, ActiveBuild>,
    order: Vec<u64>,
    /// When the entries of a lookup key were fetched; like all times here, since the agent started.
    fetched: HashMap<LookupKey, Duration>,
    /// When the last request or transfer was.
    last_activity: Duration,
    /// When the last request of a build was.
    last_request: Duration,
}

impl AgentState {
    pub(super) fn new(jobs: usize) -> Self {
        Self {
            began: Instant::now(),
            jobs,
            plan: FetchPlan::default(),
            health: Health::default(),
            counters: Counters::default(),
            answers: HashMap::new(),
            builds: HashMap::new(),
            order: Vec::new(),
            fetched: HashMap::new(),
            last_activity: Duration::ZERO,
            last_request: Duration::ZERO,
        }
    }

    /// The time since the agent started.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Records that something happened, so that the agent is not idle.
    pub(super) fn mark_active(&mut self) {
        self.last_activity = self.now();
    }

    /// Registers a request. Returns the queries that the caller is to send. `exists`: whether the store has an entry.
    pub(super) fn begin(&mut self, request: &FetchRequest, exists: impl Fn(EntryKey) -> bool) -> Queries {
        let subject = self.begin_query_if_due(request);
        self.notice_removal(request, exists);
        Queries { subject, lookup: self.begin_look_up_if_due(request) }
    }

    /// Registers the build of this request, and begins a query of its subject if one is due: the build is new to the
    /// subject, the last answer is too old, and the remote is usable. Returns whether it did.
    fn begin_query_if_due(&mut self, request: &FetchRequest) -> bool {
        let (now, subject) = (self.now(), subject(request));
        (self.last_activity, self.last_request) = (now, now);
        if !self.builds.contains_key(&request.build) {
            let budget = Budget::after(self.jobs, millis(now), self.builds.values().map(|build| &build.budget));
            self.builds.insert(request.build, ActiveBuild { budget, subjects: HashSet::new(), used: 0, unused: 0 });
            self.order.push(request.build);
            if self.order.len() > MAX_BUILDS {
                self.builds.remove(&self.order.remove(0));
            }
        }
        let is_new = self.builds.get_mut(&request.build).is_some_and(|build| build.subjects.insert(subject.clone()));
        let is_fresh = self.answers.get(&subject).is_some_and(|answer| answer.is_fresh(now));
        let is_due = is_new && !is_fresh && self.health.is_usable(now);
        if is_due {
            self.answers.insert(subject, SubjectAnswer::new(now));
        } else if is_new
            && let Some(took) = self.answers.get(&subject).and_then(SubjectAnswer::record_took)
            && let Some(build) = self.builds.get_mut(&request.build)
        {
            build.budget.record_received(millis(took));
        }
        is_due
    }

    /// Begins to look up this lookup key alone, if a build waits for it and nothing is known about it yet. Returns
    /// whether it did.
    fn begin_look_up_if_due(&mut self, request: &FetchRequest) -> bool {
        let is_unknown = self.plan.unit(request.lookup).is_none() && self.health.is_usable(self.now());
        is_unknown && self.answers.get_mut(&subject(request)).is_some_and(|answer| answer.begin_look_up(request.lookup))
    }

    /// Records the unit of the remote under the requested lookup key, if there is one.
    pub(super) fn set_lookup_result(&mut self, request: &FetchRequest, unit: Option<RemoteUnit>) {
        let now = self.now();
        self.last_activity = now;
        match unit {
            Some(unit) => {
                self.plan.add_unit(request.lookup, unit);
                if let Some(build) = self.builds.get_mut(&request.build) {
                    build.budget.entry_named(millis(now));
                }
            }
            None => {
                if let Some(answer) = self.answers.get_mut(&subject(request)) {
                    answer.add_lacking(request.lookup);
                }
            }
        }
    }

    /// Records the build record of the subject: its lookup keys, in build order.
    pub(super) fn set_record(&mut self, subject: &BuildSubject, record: Vec<LookupKey>) {
        let now = self.now();
        self.last_activity = now;
        let Some(answer) = self.answers.get_mut(subject) else { return };
        let (took, early) = answer.set_record(record, now);
        for build in self.builds.values_mut().filter(|build| build.subjects.contains(subject)) {
            build.budget.record_received(millis(took));
        }
        // The misses that requested them may have given up by now, but the units after them are still to be compiled.
        for lookup in early {
            self.plan_record(subject, lookup);
        }
    }

    /// Records that the answer of the remote about the subject is complete, or has failed.
    pub(super) fn finish_answer(&mut self, subject: &BuildSubject) {
        self.mark_active();
        if let Some(answer) = self.answers.get_mut(subject) {
            answer.finish();
        }
    }

    /// Lets an entry that was fetched for this request and then removed (`gc`, `purge`) be fetched again.
    fn notice_removal(&mut self, request: &FetchRequest, exists: impl Fn(EntryKey) -> bool) {
        let is_gone = |unit: &RemoteUnit| !unit.keys.iter().take(MAX_ENTRIES_PER_LOOKUP).any(|key| exists(*key));
        if self.plan.unit(request.lookup).is_some_and(|unit| unit.state == FetchState::InStore && is_gone(unit)) {
            self.plan.set_state(request.lookup, FetchState::OnRemote);
        }
    }

    /// Decides how to answer the request now, after its miss has `waited`. Queues its unit for fetching if needed, and
    /// takes a slice of waiting from the budget of the build.
    pub(super) fn decide(&mut self, request: &FetchRequest, waited: Duration) -> Decision {
        match self.decide_without_budget(request) {
            Decision::Wait if !self.grant(request, waited) => Decision::Decline(Decline::Spent),
            decision => decision,
        }
    }

    /// The decision, as if waiting were free.
    fn decide_without_budget(&mut self, request: &FetchRequest) -> Decision {
        let now = self.now();
        let subject = subject(request);
        let may_come = self.answers.get(&subject).is_some_and(|answer| answer.may_name(request.lookup));
        let Some(unit) = self.plan.unit(request.lookup) else {
            return if !self.health.is_usable(now) {
                Decision::Decline(Decline::Unusable)
            } else if may_come {
                Decision::Wait
            } else {
                Decision::Decline(Decline::Unknown)
            };
        };
        match unit.state {
            FetchState::InStore if self.is_recent(request.lookup, now) => {
                Decision::InStore(unit.cost_ms.unwrap_or(0.0))
            }
            FetchState::InStore | FetchState::Failed => Decision::Decline(Decline::Unknown),
            _ if !self.health.is_usable(now) => Decision::Decline(Decline::Unusable),
            _ if self.is_useless(request.build) => Decision::Decline(Decline::Spent),
            FetchState::OnRemote | FetchState::Fetching => {
                self.plan.request(request.lookup);
                self.plan_record(&subject, request.lookup);
                Decision::Wait
            }
        }
    }

    /// Plans to fetch a whole record once a miss requests one of its units: a build that requests none of them has no
    /// use for the record.
    fn plan_record(&mut self, subject: &BuildSubject, requested: LookupKey) {
        if let Some(record) = self.answers.get_mut(subject).and_then(|answer| answer.record_to_plan(requested)) {
            self.plan.add_record(record.iter().copied());
        }
    }

    fn is_recent(&self, lookup: LookupKey, now: Duration) -> bool {
        self.fetched.get(&lookup).is_some_and(|at| now.saturating_sub(*at) < RECENT_FETCH)
    }

    /// Whether the last request or transfer was more than `idle` ago. Planned units do not keep the agent alive while
    /// the remote cannot be used; nor does a fetch that takes longer than [`MAX_FETCH_TIME`].
    pub(super) fn is_idle(&self, now: Duration, idle: Duration) -> bool {
        let quiet = now.saturating_sub(self.last_activity);
        quiet > idle && (!self.plan.is_fetching() || quiet > idle.saturating_add(MAX_FETCH_TIME))
    }

    /// The time since the last request or transfer.
    pub(super) fn since_activity(&self) -> Duration {
        self.now().saturating_sub(self.last_activity)
    }

    /// The time since the last request of a build, or since the agent started.
    pub(super) fn since_request(&self) -> Duration {
        self.now().saturating_sub(self.last_request)
    }

    /// The workspaces of all builds so far.
    pub(super) fn workspaces(&self) -> Vec<String> {
        let mut found: Vec<String> = self.answers.keys().filter_map(|subject| subject.workspace.clone()).collect();
        found.sort();
        found.dedup();
        found
    }

    fn is_useless(&self, build: u64) -> bool {
        self.builds.get(&build).is_some_and(|build| build.used == 0 && build.unused >= MAX_UNUSED)
    }

    /// Whether the request may wait for another slice. If so, the slice is taken from the budget.
    fn grant(&mut self, request: &FetchRequest, waited: Duration) -> bool {
        let (now, cost) = (millis(self.now()), self.plan.unit(request.lookup).and_then(|unit| unit.cost_ms));
        self.builds
            .get_mut(&request.build)
            .is_some_and(|build| build.budget.grant(millis(waited), millis(WAIT_SLICE), cost, now))
    }

    /// Refunds the unused part of the last slice, or charges its excess.
    pub(super) fn end_slice(&mut self, request: &FetchRequest, took: Duration) {
        if let Some(build) = self.builds.get_mut(&request.build) {
            build.budget.refund(millis(WAIT_SLICE) - millis(took));
        }
    }

    /// Records whether the fetched entry was a hit.
    pub(super) fn used(&mut self, request: &FetchRequest, was_hit: bool, cost_ms: f64, waited: Duration) {
        self.mark_active();
        let Some(build) = self.builds.get_mut(&request.build) else { return };
        if was_hit {
            build.used += 1;
            build.budget.hit(cost_ms, millis(waited));
            return;
        }
        build.unused += 1;
        if self.is_useless(request.build) {
            self.plan.clear_records();
        }
    }

    /// Records how fetching the entries of a lookup key ended.
    pub(super) fn ended(&mut self, lookup: LookupKey, fetched: FetchState) {
        self.mark_active();
        if fetched == FetchState::InStore {
            self.fetched.insert(lookup, self.last_activity);
        }
        self.plan.set_state(lookup, fetched);
    }
}

/// The time in milliseconds, as the budget counts it.
fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The subject of a request.
pub(super) fn subject(request: &FetchRequest) -> BuildSubject {
    BuildSubject { workspace: request.workspace.clone(), shape: request.shape.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    fn request(name: &str) -> FetchRequest {
        FetchRequest {
            remote: String::new(),
            workspace: Some("/ws".into()),
            shape: "host/debug".into(),
            build: 7,
            crate_name: name.into(),
            lookup: LookupKey(Digest::of(name.as_bytes())),
        }
    }

    fn state_with(names: &[&str]) -> AgentState {
        let mut state = AgentState::new(2);
        assert!(state.begin_query_if_due(&request(names[0])));
        for name in names {
            let keys = vec![EntryKey(Digest::of(name.as_bytes()))];
            let unit =
                RemoteUnit { crate_name: (*name).into(), keys, cost_ms: Some(500.0), state: FetchState::OnRemote };
            state.plan.add_unit(request(name).lookup, unit);
        }
        let record = names.iter().map(|name| request(name).lookup).collect();
        state.set_record(&subject(&request(names[0])), record);
        state.finish_answer(&subject(&request(names[0])));
        state
    }

    #[test]
    fn a_subject_is_queried_once_and_misses_wait_until_the_answer_ends() {
        let mut state = AgentState::new(2);
        assert!(state.begin_query_if_due(&request("a")) && !state.begin_query_if_due(&request("b")));
        assert_eq!(state.decide(&request("a"), Duration::ZERO), Decision::Wait);
        state.finish_answer(&subject(&request("a")));
        assert_eq!(state.decide(&request("a"), Duration::ZERO), Decision::Decline(Decline::Unknown));
    }

    #[test]
    fn requests_before_the_answer_are_looked_up_one_by_one() {
        let mut state = AgentState::new(2);
        assert!(state.begin_query_if_due(&request("a")));
        assert!(
            state.begin_look_up_if_due(&request("a"))
                && !state.begin_look_up_if_due(&request("a"))
                && state.begin_look_up_if_due(&request("b"))
        );
        state.set_lookup_result(&request("a"), None);
        let unit = RemoteUnit { crate_name: "b".into(), keys: Vec::new(), cost_ms: None, state: FetchState::OnRemote };
        state.set_lookup_result(&request("b"), Some(unit));
        assert_eq!(state.decide(&request("a"), Duration::ZERO), Decision::Decline(Decline::Unknown));
        assert_eq!(state.decide(&request("b"), Duration::ZERO), Decision::Wait);
        assert!(state.plan.take_next().is_some(), "b is fetched");
        assert!(!state.begin_look_up_if_due(&request("b")));
        let look_ups = (0..100).filter(|n| state.begin_look_up_if_due(&request(&n.to_string()))).count();
        assert!((1..20).contains(&look_ups), "{look_ups}");
        state.finish_answer(&subject(&request("a")));
        assert!(!state.begin_look_up_if_due(&request("c")));
    }

    #[test]
    fn requests_before_the_record_plan_it() {
        let (mut asked, mut other) = (AgentState::new(2), AgentState::new(2));
        for (state, name) in [(&mut asked, "a"), (&mut other, "edited")] {
            assert!(state.begin_query_if_due(&request(name)));
            assert!(state.begin_look_up_if_due(&request(name)));
            let unit =
                RemoteUnit { crate_name: "a".into(), keys: Vec::new(), cost_ms: None, state: FetchState::OnRemote };
            state.plan.add_unit(request("a").lookup, unit);
            state.set_record(&subject(&request("a")), vec![request("a").lookup]);
        }
        assert_eq!((asked.plan.pending(), other.plan.pending()), (1, 0));
    }

    #[test]
    fn r12_a_record_is_fetched_only_for_a_build_that_requests_a_unit_of_it() {
        let mut state = state_with(&["a", "b", "c"]);
        assert_eq!(state.decide(&request("edited"), Duration::ZERO), Decision::Decline(Decline::Unknown));
        assert_eq!(state.plan.pending(), 0);
        assert_eq!(state.decide(&request("b"), Duration::ZERO), Decision::Wait);
        let mut taken = Vec::new();
        while let Some((lookup, _)) = state.plan.take_next() {
            taken.push(lookup);
        }
        assert_eq!(
            taken,
            ["b", "a", "c"].map(|name| request(name).lookup),
            "the requested unit, then the rest in order"
        );
        state.ended(request("b").lookup, FetchState::InStore);
        assert_eq!(state.decide(&request("b"), Duration::ZERO), Decision::InStore(500.0));
        state.ended(request("a").lookup, FetchState::Failed);
        assert_eq!(state.decide(&request("a"), Duration::ZERO), Decision::Decline(Decline::Unknown));
    }

    #[test]
    fn a_removed_entry_can_be_fetched_again() {
        let mut state = state_with(&["a"]);
        state.plan.set_state(request("a").lookup, FetchState::InStore);
        state.notice_removal(&request("a"), |_| true);
        assert_eq!(
            state.decide(&request("a"), Duration::ZERO),
            Decision::Decline(Decline::Unknown),
            "it does not hold"
        );
        state.notice_removal(&request("a"), |_| false);
        assert_eq!(state.decide(&request("a"), Duration::ZERO), Decision::Wait);
        state.plan.take_next().unwrap();
        state.notice_removal(&request("a"), |_| false);
        assert_eq!(state.plan.unit(request("a").lookup).unwrap().state, FetchState::Fetching);
        state.ended(request("a").lookup, FetchState::Failed);
        state.notice_removal(&request("a"), |_| false);
        assert_eq!(
            state.decide(&request("a"), Duration::ZERO),
            Decision::Decline(Decline::Unknown),
            "it was never in the store"
        );
    }

    #[test]
    fn r12_entries_that_are_never_hits_are_not_fetched_for_ever() {
        let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let mut state = state_with(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for name in &names[..6] {
            assert_eq!(state.decide(&request(name), Duration::ZERO), Decision::Wait);
            state.used(&request(name), false, 500.0, Duration::from_millis(10));
        }
        assert_eq!(state.decide(&request("10"), Duration::ZERO), Decision::Decline(Decline::Spent));
        assert!(state.plan.pending() <= 6, "only the requested units");
    }

    #[test]
    fn a_plan_for_an_unusable_remote_does_not_keep_the_agent_alive() {
        let mut state = state_with(&["a", "b"]);
        assert_eq!(state.decide(&request("a"), Duration::ZERO), Decision::Wait);
        let (lookup, _) = state.plan.take_next().unwrap();
        let seconds = Duration::from_secs;
        let later = state.now() + seconds(10);
        assert!(!state.is_idle(later, seconds(5)), "a unit is being fetched");
        assert!(state.is_idle(later + MAX_FETCH_TIME, seconds(5)), "the task that fetched it is gone");
        state.ended(lookup, FetchState::Failed);
        state.health.pause(later);
        assert!(state.plan.pending() > 0);
        assert!(state.is_idle(later, seconds(5)) && !state.is_idle(later, seconds(20)));
    }

    #[test]
    fn a_miss_waits_no_longer_than_the_budget_grants() {
        let mut state = state_with(&["a"]);
        let mut waited = Duration::ZERO;
        while state.decide(&request("a"), waited) == Decision::Wait {
            waited += WAIT_SLICE;
        }
        assert_eq!(state.decide(&request("a"), waited), Decision::Decline(Decline::Spent));
        assert!((Duration::from_millis(100)..Duration::from_millis(600)).contains(&waited), "{waited:?}");
        assert_eq!(state.plan.pending(), 2, "its unit is planned all the same");
        // Slices that ended early leave time for another miss.
        for _ in 0..4 {
            state.end_slice(&request("a"), Duration::ZERO);
        }
        assert_eq!(state.decide(&request("a"), Duration::ZERO), Decision::Wait);
    }

    #[test]
    fn r09_a_remote_that_fails_is_left_alone() {
        let mut state = state_with(&["a"]);
        for _ in 0..3 {
            assert_eq!(state.decide(&request("a"), Duration::ZERO), Decision::Wait);
            let now = state.now();
            state.health.failed("500".into(), now);
        }
        assert_eq!(state.decide(&request("a"), Duration::ZERO), Decision::Decline(Decline::Unusable));
        state.health.succeeded();
        assert_eq!(state.decide(&request("a"), Duration::ZERO), Decision::Wait);
    }
}
