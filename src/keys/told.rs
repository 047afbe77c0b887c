//! Paths that a plugin was told and went nowhere with.
//!
//! A macro that reads `CARGO_MANIFEST_DIR` to open a file below it gives the same in every checkout; what it read is an
//! input. One that takes the path itself (its length, its hash) gives another result in each, and no scan of the output can
//! find that. Nobody sees which it is, but who opens nothing below a path cannot have wanted it for that: then its roots are
//! pinned. (A macro that does both is not found out.)

use std::collections::BTreeSet;
use std::ffi::OsStr;

use super::Context;
use crate::model::{Input, RootKind};
use crate::observe::{Fact, What};

/// Pins for the roots in such paths.
pub fn pins(facts: &[Fact], context: Context<'_>) -> Vec<Input> {
    let by_plugin = || facts.iter().filter(|fact| fact.plugin).map(|fact| &fact.what);
    let went: BTreeSet<&str> = by_plugin().filter_map(went_to).collect();
    let mut kinds: BTreeSet<RootKind> = BTreeSet::new();
    for path in by_plugin().filter_map(|what| told(what, context)) {
        let path = path.trim_end_matches('/');
        let below = format!("{path}/");
        let is_below = went.range(below.as_str()..).next().is_some_and(|first| first.starts_with(&below));
        if !is_below && !went.contains(path) {
            kinds.extend(context.roots.tokenise(path).roots());
        }
    }
    let place = |kind: RootKind| context.roots.place(kind).map(|place| Input::Pinned(kind, place.to_owned()));
    kinds.into_iter().filter_map(place).collect()
}

/// A path that a plugin was told: by a variable that came from cargo, or as that of a directory.
fn told<'a>(what: &'a What, context: Context<'_>) -> Option<&'a str> {
    match what {
        What::Env(name, Some(value)) => (context.env.get(name).as_deref() == Some(OsStr::new(value))).then_some(value),
        What::Resolve(path, real) => (path == real).then_some(path),
        _ => None,
    }
}

/// A path that a plugin looked at, or below.
fn went_to(what: &What) -> Option<&str> {
    match what {
        What::Read(path)
        | What::Stat(path, _)
        | What::LinkStat(path, _)
        | What::List(path)
        | What::Link(path, _)
        | What::Program(path) => Some(path),
        _ => None,
    }
}
