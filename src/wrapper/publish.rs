//! Publishes the result of a compile: stores it, or offers it if it is private.

use std::path::PathBuf;

use super::call::Call;
use super::delivered::after_delivery;
use super::offer;
use super::recorded::{self, FinishedCompile, RecordedCompile};
use super::store_entry::{self, OutputSource, ProducedOutput, StoredEntry};
use super::task::{Common, Task};
use super::unstored;
use crate::keys::NotStored;
use crate::keys::record::{self, ProducedLibrary};
use crate::keys::scan::Scan;
use crate::keys::times::Times;
use crate::model::{ArtifactKind, BlobId, Input, InputSet, Stored};
use crate::rustc::linked;
use crate::store::stamps::StampedDigest;
use crate::store::{Entry, Output};

/// Records the inputs and outputs of a successful compile and stores them. `private`: why the result is only offered. A
/// panic is handled like any other failure.
pub(super) fn publish(
    call: &Call<'_>,
    finished: &FinishedCompile<'_>,
    private: Option<Stored>,
) -> Result<StoredEntry, NotStored> {
    let is_shared = private.is_none();
    let published = after_delivery(|| record_and_store(call, finished, private))
        .unwrap_or_else(|| Err(NotStored(Stored::StoreFailed, "panic".into())));
    if is_shared && published.is_err() {
        after_delivery(|| unstored::note_refused(call, finished));
    }
    published
}

fn record_and_store(
    call: &Call<'_>,
    finished: &FinishedCompile<'_>,
    private: Option<Stored>,
) -> Result<StoredEntry, NotStored> {
    let mut seen = recorded::seen(call, finished)?;
    let built_on_session = seen.as_mut().is_some_and(|seen| finished.incremental_plan.take_sessions(call, seen));
    let private = private.or(built_on_session.then_some(Stored::PrivateIncremental));
    if let Some(why) = private {
        // A result that cannot be recorded is not offered, but is private all the same.
        let is_observed = seen.is_some();
        let recorded = recorded::record(call, finished, seen);
        unstored::note_compile(call, finished, || recorded.as_ref().ok().map(|recorded| recorded.inputs.clone()));
        if let Ok(recorded) = recorded
            && is_observed
        {
            let entry = recorded::entry(call, finished, &recorded);
            let _ = offer::offer(call, recorded, entry, finished.incremental_plan.uses_alias);
        }
        return Err(NotStored(why, String::new()));
    }
    let recorded = recorded::record(call, finished, seen)?;
    let entry = recorded::entry(call, finished, &recorded);
    let (entry, set, produced) = read_outputs(call, finished, recorded, entry)
        .inspect_err(|error| finished.incremental_plan.give_up_alias(call, error))?;
    store_entry::store(call, &set, &entry, &produced, &call.invocation.out_dir)
}

/// Hashes the outputs and scans them for roots and times, which completes the entry and its input set.
fn read_outputs(
    call: &Call<'_>,
    finished: &FinishedCompile<'_>,
    recorded: RecordedCompile,
    entry: Entry,
) -> Result<(Entry, InputSet, Vec<ProducedOutput>), NotStored> {
    let times = Times::new(recorded.times.iter().map(|(_, seconds)| *seconds));
    let mut scan = Scan::new(&call.common.roots).with_times(times);
    recorded.pin_unscannable(call, &mut scan);
    let produced = scan_outputs(recorded.outputs, &mut scan)?;
    if finished.incremental_plan.uses_alias && scan.holds_alias() {
        return Err(NotStored(Stored::HoldsAlias, String::new()));
    }
    let mut set = InputSet { inputs: recorded.inputs };
    // If rustc is observed, the trace already contains the archives that it read.
    for file in produced.iter().filter(|_| !call.observed) {
        let OutputSource::File(path, _) = &file.source else { continue };
        let library = ProducedLibrary { path, kind: file.output.kind };
        let Common { lookup, compiler, .. } = &call.common;
        let archives = record::archive_inputs(library, &call.invocation, lookup, &compiler.sysroot, call.context())?;
        set.inputs.extend(archives);
    }
    set.inputs.extend(recorded.times.into_iter().filter(|(_, at)| scan.holds_time(*at)).map(|(input, _)| input));
    set.inputs.extend(scan.pinned().into_iter().map(|(kind, place)| Input::Pinned(kind, place)));
    let outputs = produced.iter().map(|file| file.output.clone()).collect();
    Ok((Entry { outputs, ..entry }, set, produced))
}

fn scan_outputs(
    announced: Vec<(PathBuf, ArtifactKind)>,
    scan: &mut Scan<'_>,
) -> Result<Vec<ProducedOutput>, NotStored> {
    let mut produced = Vec::with_capacity(announced.len());
    for (path, kind) in announced {
        let StampedDigest { digest, stamp } = scan.file(&path)?;
        // Metadata is empty if a unit has none (a checked binary), and debug info may be. Any other empty output was
        // truncated.
        if stamp.size == 0 && !matches!(kind, ArtifactKind::Rmeta | ArtifactKind::DebugInfo) {
            return Err(NotStored(Stored::OutputsUnknown, format!("{} is empty", path.display())));
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let executable = stamp.mode & 0o111 != 0;
        let needs_glibc = (kind == ArtifactKind::Linked).then(|| linked::glibc_requirement(&path)).flatten();
        let output = Output {
            name,
            kind,
            blob: BlobId(digest),
            size: stamp.size,
            executable,
            read_only: false,
            mode: None,
            needs_glibc,
        };
        produced.push(ProducedOutput { output, source: OutputSource::File(path, stamp) });
    }
    Ok(produced)
}
