//! Serves runs of build scripts: restores them like compiles, or runs them under the observer and stores the result.
//!
//! The script's hook has replaced the process that cargo started by this one. If the cache does not apply, this process
//! executes the script exactly as cargo called it.

mod command;
pub(super) mod hit;
mod miss;
mod outputs;
mod publish;
pub(super) mod run;
mod verify;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use run::ScriptRun;

use super::report::EventReporter;
use crate::config::{Config, Env};
use crate::fsx::sys_process;
use crate::model::{BypassReason, Outcome, Refusal};
use crate::observe::library;
use crate::store::claims::Claim;
use crate::wrapper::task::RUN_KIND;

/// Serves a call from the hook. Never returns.
pub(super) fn serve(argv: &[OsString], vars: &Env, started: Instant) -> ! {
    let config = match Config::load(vars) {
        Ok(config) if !config.disabled.value && config.scripts.value && config.observe.value && library::is_there() => {
            config
        }
        _ => become_script(argv),
    };
    // The script has started itself again: the outer run waits for this one, and its OUT_DIR is in use.
    if sys_process::is_started_by(Path::new(&argv[0])) {
        become_script(argv);
    }
    super::log::init(&config);
    let report = EventReporter::new(&config, started);
    let served = catch_unwind(AssertUnwindSafe(|| decide(argv, &config, vars, &report)));
    let refusal = served.unwrap_or_else(|_| Refusal::new(BypassReason::Internal, "panic"));
    let mut event = EventReporter::bare(Outcome::Bypass(refusal.reason), vars);
    "build_script_build".clone_into(&mut event.crate_name);
    RUN_KIND.clone_into(&mut event.kind);
    event.detail = refusal.detail;
    report.write(event);
    become_script(argv)
}

/// Serves a hit or a miss; both end this process. Returns only if kache cannot cache the run, or failed before the
/// script ran.
fn decide(argv: &[OsString], config: &Config, vars: &Env, report: &EventReporter) -> Refusal {
    let run = match ScriptRun::prepare(argv, config, vars) {
        Ok(run) => run,
        Err(refusal) => return refusal,
    };
    let missed = hit::serve(&run, &mut Claim::None, report);
    match miss::run(&run, missed, report) {
        Ok(status) => sys_process::exit_like(status),
        Err(refusal) => refusal,
    }
}

#[expect(clippy::print_stderr, reason = "nothing else runs that could say it")]
fn become_script(argv: &[OsString]) -> ! {
    let mut command = command::plain(&argv[0], &argv[2]);
    sys_process::keep_signals(&mut command);
    let error = command.exec();
    eprintln!("kache: cannot run {}: {error}", argv[0].display());
    sys_process::exit(127)
}
