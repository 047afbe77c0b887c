//! Paths that a plugin was told and went nowhere with.
//!
//! A macro that reads `CARGO_MANIFEST_DIR` to open a file below it gives the same in every checkout; what it read is an
//! input. One that takes the path itself (its length, its hash) gives another result in each, and no scan of the output can
//! find that. Nobody sees which it is, but who opens nothing below a path cannot have wanted it for that: then its roots are
//! pinned. (A macro that does both is not found out.)
//!
//! A build script is judged more mildly: it also uses a path by writing below it, by handing it to a compiler that reads
//! there, and by naming it in a text for cargo or for other programs, where the scan finds it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

use super::observed::Known;
use super::{Context, Subject};
use crate::config::env;
use crate::model::{Input, RootKind};
use crate::observe::{Seen, What};

/// Pins for the roots in such paths. `named`: what a plugin's shells were told by variables.
pub fn pins(seen: &Seen, named: &[What], known: Known<'_>) -> Vec<Input> {
    let (context, is_run) = (known.context, matches!(known.subject, Subject::Run(_)));
    let by_plugin = || seen.facts.iter().filter(|fact| fact.plugin).map(|fact| &fact.what);
    let by_all = || seen.facts.iter().map(|fact| &fact.what);
    let went: BTreeSet<&str> = match is_run {
        true => by_all().filter_map(went_to).chain(seen.written.keys().map(String::as_str)).collect(),
        false => by_plugin().filter_map(went_to).collect(),
    };
    // A package's directory holds the target directory as a rule: who writes there does not go by the package.
    let target = context.roots.place(RootKind::Target).filter(|_| is_run).map(Path::new);
    let is_elsewhere = |path: &str, told: &str| {
        target.is_some_and(|target| Path::new(path).starts_with(target) && !Path::new(told).starts_with(target))
    };
    // The scan judges what is named in a text.
    let is_named = |path: &str| known.texts.iter().any(|text| text.contains(path));
    let mut kinds: BTreeSet<RootKind> = BTreeSet::new();
    for path in by_plugin().chain(named).filter_map(|what| told(what, context)) {
        let path = path.trim_end_matches('/');
        let below = format!("{path}/");
        let all_below = went.range(below.as_str()..).take_while(|went| went.starts_with(&below));
        let is_below = all_below.into_iter().any(|went| !is_elsewhere(went, path));
        if !is_below && !went.contains(path) && !is_named(path) {
            kinds.extend(context.roots.tokenise(path).roots());
        }
    }
    let place = |kind: RootKind| context.roots.place(kind).map(|place| Input::Pinned(kind, place.to_owned()));
    kinds.into_iter().filter_map(place).collect()
}

/// A path that a plugin was told: by a variable that came from cargo, or as that of a directory.
fn told<'a>(what: &'a What, context: Context<'_>) -> Option<&'a str> {
    match what {
        // Lists of directories are inputs by their values.
        What::Env(name, _) if name == env::PATH || name == env::LD_LIBRARY_PATH => None,
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
