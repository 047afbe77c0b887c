//! Checks whether a recorded input set still holds here.

use std::path::Path;

use super::files::{self, FileValidator};
use super::{Context, environment, git, inspect, known_variables, processor};
use crate::fsx;
use crate::model::{Digest, Input, TokenString};

/// The first input that differs, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differs(pub String);

/// Checks every input. The usual cost is one `stat` per file or absence, and one query of the stamp memo for all files.
pub fn holds(inputs: &[Input], context: Context<'_>) -> Result<(), Differs> {
    let mut files = FileValidator::new(context);
    let is_beside = |one: &Input, next: &Input| {
        let dir = files::directory_of(one);
        dir.is_some() && dir == files::directory_of(next)
    };
    for side_by_side in inputs.chunk_by(is_beside) {
        match side_by_side {
            [other] if files::directory_of(other).is_none() => check(other, context)?,
            beside => files.look(beside).map_err(differs)?,
        }
    }
    files.compare().map_err(differs)
}

fn differs(input: &Input) -> Differs {
    Differs(input.words())
}

pub(super) fn check(input: &Input, context: Context<'_>) -> Result<(), Differs> {
    let same = match input {
        Input::File(path, digest) => file_is(path, *digest, context),
        Input::Absent(path) => is_absent(path, context),
        Input::Env(name, value) => env_is(name, value.as_ref(), context),
        Input::Pinned(kind, place) => context.roots.place(*kind) == Some(place),
        Input::Present(path, kind) => at(path, context, inspect::kind) == Some(*kind),
        Input::PresentNoFollow(path, kind) => at(path, context, inspect::kind_no_follow) == Some(*kind),
        Input::Mode(path, bits) => at(path, context, inspect::owner_mode) == Some(*bits),
        Input::Modified(path, seconds) => at(path, context, inspect::mtime) == Some(*seconds),
        Input::Created(path, seconds) => at(path, context, inspect::creation_time) == Some(*seconds),
        Input::Listing(path, digest) => at(path, context, |dir| context.stamps.listing(dir).ok()) == Some(*digest),
        Input::Link(path, target) => leads_to(target, at(path, context, fsx::read_link_text).as_deref(), context),
        Input::Resolved(path, real) => leads_to(real, at(path, context, inspect::resolved).as_deref(), context),
        Input::Program(name, path) => inspect::program(name, context) == *path,
        Input::Environment(digest) => environment::digest(context) == *digest,
        Input::KnownVariables(known) => known_variables::holds(known, context),
        Input::Processor(digest) => processor::digest() == Some(*digest),
        Input::GitIndex(path, digest) => at(path, context, |index| git::state(index, context)) == Some(*digest),
        Input::DiagnosticWidth(width) => width.as_deref() == context.diagnostic_width,
    };
    if same { Ok(()) } else { Err(differs(input)) }
}

/// Returns what `look` finds at `path` in this checkout. `None` if a root of the path has no place here.
pub(super) fn at<T>(path: &TokenString, context: Context<'_>, look: impl FnOnce(&Path) -> Option<T>) -> Option<T> {
    let path = context.roots.expand(path)?;
    look(&context.cwd.join(path))
}

fn file_is(path: &TokenString, digest: Digest, context: Context<'_>) -> bool {
    let Some(path) = context.roots.expand(path) else { return false };
    let content = context.stamps.content(&context.cwd.join(path));
    content.is_ok_and(|content| content.digest == digest)
}

/// Whether the path that was found is the recorded one, with the places of this checkout. A path below a root that is
/// not known here never matches, not even a link that does not exist.
fn leads_to(recorded: &TokenString, found: Option<&str>, context: Context<'_>) -> bool {
    found.is_some() && found == context.roots.expand(recorded).as_deref()
}

fn is_absent(path: &TokenString, context: Context<'_>) -> bool {
    context.roots.expand(path).is_some_and(|path| !fsx::exists(&context.cwd.join(Path::new(&path))))
}

fn env_is(name: &str, recorded: Option<&TokenString>, context: Context<'_>) -> bool {
    match (context.env.get(name), recorded) {
        (None, None) => true,
        (Some(value), Some(recorded)) => {
            value.to_str().is_some_and(|value| context.roots.expand(recorded).as_deref() == Some(value))
        }
        _ => false,
    }
}
