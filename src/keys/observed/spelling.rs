//! The spelling of observed paths in inputs.

use std::path::Path;

use super::InputCollector;
use crate::keys::{ObservedSubject, parent_paths};
use crate::observe::Observation;

impl InputCollector<'_> {
    /// Returns `observation` without `..` in its path, if the path goes up from a directory in `OUT_DIR`.
    pub(super) fn without_parents(&self, observation: &Observation) -> Option<Observation> {
        let ObservedSubject::Run(script) = self.observed.subject else { return None };
        let without = |path: &str| {
            parent_paths::without_parents(Path::new(path), &script.out_dir)?.into_os_string().into_string().ok()
        };
        match observation {
            Observation::Read(path) => without(path).map(Observation::Read),
            Observation::Stat(path, found) => without(path).map(|path| Observation::Stat(path, *found)),
            Observation::LinkStat(path, found) => without(path).map(|path| Observation::LinkStat(path, *found)),
            Observation::List(path) => without(path).map(Observation::List),
            _ => None,
        }
    }
}
