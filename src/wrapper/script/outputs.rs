//! The outputs of a run: the files in `OUT_DIR` and both streams, with tokens where a text names the checkout.

use std::path::{Path, PathBuf};

use crate::fsx::tree::{self, Node};
use crate::fsx::{self, Stamp};
use crate::keys::{NotStored, Roots};
use crate::model::{RootKind, Stored, TokenString};
use crate::restore::run as restore;
use crate::store::entries::is_inner_link;
use crate::store::{Message, Tree};

/// Size of the largest file that is read as text, in bytes. Some generated sources have several megabytes.
pub(super) const MAX_TEXT_BYTES: u64 = 16 << 20;

/// A regular file in `OUT_DIR`.
pub(super) struct OutputFile {
    /// Path relative to `OUT_DIR`.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) stamp: Stamp,
    /// The text with tokens, if it names the checkout.
    pub(super) text: Option<TokenString>,
}

/// All outputs of a run.
pub(super) struct RunOutputs {
    /// Ordered by mtime, so that a restore can keep the order.
    pub(super) files: Vec<OutputFile>,
    pub(super) tree: Tree,
    pub(super) stdout: Vec<Message>,
    pub(super) stderr: Vec<Message>,
}

impl RunOutputs {
    /// Reads the tree at `out_dir` and both streams. `roots` are the directories of the checkout.
    pub(super) fn read(out_dir: &Path, streams: [&[u8]; 2], roots: &Roots) -> Result<Self, NotStored> {
        let tokenise = |text: &str| roots.tokenise(text);
        let not_text = |name: &str| NotStored(Stored::NotText, name.to_owned());
        let mut outputs = Self {
            files: Vec::new(),
            tree: Tree::default(),
            stdout: restore::record(streams[0], tokenise).ok_or_else(|| not_text("stdout"))?,
            stderr: restore::record(streams[1], tokenise).ok_or_else(|| not_text("stderr"))?,
        };
        let usual = fsx::new_file_mode(true);
        let unsupported = |what: String| NotStored(Stored::OutDirUnsupported, what);
        for (name, node) in tree::walk(out_dir).map_err(|error| unsupported(error.to_string()))? {
            match node {
                Node::File(stamp) => {
                    let path = out_dir.join(&name);
                    let text = text_of(&path, stamp, roots)?;
                    outputs.files.push(OutputFile { name, path, stamp, text });
                }
                Node::Directory { is_empty, mode } => {
                    if mode != usual {
                        outputs.tree.modes.push((name.clone(), mode));
                    }
                    if is_empty && name != "." {
                        outputs.tree.directories.push(name);
                    }
                }
                Node::Link(target) if is_inner_link(&name, &target) => outputs.tree.links.push((name, target)),
                Node::Link(_) => return Err(unsupported(format!("the link {name}"))),
                Node::Special => return Err(unsupported(name)),
            }
        }
        outputs.files.sort_by_key(|file| file.stamp.mtime);
        Ok(outputs)
    }

    /// The names of everything in the tree, and the targets of its links.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let links = self.tree.links.iter().flat_map(|(name, target)| [name, target]);
        let names = self.files.iter().map(|file| &file.name).chain(&self.tree.directories).chain(links);
        names.map(String::as_str)
    }

    /// All texts that contain tokens.
    pub(super) fn texts(&self) -> impl Iterator<Item = &TokenString> {
        let messages = self.stdout.iter().chain(&self.stderr).filter_map(|message| match message {
            Message::Text(text) => Some(text),
            Message::Raw(_) | Message::Artifact(_) => None,
        });
        self.files.iter().filter_map(|file| file.text.as_ref()).chain(messages)
    }

    /// The directories of the checkout that texts name.
    pub(super) fn named(&self) -> Vec<RootKind> {
        let mut kinds: Vec<RootKind> = self.texts().flat_map(|text| text.roots().iter().copied()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }
}

/// The text of a file, with tokens. `None` if it does not name the checkout, or is not text.
fn text_of(path: &Path, stamp: Stamp, roots: &Roots) -> Result<Option<TokenString>, NotStored> {
    if stamp.size > MAX_TEXT_BYTES {
        return Ok(None);
    }
    let bytes = fsx::read(path)?;
    let names_root = roots.iter().any(|(_, place)| memchr::memmem::find(&bytes, place.as_bytes()).is_some());
    let text = if names_root && !bytes.contains(&0) { String::from_utf8(bytes).ok() } else { None };
    Ok(text.map(|text| roots.tokenise(&text)).filter(|text| !text.roots().is_empty()))
}
