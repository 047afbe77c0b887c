//! The state of the agent: the builds and their requests, the answers of the remote about their subjects, the plan, and
//! the time of the last activity. [`AgentState::begin`] says what to find out for a request; `decision` decides how to
//! answer it. Does not use the network: `server` and `prefetch` act on it.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::answer::SubjectAnswer;
use super::budget::Budget;
use super::fetch_plan::{FetchPlan, FetchState, RemoteUnit};
use super::health::Health;
use super::protocol::FetchRequest;
use crate::model::{EntryKey, LookupKey};
use crate::remote::operations::fetch::MAX_ENTRIES_PER_LOOKUP;

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
pub(super) struct ActiveBuild {
    pub(super) budget: Budget,
    subjects: HashSet<BuildSubject>,
    pub(super) used: u32,
    pub(super) unused: u32,
}

/// What to find out about a [`FetchRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queries {
    /// Read the best build record of the subject. [`AgentState::finish_answer`] takes the end of the answer.
    pub(super) subject: bool,
    /// List the remote under the lookup key. [`AgentState::set_lookup_result`] takes the result.
    pub(super) lookup: bool,
    /// Read the records of other commands: a miss is not in the best one.
    pub(super) others: bool,
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
    pub(super) answers: HashMap<BuildSubject, SubjectAnswer>,
    pub(super) builds: HashMap<u64, ActiveBuild>,
    order: Vec<u64>,
    /// When the entries of a lookup key were fetched; like all times here, since the agent started.
    pub(super) fetched: HashMap<LookupKey, Duration>,
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

    /// Registers a request. Returns the queries that the caller must start. `exists`: whether the store has an entry.
    pub(super) fn begin(&mut self, request: &FetchRequest, exists: impl Fn(EntryKey) -> bool) -> Queries {
        let subject = self.begin_query_if_due(request);
        self.notice_removal(request, exists);
        let lookup = self.begin_look_up_if_due(request);
        let others =
            lookup && self.answers.get_mut(&super::state::subject(request)).is_some_and(SubjectAnswer::begin_others);
        Queries { subject, lookup, others }
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

    /// Begins to look up this lookup key by name, if a build waits for it and nothing is known about it yet. Returns
    /// whether it did.
    fn begin_look_up_if_due(&mut self, request: &FetchRequest) -> bool {
        let is_unknown = self.plan.unit(request.lookup).is_none() && self.health.is_usable(self.now());
        is_unknown && self.answers.get_mut(&subject(request)).is_some_and(|answer| answer.begin_look_up(request.lookup))
    }

    /// Records the unit of the remote under the requested lookup key, if there is one. `Err`: the request failed.
    pub(super) fn set_lookup_result(&mut self, request: &FetchRequest, unit: Result<Option<RemoteUnit>, ()>) {
        let now = self.now();
        self.last_activity = now;
        if let Some(answer) = self.answers.get_mut(&subject(request)) {
            answer.end_look_up(request.lookup, unit.as_ref().ok().map(Option::is_some));
        }
        if let Ok(Some(unit)) = unit {
            self.plan.add_unit(request.lookup, unit);
            if let Some(build) = self.builds.get_mut(&request.build) {
                build.budget.entry_named(millis(now));
            }
        }
    }

    /// Adds a build record of the subject: its lookup keys, in build order.
    pub(super) fn add_record(&mut self, subject: &BuildSubject, record: Vec<LookupKey>) {
        let now = self.now();
        self.last_activity = now;
        let Some(answer) = self.answers.get_mut(subject) else { return };
        let (took, early) = answer.add_record(record, now);
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
        let is_gone =
            |unit: &RemoteUnit| !unit.entries.iter().take(MAX_ENTRIES_PER_LOOKUP).any(|entry| exists(entry.id.key));
        if self.plan.unit(request.lookup).is_some_and(|unit| unit.state == FetchState::InStore && is_gone(unit)) {
            self.plan.set_state(request.lookup, FetchState::OnRemote);
        }
    }

    /// Plans to fetch a whole record once a miss requests one of its units: a build that requests none of them has no
    /// use for the record.
    pub(super) fn plan_record(&mut self, subject: &BuildSubject, requested: LookupKey) {
        if let Some(record) = self.answers.get_mut(subject).and_then(|answer| answer.record_to_plan(requested)) {
            self.plan.add_record(record.iter().copied());
        }
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
pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The subject of a request.
pub(super) fn subject(request: &FetchRequest) -> BuildSubject {
    BuildSubject { workspace: request.workspace.clone(), shape: request.shape.clone() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::decision::Decision;
    use super::super::protocol::Decline;
    use super::*;
    use crate::model::Digest;
    use crate::remote::{ManifestName, RemoteEntry, SignerId};

    pub(crate) fn request(name: &str) -> FetchRequest {
        FetchRequest {
            remote: String::new(),
            workspace: Some("/ws".into()),
            shape: "host/debug".into(),
            build: 7,
            crate_name: name.into(),
            lookup: LookupKey(Digest::of(name.as_bytes())),
        }
    }

    pub(crate) fn state_with(names: &[&str]) -> AgentState {
        let mut state = AgentState::new(2);
        assert!(state.begin_query_if_due(&request(names[0])));
        for name in names {
            let (crate_name, lookup) = ((*name).to_owned(), request(name).lookup);
            let key = EntryKey(Digest::of(name.as_bytes()));
            let entry = RemoteEntry::of_object(0, ManifestName::new(name, lookup, key, SignerId::NONE));
            let (entries, state_of) = (vec![entry], FetchState::OnRemote);
            let unit = RemoteUnit { crate_name, entries, cost_ms: Some(500.0), state: state_of };
            state.plan.add_unit(lookup, unit);
        }
        let record = names.iter().map(|name| request(name).lookup).collect();
        state.add_record(&subject(&request(names[0])), record);
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
    fn requests_of_which_nothing_is_known_are_looked_up_by_name() {
        let mut state = AgentState::new(2);
        assert!(state.begin_query_if_due(&request("a")));
        assert!(
            state.begin_look_up_if_due(&request("a"))
                && !state.begin_look_up_if_due(&request("a"))
                && state.begin_look_up_if_due(&request("b"))
        );
        state.set_lookup_result(&request("a"), Ok(None));
        let unit =
            RemoteUnit { crate_name: "b".into(), entries: Vec::new(), cost_ms: None, state: FetchState::OnRemote };
        state.set_lookup_result(&request("b"), Ok(Some(unit)));
        assert_eq!(state.decide(&request("a"), Duration::ZERO), Decision::Decline(Decline::Unknown));
        assert_eq!(state.decide(&request("b"), Duration::ZERO), Decision::Wait);
        assert!(state.plan.take_next().is_some(), "b is fetched");
        assert!(!state.begin_look_up_if_due(&request("b")));
        state.finish_answer(&subject(&request("a")));
        assert!(state.begin_look_up_if_due(&request("c")), "after the answer, too");
        assert_eq!(state.decide(&request("c"), Duration::ZERO), Decision::Wait);
        state.set_lookup_result(&request("c"), Ok(None));
        assert_eq!(state.decide(&request("c"), Duration::ZERO), Decision::Decline(Decline::Unknown));
        assert!(state.begin_look_up_if_due(&request("d")));
        state.set_lookup_result(&request("d"), Err(()));
        assert_eq!(state.decide(&request("d"), Duration::ZERO), Decision::Decline(Decline::Failed));
    }

    #[test]
    fn requests_before_the_record_plan_it() {
        let (mut asked, mut other) = (AgentState::new(2), AgentState::new(2));
        for (state, name) in [(&mut asked, "a"), (&mut other, "edited")] {
            assert!(state.begin_query_if_due(&request(name)));
            assert!(state.begin_look_up_if_due(&request(name)));
            let unit =
                RemoteUnit { crate_name: "a".into(), entries: Vec::new(), cost_ms: None, state: FetchState::OnRemote };
            state.plan.add_unit(request("a").lookup, unit);
            state.add_record(&subject(&request("a")), vec![request("a").lookup]);
        }
        assert_eq!((asked.plan.pending(), other.plan.pending()), (1, 0));
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
            Decision::Decline(Decline::Failed),
            "it was never in the store"
        );
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
}
