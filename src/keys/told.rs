//! Pins the roots of paths that a plugin learned without opening anything there.
//!
//! A macro that reads `CARGO_MANIFEST_DIR` to open a file below it gives the same result in every checkout; the file
//! that it read is an input. A macro that uses the path itself (its length, its hash) gives another result in each
//! checkout, and a scan of the output cannot find that. kache cannot see which of the two a macro does. But a macro
//! that opens nothing below a path did not read it for that purpose, so the roots of the path are pinned. (kache does
//! not detect a macro that does both.)
//!
//! The rule for a build script is milder. A script also uses a path by writing below it, by passing it to a compiler
//! that reads there, and by naming it in a text for cargo or for other programs, where the scan finds it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

use super::observed::Known;
use super::{Context, Subject};
use crate::config::env;
use crate::model::{Input, RootKind};
use crate::observe::{Seen, What};

/// Returns pins for the roots of such paths. `named`: the variables that the shells of plugins named.
pub fn pins(seen: &Seen, named: &[What], known: Known<'_>) -> Vec<Input> {
    let (context, is_run) = (known.context, matches!(known.subject, Subject::Run(_)));
    let by_plugin = || seen.facts.iter().filter(|fact| fact.plugin).map(|fact| &fact.what);
    let by_all = || seen.facts.iter().map(|fact| &fact.what);
    let went: BTreeSet<&str> = match is_run {
        true => by_all().filter_map(went_to).chain(seen.written.keys().map(String::as_str)).collect(),
        false => by_plugin().filter_map(went_to).collect(),
    };
    // A package's directory usually contains the target directory. Writing there is not a use of the package's path.
    let target = context.roots.place(RootKind::Target).filter(|_| is_run).map(Path::new);
    let is_elsewhere = |path: &str, told: &str| {
        target.is_some_and(|target| Path::new(path).starts_with(target) && !Path::new(told).starts_with(target))
    };
    // The scan finds a path that is named in a text.
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

/// Returns a path that a plugin learned: from a variable that came from cargo, or as the name of a directory.
fn told<'a>(what: &'a What, context: Context<'_>) -> Option<&'a str> {
    match what {
        // Lists of directories are inputs by their values.
        What::Env(name, _) if name == env::PATH || name == env::LD_LIBRARY_PATH => None,
        What::Env(name, Some(value)) => (context.env.get(name).as_deref() == Some(OsStr::new(value))).then_some(value),
        What::Resolve(path, real) => (path == real).then_some(path),
        _ => None,
    }
}

/// Returns the path that a program looked at.
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
