//! Restores a whole build at the first question with which cargo begins (`-vV`). By then, cargo has not looked at any
//! fingerprint and holds no lock (`ops/cargo_compile/mod.rs`; `Layout::new` takes the lock later).
//!
//! Only in a fresh target directory, for a command of which there is a snapshot. Anything else must cost next to
//! nothing, because cargo waits for the answer.

use std::path::{Path, PathBuf};

use super::whole_build::{self, BuildToRestore};
use super::{background, checkout};
use crate::cargo::configuration::Configuration;
use crate::cargo::{command, metadata, workspace};
use crate::config::{Config, Env, Verify, env};
use crate::fsx::{self, sys_process};
use crate::keys::Roots;
use crate::model::RootKind;
use crate::store::Store;
use crate::store::build_snapshots::{BuildSnapshot, SnapshotName};

/// Restores the build that cargo, the caller of this process, is about to begin. `None`: there was nothing to do.
pub(super) fn restore(config: &Config, store: &Store, vars: &Env) -> Option<()> {
    let is_on = config.bulk.value && config.observe.value && config.verify.value == Verify::Off;
    // A nested cargo, in an observed script: what it finds restored would not be observed.
    if !is_on || vars.get(env::KACHE_OBSERVED).is_some() {
        return None;
    }
    let cargo = background::cargo()?;
    // An earlier question of this cargo led here, and the rest is cargo's.
    if background::is_awaited(store) {
        return None;
    }
    let args = sys_process::arguments_of_caller()?;
    let cwd = fsx::current_dir().ok()?;
    let directory = command::directory(&args, &cwd);
    let (root, workspace) = workspace::around(&directory)?;
    let command = command::name(&args, vars, &workspace::relative(&root, &directory))?;
    let Some(snapshot) = store.snapshot(SnapshotName::of(&workspace, &command)) else {
        // All units of this build may be hits, after which nothing else would make a snapshot.
        let target = named_target_dir(&root, &args, vars).unwrap_or_else(|| root.join("target"));
        if !fsx::exists(&target) {
            background::note_in_background(store, vars, &root, &target);
        }
        return None;
    };
    let configuration = Configuration::of(&cwd, vars.cargo_home().as_deref());
    if configuration.digest() != Some(snapshot.configuration) {
        return None;
    }
    if likely_build_dir(&snapshot, &root, &args, vars).is_some_and(|dir| is_warm(&dir, &snapshot)) {
        return None;
    }
    let is_usual = snapshot.build_dir.as_str() == "{workspace}/target" && !is_elsewhere(&configuration, &args, vars);
    let build_dir = if is_usual { root.join("target") } else { metadata::ask(&cargo, &args).ok()?.build_dir() };
    if is_warm(&build_dir, &snapshot) {
        return None;
    }
    let roots = checkout::roots(&root, &build_dir, vars, store);
    let number = u64::from(sys_process::caller());
    let jobs = command::jobs(&args, vars);
    let build = BuildToRestore { config, vars, cargo: &cargo, jobs, roots: &roots, build_dir: &build_dir, number };
    if whole_build::restore(&build, &snapshot).ok()?.left > 0 {
        background::note_in_background(store, vars, &root, &build_dir);
    }
    Some(())
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
