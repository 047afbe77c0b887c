//! Serves a miss: compiles, then stores or offers the result.

use std::ffi::OsString;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::call::Call;
use super::delivered::after_delivery;
use super::entry_hit::Missed;
use super::explain::{self, Explanation};
use super::incremental_plan::IncrementalPlan;
use super::publish;
use super::recorded::FinishedCompile;
use super::report::EventReporter;
use super::store_entry::StoredEntry;
use super::task::{Task, claim_wait};
use super::{bypass, declared, hit, incremental, offer, remote};
use crate::config::{Env, RemoteSettings, env};
use crate::fsx::clock::Time;
use crate::fsx::{self, Publish, clock};
use crate::keys::{NotStored, StartSnapshot};
use crate::model::{BypassReason, EntryKey, MissReason, Outcome, Refusal, Stored};
use crate::observe::{FirstKind, Trace};
use crate::rustc::alias::Unalias;
use crate::rustc::spawn::{self, ProgramOutput, ReadUntil};
use crate::store::claims::Claim;

/// How long a compile is expected to take if no earlier cost is known.
const DEFAULT_COST: Duration = Duration::from_secs(20);

/// Whether a result is shared through the store, or private to this checkout and therefore only offered.
#[derive(Clone, PartialEq, Eq, Debug)]
enum ResultScope {
    Shared,
    Private(Stored),
}

/// Compiles, and stores the result if it may be shared. An error means that kache failed before rustc ran.
pub(super) fn compile(call: &Call<'_>, missed: Missed, report: &EventReporter) -> Result<ExitStatus, Refusal> {
    if offer::adopt(call) {
        report.adopted();
        let _ = hit::serve(call, &mut Claim::None, report);
    }
    let remote = remote::settings(call);
    let missed = match &remote {
        Some(remote) => ask_remote(call, missed, remote, report),
        None => missed,
    };
    let plan = IncrementalPlan::choose(call);
    let (scope, missed) = scope_of_result(call, &plan, missed);
    let mut claim = match scope {
        ResultScope::Shared => {
            call.common.store.claim(call.common.lookup.key, claim_wait(call, &missed.tried, DEFAULT_COST))
        }
        ResultScope::Private(_) => Claim::None,
    };
    if matches!(claim, Claim::AfterWait(_)) {
        let _ = hit::serve(call, &mut claim, report);
    }
    // Before rustc starts, because inputs may change afterwards. A shared result waits for the clock meanwhile.
    let explanation = explain::explain(call, &missed);
    // Before outputs are unlinked: the links of an offer are no reason to remove outputs, which stay if this compile
    // fails.
    offer::withdraw(call);
    bypass::unlink_shared(&call.invocation);
    match scope {
        ResultScope::Shared => incremental::mark_shared(&call.invocation),
        ResultScope::Private(_) => incremental::mark_private(call, report.asked),
    }
    let start = StartSnapshot::take(start_time(call, &scope, report.asked), call.observed.then(|| call.context()));
    let began = Instant::now();
    let (ran, trace) = run(call, &plan)?;
    let cost_ms = began.elapsed().as_secs_f64() * 1000.0;
    let finished = FinishedCompile { ran: &ran, trace, start, cost_ms, incremental_plan: &plan };
    after_delivery(|| {
        let stored = note(call, &missed, explanation, store(call, scope, &finished), report);
        if let (Some(remote), Some(key)) = (&remote, stored) {
            remote::queue(call, remote, key);
        }
    });
    declared::extend_dep_info(call);
    drop(claim);
    Ok(ran.status)
}

/// Changes from this time on count as changes during the compile. A shared result waits for a tick after the call,
/// because a script or a dependency may just have written an input, and so does a private one that is linked or has an
/// `OUT_DIR`. Other private results do not wait: an input that is too young only keeps them from being offered.
fn start_time(call: &Call<'_>, scope: &ResultScope, asked: Time) -> Time {
    let may_have_young_inputs = call.invocation.needs_whole_libraries() || call.common.env.get(env::OUT_DIR).is_some();
    match scope {
        ResultScope::Private(_) if !may_have_young_inputs => clock::now(),
        ResultScope::Private(_) | ResultScope::Shared => clock::tick_after(asked),
    }
}

/// Runs rustc, under the observer if this call is observed.
fn run(call: &Call<'_>, plan: &IncrementalPlan) -> Result<(ProgramOutput, Option<Trace>), Refusal> {
    let trace = begin_trace(call);
    // Without the observer, rustc would not get the alias.
    let plan = &IncrementalPlan { uses_alias: plan.uses_alias && trace.is_some(), ..plan.clone() };
    let first = if plan.uses_alias { FirstKind::CompilerWithAlias } else { FirstKind::Compiler };
    let extra = trace.as_ref().map_or_else(Vec::new, |trace| observed_env(call.common.env, trace, first));
    let args = call.compile_args(plan);
    let command = spawn::command(&call.chain.program, &args, &call.invocation.cwd, &extra);
    let unalias = plan.uses_alias.then(|| Unalias::to(&call.invocation.cwd.to_string_lossy()));
    let ran = spawn::run(command, ReadUntil::ShortlyAfterExit, unalias.clone())
        .map_err(|error| Refusal::new(BypassReason::Internal, error.to_string()))?;
    if let Some(unalias) = unalias {
        after_delivery(|| unalias_dep_info(call, &unalias));
    }
    Ok((ran, trace))
}

/// Replaces the alias by the working directory in dep-info. Best effort: rustc has already run.
fn unalias_dep_info(call: &Call<'_>, unalias: &Unalias) {
    let path = call.invocation.dep_info_path();
    let Ok(text) = fsx::read_to_string(&path) else { return };
    let plain = unalias.text(&text);
    if plain != text {
        let _ = Publish::default().bytes(&path, plain.as_bytes());
    }
}

/// Asks the agent for an entry, and looks again if it has fetched one. A hit ends this process.
fn ask_remote(call: &Call<'_>, missed: Missed, remote: &RemoteSettings, report: &EventReporter) -> Missed {
    let Some(connection) = remote::ask(call, remote, report) else { return missed };
    let missed = hit::serve(call, &mut Claim::None, report);
    connection.unused();
    missed
}

fn begin_trace(call: &Call<'_>) -> Option<Trace> {
    call.observed.then(|| Trace::begin(&call.common.store.layout().observer())).flatten()
}

/// Environment variables that make the next program, and everything that it starts, write to `trace`.
pub(super) fn observed_env(vars: &Env, trace: &Trace, first: FirstKind) -> Vec<(&'static str, OsString)> {
    vec![(env::LD_PRELOAD, trace.preload(vars.get(env::LD_PRELOAD))), (env::KACHE_TRACE, trace.place(first))]
}

/// A compile on a session is private, and so is one with a private dependency.
fn scope_of_result(call: &Call<'_>, plan: &IncrementalPlan, missed: Missed) -> (ResultScope, Missed) {
    if let Some(path) = incremental::private_dependency(&call.invocation) {
        let missed = Missed::new(MissReason::PrivateInput, path.display().to_string());
        return (ResultScope::Private(Stored::PrivateInput), missed);
    }
    if plan.has_session {
        return (ResultScope::Private(Stored::PrivateIncremental), missed);
    }
    (ResultScope::Shared, missed)
}

/// Stores or offers the result. rustc has run, so no failure from here on may change the outcome of the build.
fn store(call: &Call<'_>, scope: ResultScope, finished: &FinishedCompile<'_>) -> Result<StoredEntry, NotStored> {
    match scope {
        _ if !finished.ran.status.success() => Err(NotStored(Stored::RustcFailed, finished.ran.status.to_string())),
        ResultScope::Private(why) => publish::publish(call, finished, Some(why)),
        ResultScope::Shared => publish::publish(call, finished, None),
    }
}

/// Records a miss in the event log. Returns the key of the entry, if one was stored.
pub(super) fn note(
    task: &impl Task,
    missed: &Missed,
    mut explanation: Explanation,
    stored: Result<StoredEntry, NotStored>,
    report: &EventReporter,
) -> Option<EntryKey> {
    let mut details = vec![missed.detail.clone()];
    let mut event = EventReporter::event(Outcome::Miss(missed.reason), task);
    let mut key = None;
    event.stored = Some(match stored {
        Ok(entry) => {
            key = Some(entry.key);
            event.key = entry.key.0.hex();
            event.stored_bytes = entry.bytes;
            explanation.remember(task);
            Stored::Yes
        }
        Err(NotStored(why, detail)) => {
            details.push(detail);
            why
        }
    });
    details.retain(|detail| !detail.is_empty());
    event.detail = details.join("; ");
    explanation.write_to(&mut event);
    report.write(event);
    key
}
