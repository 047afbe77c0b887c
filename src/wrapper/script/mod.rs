//! Runs of build scripts: restored like a compile, or run under the observer and stored.
//!
//! The hook in the program has made this process what cargo started, so whatever cannot be served ends in running the program
//! in this process, untouched.

mod hit;
mod miss;
mod outputs;
mod publish;
mod run;
mod verify;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use run::Run;

use super::report::Report;
use crate::config::{Config, Env, env};
use crate::fsx::sys_process;
use crate::model::{BypassReason, Outcome, Refusal};
use crate::observe::library;
use crate::store::claims::Claim;

/// Serves the call of a hook. Never returns.
pub(super) fn serve(argv: &[OsString], vars: &Env, started: Instant) -> ! {
    let config = match Config::load(vars) {
        Ok(config) if !config.disabled.value && config.scripts.value && config.observe.value && library::is_there() => {
            config
        }
        _ => become_script(argv),
    };
    // It has started itself again: it waits for us, and its OUT_DIR is in use.
    if sys_process::is_started_by(Path::new(&argv[0])) {
        become_script(argv);
    }
    super::log::init(&config);
    let report = Report::new(&config, started);
    let served = catch_unwind(AssertUnwindSafe(|| decide(argv, &config, vars, &report)));
    let refusal = served.unwrap_or_else(|_| Refusal::new(BypassReason::Internal, "panic"));
    let mut event = Report::bare(Outcome::Bypass(refusal.reason), vars);
    "build_script_build".clone_into(&mut event.crate_name);
    run::KIND.clone_into(&mut event.kind);
    event.detail = refusal.detail;
    report.write(event);
    become_script(argv)
}

/// Hit or miss; both end this process. Coming back means: not for the cache.
fn decide(argv: &[OsString], config: &Config, vars: &Env, report: &Report) -> Refusal {
    let run = match Run::prepare(argv, config, vars) {
        Ok(run) => run,
        Err(refusal) => return refusal,
    };
    let missed = hit::serve(&run, &mut Claim::None, report);
    match miss::run(&run, missed, report) {
        Ok(status) => sys_process::end_like(status),
        Err(refusal) => refusal,
    }
}

/// The program as cargo called it. The mark lets its hook pass.
fn command(program: impl AsRef<std::ffi::OsStr>, argv0: &OsString) -> Command {
    let mut command = Command::new(program);
    command.arg0(argv0).env(env::KACHE_SCRIPT, "1");
    command
}

#[expect(clippy::print_stderr, reason = "nothing else runs that could say it")]
fn become_script(argv: &[OsString]) -> ! {
    let mut command = command(&argv[0], &argv[2]);
    sys_process::keep_signals(&mut command);
    let error = command.exec();
    eprintln!("kache: cannot run {}: {error}", argv[0].display());
    sys_process::end(127)
}
