//! git's index among what was observed.

use std::path::Path;

use super::{Collector, Known};
use crate::keys::record::NotStored;
use crate::keys::{git, record};
use crate::model::{Input, Stored};
use crate::observe::{Seen, What};

impl<'a> Collector<'a> {
    /// The variable that led a git to another index than that of the directory where it ran.
    pub(super) fn git_goes_elsewhere(&self, seen: &'a Seen) -> Option<&'a str> {
        let leads = |what: &'a What| match what {
            What::Env(name, Some(_)) if git::LEADING_ELSEWHERE.contains(&name.as_str()) => Some(name.as_str()),
            _ => None,
        };
        seen.facts.iter().find_map(|fact| leads(&fact.what)).filter(|_| self.runs_git)
    }

    /// git's index. Of other programs than git, who knows whether they go by its bytes.
    pub(super) fn index(&mut self, path: &str) -> Result<(), NotStored> {
        let Known { context, start, .. } = self.known;
        let unknown = || NotStored(Stored::Unobserved, format!("git's index {path}, in an unknown form"));
        let state = git::state(Path::new(path), context).ok_or_else(unknown)?;
        let content = record::file_input(path, context, start.time);
        let before = start.git.as_ref().filter(|git| git.lists_the_same_files(Path::new(path)));
        let is_same = || before.and_then(|git| git.state(context)) == Some(state);
        match content {
            Ok(content) if !self.runs_git => self.insert("file", path, content),
            Err(changed) if !self.runs_git || !is_same() => return Err(changed),
            Ok(_) | Err(_) => {}
        }
        self.insert("index", path, Input::GitIndex(context.roots.tokenise(path), state));
        Ok(())
    }
}
