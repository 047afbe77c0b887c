//! Explains a miss for `kache why`: compares before rustc starts, writes the differences into the event, and never
//! fails the build.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::entry_hit::Missed;
use super::task::Task;
use crate::events::Event;
use crate::keys::explain::{Differences, fields, inputs};
use crate::model::{Compared, Difference, DifferenceKind, KeyTrace, MissReason};
use crate::rustc::invocation;
use crate::store::units::KeyTraceRecord;

/// The differences between a call and the nearest recorded one.
#[derive(Default)]
pub(super) struct Explanation {
    compared: Option<Compared>,
    differences: Differences,
    /// Key trace of a new lookup key, so that the next new key of the unit can be compared with it.
    trace: Option<KeyTrace>,
}

/// Compares the call with the recorded input sets or key traces. An empty result if that fails.
pub(super) fn explain(task: &impl Task, missed: &Missed) -> Explanation {
    let caught = catch_unwind(AssertUnwindSafe(|| match missed.reason {
        MissReason::NoManifest => compare_call(task),
        MissReason::InputChanged => Some(compare_inputs(task, missed)),
        MissReason::PrivateInput => Some(name_private(Path::new(&missed.detail))),
        // If inputs differ, too, they count as well.
        MissReason::NewerLibc if !missed.tried.is_empty() => Some(compare_inputs(task, missed)),
        // The reason itself explains the miss.
        _ => None,
    }));
    caught.ok().flatten().unwrap_or_default()
}

fn compare_inputs(task: &impl Task, missed: &Missed) -> Explanation {
    let records = missed.tried.iter().map(|record| record.inputs.as_slice());
    let differences = inputs::nearest(records, task.context());
    Explanation { compared: Some(Compared::InputSet), differences, trace: None }
}

fn compare_call(task: &impl Task) -> Option<Explanation> {
    let trace = task.key_trace()?.shortened();
    let known = task.common().store.key_traces(task.unit_key());
    let (compared, differences) = match known.as_slice() {
        [] => (Compared::FirstSeen, Differences::default()),
        known if known.iter().any(|one| one.lookup == task.common().lookup.key) => {
            (Compared::Removed, Differences::default())
        }
        known => (Compared::Call, fields::nearest(known.iter().map(|one| &one.trace), &trace)),
    };
    Some(Explanation { compared: Some(compared), differences, trace: Some(trace) })
}

fn name_private(dependency: &Path) -> Explanation {
    let (shared, private) = (Some("shared".to_owned()), Some("private".to_owned()));
    let name = invocation::crate_of(dependency);
    let one = Difference::new(DifferenceKind::Dependency, name, shared, private);
    Explanation { differences: vec![one].into(), ..Explanation::default() }
}

impl Explanation {
    /// Writes the explanation into the event.
    pub(super) fn write_to(self, event: &mut Event) {
        event.compared = self.compared;
        event.differs = self.differences.listed;
        event.differing = self.differences.number;
    }

    /// Stores the key trace of a call whose result was stored. Best effort.
    pub(super) fn remember(&mut self, task: &impl Task) {
        if let Some(trace) = self.trace.take() {
            let record = KeyTraceRecord { lookup: task.common().lookup.key, trace };
            let _ = task.common().store.put_key_trace(task.unit_key(), &record);
        }
    }
}
