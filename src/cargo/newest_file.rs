//! The newest file of a package, which cargo compares if a build script does not say what to watch
//! (`PathSource::fingerprint` in `sources/path.rs`).
//!
//! Cargo asks git which files belong to the package. This module does not read ignore rules and manifests: all files
//! count, except those in `.git`, in a directory called `target`, and in other packages, and hidden ones outside git.
//! If cargo finds another file, the unit is dirty, no more.

use std::path::{Path, PathBuf};

use crate::fsx::clock::Time;
use crate::fsx::{self, Stamp};

/// At most this many files and directories are looked at: cargo does not look at those that git ignores, which may be
/// many.
const MAX_VISITED: usize = 10_000;

/// A file and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewestFile {
    /// When it was changed.
    pub mtime: Time,
    /// Its path, relative to the package.
    pub path: PathBuf,
}

impl NewestFile {
    /// Finds the newest file of the package in `dir`. Of several, the first one counts, in the order in which the
    /// system lists them: cargo does not sort them. `None`: there is no file, one directory cannot be listed, or
    /// there are too many files.
    pub fn of(dir: &Path) -> Option<Self> {
        let is_in_git = dir.ancestors().any(|above| fsx::exists(&above.join(".git")));
        let mut search = Search { dir, is_in_git, visited: 0, newest: None };
        search.visit(Path::new("")).ok()?;
        search.newest.filter(|_| search.visited < MAX_VISITED)
    }

    /// Spells it as cargo does.
    pub fn spelled(&self) -> String {
        format!("{}.{:09}s ({})", self.mtime.secs, self.mtime.nanos, self.path.display())
    }
}

/// Whether a text may be a spelled [`NewestFile`], and not the version of a package.
pub fn is_spelled(text: &str) -> bool {
    let time = text.strip_suffix(')').and_then(|text| text.split_once("s (")).map(|(time, _)| time);
    time.and_then(|time| time.split_once('.')).is_some_and(|(secs, nanos)| {
        nanos.len() == 9 && secs.bytes().chain(nanos.bytes()).all(|byte| byte.is_ascii_digit())
    })
}

struct Search<'a> {
    /// The directory of the package.
    dir: &'a Path,
    /// Whether git manages it. Otherwise, cargo leaves out hidden files.
    is_in_git: bool,
    visited: usize,
    newest: Option<NewestFile>,
}

impl Search<'_> {
    fn visit(&mut self, below: &Path) -> fsx::Result<()> {
        let is_root = below.as_os_str().is_empty();
        for (name, is_dir) in fsx::list_with_kind(&self.dir.join(below))? {
            let is_hidden = name.as_encoded_bytes().starts_with(b".");
            if name == ".git" || (is_hidden && !self.is_in_git) || (is_root && is_dir && name == "target") {
                continue;
            }
            self.visited += 1;
            if self.visited >= MAX_VISITED {
                break;
            }
            let path = below.join(&name);
            if is_dir {
                if !fsx::exists(&self.dir.join(&path).join("Cargo.toml")) {
                    self.visit(&path)?;
                }
                continue;
            }
            let Ok(mtime) = Stamp::of(&self.dir.join(&path)).map(|stamp| stamp.mtime) else { continue };
            if self.newest.as_ref().is_none_or(|newest| mtime > newest.mtime) {
                self.newest = Some(NewestFile { mtime, path });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::Publish;
    use crate::fsx::publish::Mtime;

    #[test]
    fn the_newest_file_is_found_where_cargo_looks() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, secs: i64| {
            let mtime = Mtime::At(Time { secs, nanos: 7 });
            Publish { mtime, ..Publish::default() }.bytes(&dir.path().join(name), b"").unwrap();
        };
        for (name, secs) in [("Cargo.toml", 1), ("src/lib.rs", 3), ("src/a.rs", 2), ("build.rs", 1)] {
            write(name, secs);
        }
        for name in ["target/debug/x", "member/Cargo.toml", "member/src/lib.rs", ".hidden", ".git/index"] {
            write(name, 9);
        }
        let spelled = || NewestFile::of(dir.path()).unwrap().spelled();
        assert_eq!(spelled(), "9.000000007s (.hidden)");
        fsx::remove_dir_all(&dir.path().join(".git")).unwrap();
        assert_eq!(spelled(), "3.000000007s (src/lib.rs)");
        assert!(is_spelled(&spelled()));
        for other in ["1.2.3", "1.0s (x)", "a.000000007s (x)", "overridden build state with hash: 1", ""] {
            assert!(!is_spelled(other), "{other}");
        }
    }
}
