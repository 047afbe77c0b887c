//! Finds the files that a declared path or glob names.
//!
//! A pattern is matched one part and one directory at a time, so that only directories that can contain a match are
//! listed. A pattern does not descend into `.git`, or into directories that are marked as caches (`CACHEDIR.TAG`:
//! target directories, kache's own), because their times change with every build. A part that is not a pattern may name
//! any directory. Links are followed; a directory that was visited under one name is not visited under another.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use glob::Pattern;

use crate::config::project::is_pattern;
use crate::fsx::{self, Stamp};

/// A pattern that lists more directory entries than this is refused.
const MAX_DIRECTORY_ENTRIES: usize = 20_000;

/// The files and directories that a path or glob names here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct GlobMatches {
    /// The files. A path without a pattern names one file, whether it exists or not.
    pub(super) files: BTreeSet<PathBuf>,
    /// The directories in which more files could appear.
    pub(super) dirs: BTreeSet<PathBuf>,
    /// The directories that a pattern did not descend into.
    skipped: BTreeSet<PathBuf>,
}

impl GlobMatches {
    /// Returns the directories that cargo can watch. cargo takes the newest time of anything below a directory
    /// (`cargo_util::paths::mtime_recursive`), so a directory that builds write to would never be fresh. The result
    /// leaves out the directories of `busy`, and those above a busy or a skipped directory. A watched directory covers
    /// those below it.
    pub(super) fn watchable(&self, busy: &[&Path]) -> Vec<&Path> {
        let is_above = |dir: &Path, below: &Path| below.starts_with(dir);
        let is_quiet = |dir: &&PathBuf| {
            !busy.iter().any(|busy| is_above(dir, busy)) && !self.skipped.iter().any(|skipped| is_above(dir, skipped))
        };
        let mut watched: Vec<&Path> = Vec::new();
        // The set is sorted, so a directory comes before those below it.
        for dir in self.dirs.iter().filter(is_quiet) {
            if !watched.iter().any(|above| dir.starts_with(above)) {
                watched.push(dir);
            }
        }
        watched
    }
}

/// Adds the files that `spec` names, relative to `dir`. `skip` is a directory that patterns do not descend into.
pub(super) fn find(spec: &str, dir: &Path, skip: &Path, found: &mut GlobMatches) -> Result<(), String> {
    let parts: Vec<&str> = spec.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let literal = parts.iter().take_while(|part| !is_pattern(part)).count();
    let mut base = if spec.starts_with('/') { PathBuf::from("/") } else { dir.to_owned() };
    base.extend(&parts[..literal]);
    let skip = Stamp::of(skip).ok().map(|stamp| (stamp.dev, stamp.ino));
    let mut walk = GlobWalk { skip, found, seen: HashSet::new(), entries: 0 };
    if literal == parts.len() {
        if !fsx::exists(&base) {
            walk.found.dirs.extend(nearest_dir(&base));
        }
        walk.found.files.insert(base);
        return Ok(());
    }
    if !is_dir(&base) {
        walk.found.dirs.extend(nearest_dir(&base));
        return Ok(());
    }
    walk.descend(&base, &parts[literal..]).map_err(|reason| format!("{spec}: {reason}"))
}

/// Returns the lowest directory above `path` that exists. If `path` appears, something appears in that directory.
fn nearest_dir(path: &Path) -> Option<PathBuf> {
    path.ancestors().skip(1).find(|dir| is_dir(dir)).map(Path::to_owned)
}

fn is_dir(path: &Path) -> bool {
    fsx::metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

struct GlobWalk<'a> {
    /// The directory to skip, by device and inode.
    skip: Option<(u64, u64)>,
    found: &'a mut GlobMatches,
    /// The directories that were visited, each with the number of pattern parts left there.
    seen: HashSet<(u64, u64, usize)>,
    entries: usize,
}

impl GlobWalk<'_> {
    fn descend(&mut self, dir: &Path, parts: &[&str]) -> Result<(), String> {
        let stamp = Stamp::of(dir).map_err(|error| error.to_string())?;
        if !self.seen.insert((stamp.dev, stamp.ino, parts.len())) {
            return Ok(());
        }
        self.found.dirs.insert(dir.to_owned());
        let Some((part, rest)) = parts.split_first() else { return Ok(()) };
        if *part != "**" && !is_pattern(part) {
            let path = dir.join(part);
            return if fsx::exists(&path) { self.take(&path, is_dir(&path), rest) } else { Ok(()) };
        }
        let any_depth = *part == "**";
        if any_depth && !rest.is_empty() {
            self.descend(dir, rest)?;
        }
        let pattern = Pattern::new(part).map_err(|error| error.to_string())?;
        let mut names = fsx::list(dir).map_err(|error| error.to_string())?;
        names.sort();
        self.entries += names.len();
        if self.entries > MAX_DIRECTORY_ENTRIES {
            return Err(format!("more than {MAX_DIRECTORY_ENTRIES} files to look at"));
        }
        for name in names {
            let name = name.to_str().ok_or_else(|| format!("{} is not UTF-8", dir.join(&name).display()))?;
            let path = dir.join(name);
            let is_dir = is_dir(&path);
            if is_dir && !self.goes_into(&path, name) {
                self.found.skipped.insert(path);
            } else if is_dir && any_depth {
                self.descend(&path, parts)?;
            } else if pattern.matches(name) && (!any_depth || rest.is_empty()) {
                self.take(&path, is_dir, rest)?;
            }
        }
        Ok(())
    }

    /// Handles a path that matches so far: descends into a directory if parts of the pattern are left, and adds a file
    /// if none are. A link that leads nowhere counts as an absent file.
    fn take(&mut self, path: &Path, is_dir: bool, rest: &[&str]) -> Result<(), String> {
        match (is_dir, rest.is_empty()) {
            (true, false) => self.descend(path, rest),
            (false, true) => {
                self.found.files.insert(path.to_owned());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn goes_into(&self, path: &Path, name: &str) -> bool {
        let id = Stamp::of(path).ok().map(|stamp| (stamp.dev, stamp.ino));
        name != ".git" && id.is_some() && id != self.skip && !fsx::exists(&path.join("CACHEDIR.TAG"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(spec: &str, dir: &Path) -> GlobMatches {
        let mut found = GlobMatches::default();
        find(spec, dir, &dir.join("target"), &mut found).unwrap();
        found
    }

    fn short<'a>(paths: impl IntoIterator<Item = &'a Path>, dir: &Path) -> Vec<String> {
        let short = |path: &Path| path.strip_prefix(dir).unwrap_or(path).to_str().unwrap().to_owned();
        paths.into_iter().map(short).collect()
    }

    fn names(spec: &str, dir: &Path) -> (Vec<String>, Vec<String>) {
        let found = found(spec, dir);
        let names = |set: &BTreeSet<PathBuf>| short(set.iter().map(PathBuf::as_path), dir);
        (names(&found.files), names(&found.dirs))
    }

    #[test]
    fn u04_globs_find_files_and_the_directories_to_watch() {
        let temp = tempfile::tempdir().unwrap();
        let dir = &fsx::canonicalize(temp.path()).unwrap();
        for file in ["a.sql", "b.sql", "c.txt", "x/a.sql", "x/y/b.sql", "x/y/.h.sql", "x/[1].sql"] {
            fsx::Publish::default().bytes(&dir.join(file), b"").unwrap();
        }
        for file in ["target/t.sql", ".git/g.sql", "cache/k.sql", "cache/CACHEDIR.TAG"] {
            fsx::Publish::default().bytes(&dir.join(file), b"").unwrap();
        }
        std::os::unix::fs::symlink(dir, dir.join("x/loop")).unwrap();
        assert_eq!(names("*.sql", dir), (vec!["a.sql".into(), "b.sql".into()], vec![String::new()]));
        assert_eq!(names("./x/?.sql", dir).0, ["x/a.sql"]);
        assert_eq!(names("x/[[]1].sql", dir).0, ["x/[1].sql"]);
        assert_eq!(
            names("*/y/*", dir),
            (vec!["x/y/.h.sql".into(), "x/y/b.sql".into()], vec![String::new(), "x".into(), "x/y".into()])
        );
        let all = ["a.sql", "b.sql", "x/[1].sql", "x/a.sql", "x/y/.h.sql", "x/y/b.sql"];
        assert_eq!(names("**/*.sql", dir).0, all);
        assert_eq!(names("x/**", dir).0.len(), 4 + 3, "the loop is gone through once");
        assert_eq!(names("cache/*.sql", dir).0, ["cache/k.sql"], "named in full");
        let watched = |spec: &str, busy: &Path| short(found(spec, dir).watchable(&[busy]), dir);
        assert_eq!(watched("x/y/*", dir), ["x/y"]);
        fsx::remove_file(&dir.join("x/loop")).unwrap();
        assert_eq!(watched("**/*.sql", dir), ["x"], "the root holds target and caches");
        assert_eq!(watched("**/*.sql", &dir.join("x")), ["x/y"]);
        fsx::Publish::default().bytes(&dir.join("x/z/CACHEDIR.TAG"), b"").unwrap();
        assert_eq!(watched("x/**", dir), ["x/y"]);
    }

    #[test]
    fn u04_what_is_not_there_is_watched_for() {
        let temp = tempfile::tempdir().unwrap();
        let dir = &fsx::canonicalize(temp.path()).unwrap();
        fsx::create_dir_all(&dir.join("x")).unwrap();
        assert_eq!(names("x/a", dir), (vec!["x/a".into()], vec!["x".into()]));
        assert_eq!(names("x/y/z/a", dir), (vec!["x/y/z/a".into()], vec!["x".into()]));
        assert_eq!(names("x/y/*.sql", dir), (vec![], vec!["x".into()]));
        fsx::create_dir_all(&dir.join("x/y")).unwrap();
        assert_eq!(names("x/y/*.sql", dir), (vec![], vec!["x/y".into()]));
    }
}
