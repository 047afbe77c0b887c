//! What the remote has, and which of it is being fetched. Pure data, without a clock or the network.

use std::collections::{HashMap, VecDeque};

use crate::model::{EntryKey, LookupKey};

/// Where the entries of a lookup key are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// On the remote.
    There,
    /// Being fetched.
    Coming,
    /// In the store.
    Here,
    /// Fetching failed, or the entry was refused.
    Lost,
}

/// The entries of the remote under one lookup key.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// Crate name, or the part of an object name that represents it.
    pub crate_name: String,
    /// The keys of the entries, the most promising first.
    pub keys: Vec<EntryKey>,
    /// Milliseconds that a compile takes. `None`: unknown.
    pub cost_ms: Option<f64>,
    /// Where its entries are.
    pub state: State,
}

/// All that is known about the remote.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    units: HashMap<LookupKey, Unit>,
    /// The plan: lookup keys to fetch, in build order.
    order: VecDeque<LookupKey>,
    /// Lookup keys that a miss waits for. They are fetched before the plan.
    wanted: VecDeque<LookupKey>,
}

impl Shelf {
    /// Records what the remote has. Adds further entries to a known lookup key. A unit that was lost, or is no longer
    /// in the store, can be fetched again.
    pub fn learn(&mut self, lookup: LookupKey, unit: Unit) {
        let Some(known) = self.units.get_mut(&lookup) else {
            self.units.insert(lookup, unit);
            return;
        };
        let fresh: Vec<_> = unit.keys.into_iter().filter(|key| !known.keys.contains(key)).collect();
        if known.state != State::Coming && (unit.state == State::There || !fresh.is_empty()) {
            known.state = State::There;
        }
        known.keys.extend(fresh);
        known.cost_ms = known.cost_ms.or(unit.cost_ms);
    }

    /// The unit of a lookup key, if it is known.
    pub fn unit(&self, lookup: LookupKey) -> Option<&Unit> {
        self.units.get(&lookup)
    }

    /// Queues a lookup key that a miss waits for, ahead of the plan. Does nothing unless it is [`State::There`].
    pub fn want(&mut self, lookup: LookupKey) {
        if self.unit(lookup).is_some_and(|unit| unit.state == State::There) && !self.wanted.contains(&lookup) {
            self.wanted.push_back(lookup);
        }
    }

    /// Adds lookup keys to the plan, in this order.
    pub fn plan(&mut self, order: impl IntoIterator<Item = LookupKey>) {
        self.order.extend(order);
    }

    /// Drops the plan: from now on only lookup keys that a miss waits for are fetched.
    pub fn forget_plan(&mut self) {
        self.order.clear();
    }

    /// Number of lookup keys to fetch, including those being fetched.
    pub fn pending(&self) -> usize {
        let coming = self.units.values().filter(|unit| unit.state == State::Coming).count();
        self.order.len() + self.wanted.len() + coming
    }

    /// Whether anything is being fetched.
    pub fn is_moving(&self) -> bool {
        self.units.values().any(|unit| unit.state == State::Coming)
    }

    /// Takes the next unit to fetch and marks it as [`State::Coming`].
    pub fn take_next(&mut self) -> Option<(LookupKey, Unit)> {
        while let Some(lookup) = self.wanted.pop_front().or_else(|| self.order.pop_front()) {
            if let Some(unit) = self.units.get_mut(&lookup).filter(|unit| unit.state == State::There) {
                unit.state = State::Coming;
                return Some((lookup, unit.clone()));
            }
        }
        None
    }

    /// Records how fetching a unit ended.
    pub fn ended(&mut self, lookup: LookupKey, state: State) {
        if let Some(unit) = self.units.get_mut(&lookup) {
            unit.state = state;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    fn lookup(name: &str) -> LookupKey {
        LookupKey(Digest::of(name.as_bytes()))
    }

    fn unit(key: &str) -> Unit {
        let keys = vec![EntryKey(Digest::of(key.as_bytes()))];
        Unit { crate_name: "a".into(), keys, cost_ms: None, state: State::There }
    }

    #[test]
    fn what_somebody_waits_for_comes_first_and_nothing_comes_twice() {
        let mut shelf = Shelf::default();
        for name in ["a", "b", "c"] {
            shelf.learn(lookup(name), unit(name));
        }
        shelf.plan([lookup("a"), lookup("b"), lookup("c"), lookup("unknown")]);
        shelf.want(lookup("c"));
        shelf.want(lookup("c"));
        let mut came = Vec::new();
        while let Some((next, _)) = shelf.take_next() {
            came.push(next);
        }
        assert_eq!(came, [lookup("c"), lookup("a"), lookup("b")]);
        assert_eq!(shelf.pending(), 3);
        shelf.ended(lookup("c"), State::Here);
        shelf.want(lookup("c"));
        assert_eq!((shelf.take_next(), shelf.pending()), (None, 2));
    }

    #[test]
    fn another_entry_under_a_known_key_can_be_brought() {
        let mut shelf = Shelf::default();
        shelf.learn(lookup("a"), unit("one"));
        shelf.want(lookup("a"));
        shelf.take_next().unwrap();
        shelf.ended(lookup("a"), State::Here);
        shelf.learn(lookup("a"), Unit { state: State::Here, ..unit("one") });
        assert_eq!(shelf.unit(lookup("a")).unwrap().state, State::Here, "nothing new");
        shelf.learn(lookup("a"), unit("two"));
        shelf.want(lookup("a"));
        assert_eq!(shelf.take_next().unwrap().1.keys.len(), 2);
    }
}
