//! Serves a miss of a run: runs the script under the observer, then stores its outputs.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::publish::{self, FinishedRun};
use super::run::ScriptRun;
use super::{command, hit};
use crate::config::RemoteSettings;
use crate::fsx::tree::{self, Node};
use crate::fsx::{clock, sys_process};
use crate::keys::{NotStored, StartSnapshot};
use crate::model::{BypassReason, Refusal, Stored};
use crate::observe::Trace;
use crate::rustc::spawn::{self, ReadUntil};
use crate::store::claims::Claim;
use crate::wrapper::delivered::after_delivery;
use crate::wrapper::entry_hit::Missed;
use crate::wrapper::report::EventReporter;
use crate::wrapper::store_entry::StoredEntry;
use crate::wrapper::task::{Task, claim_wait};
use crate::wrapper::{explain, miss, origin, remote, unstored};

/// How long a run is expected to take if no earlier cost is known. It may compile a whole library.
const DEFAULT_COST: Duration = Duration::from_mins(2);

/// Runs the script, and stores the result if it may be shared. An error means that kache failed before the script ran.
pub(super) fn run(run: &ScriptRun<'_>, missed: Missed, report: &EventReporter) -> Result<ExitStatus, Refusal> {
    let internal = |detail: String| Refusal::new(BypassReason::Internal, detail);
    let remote = remote::settings(run);
    let missed = match &remote {
        Some(remote) => ask_remote(run, missed, remote, report),
        None => missed,
    };
    // The script may build on files that an earlier run left in OUT_DIR. No other checkout can use such a result.
    let is_fresh = tree::is_empty(&run.script.out_dir).map_err(|error| internal(error.to_string()))?;
    let mut claim = match is_fresh {
        true => run.common.store.claim(run.common.lookup.key, claim_wait(run, &missed.tried, DEFAULT_COST)),
        false => Claim::None,
    };
    if matches!(claim, Claim::AfterWait(_)) {
        let _ = hit::serve(run, &mut claim, report);
    }
    let explanation = explain::explain(run, &missed);
    let trace = match is_fresh {
        true => command::begin_trace(run),
        // Only to see whether it reads a secret.
        false if origin::has_secrets(&run.common) => Trace::begin(&run.common.store.layout().observer()),
        false => None,
    };
    let command = command::observed(run, trace.as_ref());
    sys_process::adopt_orphans();
    let start = StartSnapshot::take(clock::tick_after(report.asked), is_fresh.then(|| run.context()));
    let began = Instant::now();
    let ran = spawn::run(command, ReadUntil::StreamsClosed, None).map_err(|error| internal(error.to_string()))?;
    let finished = FinishedRun { ran: &ran, start, cost_ms: began.elapsed().as_secs_f64() * 1000.0 };
    after_delivery(|| {
        let stored = match is_fresh {
            true => store(run, trace.as_ref(), &finished),
            false => Err(NotStored(Stored::OutDirUsed, String::new())),
        };
        if stored.is_err() && ran.status.success() {
            after_delivery(|| note_unstored(run, trace.as_ref(), &finished));
        }
        let key = miss::note(run, &missed, explanation, stored, report);
        if let (Some(remote), Some(key)) = (&remote, key) {
            remote::queue(run, remote, key);
        }
    });
    drop(claim);
    Ok(ran.status)
}

/// Asks the agent for an entry, and looks again if it has fetched one. A hit ends this process.
fn ask_remote(run: &ScriptRun<'_>, missed: Missed, remote: &RemoteSettings, report: &EventReporter) -> Missed {
    let Some(connection) = remote::ask(run, remote, report) else { return missed };
    let missed = hit::serve(run, &mut Claim::None, report);
    connection.unused();
    missed
}

/// Remembers a result that is not stored, if it may carry a secret on.
fn note_unstored(run: &ScriptRun<'_>, trace: Option<&Trace>, finished: &FinishedRun<'_>) {
    let inputs = || {
        let seen = run.common.seen(trace?, finished.ran.process, false).ok()?;
        publish::observed_inputs(run, &seen, finished, &[]).ok().map(|observed| observed.inputs)
    };
    let outputs = || {
        let out_dir = &run.script.out_dir;
        let nodes = tree::walk(out_dir).unwrap_or_default();
        let is_file = |node: &Node| matches!(node, Node::File(stamp) if stamp.size > 0);
        let files = nodes.iter().filter(|(_, node)| is_file(node)).map(|(name, _)| out_dir.join(name));
        let digests = files.filter_map(|path| run.common.store.stamps().content(&path).ok());
        let printed = origin::printed(&run.labels().package, &finished.ran.stdout, &run.common.roots);
        digests.map(|content| content.digest).chain([printed]).chain(origin::told(run, &finished.ran.stdout)).collect()
    };
    unstored::note(run, inputs, outputs);
}

/// Stores the result. The script has run, so no failure from here on may change the outcome of the build.
fn store(run: &ScriptRun<'_>, trace: Option<&Trace>, finished: &FinishedRun<'_>) -> Result<StoredEntry, NotStored> {
    if !finished.ran.status.success() {
        return Err(NotStored(Stored::ScriptFailed, finished.ran.status.to_string()));
    }
    // Processes that the script left behind may still write.
    if sys_process::has_children() {
        return Err(NotStored(Stored::ChildrenLeft, String::new()));
    }
    let unobserved = |why: String| NotStored(Stored::Unobserved, why);
    let trace = trace.ok_or_else(|| unobserved("no trace could be begun".to_owned()))?;
    let seen = run.common.seen(trace, finished.ran.process, false).map_err(|error| unobserved(error.to_string()))?;
    publish::publish(run, &seen, finished)
}
