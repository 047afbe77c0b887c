//! What a compile or run was given that other compiles and runs made, so that secrets in these are known to be in its
//! result, too ([`crate::store::withheld`]).

use super::snapshot;
use super::task::Common;
use crate::config::env;
use crate::fsx;
use crate::model::Digest;
use crate::store::withheld::printed_by;

/// The digests of libraries and programs that arguments name, and of what the build script of the package printed.
pub(super) fn of(common: &Common<'_>, package: &str) -> Vec<Digest> {
    let files = common.lookup.files.iter().map(|(_, content)| content.digest);
    // Cargo keeps it beside `OUT_DIR`. For the run itself, that is what an earlier run printed.
    let printed = common.env.path(env::OUT_DIR).and_then(|dir| {
        let bytes = fsx::read(&dir.with_file_name("output")).ok()?;
        Some(printed_by(package, &snapshot::messages_here(&bytes, &common.roots)?))
    });
    files.chain(printed).collect()
}
