//! Writes, copies and finds files, and reads their metadata.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Writes `content`, and creates the parents.
pub(crate) fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().expect("a file has a parent")).expect("parents");
    fs::write(path, content).expect("write");
}

/// Copies a tree file by file (new inodes, new mtimes), without the paths for which `keep` returns false.
pub(crate) fn copy_tree(from: &Path, to: &Path, keep: &dyn Fn(&Path) -> bool) {
    fs::create_dir_all(to).expect("create the copy");
    for entry in fs::read_dir(from).expect("list") {
        let path = entry.expect("entry").path();
        let target = to.join(path.file_name().expect("name"));
        if !keep(&path) {
            continue;
        }
        let meta = fs::symlink_metadata(&path).expect("stat");
        if meta.is_dir() {
            copy_tree(&path, &target, keep);
        } else if meta.is_symlink() {
            symlink(fs::read_link(&path).expect("readlink"), &target).expect("symlink");
        } else {
            write(&target, &fs::read(&path).expect("read"));
        }
    }
}

/// Returns every file under `dir`, sorted; none if `dir` does not exist.
pub(crate) fn files_under(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(list) = fs::read_dir(dir) else {
        return found;
    };
    for entry in list {
        let path = entry.expect("entry").path();
        if fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir()) {
            found.extend(files_under(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Returns the one file under `dir` whose name starts with `prefix` and ends with `suffix`. Panics if there is not
/// exactly one.
pub(crate) fn find_one(dir: &Path, prefix: &str, suffix: &str) -> PathBuf {
    let found = find(dir, prefix, suffix);
    assert_eq!(found.len(), 1, "{prefix}*{suffix} under {}: {found:?}", dir.display());
    found.into_iter().next().expect("one")
}

/// Returns all files under `dir` whose name starts with `prefix` and ends with `suffix`.
pub(crate) fn find(dir: &Path, prefix: &str, suffix: &str) -> Vec<PathBuf> {
    let fits = |path: &PathBuf| {
        let name = path.file_name().expect("name").to_string_lossy();
        name.starts_with(prefix) && name.ends_with(suffix)
    };
    files_under(dir).into_iter().filter(fits).collect()
}

/// The metadata of a file that matters to caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Device and inode.
    pub(crate) id: (u64, u64),
    /// Size in bytes.
    pub(crate) size: u64,
    /// Modification time in nanoseconds since 1970.
    pub(crate) mtime_ns: i128,
    /// Change time in nanoseconds since 1970.
    pub(crate) ctime_ns: i128,
    /// Number of hard links.
    pub(crate) nlink: u64,
    /// Permission bits.
    pub(crate) mode: u32,
}

/// The canonical mtime of blobs and of their hard links, in nanoseconds since 1970.
pub(crate) const CANONICAL_MTIME_NS: i128 = 946_684_800_000_000_042;

/// Returns the metadata of a path; does not follow a link.
pub(crate) fn stat(path: &Path) -> Stat {
    let meta = fs::symlink_metadata(path).unwrap_or_else(|e| panic!("stat {}: {e}", path.display()));
    Stat {
        id: (meta.dev(), meta.ino()),
        size: meta.size(),
        mtime_ns: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
        ctime_ns: i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec()),
        nlink: meta.nlink(),
        mode: meta.mode() & 0o7777,
    }
}

/// Replaces the content in place (same inode) and restores the old mtime, as a careless tool does.
pub(crate) fn rewrite_keeping_mtime(path: &Path, content: impl AsRef<[u8]>) {
    let before = filetime::FileTime::from_last_modification_time(&fs::metadata(path).expect("stat"));
    fs::write(path, content).expect("rewrite");
    filetime::set_file_mtime(path, before).expect("old mtime");
}

/// Sets the mtime so far into the future that cargo must see the file as newer than anything built so far.
///
/// Cargo compares the mtimes of sources with the time of the last build. It would not notice an edit within the same
/// clock tick, and these tests are not about that.
pub(crate) fn touch_later(path: &Path) {
    let later = SystemTime::now() + Duration::from_millis(20);
    filetime::set_file_mtime(path, later.into()).expect("touch");
}

/// Whether the file contains these bytes.
pub(crate) fn contains(path: &Path, needle: &str) -> bool {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}
