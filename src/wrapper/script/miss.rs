//! Serves a miss of a run: runs the script under the observer, then stores its outputs.

use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use super::hit;
use super::publish::{self, Ended};
use super::run::Run;
use crate::config::RemoteSettings;
use crate::fsx::{clock, sys_process, tree};
use crate::keys::Start;
use crate::keys::record::NotStored;
use crate::model::{BypassReason, Refusal, Stored};
use crate::observe::{First, Trace};
use crate::rustc::spawn::{self, ReadUntil};
use crate::store::claims::Claim;
use crate::wrapper::call::remaps;
use crate::wrapper::hit::Missed;
use crate::wrapper::publish::Published;
use crate::wrapper::report::Report;
use crate::wrapper::task::{Task, patience};
use crate::wrapper::{explain, miss, remote};

/// How long a run is expected to take if no earlier cost is known. It may compile a whole library.
const UNKNOWN: Duration = Duration::from_mins(2);

/// Runs the script, and stores the result if it may be shared. An error means that kache failed before the script ran.
pub(super) fn run(run: &Run<'_>, missed: Missed, report: &Report) -> Result<ExitStatus, Refusal> {
    let internal = |detail: String| Refusal::new(BypassReason::Internal, detail);
    let remote = remote::settings(run);
    let missed = match &remote {
        Some(remote) => ask_remote(run, missed, remote, report),
        None => missed,
    };
    // The script may build on files that an earlier run left in OUT_DIR. No other checkout can use such a result.
    let is_fresh = tree::is_empty(&run.script.out_dir).map_err(|error| internal(error.to_string()))?;
    let mut claim = match is_fresh {
        true => run.common.store.claim(run.common.lookup.key, patience(run, &missed.tried, UNKNOWN)),
        false => Claim::None,
    };
    if matches!(claim, Claim::AfterWait(_)) {
        let _ = hit::serve(run, &mut claim, report);
    }
    let explained = explain::explain(run, &missed);
    let trace = if is_fresh { begin_trace(run) } else { None };
    let command = command(run, trace.as_ref());
    sys_process::adopt_orphans();
    let start = Start::note(clock::tick_after(report.asked), is_fresh.then(|| run.context()));
    let began = Instant::now();
    let ran = spawn::run(command, ReadUntil::StreamsClosed, None).map_err(|error| internal(error.to_string()))?;
    let ended = Ended { ran: &ran, start, cost_ms: began.elapsed().as_secs_f64() * 1000.0 };
    let stored = match is_fresh {
        true => store(run, trace.as_ref(), &ended),
        false => Err(NotStored(Stored::OutDirUsed, String::new())),
    };
    let key = miss::note(run, (&missed, explained), stored, report);
    if let (Some(remote), Some(key)) = (&remote, key) {
        remote::queue(run, remote, key);
    }
    drop(claim);
    Ok(ran.status)
}

/// Creates a trace that gives C compilers the remaps for this checkout.
pub(super) fn begin_trace(run: &Run<'_>) -> Option<Trace> {
    let trace = Trace::begin(&run.common.store.layout().observer())?;
    trace.remap(&remaps(&run.common.roots, run.common.config.paths.value, &run.common.compiler.commit));
    Some(trace)
}

/// The script, observed if there is a trace.
pub(super) fn command(run: &Run<'_>, trace: Option<&Trace>) -> Command {
    let mut command = super::command(&run.script.program, &run.script.argv0);
    command.envs(trace.into_iter().flat_map(|trace| miss::observed_env(run.common.env, trace, First::Script)));
    command
}

/// Asks the agent for an entry, and looks again if it has fetched one. A hit ends this process.
fn ask_remote(run: &Run<'_>, missed: Missed, remote: &RemoteSettings, report: &Report) -> Missed {
    let Some(connection) = remote::ask(run, remote, report) else { return missed };
    let missed = hit::serve(run, &mut Claim::None, report);
    connection.unused();
    missed
}

/// Stores the result. The script has run, so no failure from here on may change the outcome of the build.
fn store(run: &Run<'_>, trace: Option<&Trace>, ended: &Ended<'_>) -> Result<Published, NotStored> {
    if !ended.ran.status.success() {
        return Err(NotStored(Stored::ScriptFailed, ended.ran.status.to_string()));
    }
    // Processes that the script left behind may still write.
    if sys_process::has_children() {
        return Err(NotStored(Stored::ChildrenLeft, String::new()));
    }
    let unobserved = |why: String| NotStored(Stored::Unobserved, why);
    let trace = trace.ok_or_else(|| unobserved("no trace could be begun".to_owned()))?;
    let seen = run.common.seen(trace, ended.ran.process, false).map_err(|torn| unobserved(torn.to_string()))?;
    publish::publish(run, &seen, ended)
}
