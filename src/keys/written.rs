//! What a compile writes: its own outputs, temporary files, and what it leaves behind besides.

use std::path::{Path, PathBuf};

use super::Context;
use super::record::NotStored;
use crate::config::env;
use crate::fsx;
use crate::model::Stored;
use crate::observe::Seen;

/// Files that the compile left behind where nobody looks for its outputs: a macro's, or a linker's map. They would be missing
/// after a hit.
pub fn side_effects(seen: &Seen, outputs: &[PathBuf], context: Context<'_>) -> Result<(), NotStored> {
    let is_output = |path: &Path| outputs.iter().any(|output| output == path) || is_own(path, context);
    for (path, plugin) in &seen.written {
        let path = Path::new(path);
        let lasts = fsx::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file() || metadata.is_symlink());
        // A linker's temporary files may outlive it in a place that is meant for them, unless it was told to make them (a
        // map); a macro's are its work.
        let is_scratch = !plugin && is_temporary(path, context) && !is_asked_for(path, context);
        if lasts && !is_scratch && !is_output(path) {
            return Err(NotStored(Stored::SideEffects, path.display().to_string()));
        }
    }
    Ok(())
}

/// Whether a path lies directly in a directory for temporary files.
pub(super) fn is_temporary(path: &Path, context: Context<'_>) -> bool {
    let mut named = env::TEMPORARY.into_iter().filter_map(|name| context.env.path(name));
    path.parent().is_some_and(|parent| parent == Path::new("/tmp") || named.any(|dir| dir == parent))
}

/// Whether an argument names a file.
fn is_asked_for(path: &Path, context: Context<'_>) -> bool {
    let Some(name) = path.file_name().map(|name| memchr::memmem::Finder::new(name.as_encoded_bytes())) else {
        return true;
    };
    context.invocation.argv.iter().any(|arg| name.find(arg.as_encoded_bytes()).is_some())
}

/// Whether a path is one of this unit's own outputs, or of their temporary forms.
pub(super) fn is_own(path: &Path, context: Context<'_>) -> bool {
    let invocation = context.invocation;
    let stem = invocation.stem();
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // Without a hash in it, the stem may begin the name of another crate.
    let is_called_so =
        |name: &str| name.strip_prefix(&stem).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    (is_called_so(name) || name.strip_prefix("lib").is_some_and(is_called_so))
        && path.parent() == Some(&invocation.out_dir)
}
