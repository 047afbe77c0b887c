//! The paths that a compile made, spelled as in facts ([`super::facts`]). Pure.

use std::collections::HashSet;

/// Paths that the compile made, directories included.
#[derive(Default)]
pub(super) struct MadePaths {
    paths: HashSet<String>,
    /// Length of the shortest path in bytes; 0 if there is none. Shorter paths need no lookup: most paths that a
    /// compile reads are outside of what it made.
    shortest: usize,
}

impl MadePaths {
    /// Adds a path that the compile made.
    pub(super) fn insert(&mut self, path: String) {
        self.shortest = if self.paths.is_empty() { path.len() } else { self.shortest.min(path.len()) };
        self.paths.insert(path);
    }

    /// Whether exactly this path was made.
    pub(super) fn contains(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// Whether `path` or a directory above it was made.
    pub(super) fn covers(&self, path: &str) -> bool {
        let ends = memchr::memrchr_iter(b'/', path.as_bytes()).filter(|slash| *slash > 0);
        [path.len()]
            .into_iter()
            .chain(ends)
            .take_while(|end| *end >= self.shortest)
            .any(|end| self.contains(&path[..end]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_a_made_path_is_made_too() {
        let mut made = MadePaths::default();
        assert!(!made.covers("/a") && !made.contains("/a"));
        made.insert("/w/target/dir".to_owned());
        assert!(made.covers("/w/target/dir") && made.covers("/w/target/dir/sub/f") && made.contains("/w/target/dir"));
        assert!(!made.covers("/w/target") && !made.covers("/w/target/dirt") && !made.contains("/w/target/dir/f"));
        made.insert("/t".to_owned());
        assert!(made.covers("/t/x") && !made.covers("/tt"), "a shorter path than the first");
    }
}
