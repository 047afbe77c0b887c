//! Finds where a secret in the result of a compile or run may come from: the results of other compiles and runs that it
//! was given, and variables that no input names. A secret in one of them may be in its result, too
//! ([`crate::store::withheld`]).

use std::path::Path;

use super::snapshot;
use super::task::{Common, Task};
use crate::config::env;
use crate::fsx;
use crate::keys::{Roots, environment, script};
use crate::model::secret::{Carried, is_path, is_secret, is_token};
use crate::model::{Digest, Input, RootKind};
use crate::script::directives;
use crate::store::withheld::{printed_by, secret_of};
use crate::store::{Message, Origin};

/// Where a secret in a result with these inputs may come from.
pub(super) fn of(task: &impl Task, inputs: &[Input]) -> Origin {
    Origin { made_from: made_from(task), read: read(task, inputs), ..Origin::default() }
}

/// The variables whose values look secret and that no input names.
fn read(task: &impl Task, inputs: &[Input]) -> Vec<String> {
    let is_declared = |name: &str| task.common().declared.as_ref().is_some_and(|declared| declared.names(name));
    let is_in_key = |name: &str| is_declared(name) || task.keys_variable(name);
    let is_read = |name: &str| is_in_key(name) || inputs.iter().any(|input| environment::covers(input, name));
    secret_variables(task.common()).map(|(name, _)| name).filter(|name| is_read(name)).collect()
}

/// The secret that a result may carry which is not stored. `inputs`: what was read, `None` if that is not known.
pub(super) fn carried(task: &impl Task, inputs: impl FnOnce() -> Option<Vec<Input>>) -> Option<Carried> {
    let common = task.common();
    let known = common.store.carriers();
    let inherited = || {
        let made_from = if known.is_empty() { Vec::new() } else { made_from(task) };
        made_from.iter().find_map(|digest| known.get(digest)).cloned()
    };
    if !has_secrets(common) {
        return inherited();
    }
    let may_be_read = |(name, value): &(String, String)| environment::is_in_digest(name) && is_token(value);
    let any = || secret_variables(common).find(may_be_read).map(|(name, _)| name);
    let of_inputs =
        |inputs: Vec<Input>| secret_of(&inputs).map(str::to_owned).or_else(|| read(task, &inputs).into_iter().next());
    let own = inputs().map_or_else(any, of_inputs);
    own.map(|variable| Carried { crate_name: task.labels().crate_name, variable }).or_else(inherited)
}

/// Whether the value of any variable looks secret.
pub(super) fn has_secrets(common: &Common<'_>) -> bool {
    secret_variables(common).next().is_some()
}

/// All variables whose values look secret. Paths of keys and certificates do not.
fn secret_variables(common: &Common<'_>) -> impl Iterator<Item = (String, String)> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let all = common.env.all().into_iter().map(move |(name, value)| (text(name), text(value)));
    all.filter(|(name, value)| !value.is_empty() && !is_path(value) && is_secret(name, value))
}

/// The digests of libraries and programs that arguments name, of what the build script of the package printed, and of
/// what other scripts told this one.
fn made_from(task: &impl Task) -> Vec<Digest> {
    let (common, package) = (task.common(), &task.labels().package);
    let roots = script::text_roots(&common.roots);
    let is_told = |name: &String| name.starts_with("DEP_") && task.keys_variable(name);
    let variables = common.env.texts().into_iter().filter(|(name, _)| is_told(name));
    let told = variables.map(|(name, value)| told_by(&name, &value, &roots));
    let files = common.lookup.files.iter().map(|(_, content)| content.digest);
    // Cargo keeps it beside `OUT_DIR`. For the run itself, that is what an earlier run printed.
    let printed = common.env.path(env::OUT_DIR).and_then(|dir| {
        let bytes = fsx::read(&dir.with_file_name("output")).ok()?;
        Some(printed(package, &bytes, &with_repository(&common.roots)))
    });
    files.chain(printed).chain(told).collect()
}

/// The digests of what a run tells the scripts of dependents.
pub(super) fn told(task: &impl Task, stdout: &[u8]) -> Vec<Digest> {
    let links = task.common().env.text(env::CARGO_MANIFEST_LINKS).unwrap_or_default();
    let roots = script::text_roots(&task.common().roots);
    let variables = directives::metadata(&String::from_utf8_lossy(stdout), &links);
    variables.iter().map(|(name, value)| told_by(name, value, &roots)).collect()
}

fn told_by(name: &str, value: &str, roots: &Roots) -> Digest {
    Digest::of(&serde_json::to_vec(&(name, roots.tokenise(value))).unwrap_or_default())
}

/// The digest of what a build script of the package printed, also if that is no text. `roots`: those of a run.
pub(super) fn printed(package: &str, stdout: &[u8], roots: &Roots) -> Digest {
    let as_it_is = || vec![Message::Raw(String::from_utf8_lossy(stdout).into_owned())];
    printed_by(package, &snapshot::messages_here(stdout, roots).unwrap_or_else(as_it_is))
}

/// The roots as a run has them.
fn with_repository(roots: &Roots) -> Roots {
    let workspace = roots.place(RootKind::Workspace).map(Path::new);
    let repository = (RootKind::Repository, workspace.and_then(script::repository_above));
    Roots::new(roots.iter().map(|(kind, place)| (kind, Some(place.into()))).chain([repository]))
}
