//! Paths that were looked up and did not exist.

use std::path::{Path, PathBuf};

use super::InputCollector;
use crate::fsx;
use crate::keys::side_effects::is_temporary;
use crate::keys::{NotStored, inspect};
use crate::model::{Input, RootKind};

impl InputCollector<'_> {
    /// Records a path that does not exist. Outside the roots it records the first missing part of the path instead,
    /// because linkers try many names in directories that do not exist.
    pub(super) fn record_absent(&mut self, path: &str, plugin: bool) -> Result<(), NotStored> {
        let place = Path::new(path);
        let is_irrelevant = self.is_in_sysroot(place) || is_temporary(place, self.observed.context);
        if self.observed.subject.owns(place) || (!plugin && (is_irrelevant || self.record_as_lookup(place))) {
            return Ok(());
        }
        if inspect::kind(place).is_some() {
            return self.appeared(place, plugin);
        }
        let Some(end) = self.end_of_links(place, plugin) else { return Ok(()) };
        let (path, place) = (end.to_str().unwrap_or(path), end.as_path());
        let roots = self.observed.context.roots;
        let is_local = !roots.tokenise(path).roots().is_empty();
        let is_missing = |part: &&Path| inspect::kind(part).is_none();
        // The last of the consecutive missing paths, from this path upward, is the first missing part.
        let missing = if is_local { Some(place) } else { place.ancestors().take_while(is_missing).last() };
        let Some(missing) = missing.and_then(Path::to_str) else { return Ok(()) };
        let token = roots.tokenise(missing);
        // Sources of the registry do not change.
        if plugin || !token.roots().contains(&RootKind::CargoHome) {
            self.insert(missing, Input::Absent(token));
        }
        Ok(())
    }

    /// Follows the links from `path` on, and returns the path at their end, which does not exist. The links are inputs.
    /// `None` if they lead in a circle; then the links alone are the inputs.
    fn end_of_links(&mut self, path: &Path, plugin: bool) -> Option<PathBuf> {
        /// The number of links that Linux follows.
        const MAX_LINKS: usize = 40;
        let mut place = path.to_owned();
        for _ in 0..MAX_LINKS {
            let Some((target, text)) = fsx::read_link_text(&place).zip(place.to_str()) else { return Some(place) };
            self.record_link(text, &target, plugin);
            place = place.parent().unwrap_or(&place).join(target);
        }
        None
    }

    /// Handles a path that did not exist earlier but does now. Fails unless the compile made it itself: its outputs are
    /// not inputs.
    fn appeared(&self, path: &Path, plugin: bool) -> Result<(), NotStored> {
        let is_made = path.ancestors().filter_map(Path::to_str).any(|part| self.written.contains_key(part));
        let below = format!("{}/", path.display());
        let holds_made =
            || self.written.range(below.clone()..).next().is_some_and(|(made, _)| made.starts_with(&below));
        // Crates that are still being compiled.
        let is_output = !plugin && path.parent().is_some_and(|dir| self.search_dirs.contains(dir));
        if is_made || is_output || holds_made() { Ok(()) } else { Err(NotStored::changed(path)) }
    }
}
