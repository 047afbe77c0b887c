//! Restoring a run of a build script: its output directory as a whole, then what it printed.
//!
//! Nothing in the directory shares an inode with the store: build systems rewrite objects and archives in place (`ar` does as
//! soon as a file has two names). All files bear the time of the restore, in the order in which the run wrote them, so that
//! a build system that goes on from there finds nothing older than what it was made of.

use std::path::{Path, PathBuf};

use super::Bytes;
use super::plan::miss;
use crate::fsx;
use crate::fsx::LinkMode;
use crate::fsx::tree::{Mode, NewTree};
use crate::model::{ArtifactKind, MissReason, TokenString};
use crate::store::{Entry, Message, Output, Store, Tree};

/// A restore that could happen.
#[derive(Debug)]
pub struct RunPlan {
    /// Name, content, and permissions.
    files: Vec<(String, Content, Mode)>,
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
    /// These bytes: of a small blob, or of a text as it reads here.
    Bytes(Vec<u8>),
}

/// Up to which size, in bytes, a blob is read at once instead of looked at and copied later: to open a file twice takes longer
/// than to hold its bytes.
const SMALL: u64 = 16 << 10;

/// From how many files on two threads read them.
const MANY: usize = 64;

/// Plans the restore of `entry`. Every blob is checked here, none is touched. `expand` writes a text with tokens as it reads
/// here.
pub fn plan(
    entry: &Entry,
    store: &Store,
    expand: impl Fn(&TokenString) -> Option<String> + Sync,
) -> Result<RunPlan, MissReason> {
    let content = |output: &Output| {
        let is_text = output.kind == ArtifactKind::GeneratedText;
        if !is_text && output.size > SMALL {
            let blob = store.check_blob(output.blob, output.size).map_err(miss)?;
            return Ok(Content::Blob(blob.path, output.size));
        }
        let bytes = store.read_blob(output.blob, output.size).map_err(miss)?;
        if !is_text {
            return Ok(Content::Bytes(bytes));
        }
        let spelled = String::from_utf8(bytes).ok().and_then(|text| TokenString::spelled(&text));
        let text = spelled.and_then(|text| expand(&text)).ok_or(MissReason::RestoreFailed)?;
        Ok(Content::Bytes(text.into_bytes()))
    };
    let file = |output: &Output| {
        Ok((output.name.clone(), content(output)?, output.mode.map_or(Mode::Umask(output.usual_mode()), Mode::Exact)))
    };
    Ok(RunPlan {
        files: on_two_threads(&entry.outputs, file)?,
        tree: entry.tree.clone().unwrap_or_default(),
        stdout: printed(&entry.stdout, &expand).ok_or(MissReason::RestoreFailed)?,
        stderr: printed(&entry.stderr, &expand).ok_or(MissReason::RestoreFailed)?,
    })
}

fn on_two_threads<T: Send>(
    outputs: &[Output],
    read: impl Fn(&Output) -> Result<T, MissReason> + Sync,
) -> Result<Vec<T>, MissReason> {
    let all = |outputs: &[Output]| outputs.iter().map(&read).collect::<Result<Vec<T>, _>>();
    if outputs.len() < MANY {
        return all(outputs);
    }
    let (one, other) = outputs.split_at(outputs.len() / 2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| all(other));
        let mut read = all(one)?;
        read.extend(other.join().map_err(|_| MissReason::RestoreFailed)??);
        Ok(read)
    })
}

/// Puts the whole tree in the place of `out_dir`.
pub fn apply(plan: &RunPlan, out_dir: &Path) -> fsx::Result<Bytes> {
    let mut tree = NewTree::beside(out_dir, plan.files.len())?;
    let mut bytes = Bytes::default();
    for (name, content, mode) in &plan.files {
        match content {
            Content::Blob(source, size) => bytes.add(tree.clone_of(name, source, *mode)?, *size),
            Content::Bytes(content) => {
                tree.bytes(name, content, *mode)?;
                bytes.add(LinkMode::Copy, content.len() as u64);
            }
        }
    }
    plan.tree.directories.iter().try_for_each(|name| tree.directory(name))?;
    plan.tree.links.iter().try_for_each(|(name, target)| tree.link(name, target))?;
    plan.tree.modes.iter().for_each(|(name, mode)| tree.directory_mode(name, *mode));
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
