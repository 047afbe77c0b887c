//! Adds declared inputs (`keys::declared`) to `.d` files, because cargo watches only the files that those name.

use super::call::Call;
use super::delivered::after_delivery;
use crate::fsx::{self, Publish};

/// Adds declared inputs to the text of a `.d` file that is about to be restored.
pub(super) fn extend(call: &Call<'_>, text: &mut String) -> Result<(), ()> {
    if let Some(declared) = &call.common.declared {
        *text = declared.extend(text).ok_or(())?;
    }
    Ok(())
}

/// Adds declared inputs to the `.d` file that rustc has written. Best effort: rustc has already run, so no failure may
/// change the outcome of the build. A file that cannot be read is left as it is, and cargo does not notice edits to the
/// declared inputs.
pub(super) fn extend_dep_info(call: &Call<'_>) {
    let Some(declared) = &call.common.declared else { return };
    let _ = after_delivery(|| {
        let path = call.invocation.dep_info_path();
        let text = fsx::read_to_string(&path).ok()?;
        let extended = declared.extend(&text)?;
        Publish::default().bytes(&path, extended.as_bytes()).ok()
    });
}
