//! git's index among the files that were observed.

use std::path::Path;

use super::InputCollector;
use crate::keys::{NotStored, ObservedContext, git, record};
use crate::model::{Input, Stored};
use crate::observe::{Observation, Seen};

impl<'a> InputCollector<'a> {
    /// Returns the variable that made git use another index than that of the directory where it ran.
    pub(super) fn git_redirection(&self, seen: &'a Seen) -> Option<&'a str> {
        let leads = |observation: &'a Observation| match observation {
            Observation::Env(name, Some(_)) if git::REDIRECTING_VARIABLES.contains(&name.as_str()) => {
                Some(name.as_str())
            }
            _ => None,
        };
        seen.facts.iter().find_map(|fact| leads(&fact.observation)).filter(|_| self.runs_git)
    }

    /// Records git's index by its meaning. Unless git was run, also records it by its bytes, because another program
    /// may depend on them.
    pub(super) fn record_git_index(&mut self, path: &str) -> Result<(), NotStored> {
        let ObservedContext { context, start, .. } = self.observed;
        let unknown = || NotStored(Stored::Unobserved, format!("git's index {path}, in an unknown form"));
        let state = git::state(Path::new(path), context).ok_or_else(unknown)?;
        let content = record::file_input(path, context, start.time);
        let before = start.git.as_ref().filter(|git| git.lists_the_same_files(Path::new(path)));
        let is_same = || before.and_then(|git| git.state(context)) == Some(state);
        if !self.runs_git {
            self.insert(path, content?);
        } else if let Err(changed) = content
            && !is_same()
        {
            return Err(changed);
        }
        self.insert(path, Input::GitIndex(context.roots.tokenise(path), state));
        Ok(())
    }
}
