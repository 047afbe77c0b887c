//! Separates units that were compiled for their own reason from those compiled only because another unit was. Pure.

use std::cmp::Reverse;
use std::collections::HashSet;

use crate::events::Event;
use crate::model::{Difference, DifferenceKind};

/// Units with the same reason, and the units that were compiled because of them.
pub(super) struct Group<'a> {
    /// The units with the reason, in the order in which they ended.
    pub(super) units: Vec<&'a Event>,
    /// The units that depend on them, directly or not.
    pub(super) followers: Vec<&'a Event>,
}

impl<'a> Group<'a> {
    /// All units, causes first.
    pub(super) fn all(&self) -> impl Iterator<Item = &'a Event> {
        self.units.iter().chain(&self.followers).copied()
    }

    /// The first unit with the reason.
    pub(super) fn first(&self) -> &'a Event {
        self.units[0]
    }
}

/// Groups the compiled units: hits that differ, then misses, then bypasses; in each class the groups with the most
/// followers first.
pub(super) fn groups<'a>(compiled: &[&'a Event]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let (followers, roots): (Vec<&Event>, Vec<&Event>) =
        compiled.iter().partition(|event| !roots_of(event, compiled).is_empty());
    for event in roots {
        match groups.iter_mut().find(|group| have_same_reason(group.first(), event)) {
            Some(group) => group.units.push(event),
            None => groups.push(Group { units: vec![event], followers: Vec::new() }),
        }
    }
    for event in followers {
        let roots = roots_of(event, compiled);
        let is_root = |group: &&mut Group<'_>| group.units.iter().any(|unit| std::ptr::eq(*unit, roots[0]));
        if let Some(group) = groups.iter_mut().find(is_root) {
            group.followers.push(event);
        }
    }
    groups.sort_by_key(|group| (group.first().outcome.class(), Reverse(group.followers.len())));
    groups
}

/// Whether two events have the same reason. They then form one group.
fn have_same_reason(one: &Event, other: &Event) -> bool {
    let differs = main_differences(one);
    one.outcome == other.outcome
        && one.stored == other.stored
        && one.compared == other.compared
        && differs == main_differences(other)
        && (!differs.is_empty() || one.detail == other.detail)
}

/// The differences that explain most: those of the unit itself, else its dependencies, else all (then only derived
/// flags).
pub(super) fn main_differences(event: &Event) -> Vec<&Difference> {
    let is_own = |one: &&Difference| !one.is(DifferenceKind::Dependency) && !one.is(DifferenceKind::Derived);
    let is_dependency = |one: &&Difference| one.is(DifferenceKind::Dependency);
    let own: Vec<_> = event.differs.iter().filter(is_own).collect();
    if !own.is_empty() {
        return own;
    }
    let dependencies: Vec<_> = event.differs.iter().filter(is_dependency).collect();
    if dependencies.is_empty() { event.differs.iter().collect() } else { dependencies }
}

/// The units among `compiled` that `event` depends on, if nothing else differs.
pub(super) fn because_of<'a>(event: &Event, compiled: &[&'a Event]) -> Vec<&'a Event> {
    let mut causes: Vec<&Event> = Vec::new();
    for one in main_differences(event) {
        let is_it = |other: &&&Event| other.crate_name == one.name && !std::ptr::eq(**other, event);
        let mut found: Vec<&Event> = compiled.iter().filter(is_it).copied().collect();
        if !one.is(DifferenceKind::Dependency) || found.is_empty() {
            return Vec::new();
        }
        found.retain(|event| !causes.iter().any(|known| std::ptr::eq(*known, *event)));
        causes.extend(found);
    }
    causes
}

/// The units at which following [`because_of`] ends. Empty if the event has its own reason.
fn roots_of<'a>(event: &'a Event, compiled: &[&'a Event]) -> Vec<&'a Event> {
    let mut seen: HashSet<*const Event> = HashSet::from([std::ptr::from_ref(event)]);
    let mut open = because_of(event, compiled);
    let mut roots = Vec::new();
    while let Some(next) = open.pop() {
        if !seen.insert(std::ptr::from_ref(next)) {
            continue;
        }
        let further = because_of(next, compiled);
        if further.is_empty() {
            roots.push(next);
        }
        open.extend(further);
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn miss(name: &str, differs: &[(DifferenceKind, &str)]) -> Event {
        let differs = differs.iter().map(|(kind, name)| Difference::new(*kind, name, None, None)).collect();
        Event { crate_name: name.into(), outcome: "miss.x".into(), differs, ..Event::default() }
    }

    fn names(events: &[Event]) -> Vec<(Vec<&str>, Vec<&str>)> {
        let events: Vec<&Event> = events.iter().collect();
        let names = |units: &[&Event]| {
            units
                .iter()
                .map(|unit| events.iter().find(|event| std::ptr::eq(**event, *unit)).unwrap().crate_name.as_str())
                .collect()
        };
        groups(&events).iter().map(|group| (names(&group.units), names(&group.followers))).collect()
    }

    const DEPENDENCY: DifferenceKind = DifferenceKind::Dependency;
    const FILE: DifferenceKind = DifferenceKind::File;
    const FLAG: DifferenceKind = DifferenceKind::Flag;

    #[test]
    fn what_a_dependency_caused_comes_behind_it() {
        let events = [
            miss("other", &[(FILE, "o.rs")]),
            miss("dep", &[(FILE, "d.rs")]),
            miss("mid", &[(DEPENDENCY, "dep"), (DifferenceKind::Derived, "-C metadata")]),
            miss("top", &[(DEPENDENCY, "mid")]),
            miss("own", &[(FLAG, "-O"), (DEPENDENCY, "dep")]),
            miss("stray", &[(DEPENDENCY, "restored")]),
        ];
        let one = |name| (vec![name], vec![]);
        let expected = [(vec!["dep"], vec!["mid", "top"]), one("other"), one("own"), one("stray")];
        assert_eq!(names(&events), expected);
    }

    #[test]
    fn units_with_one_reason_stand_together_and_bypasses_last() {
        let bypass = |name: &str, detail: &str| Event {
            outcome: "bypass.links".into(),
            detail: detail.into(),
            ..miss(name, &[])
        };
        let events = [
            bypass("app", "bin"),
            miss("a", &[(FLAG, "-O"), (DEPENDENCY, "x")]),
            bypass("build", "bin"),
            miss("b", &[(FLAG, "-O"), (DEPENDENCY, "y")]),
            bypass("tests", "test"),
        ];
        let expected = [vec!["a", "b"], vec!["app", "build"], vec!["tests"]];
        assert_eq!(names(&events), expected.map(|units| (units, vec![])));
    }

    #[test]
    fn a_circle_of_equal_names_is_not_followed_for_ever() {
        let events =
            [miss("a", &[(DEPENDENCY, "b")]), miss("b", &[(DEPENDENCY, "a")]), miss("a", &[(DEPENDENCY, "a")])];
        let shown: usize = names(&events).iter().map(|(units, followers)| units.len() + followers.len()).sum();
        assert_eq!(shown, events.len());
    }
}
