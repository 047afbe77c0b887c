//! The commands that start a build script, observed or not.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::run::ScriptRun;
use crate::config::env;
use crate::observe::{FirstKind, Trace};
use crate::wrapper::call::remaps;
use crate::wrapper::miss;

/// The script, as cargo called it. `KACHE_SCRIPT` makes its hook let it run.
pub(super) fn plain(program: impl AsRef<OsStr>, argv0: &OsString) -> Command {
    let mut command = Command::new(program);
    command.arg0(argv0).env(env::KACHE_SCRIPT, "1");
    command
}

/// Creates a trace that gives C compilers the remaps for this checkout.
pub(super) fn begin_trace(run: &ScriptRun<'_>) -> Option<Trace> {
    let trace = Trace::begin(&run.common.store.layout().observer())?;
    trace.remap(&remaps(&run.common.roots, run.common.config.paths.value, &run.common.compiler.commit));
    Some(trace)
}

/// The script, observed if there is a trace.
pub(super) fn observed(run: &ScriptRun<'_>, trace: Option<&Trace>) -> Command {
    let mut command = plain(&run.script.program, &run.script.argv0);
    command.envs(trace.into_iter().flat_map(|trace| miss::observed_env(run.common.env, trace, FirstKind::Script)));
    command
}
