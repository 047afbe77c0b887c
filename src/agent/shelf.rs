//! What the remote has and how far it is on its way: pure data, no clock and no network.

use std::collections::{HashMap, VecDeque};

use crate::model::{EntryKey, LookupKey};

/// How far an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// On the remote.
    There,
    /// On its way.
    Coming,
    /// In the store.
    Here,
    /// It could not be brought, or was refused.
    Lost,
}

/// What the remote has under one lookup key.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// Crate name, or the part of an object name that stands for it.
    pub crate_name: String,
    /// Its entries, the most promising first.
    pub keys: Vec<EntryKey>,
    /// Milliseconds that a compile takes; `None`: nobody told.
    pub cost_ms: Option<f64>,
    /// How far it is.
    pub state: State,
}

/// All that is known of the remote.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    units: HashMap<LookupKey, Unit>,
    /// What is to come, in build order.
    order: VecDeque<LookupKey>,
    /// What somebody waits for.
    wanted: VecDeque<LookupKey>,
}

impl Shelf {
    /// Notes what the remote has. More entries of a known lookup key are added to it; what was lost, or is not in the store
    /// any more, can be asked for again.
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

    /// What is known of the lookup key.
    pub fn unit(&self, lookup: LookupKey) -> Option<&Unit> {
        self.units.get(&lookup)
    }

    /// Somebody waits for this: it comes next.
    pub fn want(&mut self, lookup: LookupKey) {
        if self.unit(lookup).is_some_and(|unit| unit.state == State::There) && !self.wanted.contains(&lookup) {
            self.wanted.push_back(lookup);
        }
    }

    /// These are to come, in this order.
    pub fn plan(&mut self, order: impl IntoIterator<Item = LookupKey>) {
        self.order.extend(order);
    }

    /// Nothing comes any more but what somebody waits for.
    pub fn forget_plan(&mut self) {
        self.order.clear();
    }

    /// How many are to come, those on their way included.
    pub fn pending(&self) -> usize {
        let coming = self.units.values().filter(|unit| unit.state == State::Coming).count();
        self.order.len() + self.wanted.len() + coming
    }

    /// Whether something is on its way.
    pub fn is_moving(&self) -> bool {
        self.units.values().any(|unit| unit.state == State::Coming)
    }

    /// What to bring next: it is on its way from now on.
    pub fn take_next(&mut self) -> Option<(LookupKey, Unit)> {
        while let Some(lookup) = self.wanted.pop_front().or_else(|| self.order.pop_front()) {
            if let Some(unit) = self.units.get_mut(&lookup).filter(|unit| unit.state == State::There) {
                unit.state = State::Coming;
                return Some((lookup, unit.clone()));
            }
        }
        None
    }

    /// How bringing it ended.
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
