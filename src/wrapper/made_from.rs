//! Finds the results of other compiles and runs that a compile or run was given. A secret in one of them may be in its
//! result, too ([`crate::store::withheld`]).

use std::path::Path;

use super::snapshot;
use super::task::Common;
use crate::config::env;
use crate::fsx;
use crate::keys::{Roots, script};
use crate::model::{Digest, RootKind};
use crate::store::withheld::printed_by;

/// The roots as a run has them.
fn with_repository(roots: &Roots) -> Roots {
    let workspace = roots.place(RootKind::Workspace).map(Path::new);
    let repository = (RootKind::Repository, workspace.and_then(script::repository_above));
    Roots::new(roots.iter().map(|(kind, place)| (kind, Some(place.into()))).chain([repository]))
}

/// The digests of libraries and programs that arguments name, and of what the build script of the package printed.
pub(super) fn of(common: &Common<'_>, package: &str) -> Vec<Digest> {
    let files = common.lookup.files.iter().map(|(_, content)| content.digest);
    // Cargo keeps it beside `OUT_DIR`. For the run itself, that is what an earlier run printed.
    let printed = common.env.path(env::OUT_DIR).and_then(|dir| {
        let bytes = fsx::read(&dir.with_file_name("output")).ok()?;
        Some(printed_by(package, &snapshot::messages_here(&bytes, &with_repository(&common.roots))?))
    });
    files.chain(printed).collect()
}
