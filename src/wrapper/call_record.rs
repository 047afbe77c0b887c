//! Records how cargo asked for a unit, and repeats the call in another checkout.
//!
//! The variables that cargo sets for a call are those that differ from cargo's own environment. Of these, only the ones
//! that this module knows to be cargo's, or that a build script sets for its package, are recorded. All others are the
//! user's (`[env]` in cargo's configuration sets them), so they must be in the environment of whoever repeats the call.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::task::Task;
use crate::config::{Env, env};
use crate::fsx::{self, sys_process};
use crate::keys::Roots;
use crate::model::{Digest, RootKind};
use crate::script::{self, directives};
use crate::store::calls::CallRecord;

/// Variables that describe one build (its jobs), or the process of cargo, which sets the last two for itself. Whoever
/// repeats a call sets those that it knows.
const OF_ONE_BUILD: [&str; 7] =
    ["CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS", env::NUM_JOBS, env::CARGO, "SSL_CERT_DIR", "SSL_CERT_FILE"];

/// Names of variables, and prefixes of names.
#[derive(Clone, Copy)]
pub(super) struct Names {
    whole: &'static [&'static str],
    prefixes: &'static [&'static str],
}

/// The variables that cargo sets for a compile (`core/compiler/compilation.rs`). It puts its directories before those
/// of the user's `LD_LIBRARY_PATH`; only cargo's are recorded.
const OF_COMPILES: Names = Names {
    whole: &[
        "CARGO_BIN_NAME",
        "CARGO_CRATE_NAME",
        env::CARGO_MANIFEST_DIR,
        env::CARGO_MANIFEST_PATH,
        env::CARGO_PRIMARY_PACKAGE,
        "CARGO_TARGET_TMPDIR",
        env::LD_LIBRARY_PATH,
        env::OUT_DIR,
    ],
    prefixes: &["CARGO_BIN_EXE_", "CARGO_PKG_"],
};

/// The variables that cargo sets for a run of a build script (`core/compiler/custom_build.rs`).
const OF_RUNS: Names = Names {
    whole: &[
        "CARGO_ENCODED_RUSTFLAGS",
        env::CARGO_MANIFEST_DIR,
        "CARGO_MANIFEST_LINKS",
        env::CARGO_MANIFEST_PATH,
        "DEBUG",
        env::HOST,
        env::LD_LIBRARY_PATH,
        "OPT_LEVEL",
        env::OUT_DIR,
        "PROFILE",
        env::RUSTC,
        "RUSTC_LINKER",
        "RUSTC_WORKSPACE_WRAPPER",
        env::RUSTC_WRAPPER,
        "RUSTDOC",
        env::TARGET,
    ],
    prefixes: &["CARGO_CFG_", "CARGO_FEATURE_", "CARGO_PKG_", "DEP_"],
};

/// The variables that a repeated call takes from the record.
#[derive(Clone, Copy)]
pub(super) struct Set<'a> {
    /// Those that cargo sets.
    pub(super) by_cargo: Names,
    /// Those that the build script of the package sets.
    pub(super) by_script: &'a [String],
}

impl Set<'_> {
    fn contains(&self, name: &str) -> bool {
        let Names { whole, prefixes } = self.by_cargo;
        let is_cargos = whole.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix));
        is_cargos || self.by_script.iter().any(|of_script| of_script == name)
    }
}

/// The variables that cargo sets for a call: a run of a build script, or a compile.
pub(super) fn set_by_cargo(is_run: bool) -> Names {
    if is_run { OF_RUNS } else { OF_COMPILES }
}

/// A call in this checkout.
pub(super) struct RepeatedCall {
    /// The programs and their arguments: those after kache's own name.
    pub(super) argv: Vec<OsString>,
    pub(super) cwd: PathBuf,
    pub(super) vars: Env,
}

/// Records the call of `task`, whose arguments after kache's own name are `argv`. `None` if it cannot be repeated
/// elsewhere.
pub(super) fn record(task: &impl Task, argv: &[OsString], cwd: &Path) -> Option<CallRecord> {
    let (roots, vars) = (&task.common().roots, task.common().env);
    let is_run = script::is_hook_call(argv);
    let by_script = if is_run { Vec::new() } else { set_by_script(vars) };
    let set = Set { by_cargo: set_by_cargo(is_run), by_script: &by_script };
    let argv = argv.iter().map(|arg| Some(roots.tokenise(arg.to_str()?))).collect::<Option<_>>()?;
    let before: BTreeMap<_, _> = sys_process::environment_of_caller()?.into_iter().collect();
    let now = vars.all();
    let mut variables = Vec::new();
    for name in now.keys().chain(before.keys().filter(|name| !now.contains_key(*name))) {
        let (was, is) = (before.get(name), now.get(name));
        let name = name.to_str()?;
        if was == is || OF_ONE_BUILD.contains(&name) || (is.is_some() && !set.contains(name)) {
            continue;
        }
        let value = match (was, is) {
            (_, None) => None,
            (Some(was), Some(is)) if name == env::LD_LIBRARY_PATH => {
                Some(is.to_str()?.strip_suffix(&format!(":{}", was.to_str()?))?)
            }
            (_, Some(is)) => Some(is.to_str()?),
        };
        variables.push((name.to_owned(), value.map(|value| roots.tokenise(value))));
    }
    let mut manifests = Vec::new();
    for path in manifests_of(vars, roots) {
        let digest = task.common().store.stamps().content(&path).ok()?.digest;
        manifests.push((roots.tokenise(path.to_str()?), digest));
    }
    Some(CallRecord { argv, cwd: roots.tokenise(cwd.to_str()?), variables, manifests })
}

/// The variables that the build script of a package sets for its compiles, from the output that cargo keeps beside
/// `OUT_DIR`.
fn set_by_script(vars: &Env) -> Vec<String> {
    let output = vars.path(env::OUT_DIR).and_then(|dir| fsx::read(&dir.with_file_name("output")).ok());
    output.map_or_else(Vec::new, |output| directives::variables(&String::from_utf8_lossy(&output)))
}

/// The manifests that may change the call of a local package: its own, those above it, and that of the workspace.
fn manifests_of(vars: &Env, roots: &Roots) -> Vec<PathBuf> {
    let Some(own) = vars.path(env::CARGO_MANIFEST_PATH) else { return Vec::new() };
    if vars.cargo_home().is_some_and(|home| own.starts_with(home)) {
        return Vec::new();
    }
    let of_workspace = roots.place(RootKind::Workspace).map(|root| Path::new(root).join("Cargo.toml"));
    let above = own.ancestors().skip(2).map(|dir| dir.join("Cargo.toml"));
    let mut all: Vec<PathBuf> = above.chain(of_workspace).filter(|path| fsx::exists(path)).collect();
    all.push(own);
    all.sort_unstable();
    all.dedup();
    all
}

/// Repeats a call here. `vars` is the environment of cargo. `None` if the record does not hold here: it names a root
/// without a place, or a manifest differs. `digest` returns the digest of a file.
pub(super) fn repeat(
    record: &CallRecord,
    roots: &Roots,
    vars: &Env,
    set: Set<'_>,
    digest: impl Fn(&Path) -> Option<Digest>,
) -> Option<RepeatedCall> {
    for (path, recorded) in &record.manifests {
        if digest(Path::new(&roots.expand(path)?)) != Some(*recorded) {
            return None;
        }
    }
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    for (name, value) in &record.variables {
        match value {
            None => removed.push(name.as_str()),
            Some(value) if set.contains(name) => {
                let before = vars.text(name).filter(|_| name == env::LD_LIBRARY_PATH);
                let value = [roots.expand(value)?].into_iter().chain(before).collect::<Vec<_>>().join(":");
                added.push((name.clone(), value));
            }
            Some(_) => {}
        }
    }
    let argv = record.argv.iter().map(|arg| roots.expand(arg).map(OsString::from)).collect::<Option<_>>()?;
    Some(RepeatedCall { argv, cwd: roots.expand(&record.cwd)?.into(), vars: vars.without(&removed).with(added) })
}
