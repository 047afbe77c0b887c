//! Offers: kache records and links the result of a compile on a session, without hashing or copying it. A later call for exactly
//! that result turns the offer into an entry.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::call::Call;
use super::incremental;
use super::publish::{self, Produced, Recorded, Source};
use super::report::collect_in_background;
use super::task::Task;
use crate::fsx::clock;
use crate::keys::record::NotStored;
use crate::keys::scan::Scan;
use crate::keys::times::Times;
use crate::keys::{Roots, validate};
use crate::model::{BlobId, Input, InputSet};
use crate::store::offers::{Offer, Offered, OfferedFile};
use crate::store::stamps::Content;
use crate::store::{Entry, Output, gc};

/// Offers the result of a compile. `alias`: it used rustc's alias.
pub(super) fn offer(call: &Call<'_>, recorded: Recorded, entry: Entry, alias: bool) -> Result<(), NotStored> {
    let mut scan = Scan::new(&call.common.roots);
    recorded.pin_unseen(call, &mut scan);
    let pinned = scan.pinned().into_iter().map(|(kind, _)| kind).collect();
    let roots = call.common.roots.iter().map(|(kind, place)| (kind, place.to_owned())).collect();
    let files: Option<Vec<_>> = recorded.outputs.iter().map(|(path, kind)| OfferedFile::of(path, *kind)).collect();
    let Some(outputs) = files else { return Ok(()) };
    let offer = Offer { inputs: recorded.inputs, times: recorded.times, roots, pinned, alias, outputs, entry };
    let Some(name) = incremental::noted_offer(&call.invocation) else { return Ok(()) };
    call.common.store.put_offer(&name, &call.invocation.out_dir, &offer)?;
    // Offers fill the store too.
    if gc::is_due(&call.common.store, clock::now()) {
        collect_in_background();
    }
    Ok(())
}

/// Makes an entry of an offer that holds here. `true`: the store has what was asked for.
pub(super) fn adopt(call: &Call<'_>) -> bool {
    let lookup = call.common.lookup.key;
    let adopted = |offered: &Offered| {
        catch_unwind(AssertUnwindSafe(|| make_entry(call, offered))).is_ok_and(|made| made == Some(()))
            && call.common.store.remove_offer(offered).is_ok()
    };
    call.common.store.offers(lookup).iter().any(adopted)
}

/// `None`: it does not hold here, or the outputs are no longer what the compile wrote.
fn make_entry(call: &Call<'_>, offered: &Offered) -> Option<()> {
    let offer = &offered.offer;
    validate::holds(&offer.inputs, call.context()).ok()?;
    let roots = Roots::new(offer.roots.iter().map(|(kind, place)| (*kind, Some(PathBuf::from(place)))));
    let mut scan = Scan::new(&roots).with_times(Times::new(offer.times.iter().map(|(_, seconds)| *seconds)));
    offer.pinned.iter().for_each(|kind| scan.pin(*kind));
    let mut produced = Vec::with_capacity(offer.outputs.len());
    for file in &offer.outputs {
        produced.push(read(&offered.path(file), file, &mut scan)?);
    }
    if offer.alias && scan.holds_alias() {
        return None;
    }
    let mut set = InputSet { inputs: offer.inputs.clone() };
    set.inputs.extend(offer.times.iter().filter(|(_, at)| scan.holds_time(*at)).map(|(input, _)| input.clone()));
    set.inputs.extend(scan.pinned().into_iter().map(|(kind, place)| Input::Pinned(kind, place)));
    // The roots that the outputs hold are known only now.
    validate::holds(&set.inputs, call.context()).ok()?;
    let outputs = produced.iter().map(|file| file.output.clone()).collect();
    let entry = Entry { outputs, ..offer.entry.clone() };
    publish::store(call, &set, &entry, &produced, &call.invocation.out_dir).ok().map(|_| ())
}

fn read(path: &Path, file: &OfferedFile, scan: &mut Scan<'_>) -> Option<Produced> {
    let Content { digest, stamp } = scan.file(path).ok()?;
    let output = Output {
        name: file.name.clone(),
        kind: file.kind,
        blob: BlobId(digest),
        size: stamp.size,
        executable: stamp.mode & 0o111 != 0,
        read_only: false,
        mode: None,
    };
    file.is_unchanged(&stamp, digest).then(|| Produced { output, source: Source::Offered(path.to_owned(), stamp) })
}

/// Withdraws the offer of this unit's outputs, which are about to be replaced by those of another compile.
pub(super) fn withdraw(call: &Call<'_>) {
    if let Some(name) = incremental::noted_offer(&call.invocation) {
        let _ = call.common.store.withdraw_offer(&name);
    }
}
