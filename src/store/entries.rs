//! Entries: the result of one compile, or of one run of a build script.
//!
//! Version 1 (carried by the directory name): outputs by blob, dep-info and messages with tokens instead of local
//! paths; sealed JSON. The entry of a run has a [`Tree`] and no dep-info; a reader that does not know its kinds of
//! outputs and messages misses. Permissions that the umask does not explain were added later, as optional fields: a
//! reader that does not know these fields restores the usual permissions.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Store, sealed};
use crate::fsx::{self, Publish, Stamp, clock};
use crate::model::secret::Carried;
use crate::model::{ArtifactKind, BlobId, DepInfo, Digest, EntryKey, GlibcVersion, TokenString};

/// A hit renews the mtime of an entry that is older than this. The mtime is the time of last use, by which `gc` evicts.
const USE_GRAIN_NS: i128 = 6 * 3600 * 1_000_000_000;

/// One output file of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// File name in the output directory: one normal path component, or any number of them in the tree of a run.
    pub name: String,
    /// The kind of output, which decides how it is restored.
    pub kind: ArtifactKind,
    /// The blob with the content.
    pub blob: BlobId,
    /// Size of the content in bytes.
    pub size: u64,
    /// Whether the file may be executed. The umask at the restore decides the other permission bits.
    pub executable: bool,
    /// Whether the owner may not write the file. Outputs of rustc are always writable.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// The exact permission bits, to be restored whatever the umask is. `None` if the two fields above and the umask
    /// explained the bits where the file was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// The newest version of glibc that this output of a linker needs. `None` if it needs none, and in entries of
    /// earlier versions of kache. (The linker, and the libraries that it read, are inputs of the entry.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs_glibc: Option<GlibcVersion>,
}

impl Output {
    /// Returns the permissions before the umask, for an output without an exact `mode`.
    pub fn usual_mode(&self) -> u32 {
        let all = if self.executable { 0o777 } else { 0o666 };
        if self.read_only { all & !0o222 } else { all }
    }
}

/// The contents of a run's output directory besides files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Paths of empty directories.
    pub directories: Vec<String>,
    /// Symbolic links and their targets, which do not lead out of the tree.
    pub links: Vec<(String, String)>,
    /// The permission bits of directories, empty or not, that differ from what the umask left. `.` is the tree itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modes: Vec<(String, u32)>,
}

/// A part of the output on stdout or stderr.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// Text that is replayed byte for byte.
    Raw(String),
    /// The path of an output in an `artifact` notice. Holds the name of the file in the output directory; the replay
    /// writes its path, escaped as in JSON.
    Artifact(String),
    /// Text of a build script that names the checkout, with tokens instead of paths.
    Text(TokenString),
}

/// The result of one compile or run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Name of the crate.
    pub crate_name: String,
    /// Name and version of the package.
    pub package: String,
    /// The crate types, `test` or `run`.
    pub kind: String,
    /// `link`, `metadata` or `run`.
    pub emit: String,
    /// The outputs, without the `.d` file. Those of a run are in the order in which they were last written.
    pub outputs: Vec<Output>,
    /// The rest of a run's output directory; `None` for a compile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<Tree>,
    /// Name of the `.d` file; empty for a run.
    pub dep_info_name: String,
    /// Content of the `.d` file; empty for a run.
    pub dep_info: DepInfo<TokenString>,
    /// Standard output, which a hit replays.
    pub stdout: Vec<Message>,
    /// Standard error, which a hit replays.
    pub stderr: Vec<Message>,
    /// Milliseconds that the compile or run took.
    pub cost_ms: f64,
    /// When the entry was made, in milliseconds since 1970.
    pub created: i64,
    /// The boot (`fsx::boot_id`) in which its blobs were written or last read back. After another boot they may be
    /// torn, because kache does not sync them, so it reads them back once. (If the system does not name its boots,
    /// kache trusts the blobs.)
    pub boot: String,
    /// Whether the entry was fetched from the remote.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pulled: bool,
    /// Where a secret in the entry may come from. `None` for entries of the remote, and of earlier versions of kache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// Where a secret in an entry may come from. Only on the machine that made the entry, and never in a pack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Digests of the libraries and programs that the compile or run was given, and of what the build script of its
    /// package printed ([`super::withheld::printed_by`]).
    pub made_from: Vec<Digest>,
    /// Digests of what a build script tells the scripts of dependents, which have the same digests in `made_from`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<Digest>,
    /// The variables whose values look secret and that no input names: they are part of the lookup key, or a program
    /// may have read all variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<String>,
    /// The secret that something in `made_from` may have carried into the entry, as far as that was known when the
    /// entry was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carries: Option<Carried>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Entry {
    /// Parses the file of the entry `key`. `None` if it is damaged, filed under another key, or names files outside the
    /// output directory.
    pub fn parse(key: EntryKey, bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(sealed::open(key.0, bytes)?).ok().filter(Self::has_safe_names)
    }

    /// Returns the output that needs the newest version of glibc, and that version.
    pub fn needed_glibc(&self) -> Option<(&Output, GlibcVersion)> {
        let needs = self.outputs.iter().filter_map(|output| Some((output, output.needs_glibc?)));
        needs.max_by_key(|(_, version)| *version)
    }

    /// Returns whether every name stays in the output directory: each is a single normal path component, or a path of
    /// them in the tree of a run.
    pub fn has_safe_names(&self) -> bool {
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
        let stays = |(link, target): &(String, String)| is_tree_path(link) && is_inner_link(link, target);
        let is_directory = |(name, _): &(String, u32)| name == "." || is_tree_path(name);
        self.directories.iter().all(|name| is_tree_path(name))
            && self.links.iter().all(stays)
            && self.modes.iter().all(is_directory)
    }
}

/// Returns whether `name` is a path of normal components below a tree, in its only spelling.
pub fn is_tree_path(name: &str) -> bool {
    !name.is_empty() && name.split('/').all(is_file_name)
}

/// Returns whether a link at `link`, relative to a tree, stays in the tree. Only the text is judged, so a `..` after a
/// name is refused: if that name is a link, the `..` may lead anywhere.
pub fn is_inner_link(link: &str, target: &str) -> bool {
    let depth = link.split('/').count() - 1;
    let parts: Vec<&str> = target.split('/').collect();
    let ups = parts.iter().take_while(|part| matches!(**part, ".." | ".")).count();
    let above = parts[..ups].iter().filter(|part| **part == "..").count();
    !target.is_empty() && above <= depth && parts[ups..].iter().all(|part| is_file_name(part))
}

/// Returns whether `name` is exactly one normal path component.
pub fn is_file_name(name: &str) -> bool {
    let mut components = std::path::Path::new(name).components();
    let first = components.next();
    matches!(first, Some(std::path::Component::Normal(part)) if part == name) && components.next().is_none()
}

impl Store {
    /// Returns the entry, or `None` if it is absent or unreadable.
    pub fn entry(&self, key: EntryKey) -> Option<Entry> {
        Entry::parse(key, &fsx::read(&self.layout.entry(key)).ok()?)
    }

    /// Publishes an entry. Its blobs must already be in the store.
    pub fn put_entry(&self, key: EntryKey, entry: &Entry) -> fsx::Result<()> {
        let record = serde_json::to_vec(entry).unwrap_or_default();
        Publish::default().bytes(&self.layout.entry(key), &sealed::seal(key.0, &record)).map(|_| ())
    }

    /// Records that the entry was used, at most once in six hours. Ignores errors: a read-only store does not record
    /// uses.
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
                needs_glibc: None,
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
            origin: Some(Origin::default()),
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
            entry.has_safe_names()
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
