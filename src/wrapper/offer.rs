//! Offers a private result, whose compile continued a session or depends on a private result: kache records and links
//! it, but does not copy it and hashes only programs. A later call for exactly this result turns the offer into an
//! entry.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use super::background::collect_in_background;
use super::call::Call;
use super::incremental;
use super::recorded::RecordedCompile;
use super::store_entry::{self, OutputSource, ProducedOutput};
use super::task::Task;
use crate::fsx::clock;
use crate::keys::offered;
use crate::keys::scan::Scan;
use crate::keys::{NotStored, validate};
use crate::model::ArtifactKind;
use crate::store::offers::{CompleteOffer, Offer, OfferedFile, StoredOffer};
use crate::store::{Entry, gc};

/// Offers the result of a compile. `alias`: rustc used the alias.
pub(super) fn offer(call: &Call<'_>, recorded: RecordedCompile, entry: Entry, alias: bool) -> Result<(), NotStored> {
    let mut scan = Scan::new(&call.common.roots);
    recorded.pin_unscannable(call, &mut scan);
    let pinned = scan.pinned().into_iter().map(|(kind, _)| kind).collect();
    let roots = call.common.roots.iter().map(|(kind, place)| (kind, place.to_owned())).collect();
    let file = |(path, kind): &(PathBuf, ArtifactKind)| OfferedFile::of(path, *kind, entry.cost_ms);
    let Some(outputs) = recorded.outputs.iter().map(file).collect() else { return Ok(()) };
    let offer = Offer { inputs: recorded.inputs, times: recorded.times, roots, pinned, alias, outputs, entry };
    let Some(name) = incremental::noted_offer(&call.invocation) else { return Ok(()) };
    call.common.store.put_offer(&name, &call.invocation.out_dir, &offer)?;
    // Offers take up space in the store, too.
    if gc::is_due(&call.common.store, clock::now()) {
        collect_in_background();
    }
    Ok(())
}

/// Turns an offer that holds here into an entry. Returns whether the store now has an entry for this call.
pub(super) fn adopt(call: &Call<'_>) -> bool {
    let lookup = call.common.lookup.key;
    let adopted = |offered: &StoredOffer| {
        catch_unwind(AssertUnwindSafe(|| make_entry(call, offered))).is_ok_and(|made| made == Some(()))
            && call.common.store.remove_offer(offered).is_ok()
    };
    call.common.store.offers(lookup).iter().any(adopted)
}

/// `None` if the offer does not hold here, or if its outputs are no longer what the compile wrote.
fn make_entry(call: &Call<'_>, offered: &StoredOffer) -> Option<()> {
    validate::holds(&offered.offer.inputs, call.context()).ok()?;
    let CompleteOffer { entry, set, files } = offered::complete(offered)?;
    // Only now is it known which roots the outputs contain.
    validate::holds(&set.inputs, call.context()).ok()?;
    let source = |(output, path, stamp)| ProducedOutput { output, source: OutputSource::Offered(path, stamp) };
    let produced: Vec<_> = files.into_iter().map(source).collect();
    store_entry::store(call, &set, &entry, &produced, &call.invocation.out_dir).ok().map(|_| ())
}

/// Withdraws the offer of this unit's outputs, which another compile is about to replace.
pub(super) fn withdraw(call: &Call<'_>) {
    if let Some(name) = incremental::noted_offer(&call.invocation) {
        let _ = call.common.store.withdraw_offer(&name);
    }
}
