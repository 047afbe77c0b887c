//! Does a recorded input set still hold here?

use std::path::Path;

use super::Context;
use crate::fsx;
use crate::model::{Digest, Input, TokenString};

/// The first input that differs, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differs(pub String);

/// Checks every input; one `stat` per file in the usual case.
pub fn holds(inputs: &[Input], context: Context<'_>) -> Result<(), Differs> {
    inputs.iter().try_for_each(|input| check(input, context))
}

pub(super) fn check(input: &Input, context: Context<'_>) -> Result<(), Differs> {
    let (same, what) = match input {
        Input::File(path, digest) => (file_is(path, *digest, context), path.as_str()),
        Input::Absent(path) => (is_absent(path, context), path.as_str()),
        Input::Env(name, value) => (env_is(name, value.as_ref(), context), name.as_str()),
        Input::Pinned(kind, place) => (context.roots.place(*kind) == Some(place), kind.name()),
        Input::DiagnosticWidth(width) => (*width == context.invocation.diagnostic_width, "--diagnostic-width"),
    };
    if same { Ok(()) } else { Err(Differs(format!("{} {what}", kind_of(input)))) }
}

fn kind_of(input: &Input) -> &'static str {
    match input {
        Input::File(..) => "file",
        Input::Absent(..) => "absent file",
        Input::Env(..) => "variable",
        Input::Pinned(..) => "root",
        Input::DiagnosticWidth(..) => "flag",
    }
}

fn file_is(path: &TokenString, digest: Digest, context: Context<'_>) -> bool {
    let Some(path) = context.roots.expand(path) else { return false };
    let content = context.stamps.content(&context.invocation.cwd.join(path));
    content.is_ok_and(|content| content.digest == digest)
}

fn is_absent(path: &TokenString, context: Context<'_>) -> bool {
    context.roots.expand(path).is_some_and(|path| !fsx::exists(&context.invocation.cwd.join(Path::new(&path))))
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
