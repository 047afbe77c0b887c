//! Decides how to answer a fetch request, and is the only module that does: [`AgentState::decide`]. (`server` declines
//! clients of another version or remote.) Decides how long a miss waits, within the budget of its build. Counts the
//! fetched entries that were hits. Uses neither the network nor the disk.

use std::time::Duration;

use super::fetch_plan::FetchState;
use super::protocol::{Decline, FetchRequest};
use super::state::{AgentState, millis, subject};
use crate::model::LookupKey;

/// How long a miss may wait before the next decision.
pub(super) const WAIT_SLICE: Duration = Duration::from_millis(25);
/// How long after its fetch an entry may be new to a miss.
const RECENT_FETCH: Duration = Duration::from_secs(5);
/// After this many fetched entries that were not hits, and none that was, the agent stops fetching for a build.
const MAX_UNUSED: u32 = 6;

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

impl AgentState {
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
            } else if self.answers.get(&subject).is_some_and(|answer| answer.has_failed(request.lookup)) {
                Decision::Decline(Decline::Failed)
            } else {
                Decision::Decline(Decline::Unknown)
            };
        };
        match unit.state {
            FetchState::InStore if self.is_recent(request.lookup, now) => {
                Decision::InStore(unit.cost_ms.unwrap_or(0.0))
            }
            FetchState::Failed => Decision::Decline(Decline::Failed),
            FetchState::InStore | FetchState::Useless => Decision::Decline(Decline::Unknown),
            _ if !self.health.is_usable(now) => Decision::Decline(Decline::Unusable),
            _ if self.is_useless(request.build) => Decision::Decline(Decline::Useless),
            FetchState::OnRemote | FetchState::Fetching => {
                self.plan.request(request.lookup);
                self.plan_record(&subject, request.lookup);
                Decision::Wait
            }
        }
    }

    fn is_recent(&self, lookup: LookupKey, now: Duration) -> bool {
        self.fetched.get(&lookup).is_some_and(|at| now.saturating_sub(*at) < RECENT_FETCH)
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
}

#[cfg(test)]
mod tests {
    use super::super::state::tests::{request, state_with};
    use super::*;

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
        assert_eq!(state.decide(&request("a"), Duration::ZERO), Decision::Decline(Decline::Failed));
        state.ended(request("c").lookup, FetchState::Useless);
        assert_eq!(state.decide(&request("c"), Duration::ZERO), Decision::Decline(Decline::Unknown));
    }

    #[test]
    fn r12_entries_that_are_never_hits_are_not_fetched_for_ever() {
        let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let mut state = state_with(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for name in &names[..6] {
            assert_eq!(state.decide(&request(name), Duration::ZERO), Decision::Wait);
            state.used(&request(name), false, 500.0, Duration::from_millis(10));
        }
        assert_eq!(state.decide(&request("10"), Duration::ZERO), Decision::Decline(Decline::Useless));
        assert!(state.plan.pending() <= 6, "only the requested units");
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
