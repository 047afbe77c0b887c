//! Searches that go up from a package's directory and leave the checkout.
//!
//! A script that looks for `config.toml` beside itself, then in each directory above, finds another file in a checkout at
//! another place. The recorded paths above the checkout name places around the first one, which still hold when the second
//! one asks. So whoever searched beyond the checkout is pinned to it.

use std::collections::HashMap;
use std::path::Path;

use super::Subject;
use super::observed::Known;
use crate::model::{Input, RootKind};
use crate::observe::{Fact, What};

/// The pin of a run that searched for one name in the checkout, or below, and above it.
pub(super) fn pin(facts: &[Fact], known: Known<'_>) -> Option<Input> {
    let Subject::Run(script) = known.subject else { return None };
    let roots = known.context.roots;
    let outermost =
        [RootKind::Repository, RootKind::Workspace].into_iter().find_map(|kind| Some((kind, roots.place(kind)?)));
    // A package of the registry has no checkout around it.
    let (kind, checkout) = outermost.filter(|(_, place)| script.cwd.starts_with(place))?;
    let mut searched: HashMap<&str, (bool, bool)> = HashMap::new();
    for path in facts.iter().filter_map(|fact| looked_at(&fact.what)).map(Path::new) {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            continue;
        };
        // Whoever resolves a path looks at the directories on the way.
        if script.cwd.starts_with(dir) && !script.cwd.starts_with(path) {
            let (inside, above) = searched.entry(name).or_default();
            *inside |= dir.starts_with(checkout);
            *above |= !dir.starts_with(checkout);
        }
    }
    let left = searched.values().any(|(inside, above)| *inside && *above);
    left.then(|| Input::Pinned(kind, checkout.to_owned()))
}

fn looked_at(what: &What) -> Option<&str> {
    match what {
        What::Read(path) | What::Stat(path, _) | What::LinkStat(path, _) | What::List(path) => Some(path),
        _ => None,
    }
}
