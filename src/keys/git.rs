//! git's index as an input: kache digests its entries and how the files differ from them, not its bytes.
//!
//! The index is a list of files and, next to it, a cache of the `stat` data of each. Its bytes are different in every
//! checkout, and `git status` and `git describe --dirty` rewrite it whenever they have checked the files. The answers
//! of git depend on the list, and on whether each file matches the cache, so that is the input: [`state`].
//!
//! Format: git's `Documentation/gitformat-index.adoc`. Comparison: `ie_match_stat` in git's `read-cache.c`. kache does
//! not support an index that is split, sparse or compressed (version 4), one that takes changes from a daemon or from a
//! cache of untracked files, or one whose files are not next to it (`core.worktree`, submodules). It does not store the
//! result of a compile or run that reads such an index.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Context;
use crate::fsx::{self, Metadata};
use crate::model::Digest;

const INDEX: &str = "index";
const MAGIC: &[u8; 4] = b"DIRC";
const FILE_MODES: [u32; 3] = [0o100_644, 0o100_755, 0o120_000];
const LINK_MODE: u32 = 0o120_000;
const SUBMODULE_MODE: u32 = 0o160_000;
/// The "assume unchanged" flag and, in the second field, the "skip worktree" flag: git does not look at these files.
const ASSUME_VALID: u16 = 0x8000;
const SKIP_WORKTREE: u16 = 0x4000;
const EXTENDED: u16 = 0x4000;
/// The "assume unchanged" flag and the stage of a merge. The other bits are the length of the name, and whether more
/// flags follow.
const MEANINGFUL: u16 = 0xb000;

/// The state of a repository before a compile or a run of a build script starts.
#[derive(Debug)]
pub(super) struct RepositorySnapshot {
    dir: PathBuf,
    /// The mtime of the index, in seconds since 1970.
    written: i64,
    inode: (u64, u64),
    index: Vec<u8>,
    listing: Option<Digest>,
}

impl RepositorySnapshot {
    /// Reads the repository around `context.cwd`. `None` if there is none, or if it does not have an index.
    pub(super) fn read(context: Context<'_>) -> Option<Self> {
        let found = context.cwd.ancestors().map(|dir| dir.join(".git")).find(|path| fsx::exists(path))?;
        let dir = if fsx::metadata(&found).ok()?.is_dir() {
            found
        } else {
            // A linked work tree: `.git` is a file that names the directory.
            let text = fsx::read_to_string(&found).ok()?;
            found.parent()?.join(text.strip_prefix("gitdir:")?.trim())
        };
        let index = dir.join(INDEX);
        let written = fsx::metadata(&index).ok()?.mtime();
        let index = fsx::read(&index).ok()?;
        let listing = context.stamps.listing(&dir).ok();
        Some(Self { inode: inode(&dir)?, dir, written, index, listing })
    }

    /// Whether `path` is the index and lists the same files as before. Their stamps may differ.
    pub(super) fn lists_the_same_files(&self, path: &Path) -> bool {
        let is_same = |now: Vec<u8>| {
            let (before, now) = (Index::parse(&self.index), Index::parse(&now));
            before.is_some_and(|before| now.is_some_and(|now| before.lists_the_same_files(&now)))
        };
        path.file_name() == Some(OsStr::new(INDEX))
            && path.parent() == Some(&self.dir)
            && fsx::read(path).is_ok_and(is_same)
    }

    /// Returns the state of the old index, with the files as they are now. If it differs from the state of the current
    /// index, git has rewritten the index in between, and a command that ran before that may have got another answer
    /// than one that ran later.
    pub(super) fn state(&self, context: Context<'_>) -> Option<Digest> {
        state_of(&self.index, self.written, &worktree(&self.dir.join(INDEX))?, context)
    }

    /// Whether `path` is the directory of the repository, is still the same directory, and contains the same names as
    /// before.
    pub(super) fn holds_the_same_names(&self, path: &Path, context: Context<'_>) -> bool {
        Some(self.inode) == inode(path) && self.listing == context.stamps.listing(&self.dir).ok()
    }
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    fsx::Stamp::of(path).ok().map(|stamp| (stamp.dev, stamp.ino))
}

/// Returns the state of the index at `path`: digest of the files that it lists, and of how each differs from its entry.
/// `None` if it is not an index, or not one that kache supports.
pub(super) fn state(path: &Path, context: Context<'_>) -> Option<Digest> {
    let worktree = worktree(path)?;
    let written = fsx::metadata(path).ok()?.mtime();
    state_of(&fsx::read(path).ok()?, written, &worktree, context)
}

fn state_of(bytes: &[u8], written: i64, worktree: &Path, context: Context<'_>) -> Option<Digest> {
    let index = Index::parse(bytes)?;
    let mut state = Vec::with_capacity(bytes.len());
    for entry in &index.entries {
        state.extend(entry.meaning());
        state.extend(entry.difference(&worktree.join(OsStr::from_bytes(entry.name)), written, context)?);
    }
    Some(Digest::of(&state))
}

/// Whether an index is at this path.
pub(super) fn is_index(path: &Path) -> bool {
    let mut magic = [0; MAGIC.len()];
    path.file_name() == Some(OsStr::new(INDEX))
        && fsx::open(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok())
        && magic == *MAGIC
}

/// Variables that make git use another index or other files.
pub(super) const REDIRECTING_VARIABLES: [&str; 3] = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"];

/// Returns the directory whose files an index lists. `None` if the path cannot be that of an index, or if the
/// configuration names a directory.
fn worktree(path: &Path) -> Option<PathBuf> {
    let dir = path.parent().filter(|_| path.file_name() == Some(OsStr::new(INDEX)))?;
    let configuration = fsx::read(&dir.join("config")).unwrap_or_default().to_ascii_lowercase();
    if memchr::memmem::find(&configuration, b"worktree").is_some() {
        return None;
    }
    if dir.file_name() == Some(OsStr::new(".git")) {
        return dir.parent().map(Path::to_owned);
    }
    // The directory of a linked work tree contains `gitdir`, which names the `.git` file in the work tree.
    let names = fsx::read_to_string(&dir.join("gitdir")).ok()?;
    Path::new(names.trim()).parent().filter(|worktree| worktree.is_absolute()).map(Path::to_owned)
}

struct Index<'a> {
    entries: Vec<IndexEntry<'a>>,
}

struct IndexEntry<'a> {
    /// ctime and mtime in seconds and nanoseconds, device, inode, mode, user, group, size.
    stat: [u32; 10],
    object: &'a [u8],
    flags: u16,
    more_flags: u16,
    name: &'a [u8],
}

impl<'a> Index<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let version = number(&mut rest)?;
        let count = number(&mut rest)?;
        let entries = (0..count).map(|_| IndexEntry::parse(&mut rest)).collect::<Option<Vec<_>>>()?;
        let mut extensions = rest.get(..rest.len().checked_sub(20)?)?;
        while !extensions.is_empty() {
            // Caches that do not describe the work tree.
            let is_harmless = matches!(extensions.get(..4)?, b"TREE" | b"REUC" | b"EOIE" | b"IEOT");
            extensions = extensions.get(4..).filter(|_| is_harmless)?;
            let length = usize::try_from(number(&mut extensions)?).ok()?;
            extensions = extensions.get(length..)?;
        }
        matches!(version, 2 | 3).then_some(Self { entries })
    }

    fn lists_the_same_files(&self, other: &Self) -> bool {
        self.entries.iter().map(IndexEntry::meaning).eq(other.entries.iter().map(IndexEntry::meaning))
    }
}

impl<'a> IndexEntry<'a> {
    fn parse(rest: &mut &'a [u8]) -> Option<Self> {
        let start = *rest;
        let mut stat = [0; 10];
        for field in &mut stat {
            *field = number(rest)?;
        }
        let object = take(rest, 20)?;
        let short = |rest: &mut &'a [u8]| Some(u16::from_be_bytes(take(rest, 2)?.try_into().ok()?));
        let flags = short(rest)?;
        let more_flags = if flags & EXTENDED == 0 { 0 } else { short(rest)? };
        let name = take(rest, memchr::memchr(0, rest)?)?;
        // One to eight zeros, so that the length of the entry is a multiple of eight.
        let length = start.len() - rest.len();
        take(rest, 8 - length % 8)?;
        let entry = Self { stat, object, flags, more_flags, name };
        let is_known = FILE_MODES.contains(&entry.mode()) || entry.mode() == SUBMODULE_MODE;
        (is_known && !name.is_empty()).then_some(entry)
    }

    fn mode(&self) -> u32 {
        self.stat[6]
    }

    /// Everything except the `stat` data. First the fields of fixed length, then the name and a zero.
    fn meaning(&self) -> Vec<u8> {
        let flags = [self.flags & MEANINGFUL, self.more_flags].map(u16::to_be_bytes).concat();
        [&self.mode().to_be_bytes()[..], self.object, &flags, self.name, b"\0"].concat()
    }

    /// Describes how the file at `path` differs from the entry: a word, or the fields that differ and a digest of the
    /// content. `written` is the mtime of the index, in seconds since 1970. `None` if the content cannot be read.
    fn difference(&self, path: &Path, written: i64, context: Context<'_>) -> Option<Vec<u8>> {
        if self.mode() == SUBMODULE_MODE || self.flags & ASSUME_VALID != 0 || self.more_flags & SKIP_WORKTREE != 0 {
            return Some(b"not looked at".to_vec());
        }
        let Ok(found) = fsx::symlink_metadata(path) else { return Some(b"absent".to_vec()) };
        let differs = self.differing_fields(&found);
        // A file that was written in the same second as the index may have been written after it, so git compares its
        // content.
        let is_racy = i64::from(self.stat[2]) >= written;
        if differs == 0 && (!is_racy || object_id(path, &found).as_deref() == Some(self.object)) {
            return Some(b"none".to_vec());
        }
        let content = if found.is_file() {
            context.stamps.content(path).ok()?.digest
        } else {
            Digest::of(fsx::read_link_text(path).unwrap_or_default().as_bytes())
        };
        Some([&differs.to_be_bytes()[..], content.as_bytes()].concat())
    }

    /// Returns one bit for each field in which `found` differs from the entry. git keeps the lower 32 bits of each
    /// field.
    fn differing_fields(&self, found: &Metadata) -> u16 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as git does")]
        let now = [
            found.ctime() as u32,
            found.ctime_nsec() as u32,
            found.mtime() as u32,
            found.mtime_nsec() as u32,
            // git ignores the device.
            self.stat[4],
            found.ino() as u32,
            mode(found),
            found.uid(),
            found.gid(),
            found.size() as u32,
        ];
        let bits = self.stat.iter().zip(now).enumerate();
        bits.fold(0, |differing, (at, (then, now))| differing | (u16::from(*then != now) << at))
    }
}

/// Returns the mode that git would record for the file.
fn mode(found: &Metadata) -> u32 {
    match found {
        found if found.is_symlink() => LINK_MODE,
        found if !found.is_file() => 0,
        found if found.mode() & 0o100 != 0 => 0o100_755,
        _ => 0o100_644,
    }
}

/// Returns git's object id of the content at `path` as it is. Attributes may make git store other content.
fn object_id(path: &Path, found: &Metadata) -> Option<Vec<u8>> {
    let content = if found.is_symlink() { fsx::read_link_text(path)?.into_bytes() } else { fsx::read(path).ok()? };
    let mut context = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(format!("blob {}\0", content.len()).as_bytes());
    context.update(&content);
    Some(context.finish().as_ref().to_vec())
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(take(rest, 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns an index of version 2 with one file of this name, and an extension.
    fn index(name: &str, extension: [u8; 4]) -> Vec<u8> {
        let mut bytes = [b"DIRC".as_slice(), &2_u32.to_be_bytes(), &1_u32.to_be_bytes()].concat();
        for field in [1, 2, 3, 4, 5, 6, 0o100_644, 8, 9, 10_u32] {
            bytes.extend(field.to_be_bytes());
        }
        bytes.extend([7; 20]);
        bytes.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend(vec![0; 8 - (62 + name.len()) % 8]);
        bytes.extend(extension);
        bytes.extend([0, 0, 0, 3, b'a', b'b', b'c']);
        bytes.extend([9; 20]);
        bytes
    }

    #[test]
    fn an_index_is_read_whatever_the_padding() {
        for name in ["a", "ab", "src/main.rs", "a-name-of-sixteen", "eighteen-bytes-now"] {
            let bytes = index(name, *b"TREE");
            let index = Index::parse(&bytes).expect(name);
            assert_eq!(index.entries.iter().map(|entry| entry.name).collect::<Vec<_>>(), [name.as_bytes()]);
        }
    }

    #[test]
    fn what_is_not_understood_is_no_index() {
        for extension in [*b"link", *b"UNTR", *b"FSMN", *b"sdir", *b"ZZZZ"] {
            assert!(Index::parse(&index("a", extension)).is_none());
        }
        let bytes = index("a", *b"TREE");
        assert!((0..bytes.len() - 7 - 4).all(|end| Index::parse(&bytes[..end]).is_none()));
        let mut newer = bytes;
        newer[7] = 4;
        assert!(Index::parse(&newer).is_none());
    }

    #[test]
    fn stamps_mean_nothing_and_names_do() {
        let (one, other) = (index("a", *b"TREE"), index("b", *b"TREE"));
        let mut refreshed = one.clone();
        refreshed[12] = 200;
        let parse = |bytes| Index::parse(bytes).unwrap();
        assert!(parse(&one).lists_the_same_files(&parse(&refreshed)));
        assert!(!parse(&one).lists_the_same_files(&parse(&other)));
    }
}
