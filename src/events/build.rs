//! Finds the events that belong to one build, which is one run of cargo.
//!
//! An event records the process id of its caller, which is cargo. Process ids are reused, in containers even by every
//! build. So among the events with one id, a build ends where the target directory changes, where a unit appears a
//! second time (cargo compiles it once), or after a long time without an event.

use std::collections::{HashMap, HashSet};

use super::Event;

/// The longest time between two events of a build, in milliseconds: build scripts may run for long without an event.
const MAX_SILENCE_MS: i64 = 3_600_000;

/// The last build among `events` (oldest first) with an event that `is_wanted`; its events, oldest first.
pub fn last(events: &[Event], is_wanted: impl Fn(&Event) -> bool) -> Vec<&Event> {
    let Some(newest) = events.iter().rfind(|event| is_wanted(event)) else { return Vec::new() };
    let mut build = BuildEvents::default();
    let mut seen = false;
    for event in events.iter().filter(|event| event.cargo_pid == newest.cargo_pid) {
        if !build.may_contain(event) {
            if seen {
                break;
            }
            build = BuildEvents::default();
        }
        build.push(event);
        seen |= std::ptr::eq(event, newest);
    }
    build.events
}

/// All builds with an event that `is_wanted`, in the order in which they ended; the events of each, oldest first.
pub fn all(events: &[Event], is_wanted: impl Fn(&Event) -> bool) -> Vec<Vec<&Event>> {
    let mut open: HashMap<u64, BuildEvents> = HashMap::new();
    let mut done = Vec::new();
    for event in events {
        let build = open.entry(event.cargo_pid).or_default();
        if !build.may_contain(event) {
            done.push(std::mem::take(build));
        }
        build.push(event);
    }
    done.extend(open.into_values());
    done.retain(|build| build.events.iter().any(|event| is_wanted(event)));
    done.sort_by_key(|build| build.end);
    done.into_iter().map(|build| build.events).collect()
}

/// Events that may belong to one build.
#[derive(Default)]
struct BuildEvents<'a> {
    events: Vec<&'a Event>,
    units: HashSet<[&'a str; 4]>,
    target: &'a str,
    end: i64,
}

impl<'a> BuildEvents<'a> {
    fn may_contain(&self, event: &Event) -> bool {
        let is_elsewhere = !self.target.is_empty() && !event.target.is_empty() && self.target != event.target;
        let is_again = self.units.contains(&unit(event));
        let is_late = !self.events.is_empty() && start(event).saturating_sub(self.end) > MAX_SILENCE_MS;
        !is_elsewhere && !is_again && !is_late
    }

    fn push(&mut self, event: &'a Event) {
        self.events.push(event);
        self.units.insert(unit(event));
        if self.target.is_empty() {
            self.target = &event.target;
        }
        self.end = self.end.max(event.at);
    }
}

fn unit(event: &Event) -> [&str; 4] {
    [&event.unit, &event.crate_name, &event.kind, &event.emit]
}

/// When the invocation began, in milliseconds since 1970; `at` is its end.
fn start(event: &Event) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds of one process")]
    let took = event.ms as i64;
    event.at - took
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(cargo_pid: u64, unit: &str, at: i64) -> Event {
        Event { cargo_pid, unit: unit.into(), crate_name: unit.into(), at, target: "/t".into(), ..Event::default() }
    }

    fn units(events: &[Event]) -> Vec<&str> {
        last(events, |_| true).iter().map(|event| event.unit.as_str()).collect()
    }

    #[test]
    fn the_newest_build_is_separated_from_concurrent_ones() {
        let events = [event(1, "a", 1), event(2, "a", 2), event(1, "b", 3), event(2, "b", 4), event(1, "late", 5)];
        assert_eq!(units(&events[..4]), ["a", "b"]);
        assert_eq!(units(&events), ["a", "b", "late"]);
        assert_eq!(units(&[]), Vec::<&str>::new());
    }

    #[test]
    fn a_reused_process_id_is_another_build() {
        assert_eq!(units(&[event(1, "a", 1), event(1, "b", 2), event(1, "a", 3)]), ["a"], "a unit appears twice");
        assert_eq!(units(&[event(1, "a", 1), event(1, "b", MAX_SILENCE_MS + 2)]), ["b"], "silence");
        let slow = Event { ms: 10_000.0, ..event(1, "b", MAX_SILENCE_MS + 2) };
        assert_eq!(units(&[event(1, "a", 1), slow]), ["a", "b"], "no silence: it was running");
        let moved = Event { target: "/u".into(), ..event(1, "b", 2) };
        assert_eq!(units(&[event(1, "a", 1), moved.clone()]), ["b"], "another target directory");
        let refused = Event { target: String::new(), ..event(1, "c", 3) };
        assert_eq!(units(&[event(1, "a", 1), moved, refused]), ["b", "c"], "a refused call names none");
    }

    #[test]
    fn all_builds_are_found() {
        let other = Event { target: "/u".into(), ..event(3, "x", 9) };
        let events = [event(1, "a", 1), event(2, "a", 2), event(1, "b", 3), other, event(1, "a", 20)];
        let found = all(&events, |event| event.target == "/t");
        let names: Vec<Vec<&str>> =
            found.iter().map(|build| build.iter().map(|event| event.unit.as_str()).collect()).collect();
        assert_eq!(names, [vec!["a"], vec!["a", "b"], vec!["a"]]);
    }

    #[test]
    fn the_wanted_build_need_not_be_the_newest() {
        let other = Event { target: "/u".into(), ..event(2, "x", 9) };
        let events = [event(1, "a", 1), event(1, "b", 2), other, event(1, "a", 20)];
        let wanted = last(&events[..3], |event| event.target == "/t");
        assert_eq!(wanted.iter().map(|event| event.unit.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }
}
