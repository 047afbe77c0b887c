//! Directory trees: lists an existing one, and builds a new one that becomes visible as a whole.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::clock::{self, Time};
use super::dir::Dir;
use super::ladder::{Ladder, LinkMode};
use super::temp::Temp;
use super::{At, Error, Result, Stamp};

/// A file, directory or link in a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Node {
    /// A regular file and its stamp.
    File(Stamp),
    /// A directory and its permission bits.
    Directory {
        /// Whether the directory is empty.
        is_empty: bool,
        /// Its permission bits, without the file type.
        mode: u32,
    },
    /// A symbolic link and its target.
    Link(String),
    /// A pipe, a socket or a device.
    Special,
}

/// Lists `dir` (as `.`) and everything below it by path relative to `dir`, sorted. If a name is not UTF-8, the error
/// has the kind `InvalidData`.
pub fn walk(dir: &Path) -> Result<Vec<(String, Node)>> {
    let mut nodes = Vec::new();
    let mode = permissions(&fs::metadata(dir).at("stat", dir)?);
    walk_below(dir, "", &mut nodes)?;
    nodes.push((".".to_owned(), Node::Directory { is_empty: nodes.is_empty(), mode }));
    nodes.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(nodes)
}

fn walk_below(dir: &Path, prefix: &str, nodes: &mut Vec<(String, Node)>) -> Result<()> {
    let non_utf8 = |path: &Path| Error::new("name", path, std::io::ErrorKind::InvalidData.into());
    for entry in fs::read_dir(dir).at("list", dir)? {
        let entry = entry.at("list", dir)?;
        let path = entry.path();
        let name = entry.file_name().into_string().map_err(|_| non_utf8(&path))?;
        let name = format!("{prefix}{name}");
        let metadata = entry.metadata().at("stat", &path)?;
        let node = if metadata.is_dir() {
            let before = nodes.len();
            walk_below(&path, &format!("{name}/"), nodes)?;
            Node::Directory { is_empty: nodes.len() == before, mode: permissions(&metadata) }
        } else if metadata.is_symlink() {
            Node::Link(super::read_link_text(&path).ok_or_else(|| non_utf8(&path))?)
        } else if metadata.is_file() {
            Node::File(Stamp::from(&metadata))
        } else {
            Node::Special
        };
        nodes.push((name, node));
    }
    Ok(())
}

fn permissions(metadata: &fs::Metadata) -> u32 {
    metadata.permissions().mode() & 0o777
}

/// Returns whether `dir` is an empty directory.
pub fn is_empty(dir: &Path) -> Result<bool> {
    Ok(fs::read_dir(dir).at("list", dir)?.next().is_none())
}

/// A tree of at least this many files is built elsewhere on the disk. For fewer files, finding a place takes longer
/// than it saves.
///
/// Files get their inodes near their directory, where the inodes of the old tree have just been freed if the user ran
/// `rm -rf target`. ext4 without a journal does not reuse these for a minute, and checks each of them again for every
/// new file (`recently_deleted` in fs/ext4/ialloc.c): 0.2 ms instead of 0.02 ms per file.
const MIN_FILES_TO_SPREAD: usize = 16;

/// A tree on its way to its target. Dropping it leaves nothing behind.
#[derive(Debug)]
pub struct NewTree {
    temp: Temp,
    /// The temp directory around the tree, which is removed after it.
    around: Option<Temp>,
    ladder: Ladder,
    /// Directories that exist in the tree.
    made: HashSet<PathBuf>,
    /// The directory that got the last file.
    open: Option<(PathBuf, Dir)>,
    /// The permissions that directories get in the end.
    modes: Vec<(PathBuf, u32)>,
    /// The mtime of all files; `None`: the time at which each is written.
    mtime: Option<Time>,
}

/// The permissions of a new file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The part of these bits that the umask leaves.
    Umask(u32),
    /// Exactly these bits, whatever the umask. Special bits (setuid and the like) are left out.
    Exact(u32),
}

impl NewTree {
    /// Creates an empty tree beside `target`, for about `size` files.
    pub fn beside(target: &Path, size: usize) -> Result<Self> {
        let new = |temp, around| Self {
            temp,
            around,
            ladder: Ladder::default(),
            made: HashSet::new(),
            open: None,
            modes: Vec::new(),
            mtime: None,
        };
        let directory = |target: &Path| Temp::beside(target, |path| fs::create_dir(path));
        let ((), temp) = directory(target)?;
        let spread = || super::spread::spread_children(&File::open(temp.path())?);
        if size < MIN_FILES_TO_SPREAD || spread().is_err() {
            return Ok(new(temp, None));
        }
        // ext4 chooses the place by a hash of the name, so the name must differ each time.
        let ((), inner) = directory(&temp.path().join("tree"))?;
        Ok(new(inner, Some(temp)))
    }

    /// Sets the mtime of all files that are added from now on; `None`: the time at which each is written.
    #[must_use]
    pub fn with_mtime(self, mtime: Option<Time>) -> Self {
        Self { mtime, ..self }
    }

    /// Adds a directory and its parents.
    pub fn directory(&mut self, name: &str) -> Result<()> {
        super::create_dir_all(&self.temp.path().join(name))
    }

    /// Sets the permissions that a directory gets once it is complete; `.` is the tree itself.
    pub fn directory_mode(&mut self, name: &str, mode: u32) {
        self.modes.push((name.into(), mode & 0o777));
    }

    /// Adds a symbolic link to `target`.
    pub fn link(&mut self, name: &str, target: &str) -> Result<()> {
        let path = self.place(name)?;
        std::os::unix::fs::symlink(target, &path).at("link", &path)
    }

    /// Adds a file with these bytes.
    pub fn bytes(&mut self, name: &str, bytes: &[u8], mode: Mode) -> Result<()> {
        let (mut file, path) = self.create(name, mode)?;
        file.write_all(bytes).at("write", &path)?;
        self.finish(&file, &path, mode)
    }

    /// Adds a file with the bytes of `source`, by a reflink or else a copy.
    pub fn clone_of(&mut self, name: &str, source: &Path, mode: Mode) -> Result<LinkMode> {
        let (file, path) = self.create(name, mode)?;
        let how = self.ladder.fill(source, &file, &path)?;
        self.finish(&file, &path, mode).map(|()| how)
    }

    /// Adds a hard link to the file at `source`.
    pub fn hard_link(&mut self, name: &str, source: &Path) -> Result<()> {
        let path = self.place(name)?;
        fs::hard_link(source, &path).at("link", &path)
    }

    /// Adds a directory `name` (`.` is the tree itself) with hard links to all files in the directory `source`, which
    /// must not contain anything else. The file called `copied` is copied instead. Returns the name and stamp of each
    /// file.
    pub fn links_of(&mut self, name: &str, source: &Path, copied: &str) -> Result<Vec<(String, Stamp)>> {
        let dir = self.temp.path().join(name);
        super::create_dir_all(&dir)?;
        let mut links = Vec::new();
        for file in super::list(source)? {
            let (from, to) = (source.join(&file), dir.join(&file));
            let non_utf8 = || Error::new("name", &from, std::io::ErrorKind::InvalidData.into());
            let file = file.into_string().map_err(|_| non_utf8())?;
            if file == copied {
                self.clone_of(&format!("{name}/{file}"), &from, Mode::Umask(0o666))?;
            } else {
                fs::hard_link(&from, &to).at("link", &to)?;
            }
            links.push((file, Stamp::of(&to)?));
        }
        Ok(links)
    }

    /// Sets the time and the permissions of a complete file.
    fn finish(&self, file: &File, path: &Path, mode: Mode) -> Result<()> {
        self.mtime.map_or(Ok(()), |mtime| clock::stamp(file, path, mtime))?;
        finish(file, path, mode)
    }

    /// Replaces `target` and its content with the tree. For a moment `target` does not exist. If the commit fails,
    /// `target` is as it was before.
    pub fn commit(mut self, target: &Path) -> Result<()> {
        // Set the mode of a directory after those of its content, which may be out of reach then.
        self.modes.sort_by_key(|(name, _)| std::cmp::Reverse(name.components().count()));
        let itself = Path::new(".");
        for (name, mode) in self.modes.iter().filter(|(name, _)| name != itself) {
            super::set_mode(&self.temp.path().join(name), *mode)?;
        }
        let old = Old::set_aside(target)?;
        if let Err(error) = self.temp.rename_to(target) {
            old.put_back(target)?;
            return Err(error);
        }
        drop((old, self.around));
        // Not earlier: a directory without write permission cannot be moved into another one.
        self.modes.iter().filter(|(name, _)| name == itself).try_for_each(|(_, mode)| super::set_mode(target, *mode))
    }

    /// Returns the path of a new file, after creating its directory.
    fn place(&mut self, name: &str) -> Result<PathBuf> {
        let path = self.temp.path().join(name);
        let parent = super::temp::parent_of(&path);
        if !self.made.contains(parent) {
            super::create_dir_all(parent)?;
            self.made.insert(parent.to_owned());
        }
        Ok(path)
    }

    fn create(&mut self, name: &str, mode: Mode) -> Result<(File, PathBuf)> {
        let path = self.place(name)?;
        let parent = super::temp::parent_of(&path);
        if self.open.as_ref().is_none_or(|(open, _)| open != parent) {
            self.open = Dir::open(parent)?.map(|dir| (parent.to_owned(), dir));
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let absent = || Error::new("open", parent, std::io::ErrorKind::NotFound.into());
        let (_, dir) = self.open.as_ref().ok_or_else(absent)?;
        let first = match mode {
            // Writable until it is complete.
            Mode::Umask(mode) => mode | 0o200,
            // Other users cannot read a private file, not even before it is complete.
            Mode::Exact(_) => 0o600,
        };
        let file = dir.create(name, first).at("create", &path)?;
        Ok((file, path))
    }
}

/// Sets the permissions of a complete file that [`NewTree::create`] did not set.
fn finish(file: &File, path: &Path, mode: Mode) -> Result<()> {
    let exact = match mode {
        Mode::Umask(mode) if mode & 0o200 != 0 => return Ok(()),
        Mode::Umask(_) => file.metadata().at("stat", path)?.permissions().mode() & !0o222,
        Mode::Exact(mode) => mode & 0o777,
    };
    file.set_permissions(Permissions::from_mode(exact)).at("set the mode of", path)
}

/// The previous content of a target. Dropping it removes that content.
enum Old {
    /// The target was absent, or an empty directory.
    Empty,
    /// Anything else, moved to another place, because removing it first could fail halfway.
    Aside(Temp),
}

impl Old {
    fn set_aside(target: &Path) -> Result<Self> {
        // The directory is usually empty.
        match fs::remove_dir(target) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {}
            _ => return Ok(Self::Empty),
        }
        Temp::beside(target, |path| fs::rename(target, path)).map(|((), aside)| Self::Aside(aside))
    }

    fn put_back(self, target: &Path) -> Result<()> {
        match self {
            Self::Empty => super::create_dir_all(target),
            Self::Aside(aside) => aside.rename_to(target),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (source, target) = (dir.path().join("source"), dir.path().join("out"));
        super::super::Publish::default().bytes(&source, b"from a blob").unwrap();
        super::super::Publish::default().bytes(&target.join("old/file"), b"").unwrap();
        let build = |size| {
            let mut tree = NewTree::beside(&target, size).unwrap();
            tree.directory("empty/one").unwrap();
            tree.bytes("a/b/text", b"text", Mode::Umask(0o666)).unwrap();
            tree.bytes("a/fixed", b"text", Mode::Umask(0o444)).unwrap();
            tree.clone_of("a/b/tool", &source, Mode::Umask(0o777)).unwrap();
            tree.link("a/link", "b/text").unwrap();
            tree
        };
        drop(build(1));
        assert_eq!(walk(&target).unwrap()[1].0, "old", "not committed, not there");
        build(1).commit(&target).unwrap();
        build(MIN_FILES_TO_SPREAD).commit(&target).unwrap();
        let mut nodes = walk(&target).unwrap();
        assert_eq!(nodes.remove(0).0, ".");
        let names: Vec<&str> = nodes.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "a/b", "a/b/text", "a/b/tool", "a/fixed", "a/link", "empty", "empty/one"]);
        assert_eq!(nodes[5].1, Node::Link("b/text".into()));
        assert!(matches!(nodes[6].1, Node::Directory { is_empty: false, .. }));
        assert!(matches!(nodes[7].1, Node::Directory { is_empty: true, .. }));
        let mode = |at: usize| match &nodes[at].1 {
            Node::File(stamp) => stamp.mode & 0o700,
            other => panic!("{other:?}"),
        };
        assert_eq!((mode(2), mode(3), mode(4)), (0o600, 0o700, 0o400));
        assert_eq!(super::super::read(&target.join("a/b/tool")).unwrap(), b"from a blob");
        assert_eq!(super::super::list(dir.path()).unwrap().len(), 2, "no temp is left");
    }
    #[test]
    fn permissions_are_those_that_were_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let build = |size| {
            let mut tree = NewTree::beside(&target, size).unwrap();
            tree.bytes("a/b/key", b"", Mode::Exact(0o600)).unwrap();
            tree.bytes("a/b/all", b"", Mode::Exact(0o666)).unwrap();
            for (name, mode) in [("a", 0o500), ("a/b", 0o555), (".", 0o555)] {
                tree.directory_mode(name, mode);
            }
            tree
        };
        for size in [1, MIN_FILES_TO_SPREAD, 1] {
            build(size).commit(&target).unwrap();
            let mode = |name: &str| permissions(&fs::metadata(target.join(name)).unwrap());
            let modes = ["", "a", "a/b", "a/b/key", "a/b/all"].map(mode);
            assert_eq!(modes, [0o555, 0o500, 0o555, 0o600, 0o666], "{size} files");
            assert_eq!(super::super::list(dir.path()).unwrap(), ["out"], "the old tree is removed");
        }
        super::super::remove_dir_all(&target).unwrap();
        assert!(!target.exists());
    }

    #[test]
    fn what_was_there_survives_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let fail = || {
            let tree = NewTree::beside(&target, 1).unwrap();
            // Makes the rename fail.
            fs::remove_dir(tree.temp.path()).unwrap();
            tree.commit(&target).unwrap_err();
            walk(&target).unwrap().into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        fs::create_dir(&target).unwrap();
        assert_eq!(fail(), ["."]);
        super::super::Publish::default().bytes(&target.join("file"), b"").unwrap();
        assert_eq!(fail(), [".", "file"]);
        assert_eq!(super::super::list(dir.path()).unwrap(), ["out"]);
    }
}
