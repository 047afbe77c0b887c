//! Makes a snapshot of a build that has ended, from the fingerprints in its build directory and the event log.
//!
//! A unit is in the snapshot only if everything that decides how cargo asks for it is known: its call, all units that
//! it depends on, and for each run of a build script what it printed, because cargo makes the arguments and variables
//! of other calls from that. All of this must be of the same time, which the times of cargo's files show.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::checkout;
use crate::cargo::built_units::{self, GrowingBuild};
use crate::cargo::configuration::Configuration;
use crate::cargo::fingerprint;
use crate::cargo::unit_dir::{self, UnitName};
use crate::config::{Config, Env};
use crate::events::{Event, EventLog};
use crate::fsx;
use crate::keys::{Roots, script};
use crate::model::{Digest, EntryKey, LookupKey, RootKind};
use crate::restore::run as restore;
use crate::rustc::{Invocation, ProgramChain};
use crate::store::build_snapshots::{BuildSnapshot, BuiltUnit, MAX_UNITS};
use crate::store::{Message, Store};

/// How much earlier than a file an event may seem that is younger, in milliseconds: events bear the time of the last
/// tick of the clock (at most 10 ms ago, with 100 ticks a second), files that of Linux 6.13 a finer one.
const MAX_TICK_MS: i64 = 10;

/// A unit as cargo built it, not as the snapshot describes it.
type Built = built_units::BuiltUnit;

/// A build that has ended.
pub struct EndedBuild<'a> {
    /// The settings.
    pub config: &'a Config,
    /// The store.
    pub store: &'a Store,
    /// The environment of cargo.
    pub vars: &'a Env,
    /// The directory of the workspace.
    pub workspace: &'a Path,
    /// The name of the workspace.
    pub name: &'a str,
    /// The working directory of cargo.
    pub directory: &'a Path,
    /// The name of the command.
    pub command: &'a str,
    /// The process ID of cargo.
    pub cargo_pid: u64,
    /// When cargo began, in milliseconds since 1970, or somewhat earlier.
    pub since: i64,
    /// The units that were read while it built, if any. The build directory may be gone by now.
    pub read_before: Option<&'a GrowingBuild>,
}

/// Makes the snapshot. `previous` is the one of an earlier build with the same command, whose units this build may not
/// have asked for. `None`: nothing is known well enough, or not as much as before.
pub fn take(build: &EndedBuild<'_>, previous: Option<&BuildSnapshot>) -> fsx::Result<Option<BuildSnapshot>> {
    let configuration = Configuration::of(build.directory, build.vars.cargo_home().as_deref()).digest();
    let Some(configuration) = configuration else { return Ok(None) };
    let log = EventLog::of(&build.config.cache_dir.value);
    let of_cargo = log.read_holding(&format!("\"build\":{},", build.cargo_pid))?;
    let Some(build_dir) = of_cargo.into_iter().find(|event| build.contains(event)).map(|event| event.target) else {
        return Ok(None);
    };
    let events = log.read_holding(&serde_json::to_string(&build_dir).unwrap_or_default())?;
    let (build_dir, calls) = (Path::new(&build_dir), Calls::of(build, &build_dir, events));
    let roots = checkout::roots(build.workspace, build_dir, build.vars, build.store);
    let in_place = calls.profiles.iter().flat_map(|profile| built_units::read_all(build_dir, profile));
    let read_before = build.read_before.into_iter().flat_map(|read| read.units_in(build_dir).cloned());
    let built: BTreeMap<UnitName, Built> = read_before.chain(in_place).map(|unit| (unit.name.clone(), unit)).collect();
    // The directory may be just being removed. (Or the build failed: a complete snapshot is better.)
    let is_built = |id: &String| built.keys().any(|name| name.unit_id() == Some(id));
    if previous.is_some() && !calls.asked.iter().all(is_built) {
        return Ok(None);
    }
    let previous: HashMap<&UnitName, &BuiltUnit> =
        previous.iter().flat_map(|snapshot| &snapshot.units).map(|unit| (&unit.name, unit)).collect();
    let mut taker = Taker {
        store: build.store,
        roots: &roots,
        calls: &calls,
        by_hash: built.values().map(|built| (built.hash, built)).collect(),
        previous: &previous,
        units: Vec::new(),
        seen: HashMap::new(),
    };
    for built in built.values() {
        let is_asked = built.name.unit_id().is_some_and(|id| calls.asked.contains(id));
        if is_asked || previous.contains_key(&built.name) {
            taker.add(built);
        }
    }
    let mut units = taker.units;
    units.truncate(MAX_UNITS);
    let above = roots.iter().filter(|(kind, _)| *kind != RootKind::Target);
    let above = Roots::new(above.map(|(kind, place)| (kind, Some(place.into()))));
    Ok((!units.is_empty()).then(|| BuildSnapshot {
        workspace: build.name.to_owned(),
        command: build.command.to_owned(),
        configuration,
        build_dir: above.tokenise(&build_dir.to_string_lossy()),
        units,
        pulled: false,
    }))
}

impl EndedBuild<'_> {
    /// Whether cargo asked for this unit in the build.
    fn contains(&self, event: &Event) -> bool {
        event.cargo_pid == self.cargo_pid && event.at >= self.since && !event.target.is_empty()
    }
}

/// The calls for units in the build directory, as the event log tells.
struct Calls {
    /// The newest event of each unit, by its id and whether it is a run of a build script.
    newest: HashMap<(String, bool), Event>,
    /// The ids of the units that this build asked for.
    asked: HashSet<String>,
    /// The directories of profiles that may contain units of this build, relative to the build directory.
    profiles: BTreeSet<String>,
}

impl Calls {
    /// Reads the calls for units in `build_dir` from these events.
    fn of(build: &EndedBuild<'_>, build_dir: &str, events: Vec<Event>) -> Self {
        let mut calls = Self { newest: HashMap::new(), asked: HashSet::new(), profiles: BTreeSet::new() };
        for event in events.into_iter().filter(|event| event.target == build_dir) {
            let Some(id) = unit_dir::unit_id(&event.unit) else { continue };
            if build.contains(&event) {
                calls.asked.insert(id.to_owned());
                calls.add_profiles(&event.shape);
            }
            calls.newest.insert((id.to_owned(), event.emit == "run"), event);
        }
        calls
    }

    /// Adds the directory of a shape, and the one for units that run on this machine.
    fn add_profiles(&mut self, shape: &str) {
        let Some((triple, profile)) = shape.split_once('/') else { return };
        self.profiles.insert(profile.to_owned());
        if triple != "host" {
            self.profiles.insert(shape.to_owned());
        }
    }

    /// The newest call of the unit, unless the unit was built without kache since then.
    fn newest_of(&self, unit: &Built) -> Option<&Event> {
        let event = self.newest.get(&(unit.name.unit_id()?.to_owned(), unit.name.is_run()))?;
        (event.at + MAX_TICK_MS >= unit.begun.as_millis()).then_some(event)
    }
}

/// Collects units, each after those that it depends on.
struct Taker<'a> {
    store: &'a Store,
    roots: &'a Roots,
    calls: &'a Calls,
    by_hash: HashMap<u64, &'a Built>,
    previous: &'a HashMap<&'a UnitName, &'a BuiltUnit>,
    units: Vec<BuiltUnit>,
    /// The hashes of the fingerprints that were looked at, and whether each was taken.
    seen: HashMap<u64, bool>,
}

impl Taker<'_> {
    /// Adds a unit and all that it depends on. Returns whether all of them could be added.
    fn add(&mut self, unit: &Built) -> bool {
        if let Some(is_taken) = self.seen.get(&unit.hash) {
            return *is_taken;
        }
        self.seen.insert(unit.hash, false);
        for hash in unit.fingerprint.dependencies() {
            let Some(dependency) = self.by_hash.get(&hash).copied() else { return false };
            // A run that began later was run again, and its dependents were not.
            let is_older = !dependency.name.is_run() || dependency.begun <= unit.begun;
            if !is_older || !self.add(dependency) {
                return false;
            }
        }
        let Some(unit_with_call) = self.with_call(unit) else { return false };
        self.units.push(unit_with_call);
        self.seen.insert(unit.hash, true);
        true
    }

    fn with_call(&self, unit: &Built) -> Option<BuiltUnit> {
        let event = self.calls.newest_of(unit)?;
        let printed = match unit.name.is_run() {
            true => Some(self.printed(unit, event)?),
            false => None,
        };
        let lookup = LookupKey(event.lookup.parse().ok()?);
        let lookup = if self.may_repeat(unit, lookup) { lookup } else { self.previous_call(unit)? };
        let fingerprint = self.roots.tokenise(&unit.fingerprint.to_json());
        Some(BuiltUnit { name: unit.name.clone(), lookup, fingerprint, hash: unit.hash, printed })
    }

    /// Whether the call is recorded, and the fingerprint has the hash of its source.
    fn may_repeat(&self, unit: &Built, lookup: LookupKey) -> bool {
        let Some(call) = self.store.call(lookup) else { return false };
        let expand = |text| self.roots.expand(text);
        unit.name.is_run() || {
            let argv = call.argv.iter().map(|arg| expand(arg).map(OsString::from)).collect::<Option<_>>();
            let chain = argv.and_then(ProgramChain::parse);
            let cwd = expand(&call.cwd).map(PathBuf::from).unwrap_or_default();
            let invocation = chain.and_then(|chain| Invocation::parse(chain.rustc_args(), &cwd).ok());
            let source = invocation.map(|invocation| fingerprint::hash_of_source(Path::new(&invocation.source)));
            source == Some(unit.fingerprint.source())
        }
    }

    /// The call in the previous snapshot, for a unit whose last result was private, so that its call was not recorded.
    /// Its arguments are the same, because all runs of build scripts that it depends on printed the same.
    fn previous_call(&self, unit: &Built) -> Option<LookupKey> {
        let previous = self.previous.get(&unit.name).filter(|previous| previous.hash == unit.hash)?;
        let mut runs = self.units.iter().filter(|unit| unit.printed.is_some());
        let is_same = |run: &BuiltUnit| self.previous.get(&run.name).is_some_and(|other| other.printed == run.printed);
        runs.all(is_same).then_some(previous.lookup)
    }

    /// The digest of what a run printed. `None` if the entry of the run is gone, or cargo read something else.
    fn printed(&self, unit: &Built, event: &Event) -> Option<Digest> {
        let entry = self.store.entry(EntryKey(event.key.parse().ok()?))?;
        let expected = restore::printed(&entry.stdout, |text| self.roots.expand(text))?;
        (unit.printed == expected).then(|| printed_digest(&entry.stdout))
    }
}

/// The digest of what a run printed, the same in every checkout.
pub(super) fn printed_digest(stdout: &[Message]) -> Digest {
    Digest::of(&serde_json::to_vec(stdout).unwrap_or_default())
}

/// The digest of what a run printed in this checkout. `None` if it is not UTF-8.
pub(super) fn printed_here(stdout: &[u8], roots: &Roots) -> Option<Digest> {
    messages_here(stdout, roots).map(|printed| printed_digest(&printed))
}

/// What a run printed in this checkout, as its entry says it. `None` if it is not UTF-8.
pub(super) fn messages_here(stdout: &[u8], roots: &Roots) -> Option<Vec<Message>> {
    let roots = script::text_roots(roots);
    restore::record(stdout, |text| roots.tokenise(text))
}
