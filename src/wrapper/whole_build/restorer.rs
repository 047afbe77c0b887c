//! Restores the units of a build, one after the other.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;

use crate::cargo::Fingerprint;
use crate::cargo::dep_info::{self, Compile};
use crate::cargo::fingerprint::{self, Moves};
use crate::cargo::newest_file::NewestFile;
use crate::cargo::unit_dir::UnitName;
use crate::config::{Config, Env, env};
use crate::events::restore as log;
use crate::fsx::clock::{self, Time};
use crate::fsx::publish::Mtime;
use crate::fsx::{self, Publish};
use crate::keys::Roots;
use crate::model::Input;
use crate::restore::{self, messages, run as run_restore};
use crate::rustc::ProgramChain;
use crate::rustc::notices;
use crate::script::directives;
use crate::store::Store;
use crate::store::build_snapshots::BuiltUnit;
use crate::wrapper::call::Call;
use crate::wrapper::call_record::{self, RepeatedCall};
use crate::wrapper::entry_hit::{self, EntryHit};
use crate::wrapper::report::EventReporter;
use crate::wrapper::script::{self, run::ScriptRun};
use crate::wrapper::{hit, incremental, snapshot, verify};

/// A build to restore.
pub struct BuildToRestore<'a> {
    /// The settings.
    pub config: &'a Config,
    /// The environment of cargo.
    pub vars: &'a Env,
    /// The path of cargo.
    pub cargo: &'a Path,
    /// The number of jobs, as build scripts see it.
    pub jobs: String,
    /// The roots of this checkout.
    pub roots: &'a Roots,
    /// The build directory.
    pub build_dir: &'a Path,
    /// The number that events of this build bear, like a process ID of cargo.
    pub number: u64,
    /// The name of the cargo that builds, if it is known by now.
    pub verified_by: Option<&'a str>,
    /// Whether cargo must not change `Cargo.lock`.
    pub is_locked: bool,
    /// Whether nobody needs the build any more.
    pub is_over: &'a dyn Fn() -> bool,
}

/// Where a unit is that a later one depends on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    Restored,
    Present,
}

/// Why a unit was left to cargo.
pub(super) struct LeftOut(pub(super) String);

impl From<fsx::Error> for LeftOut {
    fn from(error: fsx::Error) -> Self {
        Self(error.to_string())
    }
}

impl LeftOut {
    fn because(why: &str) -> Self {
        Self(why.to_owned())
    }
}

/// A unit in the build directory.
struct InPlace {
    /// Whether all its outputs have the canonical time.
    is_canonical: bool,
    /// For a run of a build script: the variables that it sets for the compiles of its package.
    variables: Vec<String>,
}

/// A build that is being restored.
pub(super) struct Restorer<'a> {
    build: &'a BuildToRestore<'a>,
    store: Store,
    /// The time of all private files.
    time: Time,
    /// Whether outputs may have the canonical time: no unit that depends on them is in place.
    may_share: bool,
    moves: Moves,
    /// The units that are in place, by the hash of the fingerprint in the snapshot.
    in_place: HashMap<u64, InPlace>,
}

impl<'a> Restorer<'a> {
    /// Begins with nothing in place. All private files get `time`. `may_share`: no unit of these profiles is in place.
    pub(super) fn new(build: &'a BuildToRestore<'a>, store: Store, time: Time, may_share: bool) -> Self {
        Self { build, store, time, may_share, moves: Moves::default(), in_place: HashMap::new() }
    }

    /// Restores a unit whose dependencies were added before, if they could be.
    pub(super) fn add(&mut self, unit: &BuiltUnit) -> Result<Placed, LeftOut> {
        let json = self.build.roots.expand(&unit.fingerprint);
        let recorded = json.and_then(|json| Fingerprint::parse(&json));
        let recorded = recorded.ok_or_else(|| LeftOut::because("its fingerprint cannot be read"))?;
        if !recorded.dependencies().all(|hash| self.in_place.contains_key(&hash)) {
            return Err(LeftOut::because(log::DEPENDS_ON_ANOTHER));
        }
        let is_drawn = |cargo: &str| verify::is_drawn_for(self.build.config, cargo, &unit.name.dir, unit.name.is_run());
        if self.build.verified_by.is_some_and(is_drawn) {
            return Err(LeftOut::because("KACHE_VERIFY chose it, so the compiler makes it again"));
        }
        let hash_file = unit.name.hash_file(self.build.build_dir);
        let present = fsx::read_if_exists(&hash_file)?.filter(|hash| !hash.is_empty());
        let (in_place, placed) = match present {
            Some(hash) => (self.present(unit, &hash)?, Placed::Present),
            None => (self.restore(unit, recorded)?, Placed::Restored),
        };
        self.in_place.insert(unit.hash, in_place);
        Ok(placed)
    }

    /// Takes a unit as it is.
    fn present(&mut self, unit: &BuiltUnit, hash: &[u8]) -> Result<InPlace, LeftOut> {
        let unknown = || LeftOut::because("it was built in another way");
        let hash = std::str::from_utf8(hash).ok().and_then(fingerprint::from_hex).ok_or_else(unknown)?;
        self.moves.fingerprints.insert(unit.hash, hash);
        let in_place = |variables| InPlace { is_canonical: false, variables };
        let Some(printed) = unit.printed else { return Ok(in_place(Vec::new())) };
        let output = fsx::read(&unit.name.script_dir(self.build.build_dir).join("output"))?;
        match snapshot::printed_here(&output, self.build.roots) {
            Some(here) if here == printed => Ok(in_place(directives::variables(&String::from_utf8_lossy(&output)))),
            _ => Err(LeftOut::because("its build script printed something else here")),
        }
    }

    fn restore(&mut self, unit: &BuiltUnit, recorded: Fingerprint) -> Result<InPlace, LeftOut> {
        let call = self.store.call(unit.lookup).ok_or_else(|| LeftOut::because("its call is not recorded"))?;
        let variables: Vec<String> = recorded
            .dependencies()
            .filter_map(|hash| self.in_place.get(&hash))
            .flat_map(|unit| unit.variables.iter().cloned())
            .collect();
        let digest = |path: &Path| self.store.stamps().content(path).ok().map(|stamped| stamped.digest);
        let set = call_record::Set { by_cargo: call_record::set_by_cargo(unit.name.is_run()), by_script: &variables };
        let repeated = call_record::repeat(&call, self.build.roots, self.build.vars, set, digest);
        let mut repeated =
            repeated.ok_or_else(|| LeftOut::because("a manifest differs, or a directory is unknown here"))?;
        let of_this_build = [(env::CARGO, self.build.cargo.into()), (env::NUM_JOBS, OsString::from(&self.build.jobs))];
        let of_this_build = of_this_build.into_iter().filter(|(name, _)| unit.name.is_run() || *name == env::CARGO);
        repeated.vars = repeated.vars.with(of_this_build);
        match unit.name.is_run() {
            true => self.restore_run(unit, recorded, &repeated),
            false => self.restore_compile(unit, recorded, &repeated, &variables),
        }
    }

    fn restore_compile(
        &mut self,
        unit: &BuiltUnit,
        recorded: Fingerprint,
        repeated: &RepeatedCall,
        set_by_script: &[String],
    ) -> Result<InPlace, LeftOut> {
        let (config, build_dir) = (self.build.config, self.build.build_dir);
        let report = EventReporter::of_whole_build(config, self.build.number);
        let chain = ProgramChain::parse(repeated.argv.clone()).ok_or_else(|| LeftOut::because("no arguments"))?;
        let call = Call::prepare_in(&repeated.cwd, &chain, config, &repeated.vars)
            .map_err(|refusal| LeftOut(format!("{}: {}", refusal.reason.id(), refusal.detail)))?;
        let invocation = &call.invocation;
        if !is_output_of(&unit.name, &invocation.out_dir, &invocation.extra_filename, build_dir) {
            return Err(LeftOut::because("its outputs would be elsewhere"));
        }
        if let Some(path) = incremental::private_dependency(invocation) {
            return Err(LeftOut(format!("{} is private to this checkout", path.display())));
        }
        let (found, mut plan) = hit::find(&call).map_err(|missed| left_out(&missed))?;
        let reads_lock = call.common.lookup.files.iter().any(|(path, _)| path.ends_with("Cargo.lock"));
        self.check_lock(reads_lock || found.record.inputs.iter().any(Input::depends_on_cargo_lock))?;
        let info = crate::rustc::dep_info::parse(&plan.dep_info.1);
        let dep_info = info.and_then(|info| {
            let package = repeated.vars.path(env::CARGO_MANIFEST_DIR)?;
            let is_set_by_cargo = |name: &str| repeated.vars.get(name) != self.build.vars.get(name);
            let compile = Compile {
                cwd: &repeated.cwd,
                package: &package,
                build_dir,
                is_from_registry: is_in_registry(&package, &repeated.vars),
                is_set_by_cargo: &is_set_by_cargo,
                set_by_script,
            };
            dep_info::translate(&info, compile)
        });
        let dep_info = dep_info.ok_or_else(|| LeftOut::because("its dep-info cannot be translated"))?;
        let is_canonical = self.rests_on_canonical(&recorded) && is_intermediate(&call) && plan.share_all();
        let plan = if is_canonical { plan } else { plan.with_mtime(self.time) };
        let bytes = restore::apply(&plan, call.common.store.stamps())?;
        if crate::script::is_build_script(&invocation.crate_name, &invocation.out_dir) {
            let program = invocation.out_dir.join(invocation.stem());
            let stem = Path::new(&invocation.source).file_stem().unwrap_or_default().to_string_lossy();
            let link = invocation.out_dir.join(format!("build-script-{stem}"));
            fsx::hard_link(&program, &link)?;
            if let Some(step) = plan.steps.iter().find(|step| step.target == program) {
                self.store.stamps().remember_own(&link, step.blob.0, |_| true);
            }
        }
        incremental::mark_shared(invocation);
        self.write(&unit.name.dep_info_file(build_dir), &dep_info)?;
        let messages = messages_for_cargo(&found, &invocation.out_dir);
        match messages.is_empty() {
            // A compile that failed may have left some.
            true => fsx::remove_file(&unit.name.messages_file(build_dir))?,
            false => self.write(&unit.name.messages_file(build_dir), messages.as_bytes())?,
        }
        self.moves.sources.insert(recorded.source(), fingerprint::hash_of_source(Path::new(&invocation.source)));
        self.finish(unit, recorded)?;
        entry_hit::note(&call, &found, bytes, &report);
        Ok(InPlace { is_canonical, variables: Vec::new() })
    }

    /// Leaves a unit to cargo that depends on `Cargo.lock`, if cargo may yet change that file.
    fn check_lock(&self, depends_on_it: bool) -> Result<(), LeftOut> {
        let may_change = depends_on_it && !self.build.is_locked;
        if may_change { Err(LeftOut::because("cargo may change Cargo.lock, on which it depends")) } else { Ok(()) }
    }

    /// Whether all units that this one depends on have the canonical time.
    fn rests_on_canonical(&self, recorded: &Fingerprint) -> bool {
        self.may_share
            && recorded.dependencies().all(|hash| self.in_place.get(&hash).is_some_and(|unit| unit.is_canonical))
    }

    fn restore_run(
        &mut self,
        unit: &BuiltUnit,
        recorded: Fingerprint,
        repeated: &RepeatedCall,
    ) -> Result<InPlace, LeftOut> {
        let (config, dir) = (self.build.config, unit.name.script_dir(self.build.build_dir));
        let report = EventReporter::of_whole_build(config, self.build.number);
        if !config.scripts.value {
            return Err(LeftOut::because("the settings leave build scripts to cargo"));
        }
        // Before any input is looked at: a file that changes from now on is the newest.
        let recorded = self.with_newest_file(recorded, &repeated.cwd)?;
        let run = ScriptRun::prepare_in(repeated.cwd.clone(), &repeated.argv, config, &repeated.vars)
            .map_err(|refusal| LeftOut(format!("{}: {}", refusal.reason.id(), refusal.detail)))?;
        if run.script.out_dir != dir.join("out") {
            return Err(LeftOut::because("its outputs would be elsewhere"));
        }
        if fsx::exists(&run.script.out_dir) && !fsx::tree::is_empty(&run.script.out_dir)? {
            return Err(LeftOut::because("OUT_DIR is not empty"));
        }
        let (found, plan) = script::hit::find(&run).map_err(|missed| left_out(&missed))?;
        self.check_lock(found.record.inputs.iter().any(Input::depends_on_cargo_lock))?;
        if Some(snapshot::printed_digest(&found.entry.stdout)) != unit.printed {
            return Err(LeftOut::because("it prints something else here, which changes other units"));
        }
        fsx::create_dir_all(&dir)?;
        let bytes = run_restore::apply(&plan, &run.script.out_dir, Some(self.time))?;
        let is_skipped = |path: &Path| is_in_registry(&repeated.cwd.join(path), &repeated.vars);
        let is_canonical = self.rests_on_canonical(&recorded) && recorded.watched().all(is_skipped);
        let mtime = if is_canonical { clock::CANONICAL } else { self.time };
        Publish { mtime: Mtime::At(mtime), ..Publish::default() }.bytes(&dir.join("output"), &plan.stdout)?;
        self.write(&dir.join("stderr"), &plan.stderr)?;
        self.write(&dir.join("root-output"), run.script.out_dir.as_os_str().as_encoded_bytes())?;
        self.finish(unit, recorded)?;
        entry_hit::note(&run, &found, bytes, &report);
        Ok(InPlace { is_canonical, variables: directives::variables(&String::from_utf8_lossy(&plan.stdout)) })
    }

    /// Returns the fingerprint of a run of a build script with the newest file of the package, if cargo compares it.
    fn with_newest_file(&self, recorded: Fingerprint, package: &Path) -> Result<Fingerprint, LeftOut> {
        if !recorded.compares_newest_file() {
            return Ok(recorded);
        }
        let newest = NewestFile::of(package).filter(|newest| newest.mtime < self.time);
        let newest = newest
            .ok_or_else(|| LeftOut::because("the newest file of its package is not known, or changed just now"))?;
        Ok(recorded.with_newest_file(&newest.spelled()))
    }

    /// Writes the fingerprint, the hash last: from then on, cargo may call the unit fresh.
    fn finish(&mut self, unit: &BuiltUnit, recorded: Fingerprint) -> fsx::Result<()> {
        let fingerprint = recorded.moved(&self.moves);
        let hash = fingerprint.hash();
        self.write(&unit.name.json_file(self.build.build_dir), fingerprint.to_json().as_bytes())?;
        self.write(&unit.name.hash_file(self.build.build_dir), fingerprint::to_hex(hash).as_bytes())?;
        self.moves.fingerprints.insert(unit.hash, hash);
        Ok(())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> fsx::Result<()> {
        Publish { mtime: Mtime::At(self.time), ..Publish::default() }.bytes(path, bytes).map(|_| ())
    }
}

fn left_out(missed: &entry_hit::Missed) -> LeftOut {
    LeftOut(format!("{}: {}", missed.reason.id(), missed.detail))
}

/// Whether a path is a source below cargo's home, at whose time cargo does not look (`find_stale_file`).
fn is_in_registry(path: &Path, vars: &Env) -> bool {
    vars.cargo_home().is_some_and(|home| ["registry", "git"].iter().any(|name| path.starts_with(home.join(name))))
}

/// Whether only rustc and cargo use the outputs of a compile, which always replace them: a library, a macro or a build
/// script, but nothing that users strip or sign. An incremental compile is left out: if nothing changed, rustc keeps
/// its metadata, and cargo sets the time of that file.
fn is_intermediate(call: &Call<'_>) -> bool {
    let invocation = &call.invocation;
    let is_script = crate::script::is_build_script(&invocation.crate_name, &invocation.out_dir);
    let is_kind = |kind: &String| matches!(kind.as_str(), "lib" | "rlib" | "proc-macro");
    invocation.incremental.is_none() && !invocation.test && (is_script || invocation.crate_types.iter().all(is_kind))
}

/// Whether a compile writes the outputs of the unit.
fn is_output_of(name: &UnitName, out_dir: &Path, extra_filename: &str, build_dir: &Path) -> bool {
    let is_inside = out_dir.starts_with(build_dir.join(&name.profile));
    is_inside && name.unit_id().is_some_and(|id| extra_filename.strip_prefix('-') == Some(id))
}

/// The lines of stderr that cargo keeps for a fresh unit: all but the notices (`on_stderr_line`).
fn messages_for_cargo(hit: &EntryHit, out_dir: &Path) -> String {
    let stderr = messages::replay(&hit.entry.stderr, out_dir);
    let text = String::from_utf8_lossy(&stderr);
    text.split_inclusive('\n').filter(|line| notices::parse(line.trim_end_matches('\n')).is_none()).collect()
}
