//! Verifies a hit of a run: the script runs anyway, and kache compares its outputs with the entry.

use super::command;
use super::run::ScriptRun;
use crate::events::Event;
use crate::fsx::tree::{self, Node};
use crate::fsx::{self, compare, sys_process};
use crate::keys::{record, validate};
use crate::model::{HitSource, MissReason, Outcome, Stored};
use crate::restore::run::{self as restore, RunPlan};
use crate::rustc::spawn::{self, ProgramOutput, ReadUntil};
use crate::wrapper::delivered::after_delivery;
use crate::wrapper::entry_hit::EntryHit;
use crate::wrapper::report::EventReporter;
use crate::wrapper::task::Task;

/// Runs the script in an empty `OUT_DIR`, compares, and ends with its status. Returns only if the script cannot be
/// started.
pub(super) fn verify(run: &ScriptRun<'_>, hit: &EntryHit, plan: &RunPlan, report: &EventReporter) {
    let out_dir = &run.script.out_dir;
    if fsx::remove_dir_all(out_dir).and_then(|()| fsx::create_dir_all(out_dir)).is_err() {
        return;
    }
    // Under the observer, which gives C compilers their remaps.
    let trace = command::begin_trace(run);
    let Ok(ran) = spawn::run(command::observed(run, trace.as_ref()), ReadUntil::StreamsClosed, None) else { return };
    let event = after_delivery(|| verified_event(run, hit, plan, &ran));
    after_delivery(|| {
        report.write(event.unwrap_or_else(|| differs(run, "panic".to_owned())));
        run.common.store.touch_entry(hit.record.key);
    });
    sys_process::exit_like(ran.status)
}

fn verified_event(run: &ScriptRun<'_>, hit: &EntryHit, plan: &RunPlan, ran: &ProgramOutput) -> Event {
    let differences = differences(run, plan, ran).unwrap_or_else(|error| vec![error.to_string()]);
    let context = run.context();
    // If an input was edited meanwhile, a difference proves nothing.
    let still_holds =
        || validate::holds(&hit.record.inputs, context).is_ok() && record::recheck(&run.common.lookup, context).is_ok();
    let mut event = if differences.is_empty() {
        EventReporter::event(Outcome::Hit(HitSource::Verified), run)
    } else if still_holds() {
        differs(run, differences.join("; "))
    } else {
        let mut event = EventReporter::event(Outcome::Miss(MissReason::InputChanged), run);
        event.stored = Some(Stored::InputChanged);
        "while the hit was verified".clone_into(&mut event.detail);
        event
    };
    event.key = hit.record.key.0.hex();
    event
}

fn differs(run: &ScriptRun<'_>, detail: String) -> Event {
    Event { detail, ..EventReporter::event(Outcome::Hit(HitSource::Differs), run) }
}

/// Describes every difference between the run and the entry.
fn differences(run: &ScriptRun<'_>, plan: &RunPlan, ran: &ProgramOutput) -> fsx::Result<Vec<String>> {
    if !ran.status.success() {
        return Ok(vec![format!("the script failed ({})", ran.status)]);
    }
    let mut differences = Vec::new();
    for (name, stored, fresh) in [("stdout", &plan.stdout, &ran.stdout), ("stderr", &plan.stderr, &ran.stderr)] {
        differences.extend(compare::first_difference_of(stored, fresh).map(|at| format!("{name}: at byte {at}")));
    }
    // Restored into a temporary directory, so that kache compares two trees.
    let beside = fsx::Temp::dir()?;
    let restored = beside.path().join("out");
    restore::apply(plan, &restored, None)?;
    let (stored, fresh) = (tree::walk(&restored)?, tree::walk(&run.script.out_dir)?);
    for (name, node) in &stored {
        match (node, fresh.iter().find(|(other, _)| other == name).map(|(_, node)| node)) {
            (_, None) => differences.push(format!("{name}: not there now")),
            (Node::File(one), Some(Node::File(other))) if one.mode & 0o777 == other.mode & 0o777 => {
                let at = compare::first_difference(&restored.join(name), &run.script.out_dir.join(name))?;
                differences.extend(at.map(|at| format!("{name}: at byte {at}")));
            }
            (one, Some(other)) if one == other => {}
            (_, Some(_)) => differences.push(format!("{name}: another kind or mode now")),
        }
    }
    let is_new = |name: &&String| !stored.iter().any(|(other, _)| other == *name);
    differences
        .extend(fresh.iter().map(|(name, _)| name).filter(is_new).map(|name| format!("{name}: not in the store")));
    Ok(differences)
}
