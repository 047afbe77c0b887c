//! Directory trees: listing one, and building a new one that becomes visible as a whole.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::dir::Dir;
use super::ladder::{Ladder, LinkMode};
use super::temp::Temp;
use super::{At, Error, Result, Stamp};

/// Something in a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Node {
    /// A regular file.
    File(Stamp),
    /// A directory without anything in it.
    EmptyDirectory,
    /// A symbolic link and its target.
    Link(String),
    /// A pipe, a socket or a device.
    Special,
}

/// Everything below `dir` by its path relative to `dir`, sorted. Directories that hold something are not listed. An error of
/// the kind `InvalidData`: a name that is not UTF-8.
pub fn walk(dir: &Path) -> Result<Vec<(String, Node)>> {
    let mut nodes = Vec::new();
    walk_below(dir, "", &mut nodes)?;
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
            if nodes.len() > before {
                continue;
            }
            Node::EmptyDirectory
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

/// Whether `dir` is a directory without anything in it.
pub fn is_empty(dir: &Path) -> Result<bool> {
    Ok(fs::read_dir(dir).at("list", dir)?.next().is_none())
}

/// From how many files on a tree is made elsewhere on the disk. For fewer, finding a place takes longer than it saves.
///
/// Files get their inodes near their directory, where, after `rm -rf target`, the old tree's were a moment ago. ext4 without a
/// journal does not use those again for a minute, and looks at each of them again for every new file (`recently_deleted` in
/// fs/ext4/ialloc.c): 0.2 ms instead of 0.02 ms for one.
const MANY: usize = 16;

/// A tree on its way to its target. Dropping it leaves nothing.
#[derive(Debug)]
pub struct NewTree {
    temp: Temp,
    /// What the tree is in, which goes after it.
    around: Option<Temp>,
    ladder: Ladder,
    /// Directories that exist in it.
    made: HashSet<PathBuf>,
    /// The one that got the last file.
    open: Option<(PathBuf, Dir)>,
}

impl NewTree {
    /// An empty tree beside `target` for about `size` files.
    pub fn beside(target: &Path, size: usize) -> Result<Self> {
        let new = |temp, around| Self { temp, around, ladder: Ladder::default(), made: HashSet::new(), open: None };
        let directory = |target: &Path| Temp::beside(target, |path| fs::create_dir(path));
        let ((), temp) = directory(target)?;
        let spread = || super::sys_spread::spread_children(&File::open(temp.path())?);
        if size < MANY || spread().is_err() {
            return Ok(new(temp, None));
        }
        // ext4 goes by the name when it looks for a place, so this one must be another each time.
        let ((), inner) = directory(&temp.path().join("tree"))?;
        Ok(new(inner, Some(temp)))
    }

    /// Adds a directory.
    pub fn directory(&mut self, name: &str) -> Result<()> {
        super::create_dir_all(&self.temp.path().join(name))
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, name: &str, target: &str) -> Result<()> {
        let path = self.place(name)?;
        std::os::unix::fs::symlink(target, &path).at("link", &path)
    }

    /// Adds a file with these bytes.
    pub fn bytes(&mut self, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let (mut file, path) = self.create(name, mode)?;
        file.write_all(bytes).at("write", &path)?;
        finish(&file, &path, mode)
    }

    /// Adds a file with the bytes of `source`, by the ladder.
    pub fn clone_of(&mut self, name: &str, source: &Path, mode: u32) -> Result<LinkMode> {
        let (file, path) = self.create(name, mode)?;
        let how = self.ladder.fill(source, &file, &path)?;
        finish(&file, &path, mode).map(|()| how)
    }

    /// Puts the tree in the place of `target`, whose content is removed. Between the two there is a moment without either.
    pub fn commit(self, target: &Path) -> Result<()> {
        // Empty as a rule.
        if fs::remove_dir(target).is_err() {
            super::remove_dir_all(target)?;
        }
        self.temp.persist(target)?;
        drop(self.around);
        Ok(())
    }

    /// The path of a new file, whose directory exists then.
    fn place(&mut self, name: &str) -> Result<PathBuf> {
        let path = self.temp.path().join(name);
        let parent = super::temp::parent_of(&path);
        if !self.made.contains(parent) {
            super::create_dir_all(parent)?;
            self.made.insert(parent.to_owned());
        }
        Ok(path)
    }

    fn create(&mut self, name: &str, mode: u32) -> Result<(File, PathBuf)> {
        let path = self.place(name)?;
        let parent = super::temp::parent_of(&path);
        if self.open.as_ref().is_none_or(|(open, _)| open != parent) {
            self.open = Dir::open(parent)?.map(|dir| (parent.to_owned(), dir));
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let absent = || Error::new("open", parent, std::io::ErrorKind::NotFound.into());
        let (_, dir) = self.open.as_ref().ok_or_else(absent)?;
        // Writable until it is full.
        let file = dir.create(name, mode | 0o200).at("create", &path)?;
        Ok((file, path))
    }
}

/// Takes the write permission away that [`NewTree::create`] gave; the umask has taken the rest.
fn finish(file: &File, path: &Path, mode: u32) -> Result<()> {
    if mode & 0o200 != 0 {
        return Ok(());
    }
    let now = file.metadata().at("stat", path)?.permissions().mode();
    file.set_permissions(Permissions::from_mode(now & !0o222)).at("set the mode of", path)
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
            tree.bytes("a/b/text", b"text", 0o666).unwrap();
            tree.bytes("a/fixed", b"text", 0o444).unwrap();
            tree.clone_of("a/b/tool", &source, 0o777).unwrap();
            tree.link("a/link", "b/text").unwrap();
            tree
        };
        drop(build(1));
        assert_eq!(walk(&target).unwrap().len(), 1, "not committed, not there");
        build(1).commit(&target).unwrap();
        build(MANY).commit(&target).unwrap();
        let nodes = walk(&target).unwrap();
        let names: Vec<&str> = nodes.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a/b/text", "a/b/tool", "a/fixed", "a/link", "empty/one"]);
        assert_eq!(nodes[3].1, Node::Link("b/text".into()));
        assert_eq!(nodes[4].1, Node::EmptyDirectory);
        let mode = |at: usize| match &nodes[at].1 {
            Node::File(stamp) => stamp.mode & 0o700,
            other => panic!("{other:?}"),
        };
        assert_eq!((mode(0), mode(1), mode(2)), (0o600, 0o700, 0o400));
        assert_eq!(super::super::read(&target.join("a/b/tool")).unwrap(), b"from a blob");
        assert_eq!(super::super::list(dir.path()).unwrap().len(), 2, "no temp is left");
    }
}
