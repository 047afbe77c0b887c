//! Pins the roots of leaked paths: those that a plugin learned without opening anything there.
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

use super::{Context, ObservedContext, ObservedSubject};
use crate::config::env;
use crate::model::{Input, RootKind};
use crate::observe::{Observation, Seen};

/// Returns pins for the roots of leaked paths. `named`: the variables that the shells of plugins named.
pub fn pins(seen: &Seen, named: &[Observation], observed: ObservedContext<'_>) -> Vec<Input> {
    let (context, is_run) = (observed.context, matches!(observed.subject, ObservedSubject::Run(_)));
    let by_plugin = || seen.facts.iter().filter(|fact| fact.plugin).map(|fact| &fact.observation);
    let by_all = || seen.facts.iter().map(|fact| &fact.observation);
    let used: BTreeSet<&str> = match is_run {
        true => by_all().filter_map(path_used).chain(seen.written.keys().map(String::as_str)).collect(),
        false => by_plugin().filter_map(path_used).collect(),
    };
    // A package's directory usually contains the target directory. Writing there is not a use of the package's path.
    let target = context.roots.place(RootKind::Target).filter(|_| is_run).map(Path::new);
    let is_elsewhere = |path: &str, leaked: &str| {
        target.is_some_and(|target| Path::new(path).starts_with(target) && !Path::new(leaked).starts_with(target))
    };
    // The scan finds a path that is named in a text.
    let is_named = |path: &str| observed.texts.iter().any(|text| text.contains(path));
    let mut kinds: BTreeSet<RootKind> = BTreeSet::new();
    for path in by_plugin().chain(named).filter_map(|observation| leaked(observation, context)) {
        let path = path.trim_end_matches('/');
        let below = format!("{path}/");
        let all_below = used.range(below.as_str()..).take_while(|used| used.starts_with(&below));
        let is_below = all_below.into_iter().any(|used| !is_elsewhere(used, path));
        if !is_below && !used.contains(path) && !is_named(path) {
            kinds.extend(context.roots.tokenise(path).roots());
        }
    }
    let place = |kind: RootKind| context.roots.place(kind).map(|place| Input::Pinned(kind, place.to_owned()));
    kinds.into_iter().filter_map(place).collect()
}

/// Returns the path that an observation shows to a plugin: from a variable that came from cargo, or as the name of a
/// directory.
fn leaked<'a>(observation: &'a Observation, context: Context<'_>) -> Option<&'a str> {
    match observation {
        // Lists of directories are inputs by their values.
        Observation::Env(name, _) if name == env::PATH || name == env::LD_LIBRARY_PATH => None,
        Observation::Env(name, Some(value)) => {
            (context.env.get(name).as_deref() == Some(OsStr::new(value))).then_some(value)
        }
        Observation::Resolve(path, real) => (path == real).then_some(path),
        _ => None,
    }
}

/// Returns the path that a program looked at.
fn path_used(observation: &Observation) -> Option<&str> {
    match observation {
        Observation::Read(path)
        | Observation::Stat(path, _)
        | Observation::LinkStat(path, _)
        | Observation::List(path)
        | Observation::Link(path, _)
        | Observation::Program(path) => Some(path),
        _ => None,
    }
}
