//! What `kache why` will say about a miss: found before rustc starts, put into the event, never the build's problem.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::call::Call;
use super::hit::Missed;
use crate::config::env;
use crate::events::Event;
use crate::keys::KeyHasher;
use crate::keys::explain::{Differences, fields, inputs};
use crate::model::{Compared, Difference, DifferenceKind, MissReason, Trace, UnitKey};
use crate::rustc::{Driver, invocation};
use crate::store::units;

/// What differs, and from what.
#[derive(Default)]
pub(super) struct Explained {
    compared: Option<Compared>,
    differences: Differences,
    /// Of a lookup key that is new, so that the next new one can be compared with it.
    trace: Option<Trace>,
}

/// Compares the call with what is recorded.
pub(super) fn explain(call: &Call<'_>, missed: &Missed) -> Explained {
    let caught = catch_unwind(AssertUnwindSafe(|| match missed.reason {
        MissReason::NoManifest => compare_call(call),
        MissReason::InputChanged => Some(compare_inputs(call, missed)),
        MissReason::PrivateInput => Some(name_private(Path::new(&missed.detail))),
        // The reason says it all.
        _ => None,
    }));
    caught.ok().flatten().unwrap_or_default()
}

fn compare_inputs(call: &Call<'_>, missed: &Missed) -> Explained {
    let records = missed.tried.iter().map(|record| record.inputs.as_slice());
    let differences = inputs::nearest(records, call.context());
    Explained { compared: Some(Compared::InputSet), differences, trace: None }
}

fn compare_call(call: &Call<'_>) -> Option<Explained> {
    let trace = call.trace()?.shortened();
    let known = call.store.unit(unit(call));
    let (compared, differences) = match known.as_slice() {
        [] => (Compared::FirstSeen, Differences::default()),
        known if known.iter().any(|one| one.lookup == call.lookup.key) => (Compared::Removed, Differences::default()),
        known => (Compared::Call, fields::nearest(known.iter().map(|one| &one.trace), &trace)),
    };
    Some(Explained { compared: Some(compared), differences, trace: Some(trace) })
}

fn name_private(dependency: &Path) -> Explained {
    let (shared, private) = (Some("shared".to_owned()), Some("private".to_owned()));
    let name = invocation::crate_of(dependency);
    let one = Difference::new(DifferenceKind::Dependency, name, shared, private);
    Explained { differences: vec![one].into(), ..Explained::default() }
}

impl Explained {
    /// Puts the explanation into the event.
    pub(super) fn tell(self, event: &mut Event) {
        event.compared = self.compared.map_or_else(String::new, |compared| compared.id().to_owned());
        event.differs = self.differences.listed;
        event.differing = self.differences.number;
    }

    /// Keeps the trace of a call whose result was stored. Best effort.
    pub(super) fn remember(&self, call: &Call<'_>) {
        if let Some(trace) = &self.trace {
            let one = units::Call { lookup: call.lookup.key, trace: trace.clone() };
            let _ = call.store.put_call(unit(call), one);
        }
    }
}

/// What the unit is called, whatever its flags, dependencies and version.
fn unit(call: &Call<'_>) -> UnitKey {
    let invocation = &call.invocation;
    let mut name = KeyHasher::new(false);
    name.field("crate", &invocation.crate_name);
    name.field("package", &call.env.text(env::CARGO_PKG_NAME).unwrap_or_default());
    name.field("kind", &invocation.kind());
    for emit in &invocation.emit {
        name.field("emit", &format!("{emit:?}"));
    }
    // Unit tests of a library and of a binary may bear one name.
    let source = Path::new(&invocation.source).file_name().unwrap_or_default();
    name.field("source", &source.to_string_lossy());
    name.optional("target", invocation.last("--target"));
    name.field("driver", if call.chain.driver == Driver::Clippy { "clippy" } else { "rustc" });
    UnitKey(name.finish().0.0)
}
