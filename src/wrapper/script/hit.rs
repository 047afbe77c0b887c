//! Serves a hit of a run.

use std::io::Write;

use super::run::Run;
use super::verify;
use crate::fsx::sys_process;
use crate::model::MissReason;
use crate::restore::Bytes;
use crate::restore::run::{self as restore, RunPlan};
use crate::store::Entry;
use crate::store::claims::Claim;
use crate::store::manifests::ManifestRecord;
use crate::wrapper::hit::{self, Missed};
use crate::wrapper::report::Report;
use crate::wrapper::verify::is_drawn;

/// An entry that holds here, and the plan to restore it.
pub(super) struct Found {
    /// The key of the entry, and the input set for which it holds.
    pub(super) record: ManifestRecord,
    /// How many input sets of the manifest were tried before this one.
    rank: usize,
    entry: Entry,
    pub(super) plan: RunPlan,
}

/// Serves a hit and ends this process, after releasing `claim`. Returns only if there is no hit.
pub(super) fn serve(run: &Run<'_>, claim: &mut Claim, report: &Report) -> Missed {
    let found = match find(run) {
        Ok(found) => found,
        Err(missed) => return missed,
    };
    if is_drawn(run.common.config, report.asked) {
        *claim = Claim::None;
        verify::verify(run, &found, report);
    }
    match restore::apply(&found.plan, &run.script.out_dir) {
        Ok(bytes) => {
            *claim = Claim::None;
            finish(run, &found, bytes, report)
        }
        Err(error) => Missed::new(MissReason::RestoreFailed, error.to_string()),
    }
}

fn find(run: &Run<'_>) -> Result<Found, Missed> {
    let (rank, record) = hit::record(run)?;
    let key = record.key;
    let entry = run.common.store.entry(key).ok_or_else(|| Missed::new(MissReason::EntryGone, key.0.short()))?;
    let entry = hit::settle(&run.common.store, key, entry)?;
    let plan = restore::plan(&entry, &run.common.store, |text| run.common.roots.expand(text))
        .map_err(|reason| Missed::new(reason, key.0.short()))?;
    Ok(Found { record, rank, entry, plan })
}

/// Replays the script's output, records the hit and ends this process.
fn finish(run: &Run<'_>, found: &Found, bytes: Bytes, report: &Report) -> ! {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(&found.plan.stdout).and_then(|()| stdout.flush());
    let _ = std::io::stderr().lock().write_all(&found.plan.stderr);
    hit::note(run, (&found.record, found.rank), &found.entry, bytes, report);
    sys_process::exit(0)
}
