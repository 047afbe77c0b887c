//! Telling cargo of declared inputs (`keys::declared`), of which it knows only what the `.d` file says.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::call::Call;
use crate::fsx::{self, Publish};

/// Adds what is declared to the text of a `.d` file that is about to be restored.
pub(super) fn extend(call: &Call<'_>, text: &mut String) -> Result<(), ()> {
    if let Some(declared) = &call.common.declared {
        *text = declared.extend(text).ok_or(())?;
    }
    Ok(())
}

/// Adds what is declared to the `.d` file that rustc has written. Best effort: rustc has run, so that nothing may change how
/// this call ends; a file that cannot be read back is left as it is, and cargo does not hear of edits.
pub(super) fn tell_cargo(call: &Call<'_>) {
    let Some(declared) = &call.common.declared else { return };
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let path = call.invocation.dep_info_path();
        let text = fsx::read_to_string(&path).ok()?;
        let extended = declared.extend(&text)?;
        Publish::default().bytes(&path, extended.as_bytes()).ok()
    }));
}
