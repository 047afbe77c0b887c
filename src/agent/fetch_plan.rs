//! The units that the remote has, and the order in which to fetch them. Pure data, without a clock or the network.

use std::collections::{HashMap, VecDeque};

use crate::model::LookupKey;
use crate::remote::RemoteEntry;

/// Where the entries of a lookup key are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchState {
    /// An entry is on the remote, and is not known to be in the store.
    OnRemote,
    /// A task of the agent fetches an entry now; requests wait for it.
    Fetching,
    /// An entry was fetched, or was already there. It may have been evicted since.
    InStore,
    /// Fetching it failed.
    Failed,
    /// There is no entry that the store lacks and accepts: it was refused, is gone, or was in the store before.
    Useless,
}

/// The entries of the remote under one lookup key.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteUnit {
    /// Crate name, or the part of an object name that represents it.
    pub crate_name: String,
    /// The entries, the most promising first.
    pub entries: Vec<RemoteEntry>,
    /// Milliseconds that a compile takes. `None`: unknown.
    pub cost_ms: Option<f64>,
    /// Where its entries are.
    pub state: FetchState,
}

/// The units that the remote is known to have, and the order in which to fetch them.
#[derive(Clone, Debug, Default)]
pub struct FetchPlan {
    units: HashMap<LookupKey, RemoteUnit>,
    /// Lookup keys that a miss waits for. They are fetched first.
    requested: VecDeque<LookupKey>,
    /// Lookup keys of build records, in build order.
    recorded: VecDeque<LookupKey>,
}

impl FetchPlan {
    /// Adds a unit of the remote, or further entries to a known one. A unit that failed, or is no longer in the store,
    /// can be fetched again.
    pub fn add_unit(&mut self, lookup: LookupKey, unit: RemoteUnit) {
        let Some(known) = self.units.get_mut(&lookup) else {
            self.units.insert(lookup, unit);
            return;
        };
        let is_known = |entry: &RemoteEntry| known.entries.iter().any(|known| known.id.key == entry.id.key);
        let fresh: Vec<_> = unit.entries.into_iter().filter(|entry| !is_known(entry)).collect();
        if known.state != FetchState::Fetching && (unit.state == FetchState::OnRemote || !fresh.is_empty()) {
            known.state = FetchState::OnRemote;
        }
        known.entries.extend(fresh);
        known.cost_ms = known.cost_ms.or(unit.cost_ms);
    }

    /// The unit of a lookup key, if it is known.
    pub fn unit(&self, lookup: LookupKey) -> Option<&RemoteUnit> {
        self.units.get(&lookup)
    }

    /// Queues a lookup key that a miss waits for, ahead of those of build records. Does nothing unless it is
    /// [`FetchState::OnRemote`].
    pub fn request(&mut self, lookup: LookupKey) {
        if self.unit(lookup).is_some_and(|unit| unit.state == FetchState::OnRemote) && !self.requested.contains(&lookup)
        {
            self.requested.push_back(lookup);
        }
    }

    /// Queues the lookup keys of a build record, in this order.
    pub fn add_record(&mut self, record: impl IntoIterator<Item = LookupKey>) {
        self.recorded.extend(record);
    }

    /// Drops the lookup keys of build records: from now on only those that a miss waits for are fetched.
    pub fn clear_records(&mut self) {
        self.recorded.clear();
    }

    /// Number of lookup keys to fetch, including those being fetched.
    pub fn pending(&self) -> usize {
        let fetching = self.units.values().filter(|unit| unit.state == FetchState::Fetching).count();
        self.requested.len() + self.recorded.len() + fetching
    }

    /// Whether anything is being fetched.
    pub fn is_fetching(&self) -> bool {
        self.units.values().any(|unit| unit.state == FetchState::Fetching)
    }

    /// Takes the next unit to fetch and marks it as [`FetchState::Fetching`].
    pub fn take_next(&mut self) -> Option<(LookupKey, RemoteUnit)> {
        while let Some(lookup) = self.requested.pop_front().or_else(|| self.recorded.pop_front()) {
            if let Some(unit) = self.units.get_mut(&lookup).filter(|unit| unit.state == FetchState::OnRemote) {
                unit.state = FetchState::Fetching;
                return Some((lookup, unit.clone()));
            }
        }
        None
    }

    /// Records where the entries of a unit are now.
    pub fn set_state(&mut self, lookup: LookupKey, state: FetchState) {
        if let Some(unit) = self.units.get_mut(&lookup) {
            unit.state = state;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Digest, EntryKey};
    use crate::remote::{ManifestName, SignerId};

    fn lookup(name: &str) -> LookupKey {
        LookupKey(Digest::of(name.as_bytes()))
    }

    fn unit(key: &str) -> RemoteUnit {
        let name = ManifestName::new("a", lookup("l"), EntryKey(Digest::of(key.as_bytes())), SignerId::NONE);
        let entries = vec![RemoteEntry::of_object(0, name)];
        RemoteUnit { crate_name: "a".into(), entries, cost_ms: None, state: FetchState::OnRemote }
    }

    #[test]
    fn a_requested_unit_comes_first_and_no_unit_comes_twice() {
        let mut plan = FetchPlan::default();
        for name in ["a", "b", "c"] {
            plan.add_unit(lookup(name), unit(name));
        }
        plan.add_record([lookup("a"), lookup("b"), lookup("c"), lookup("unknown")]);
        plan.request(lookup("c"));
        plan.request(lookup("c"));
        let mut taken = Vec::new();
        while let Some((next, _)) = plan.take_next() {
            taken.push(next);
        }
        assert_eq!(taken, [lookup("c"), lookup("a"), lookup("b")]);
        assert_eq!(plan.pending(), 3);
        plan.set_state(lookup("c"), FetchState::InStore);
        plan.request(lookup("c"));
        assert_eq!((plan.take_next(), plan.pending()), (None, 2));
    }

    #[test]
    fn another_entry_under_a_known_key_can_be_fetched() {
        let mut plan = FetchPlan::default();
        plan.add_unit(lookup("a"), unit("one"));
        plan.request(lookup("a"));
        plan.take_next().unwrap();
        plan.set_state(lookup("a"), FetchState::InStore);
        plan.add_unit(lookup("a"), RemoteUnit { state: FetchState::InStore, ..unit("one") });
        assert_eq!(plan.unit(lookup("a")).unwrap().state, FetchState::InStore, "nothing new");
        plan.add_unit(lookup("a"), unit("two"));
        plan.request(lookup("a"));
        assert_eq!(plan.take_next().unwrap().1.entries.len(), 2);
    }
}
