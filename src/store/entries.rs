//! Entries: the result of one compile, or of one run of a build script.
//!
//! Version 1 (carried by the directory name): outputs by blob, dep-info and messages with tokens in place; JSON under a seal.
//! A run has a [`Tree`] and no dep-info; a reader that does not know its kinds of outputs and messages misses. Permissions
//! that no umask explains came later, as fields that may be absent: a reader that does not know them restores the usual ones.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Store, sealed};
use crate::fsx::{self, Publish, Stamp, clock};
use crate::model::{ArtifactKind, BlobId, DepInfo, EntryKey, TokenString};

/// How old an entry's mtime may grow before a hit renews it: it is the time of last use that `gc` goes by.
const USE_GRAIN_NS: i128 = 6 * 3600 * 1_000_000_000;

/// One output file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The file's name in the output directory: one normal path component, in a run's tree any number of them.
    pub name: String,
    /// What it is.
    pub kind: ArtifactKind,
    /// Its bytes.
    pub blob: BlobId,
    /// Their number.
    pub size: u64,
    /// Whether it may be executed. The other permission bits are whatever the umask of the one who restores it leaves.
    pub executable: bool,
    /// Whether its owner may not write it. Outputs of rustc are always writable.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// Its permission bits, whatever the umask, if they are not those that the two above and the umask gave where it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

impl Output {
    /// Its permissions before the umask, if it has none of its own.
    pub fn usual_mode(&self) -> u32 {
        let all = if self.executable { 0o777 } else { 0o666 };
        if self.read_only { all & !0o222 } else { all }
    }
}

/// What a run's output directory holds besides files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Empty directories.
    pub directories: Vec<String>,
    /// Symbolic links and their targets, which do not lead out of the tree.
    pub links: Vec<(String, String)>,
    /// The permission bits of directories, empty or not, that have others than the umask left. `.` is the tree itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modes: Vec<(String, u32)>,
}

/// A piece of what rustc said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// Replayed byte for byte.
    Raw(String),
    /// The path of an output, spelled as in JSON, in an `artifact` notice: the file of this name in the output directory.
    Artifact(String),
    /// Text that names the checkout, of a build script.
    Text(TokenString),
}

/// The result of one compile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Crate name.
    pub crate_name: String,
    /// Package name and version.
    pub package: String,
    /// Crate types or `test`.
    pub kind: String,
    /// `link` or `metadata`.
    pub emit: String,
    /// The outputs, `.d` excepted. Those of a run in the order in which they were last written.
    pub outputs: Vec<Output>,
    /// Of a run, the rest of its output directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<Tree>,
    /// The name of the `.d` file; empty for a run.
    pub dep_info_name: String,
    /// Its content.
    pub dep_info: DepInfo<TokenString>,
    /// Standard output.
    pub stdout: Vec<Message>,
    /// Standard error.
    pub stderr: Vec<Message>,
    /// Milliseconds that the compile took.
    pub cost_ms: f64,
    /// When it was made, milliseconds since 1970.
    pub created: i64,
    /// The boot (`fsx::boot_id`) in which its blobs were written or last read back. After another boot they may be torn,
    /// since nothing was synced: they are read back once. (Where the system names no boots, they are taken as they are.)
    pub boot: String,
    /// Whether it came from the remote.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pulled: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Entry {
    /// Reads the file of the entry `key`. `None`: damaged, misplaced, or it names files that lead elsewhere.
    pub fn parse(key: EntryKey, bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(sealed::open(key.0, bytes)?).ok().filter(Self::names_are_safe)
    }

    /// Whether no name leads out of the output directory: every one is a single normal path component, or in a run's tree
    /// a path of them.
    pub fn names_are_safe(&self) -> bool {
        let outputs = self.outputs.iter().map(|output| output.name.as_str());
        if let Some(tree) = &self.tree {
            return tree.is_safe() && outputs.into_iter().all(is_tree_path);
        }
        let announced = self.stdout.iter().chain(&self.stderr).filter_map(|message| match message {
            Message::Artifact(name) => Some(name.as_str()),
            Message::Raw(_) | Message::Text(_) => None,
        });
        outputs.chain(announced).chain([self.dep_info_name.as_str()]).all(is_file_name)
    }
}

impl Tree {
    fn is_safe(&self) -> bool {
        let stays = |(link, target): &(String, String)| is_tree_path(link) && stays_below(link, target);
        let is_directory = |(name, _): &(String, u32)| name == "." || is_tree_path(name);
        self.directories.iter().all(|name| is_tree_path(name))
            && self.links.iter().all(stays)
            && self.modes.iter().all(is_directory)
    }
}

/// Whether `name` is a path of normal components below a tree, spelled in the one way that there is.
pub fn is_tree_path(name: &str) -> bool {
    !name.is_empty() && name.split('/').all(is_file_name)
}

/// Whether a link at `link`, relative to a tree, stays in the tree, judged by the text alone: a `..` behind a name may lead
/// anywhere if that name is a link.
pub fn stays_below(link: &str, target: &str) -> bool {
    let depth = link.split('/').count() - 1;
    let parts: Vec<&str> = target.split('/').collect();
    let ups = parts.iter().take_while(|part| matches!(**part, ".." | ".")).count();
    let above = parts[..ups].iter().filter(|part| **part == "..").count();
    !target.is_empty() && above <= depth && parts[ups..].iter().all(|part| is_file_name(part))
}

/// Whether `name` is one normal path component.
pub fn is_file_name(name: &str) -> bool {
    let mut components = std::path::Path::new(name).components();
    let first = components.next();
    matches!(first, Some(std::path::Component::Normal(part)) if part == name) && components.next().is_none()
}

impl Store {
    /// The entry, if it exists and can be read; one that cannot is as good as gone.
    pub fn entry(&self, key: EntryKey) -> Option<Entry> {
        Entry::parse(key, &fsx::read(&self.layout.entry(key)).ok()?)
    }

    /// Publishes an entry. Its blobs must be in the store.
    pub fn put_entry(&self, key: EntryKey, entry: &Entry) -> fsx::Result<()> {
        let record = serde_json::to_vec(entry).unwrap_or_default();
        Publish::default().bytes(&self.layout.entry(key), &sealed::seal(key.0, &record)).map(|_| ())
    }

    /// Notes that the entry was used. At most one write in six hours; a store that cannot be written forgets.
    pub fn touch_entry(&self, key: EntryKey) {
        let path: PathBuf = self.layout.entry(key);
        if let Ok(stamp) = Stamp::of(&path)
            && clock::now().as_nanos() - stamp.mtime.as_nanos() > USE_GRAIN_NS
            && let Ok(file) = fsx::open(&path)
        {
            let _ = clock::stamp_now(&file, &path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    pub(crate) fn entry() -> Entry {
        Entry {
            crate_name: "a".into(),
            package: "a 1.0.0".into(),
            kind: "lib".into(),
            emit: "link".into(),
            outputs: vec![Output {
                name: "liba.rlib".into(),
                kind: ArtifactKind::Rlib,
                blob: BlobId(Digest::of(b"x")),
                size: 1,
                executable: false,
                read_only: false,
                mode: None,
            }],
            tree: None,
            dep_info_name: "a.d".into(),
            dep_info: DepInfo { targets: vec![], files: vec![], env: vec![] },
            stdout: vec![],
            stderr: vec![Message::Raw("warning".into()), Message::Artifact("liba.rlib".into())],
            cost_ms: 12.5,
            created: 1,
            boot: "b".into(),
            pulled: false,
        }
    }

    #[test]
    fn entries_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let key = EntryKey(Digest::of(b"k"));
        assert_eq!(store.entry(key), None);
        store.put_entry(key, &entry()).unwrap();
        assert_eq!(store.entry(key), Some(entry()));
    }

    #[test]
    fn r02_a_tree_stays_in_its_directory() {
        let run = |outputs: &str, tree: Tree| {
            let mut entry = entry();
            entry.outputs[0].name = outputs.into();
            entry.tree = Some(tree);
            entry.names_are_safe()
        };
        assert!(run("include/a/b.h", Tree::default()));
        for name in ["../b.h", "a/../b", "/b", "a//b", "", "a/", "./a"] {
            assert!(!run(name, Tree::default()), "{name}");
            assert!(!run("a", Tree { directories: vec![name.into()], ..Tree::default() }), "{name}");
            assert!(!run("a", Tree { modes: vec![(name.into(), 0o700)], ..Tree::default() }), "{name}");
        }
        let link =
            |link: &str, target: &str| run("a", Tree { links: vec![(link.into(), target.into())], ..Tree::default() });
        for target in ["libx.so.1", "../lib/libx.so", "./x", ".."] {
            assert!(link("lib/libx.so", target), "{target}");
        }
        for target in ["/etc/passwd", "../../x", "a/../../../x", "", "x/../y"] {
            assert!(!link("lib/libx.so", target), "{target}");
        }
    }

    #[test]
    fn r02_a_name_that_leads_elsewhere_makes_the_entry_unreadable() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        for name in ["../x.rlib", "/etc/x.rlib", "a/b.rlib", "", ".", "..", "a/"] {
            let mut bad = entry();
            bad.outputs[0].name = name.into();
            let key = EntryKey(Digest::of(name.as_bytes()));
            store.put_entry(key, &bad).unwrap();
            assert_eq!(store.entry(key), None, "{name:?}");
        }
    }
}
