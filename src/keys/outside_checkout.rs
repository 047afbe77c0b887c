//! Pins runs whose searches go up from the package's directory and leave the checkout, or that look at something next
//! to it.
//!
//! A script that looks for `config.toml` in its directory, and then in each directory above, finds another file in a
//! checkout at another place. The recorded paths above the checkout are those around the first checkout, and they still
//! hold when the second one is validated. So a run that searched beyond its checkout is pinned to it. So is a run that
//! looked at, or named, something that shares a directory with the checkout: `../sibling` of another checkout is
//! another directory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{ObservedContext, ObservedSubject};
use crate::model::{Input, RootKind};
use crate::observe::{Observation, Seen};

/// Returns the pin of a run that searched for one name both in the checkout and above it. A compile that starts a shell
/// may do so, too.
pub(super) fn pin(seen: &Seen, observed: ObservedContext<'_>) -> Option<Input> {
    let (cwd, is_run) = match observed.subject {
        ObservedSubject::Run(script) => (&script.cwd, true),
        ObservedSubject::Compile(invocation) if !seen.shells.is_empty() => (&invocation.cwd, false),
        ObservedSubject::Compile(_) => return None,
    };
    let facts = &seen.facts;
    let roots = observed.context.roots;
    let outermost =
        [RootKind::Repository, RootKind::Workspace].into_iter().find_map(|kind| Some((kind, roots.place(kind)?)));
    // A package of the registry is not in a checkout.
    let (kind, checkout) = outermost.filter(|(_, place)| cwd.starts_with(place))?;
    let mut searched: HashMap<&str, (bool, bool)> = HashMap::new();
    for path in facts.iter().filter_map(|fact| looked_at(&fact.observation)).map(Path::new) {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            continue;
        };
        // Resolving a path looks at every directory on the way.
        if cwd.starts_with(dir) && !cwd.starts_with(path) {
            let (inside, above) = searched.entry(name).or_default();
            *inside |= dir.starts_with(checkout);
            *above |= !dir.starts_with(checkout);
        }
    }
    let left = searched.values().any(|(inside, above)| *inside && *above);
    let beside = || {
        facts.iter().filter_map(|fact| looked_at(&fact.observation)).any(|path| is_beside(Path::new(path), observed))
    };
    let named = || observed.texts.iter().any(|text| names_beside(text, checkout, observed));
    (left || is_run && (beside() || named())).then(|| Input::Pinned(kind, checkout.to_owned()))
}

/// Whether a path shares a directory with the workspace, but is not below it, on the way to it, or below another root.
fn is_beside(path: &Path, observed: ObservedContext<'_>) -> bool {
    let roots = observed.context.roots;
    let Some(workspace) = roots.place(RootKind::Workspace).map(Path::new) else { return false };
    let is_of_root = |(kind, place): (RootKind, &str)| {
        // A home directory may contain the workspace.
        let is_around = workspace.starts_with(place) && !matches!(kind, RootKind::Workspace | RootKind::Repository);
        (path.starts_with(place) && !is_around) || Path::new(place).starts_with(path)
    };
    let common: PathBuf = workspace
        .components()
        .zip(path.components())
        .take_while(|(one, other)| one == other)
        .map(|(one, _)| one)
        .collect();
    let home = roots.place(RootKind::Home).map(Path::new);
    let is_hidden = || {
        let name = path.strip_prefix(&common).ok().and_then(|rest| rest.iter().next()).and_then(|name| name.to_str());
        Some(common.as_path()) == home && name.is_some_and(|name| name.starts_with('.'))
    };
    !roots.iter().any(is_of_root) && is_of_checkout(&common, observed) && !is_hidden()
}

/// Whether a directory above a checkout belongs to the checkout rather than to the system.
fn is_of_checkout(dir: &Path, observed: ObservedContext<'_>) -> bool {
    let tmp = observed.context.roots.place(RootKind::Tmp).map(Path::new);
    dir.parent().is_some() && Some(dir) != tmp && dir != Path::new("/tmp")
}

/// Whether a text names something other than the checkout in the directory of the checkout.
fn names_beside(text: &str, checkout: &str, observed: ObservedContext<'_>) -> bool {
    let home = observed.context.roots.place(RootKind::Home).map(Path::new);
    let Some((parent, name)) = checkout.rsplit_once('/') else { return false };
    let place = Path::new(parent);
    if Some(place) == home || !is_of_checkout(place, observed) {
        return false;
    }
    let parent = format!("{parent}/");
    text.match_indices(&parent).any(|(at, _)| {
        let rest = &text[at + parent.len()..];
        let is_longer = |rest: &str| rest.starts_with(|next: char| next.is_alphanumeric() || "_-.".contains(next));
        rest.strip_prefix(name).is_none_or(is_longer)
    })
}

/// Returns the path that a call looked at.
fn looked_at(observation: &Observation) -> Option<&str> {
    match observation {
        Observation::Read(path)
        | Observation::Stat(path, _)
        | Observation::LinkStat(path, _)
        | Observation::List(path) => Some(path),
        _ => None,
    }
}
