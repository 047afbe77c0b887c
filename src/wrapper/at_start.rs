//! Restores a whole build at the first question with which cargo begins (`-vV`). By then, cargo has not looked at any
//! fingerprint and holds no lock (`ops/cargo_compile/mod.rs`; `Layout::new` takes the lock later).
//!
//! Only in a fresh target directory, for a command of which there is a snapshot. Anything else must cost next to
//! nothing, because cargo waits for the answer. A copy of this process restores the build, while cargo resolves
//! dependencies. Then cargo asks the same again (`Profiles::new`), before it takes its lock, and waits for the copy.
//! Between the two, cargo also downloads packages. As long as some are missing, the build is left to the next question.
//! A cargo that chooses versions by that of rustc asks in between, too, with the lock on downloaded packages. There,
//! the first question restores the build before it answers.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::background::Cargo;
use super::checkout;
use super::whole_build::{self, BuildToRestore};
use crate::cargo::configuration::Configuration;
use crate::cargo::{command, metadata, workspace};
use crate::config::{Config, Env, Rate, Verify, env};
use crate::fsx::lock::HeldFile;
use crate::fsx::{self, sys_process};
use crate::keys::Roots;
use crate::model::RootKind;
use crate::store::Store;
use crate::store::build_snapshots::BuildSnapshot;

/// How long cargo waits for the restored build at most.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// What the marker of a restore says if it was left to the next question. It is empty before and afterwards.
const POSTPONED: &[u8] = b"postponed";

/// Begins to restore the build that cargo, the caller of this process, is about to begin, or waits for a restore that
/// an earlier question began. `None`: there was nothing to do.
pub(super) fn restore(config: &Config, store: &Store, vars: &Env) -> Option<()> {
    let verifies_all = config.verify.value == Verify::Hits && config.verify_rate.value == Rate::ALL;
    let is_on = config.bulk.value && config.observe.value && !verifies_all;
    // A nested cargo, in an observed script: what it finds restored would not be observed.
    if !is_on || vars.get(env::KACHE_OBSERVED).is_some() {
        return None;
    }
    let cargo = Cargo::of_caller(vars)?;
    let marker = store.layout().restoring(&cargo.name);
    let is_first = !fsx::exists(&marker);
    if !is_first && !wait_for_first(&marker) {
        return None;
    }
    // An earlier question of this cargo led here, and the rest is cargo's.
    if cargo.is_awaited(store) {
        return None;
    }
    let (root, workspace) = workspace::around(&command::directory(&cargo.args, &cargo.cwd))?;
    let Some(snapshot) = checkout::snapshot(store, &workspace, &cargo.command(vars, &root)?) else {
        // All units of this build may be hits, after which nothing else would make a snapshot.
        let target = named_target_dir(&root, &cargo.args, vars).unwrap_or_else(|| root.join("target"));
        if !fsx::exists(&target) {
            cargo.note_in_background(store, vars, &root, &target);
        }
        return None;
    };
    let configuration = Configuration::of(&cargo.cwd, vars.cargo_home().as_deref());
    if configuration.digest() != Some(snapshot.configuration) {
        return None;
    }
    if likely_build_dir(&snapshot, &root, &cargo.args, vars).is_some_and(|dir| is_warm(&dir, &snapshot)) {
        return None;
    }
    let asks_in_between = workspace::resolves_by_rustc(&root);
    let start = Start { config, store, vars, cargo, root, snapshot, configuration };
    let lock = HeldFile::try_acquire(&marker).ok()??;
    let restore = move || {
        start.restore(&marker, &lock);
        drop(lock);
    };
    if is_first && !asks_in_between {
        sys_process::in_background(restore);
    } else {
        restore();
    }
    Some(())
}

/// Waits for the restore that an earlier question began, and stops it if it takes too long, by removing the marker.
/// Returns whether it was left to this question.
fn wait_for_first(marker: &Path) -> bool {
    let waiting = Instant::now();
    while HeldFile::try_acquire(marker).is_ok_and(|lock| lock.is_none()) && waiting.elapsed() < MAX_WAIT {
        std::thread::sleep(Duration::from_millis(1));
    }
    if waiting.elapsed() >= MAX_WAIT {
        let _ = fsx::remove_file(marker);
    }
    fsx::read(marker).is_ok_and(|said| said == POSTPONED)
}

/// A build at the start of cargo.
struct Start<'a> {
    config: &'a Config,
    store: &'a Store,
    vars: &'a Env,
    cargo: Cargo,
    root: PathBuf,
    snapshot: BuildSnapshot,
    configuration: Configuration,
}

impl Start<'_> {
    /// Restores the build. If packages are missing, which cargo is about to download, only says so in `marker`.
    fn restore(&self, marker: &Path, lock: &HeldFile) -> Option<()> {
        let Self { config, store, vars, cargo, root, snapshot, configuration } = self;
        let is_usual = snapshot.build_dir.as_str() == "{workspace}/target";
        let build_dir = match is_usual && !is_elsewhere(configuration, &cargo.args, vars) {
            true => root.join("target"),
            false => metadata::ask(&cargo.path, &cargo.args).ok()?.build_dir(),
        };
        if is_warm(&build_dir, snapshot) {
            return None;
        }
        let roots = checkout::roots(root, &build_dir, vars, store);
        let has_packages = whole_build::has_packages(store, snapshot, &roots);
        lock.set_content(if has_packages { b"" } else { POSTPONED }).ok()?;
        if !has_packages {
            return None;
        }
        let began = cargo.began;
        let is_over = || !sys_process::is_running(cargo.pid, began) || !fsx::exists(marker);
        let build = BuildToRestore {
            config,
            vars,
            cargo: &cargo.path,
            jobs: command::jobs(&cargo.args, vars),
            roots: &roots,
            build_dir: &build_dir,
            number: cargo.pid.into(),
            verified_by: Some(&cargo.name),
            is_locked: command::is_locked(&cargo.args),
            is_over: &is_over,
        };
        whole_build::restore(&build, snapshot).ok()?;
        // The snapshot may lack units, and its age begins anew.
        cargo.note_in_background(store, vars, root, &build_dir);
        Some(())
    }
}

/// The target directory that an argument or a variable names.
fn named_target_dir(root: &Path, args: &[String], vars: &Env) -> Option<PathBuf> {
    let argument = command::value(args, "--target-dir").map(PathBuf::from);
    argument.or_else(|| vars.path(env::CARGO_TARGET_DIR)).map(|dir| root.join(dir))
}

/// Where the build directory is if this checkout is set up like that of the snapshot. `None`: only cargo knows.
fn likely_build_dir(snapshot: &BuildSnapshot, root: &Path, args: &[String], vars: &Env) -> Option<PathBuf> {
    // A directory elsewhere is that of the other checkout.
    let roots = Roots::new([(RootKind::Workspace, Some(root.to_owned()))]);
    let inside = || roots.expand(&snapshot.build_dir).map(PathBuf::from).filter(|dir| dir.starts_with(root));
    named_target_dir(root, args, vars).or_else(inside)
}

/// Whether cargo has built with the profiles of the snapshot there.
fn is_warm(build_dir: &Path, snapshot: &BuildSnapshot) -> bool {
    snapshot.units.first().is_some_and(|unit| fsx::exists(&build_dir.join(&unit.name.profile).join(".fingerprint")))
}

/// Whether anything names another build directory than `target` in the workspace. If not, kache need not ask cargo,
/// which takes 20 ms.
fn is_elsewhere(configuration: &Configuration, args: &[String], vars: &Env) -> bool {
    let variables = [env::CARGO_TARGET_DIR, env::CARGO_BUILD_TARGET_DIR, env::CARGO_BUILD_BUILD_DIR];
    let arguments = ["--target-dir", "--config"];
    configuration.sets_directories()
        || variables.iter().any(|name| vars.get(name).is_some())
        || arguments.iter().any(|name| command::value(args, name).is_some())
}
