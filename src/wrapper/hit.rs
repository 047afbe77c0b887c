//! Serves a hit of a compile: finds an entry whose inputs hold here, and restores it.

use std::io::Write;

use super::call::Call;
use super::delivered::after_delivery;
use super::entry_hit::{self, EntryHit, Missed};
use super::report::EventReporter;
use super::{declared, incremental, verify};
use crate::fsx::sys_process;
use crate::model::MissReason;
use crate::restore::{self, Bytes, RestorePlan, messages, plan};
use crate::store::claims::Claim;

/// Serves a hit and ends this process, after releasing `claim`. Returns only if there is no hit.
pub(super) fn serve(call: &Call<'_>, claim: &mut Claim, report: &EventReporter) -> Missed {
    let (hit, plan) = match find(call) {
        Ok(found) => found,
        Err(missed) => return missed,
    };
    if verify::is_drawn(call) {
        *claim = Claim::None;
        verify::verify(call, &hit, &plan, report);
    }
    match restore::apply(&plan, call.common.store.stamps()) {
        Ok(bytes) => {
            *claim = Claim::None;
            finish(call, &hit, bytes, report)
        }
        Err(error) => Missed::new(MissReason::RestoreFailed, error.to_string()),
    }
}

/// Finds an entry that holds here, and plans its restore.
pub(super) fn find(call: &Call<'_>) -> Result<(EntryHit, RestorePlan), Missed> {
    let hit = entry_hit::find(call)?;
    let mut plan =
        plan::plan(&hit.entry, &call.invocation.out_dir, &call.common.store, |text| call.common.roots.expand(text))
            .map_err(|reason| Missed::new(reason, hit.record.key.0.short()))?;
    declared::extend(call, &mut plan.dep_info.1)
        .map_err(|()| Missed::new(MissReason::RestoreFailed, plan.dep_info.0.to_string_lossy()))?;
    Ok((hit, plan))
}

/// Replays rustc's output, records the hit and ends this process.
fn finish(call: &Call<'_>, hit: &EntryHit, bytes: Bytes, report: &EventReporter) -> ! {
    incremental::mark_shared(&call.invocation);
    let out_dir = &call.invocation.out_dir;
    // Both before the first write: a panic after it would run rustc, and cargo would read the messages twice.
    let (out, err) = (messages::replay(&hit.entry.stdout, out_dir), messages::replay(&hit.entry.stderr, out_dir));
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(&out).and_then(|()| stdout.flush());
    let _ = std::io::stderr().lock().write_all(&err);
    after_delivery(|| entry_hit::note(call, hit, bytes, report));
    sys_process::exit(0)
}
