//! Serves a hit of a run.

use std::io::Write;

use super::run::ScriptRun;
use super::verify;
use crate::fsx::sys_process;
use crate::model::MissReason;
use crate::restore::Bytes;
use crate::restore::run::{self as restore, RunPlan};
use crate::store::claims::Claim;
use crate::wrapper::delivered::after_delivery;
use crate::wrapper::entry_hit::{self, EntryHit, Missed};
use crate::wrapper::report::EventReporter;
use crate::wrapper::verify::is_drawn;

/// Serves a hit and ends this process, after releasing `claim`. Returns only if there is no hit.
pub(super) fn serve(run: &ScriptRun<'_>, claim: &mut Claim, report: &EventReporter) -> Missed {
    let (hit, plan) = match find(run) {
        Ok(found) => found,
        Err(missed) => return missed,
    };
    if is_drawn(run) {
        *claim = Claim::None;
        verify::verify(run, &hit, &plan, report);
    }
    match restore::apply(&plan, &run.script.out_dir, None) {
        Ok(bytes) => {
            *claim = Claim::None;
            finish(run, &hit, &plan, bytes, report)
        }
        Err(error) => Missed::new(MissReason::RestoreFailed, error.to_string()),
    }
}

/// Finds an entry that holds here, and plans its restore.
pub(in crate::wrapper) fn find(run: &ScriptRun<'_>) -> Result<(EntryHit, RunPlan), Missed> {
    let hit = entry_hit::find(run)?;
    let plan = restore::plan(&hit.entry, &run.common.store, |text| run.common.roots.expand(text))
        .map_err(|reason| Missed::new(reason, hit.record.key.0.short()))?;
    Ok((hit, plan))
}

/// Replays the script's output, records the hit and ends this process.
fn finish(run: &ScriptRun<'_>, hit: &EntryHit, plan: &RunPlan, bytes: Bytes, report: &EventReporter) -> ! {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(&plan.stdout).and_then(|()| stdout.flush());
    let _ = std::io::stderr().lock().write_all(&plan.stderr);
    after_delivery(|| entry_hit::note(run, hit, bytes, report));
    sys_process::exit(0)
}
