//! What a compile or run writes: its own outputs, temporary files, and what it leaves behind besides.

use std::path::{Path, PathBuf};

use super::record::NotStored;
use super::{Context, Start, Subject};
use crate::config::env;
use crate::fsx;
use crate::model::Stored;
use crate::observe::Seen;

/// Fails if files were left behind, or given another mode or time, where nobody looks for outputs: a macro's or script's, or a
/// linker's map. That would be missing after a hit.
pub fn side_effects(
    seen: &Seen,
    outputs: &[PathBuf],
    subject: Subject<'_>,
    context: Context<'_>,
    start: &Start,
) -> Result<(), NotStored> {
    let is_output = |path: &Path| outputs.iter().any(|output| output == path) || subject.owns(path);
    // A script may be missed by a directory that it made for another program; rustc makes none that outlives it, and writes
    // to the jobserver's pipe.
    let counts = |metadata: &fsx::Metadata, plugin: bool| match metadata {
        _ if metadata.is_file() || metadata.is_symlink() => true,
        _ if metadata.is_dir() => matches!(subject, Subject::Run(_)),
        _ => plugin,
    };
    for (path, plugin) in &seen.written {
        let path = Path::new(path);
        let lasts = fsx::symlink_metadata(path).is_ok_and(|metadata| counts(&metadata, *plugin));
        // A linker's temporary files may outlive it in a place that is meant for them, unless it was told to make them (a
        // map); a macro's are its work.
        let is_scratch =
            !plugin && is_temporary(path, context) && !path.file_name().is_none_or(|name| subject.is_asked_for(name));
        // git writes its index anew when it has looked at the files, or does not: nobody may miss that.
        let is_refreshed = || start.git.as_ref().is_some_and(|git| git.lists_the_same_files(path));
        if lasts && !is_scratch && !is_output(path) && !is_refreshed() {
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
