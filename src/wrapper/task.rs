//! The interface that hits, misses, events and the remote use for both kinds of call: a compile, and a run of a build
//! script.

use std::path::Path;
use std::time::Duration;

use crate::config::{Config, Env};
use crate::fsx;
use crate::keys::{Compiler, Context, Declared, Lookup, Roots};
use crate::model::{KeyTrace, RootKind, UnitKey};
use crate::observe::wire::IncompleteTrace;
use crate::observe::{self, FirstProcess, Seen, TargetNames};
use crate::store::Store;
use crate::store::calls::CallRecord;
use crate::store::manifests::ManifestRecord;

/// The kind of a run in events and entries.
pub(super) const RUN_KIND: &str = "run";

/// A compile or a run that the cache can serve.
pub(super) trait Task {
    fn common(&self) -> &Common<'_>;
    fn context(&self) -> Context<'_>;
    /// Human-readable names, for events and the store.
    fn labels(&self) -> Labels;
    /// Identifies the unit, whatever its flags, dependencies and version.
    fn unit_key(&self) -> UnitKey;
    /// Whether the lookup key contains the value of this variable, declared inputs not counted.
    fn keys_variable(&self, name: &str) -> bool;
    /// Whether programs and libraries that the task links are loaded on this machine.
    fn is_for_this_machine(&self) -> bool;
    /// How cargo made the call. `None` if it cannot be repeated elsewhere.
    fn call_record(&self) -> Option<CallRecord>;
    /// The key trace of the call. Computes the key again; `None` if it has changed.
    fn key_trace(&self) -> Option<KeyTrace>;
}

/// How long to wait for another process that is working on the same task: as long as the task is likely to take.
///
/// `recorded` are the records of earlier calls with this lookup key, whose entries have costs. `default_cost` is the
/// duration to expect if there are none.
pub(super) fn claim_wait(task: &impl Task, recorded: &[ManifestRecord], default_cost: Duration) -> Duration {
    /// A machine that works on both tasks takes longer than it did for one.
    const FACTOR: f64 = 2.0;
    const MARGIN: Duration = Duration::from_secs(3);
    let Common { store, config, .. } = task.common();
    let entry = recorded.iter().find_map(|record| store.entry(record.key));
    let cost = entry.and_then(|entry| Duration::try_from_secs_f64(entry.cost_ms / 1000.0 * FACTOR).ok());
    cost.map_or(default_cost, |cost| cost + MARGIN).min(config.claim_wait.value)
}

/// The parts that every task has.
pub(super) struct Common<'a> {
    pub(super) config: &'a Config,
    pub(super) env: &'a Env,
    pub(super) compiler: Compiler,
    pub(super) roots: Roots,
    pub(super) store: Store,
    pub(super) lookup: Lookup,
    /// Inputs that `.kache.toml` declares for this unit.
    pub(super) declared: Option<Declared>,
}

impl Common<'_> {
    /// What a trace shows of a compile (`is_compile`) or run. `process` is the first process.
    pub(super) fn seen(&self, trace: &observe::Trace, process: u32, is_compile: bool) -> Result<Seen, IncompleteTrace> {
        let name = self.roots.place(RootKind::Target);
        let real = name.and_then(|name| fsx::canonicalize(Path::new(name)).ok());
        let real = real.as_deref().and_then(Path::to_str);
        let target = name.map(|name| TargetNames { name, real: real.unwrap_or(name) });
        trace.read(FirstProcess { process, is_script: is_compile && self.compiler.script.is_some(), target })
    }
}

/// Human-readable names of a unit.
pub(super) struct Labels {
    pub(super) crate_name: String,
    /// Package name and version.
    pub(super) package: String,
    /// Crate types separated by commas, `test`, or `run`.
    pub(super) kind: String,
    /// `link`, `metadata`, or `run`.
    pub(super) emit: &'static str,
    /// Distinguishes the unit from all others in its build.
    pub(super) unit: String,
    /// Target triple and profile.
    pub(super) shape: String,
}
