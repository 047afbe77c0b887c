//! Finds where a secret in the result of a compile or run may come from: the results of other compiles and runs that it
//! was given, and variables that no input names. A secret in one of them may be in its result, too
//! ([`crate::store::withheld`]).

use std::path::Path;

use super::snapshot;
use super::task::{Common, Task};
use crate::config::env;
use crate::fsx;
use crate::keys::{Roots, environment, script};
use crate::model::secret::{is_path, is_secret};
use crate::model::{Digest, Input, RootKind};
use crate::store::Origin;
use crate::store::withheld::printed_by;

/// Where a secret in a result with these inputs may come from.
pub(super) fn of(task: &impl Task, inputs: &[Input]) -> Origin {
    let common = task.common();
    let is_declared = |name: &str| common.declared.as_ref().is_some_and(|declared| declared.names(name));
    let is_in_key = |name: &str| is_declared(name) || task.keys_variable(name);
    let is_read = |name: &str| is_in_key(name) || inputs.iter().any(|input| environment::covers(input, name));
    let read = secret_variables(common).filter(|name| is_read(name)).collect();
    Origin { made_from: made_from(common, &task.labels().package), read, carries: None }
}

/// The names of all variables whose values look secret. Paths of keys and certificates do not.
fn secret_variables(common: &Common<'_>) -> impl Iterator<Item = String> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let all = common.env.all().into_iter().map(move |(name, value)| (text(name), text(value)));
    all.filter(|(name, value)| !value.is_empty() && !is_path(value) && is_secret(name, value)).map(|(name, _)| name)
}

/// The digests of libraries and programs that arguments name, and of what the build script of the package printed.
fn made_from(common: &Common<'_>, package: &str) -> Vec<Digest> {
    let files = common.lookup.files.iter().map(|(_, content)| content.digest);
    // Cargo keeps it beside `OUT_DIR`. For the run itself, that is what an earlier run printed.
    let printed = common.env.path(env::OUT_DIR).and_then(|dir| {
        let bytes = fsx::read(&dir.with_file_name("output")).ok()?;
        Some(printed_by(package, &snapshot::messages_here(&bytes, &with_repository(&common.roots))?))
    });
    files.chain(printed).collect()
}

/// The roots as a run has them.
fn with_repository(roots: &Roots) -> Roots {
    let workspace = roots.place(RootKind::Workspace).map(Path::new);
    let repository = (RootKind::Repository, workspace.and_then(script::repository_above));
    Roots::new(roots.iter().map(|(kind, place)| (kind, Some(place.into()))).chain([repository]))
}
