//! Finds the side effects of a compile or run: files that it leaves and that are neither outputs nor temporary.

use std::path::{Path, PathBuf};

use super::{Context, NotStored, ObservedSubject, StartSnapshot};
use crate::config::env;
use crate::fsx;
use crate::model::Stored;
use crate::observe::Seen;

/// Fails if the subject left files outside its outputs, or changed their mode or time: those of a macro or a script, or
/// the map of a linker. They would be missing after a hit.
pub fn check(
    seen: &Seen,
    outputs: &[PathBuf],
    subject: ObservedSubject<'_>,
    context: Context<'_>,
    start: &StartSnapshot,
) -> Result<(), NotStored> {
    let is_output = |path: &Path| outputs.iter().any(|output| output == path) || subject.owns(path);
    // A directory that a script made for another program would be missing after a hit. rustc does not make directories
    // that outlive it, and it writes to the pipe of the jobserver.
    let counts = |metadata: &fsx::Metadata, plugin: bool| match metadata {
        _ if metadata.is_file() || metadata.is_symlink() => true,
        _ if metadata.is_dir() => matches!(subject, ObservedSubject::Run(_)),
        _ => plugin,
    };
    for (path, plugin) in &seen.written {
        let path = Path::new(path);
        let lasts = fsx::symlink_metadata(path).is_ok_and(|metadata| counts(&metadata, *plugin));
        // The temporary files of a linker may outlive it in a directory for such files, unless an argument names them
        // (a map). Those of a macro are its work.
        let is_scratch =
            !plugin && is_temporary(path, context) && !path.file_name().is_none_or(|name| subject.is_asked_for(name));
        // git may or may not rewrite its index when it has checked the files, so a hit may leave the index as it is.
        let is_refreshed = || start.git.as_ref().is_some_and(|git| git.lists_the_same_files(path));
        if lasts && !is_scratch && !is_output(path) && !is_refreshed() {
            return Err(NotStored(Stored::SideEffects, path.display().to_string()));
        }
    }
    Ok(())
}

/// Whether a path is directly in a directory for temporary files.
pub(super) fn is_temporary(path: &Path, context: Context<'_>) -> bool {
    let mut named = env::TEMPORARY_DIR_VARIABLES.into_iter().filter_map(|name| context.env.path(name));
    path.parent().is_some_and(|parent| parent == Path::new("/tmp") || named.any(|dir| dir == parent))
}
