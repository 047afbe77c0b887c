//! Restores a run of a build script: its whole output directory, then its messages.
//!
//! The files in the directory do not share inodes with the store, because build systems rewrite objects and archives in
//! place (`ar` does as soon as a file has two names). All files have the time of the restore and are written in the
//! order in which the run wrote them, so that a build system that continues from there does not find a file older than
//! its sources.

use std::path::{Path, PathBuf};

use super::Bytes;
use super::plan::miss;
use crate::fsx;
use crate::fsx::LinkMode;
use crate::fsx::clock::Time;
use crate::fsx::tree::{Mode, NewTree};
use crate::model::{ArtifactKind, MissReason, TokenString};
use crate::store::{Entry, Message, Output, Store, Tree};

/// The plan to restore a run, not yet executed.
#[derive(Debug)]
pub struct RunPlan {
    /// The name, content and permissions of each file.
    files: Vec<(String, FileContent, Mode)>,
    tree: Tree,
    /// The standard output of the script, with the paths of this checkout.
    pub stdout: Vec<u8>,
    /// The standard error of the script, in the same form.
    pub stderr: Vec<u8>,
}

/// Where the content of a file comes from.
#[derive(Debug)]
enum FileContent {
    /// The path of the blob, and its size in bytes.
    Blob(PathBuf, u64),
    /// The bytes of a small blob, or of a text with the paths of this checkout.
    Bytes(Vec<u8>),
}

/// The plan reads a blob of up to this size, in bytes, instead of checking it now and copying it later: opening a file
/// twice takes longer than holding its content.
const MAX_INLINE_BYTES: u64 = 16 << 10;

/// From this number of files on, two threads read them.
const MIN_FILES_FOR_TWO_THREADS: usize = 64;

/// Plans the restore of `entry`. Checks every blob, but does not touch any. `expand` replaces the tokens in a text with
/// the paths of this checkout.
pub fn plan(
    entry: &Entry,
    store: &Store,
    expand: impl Fn(&TokenString) -> Option<String> + Sync,
) -> Result<RunPlan, MissReason> {
    let content = |output: &Output| {
        let is_text = output.kind == ArtifactKind::GeneratedText;
        if !is_text && output.size > MAX_INLINE_BYTES {
            let blob = store.check_blob(output.blob, output.size).map_err(miss)?;
            return Ok(FileContent::Blob(blob.path, output.size));
        }
        let bytes = store.read_blob(output.blob, output.size).map_err(miss)?;
        if !is_text {
            return Ok(FileContent::Bytes(bytes));
        }
        let spelled = String::from_utf8(bytes).ok().and_then(|text| TokenString::spelled(&text));
        let text = spelled.and_then(|text| expand(&text)).ok_or(MissReason::RestoreFailed)?;
        Ok(FileContent::Bytes(text.into_bytes()))
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
    if outputs.len() < MIN_FILES_FOR_TWO_THREADS {
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

/// Replaces `out_dir` with the whole tree. All files get the time `mtime`, or else that at which they are written.
pub fn apply(plan: &RunPlan, out_dir: &Path, mtime: Option<Time>) -> fsx::Result<Bytes> {
    let mut tree = NewTree::beside(out_dir, plan.files.len())?.with_mtime(mtime);
    let mut bytes = Bytes::default();
    for (name, content, mode) in &plan.files {
        match content {
            FileContent::Blob(source, size) => bytes.add(tree.clone_of(name, source, *mode)?, *size),
            FileContent::Bytes(content) => {
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

/// Records a stream that a script printed: as it is, or with tokens if `tokenise` finds a root in it. `None` if it is
/// not UTF-8.
pub fn record(stream: &[u8], tokenise: impl Fn(&str) -> TokenString) -> Option<Vec<Message>> {
    let text = std::str::from_utf8(stream).ok()?;
    let token = tokenise(text);
    Some(match (text, token.roots()) {
        ("", _) => Vec::new(),
        (_, []) => vec![Message::Raw(text.to_owned())],
        _ => vec![Message::Text(token)],
    })
}

/// Joins messages into a stream with the paths of this checkout.
pub fn printed(messages: &[Message], expand: impl Fn(&TokenString) -> Option<String>) -> Option<Vec<u8>> {
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
