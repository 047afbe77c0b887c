//! Remembers results that are not stored as entries, but may carry a secret on: other results are made from them.
//!
//! If nobody knows what was read, every variable counts that looks secret and whose value is a token.

use super::call::Call;
use super::origin;
use super::recorded::{self, FinishedCompile};
use super::task::Task;
use crate::model::{Digest, EmitKind, Input};
use crate::rustc::notices;

/// Remembers the outputs of a task if they may carry a secret. `inputs`: what the task read, `None` if that is not
/// known. Does nothing if the ledger cannot be written: the result was made in any case.
pub(super) fn note(
    task: &impl Task,
    inputs: impl FnOnce() -> Option<Vec<Input>>,
    outputs: impl FnOnce() -> Vec<Digest>,
) {
    if let Some(carried) = origin::carried(task, inputs) {
        let _ = task.common().store.add_carriers(&outputs(), &carried);
    }
}

/// Like [`note`], for a compile that succeeded.
pub(super) fn note_compile(
    call: &Call<'_>,
    finished: &FinishedCompile<'_>,
    inputs: impl FnOnce() -> Option<Vec<Input>>,
) {
    note(call, inputs, || announced(call, finished));
}

/// Like [`note_compile`], for a compile that could not be stored. Finds out again what it read.
pub(super) fn note_refused(call: &Call<'_>, finished: &FinishedCompile<'_>) {
    let inputs = || {
        let seen = recorded::seen(call, finished).ok()?;
        Some(recorded::record(call, finished, seen).ok()?.inputs)
    };
    note_compile(call, finished, inputs);
}

/// The digests of the outputs that rustc announced.
fn announced(call: &Call<'_>, finished: &FinishedCompile<'_>) -> Vec<Digest> {
    let text = String::from_utf8_lossy(&finished.ran.stderr);
    let outputs = text.lines().filter_map(notices::parse).filter(|notice| notice.emit != Some(EmitKind::DepInfo));
    let contents = outputs.filter_map(|notice| call.common.store.stamps().content(notice.path.as_ref()).ok());
    // Empty files are all the same.
    contents.filter(|content| content.stamp.size > 0).map(|content| content.digest).collect()
}
