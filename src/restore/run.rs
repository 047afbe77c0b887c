//! Restoring a run of a build script: its output directory as a whole, then what it printed.
//!
//! Nothing in the directory shares an inode with the store: build systems rewrite objects and archives in place (`ar` does as
//! soon as a file has two names). All files bear the time of the restore, in the order in which the run wrote them, so that
//! a build system that goes on from there finds nothing older than what it was made of.

use std::path::{Path, PathBuf};

use super::Bytes;
use super::plan::miss;
use crate::fsx;
use crate::fsx::tree::NewTree;
use crate::model::{ArtifactKind, MissReason, TokenString};
use crate::store::{Entry, Message, Output, Store, Tree};

/// A restore that could happen.
#[derive(Debug)]
pub struct RunPlan {
    files: Vec<(String, Content, u32)>,
    tree: Tree,
    /// What the script printed to standard output, as it reads here.
    pub stdout: Vec<u8>,
    /// What it printed to standard error.
    pub stderr: Vec<u8>,
}

#[derive(Debug)]
enum Content {
    /// The blob in this file, and its size in bytes.
    Blob(PathBuf, u64),
    /// A text as it reads here.
    Text(Vec<u8>),
}

/// Plans the restore of `entry`. Every blob is checked here, none is touched. `expand` writes a text with tokens as it reads
/// here.
pub fn plan(
    entry: &Entry,
    store: &Store,
    expand: impl Fn(&TokenString) -> Option<String>,
) -> Result<RunPlan, MissReason> {
    let content = |output: &Output| {
        let blob = store.check_blob(output.blob, output.size).map_err(miss)?;
        if output.kind != ArtifactKind::GeneratedText {
            return Ok(Content::Blob(blob.path, output.size));
        }
        let spelled = fsx::read_to_string(&blob.path).map_err(|_| MissReason::BlobGone)?;
        let text = TokenString::spelled(&spelled).and_then(|text| expand(&text)).ok_or(MissReason::RestoreFailed)?;
        Ok(Content::Text(text.into_bytes()))
    };
    let file = |output: &Output| Ok((output.name.clone(), content(output)?, mode(output)));
    Ok(RunPlan {
        files: entry.outputs.iter().map(file).collect::<Result<_, _>>()?,
        tree: entry.tree.clone().unwrap_or_default(),
        stdout: printed(&entry.stdout, &expand).ok_or(MissReason::RestoreFailed)?,
        stderr: printed(&entry.stderr, &expand).ok_or(MissReason::RestoreFailed)?,
    })
}

/// Puts the whole tree in the place of `out_dir`.
pub fn apply(plan: &RunPlan, out_dir: &Path) -> fsx::Result<Bytes> {
    let mut tree = NewTree::beside(out_dir, plan.files.len())?;
    let mut bytes = Bytes::default();
    for (name, content, mode) in &plan.files {
        match content {
            Content::Blob(source, size) => bytes.add(tree.clone_of(name, source, *mode)?, *size),
            Content::Text(text) => tree.bytes(name, text, *mode)?,
        }
    }
    plan.tree.directories.iter().try_for_each(|name| tree.directory(name))?;
    plan.tree.links.iter().try_for_each(|(name, target)| tree.link(name, target))?;
    tree.commit(out_dir)?;
    Ok(bytes)
}

/// Takes what a script printed apart: as it is, or with tokens if it names a place among `roots`. `None`: it is no text.
pub fn record(stream: &[u8], tokenise: impl Fn(&str) -> TokenString) -> Option<Vec<Message>> {
    let text = std::str::from_utf8(stream).ok()?;
    let token = tokenise(text);
    Some(match (text, token.roots()) {
        ("", _) => Vec::new(),
        (_, []) => vec![Message::Raw(text.to_owned())],
        _ => vec![Message::Text(token)],
    })
}

fn printed(messages: &[Message], expand: impl Fn(&TokenString) -> Option<String>) -> Option<Vec<u8>> {
    let mut stream = Vec::new();
    for message in messages {
        match message {
            Message::Raw(text) => stream.extend(text.as_bytes()),
            Message::Text(text) => stream.extend(expand(text)?.into_bytes()),
            Message::Artifact(_) => return None,
        }
    }
    Some(stream)
}

/// The permissions of an output before the umask.
fn mode(output: &Output) -> u32 {
    let all = if output.executable { 0o777 } else { 0o666 };
    if output.read_only { all & !0o222 } else { all }
}
