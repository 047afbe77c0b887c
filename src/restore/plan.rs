//! What goes where, and as what.
//!
//! The clock rule (cargo compares the newest mtime among a unit's outputs with its dependencies',
//! `cargo/src/cargo/core/compiler/fingerprint/mod.rs`): an `.rlib` may be the blob itself, with the canonical old mtime that
//! nobody ever changes, as long as an `.rmeta` beside it carries the time of this restore. A unit without one gets a
//! private copy of everything.

use std::path::{Path, PathBuf};

use crate::fsx::ladder::Sharing;
use crate::fsx::{self, Mtime};
use crate::model::{ArtifactKind, BlobId, MissReason, TokenString};
use crate::rustc::dep_info;
use crate::store::{BlobProblem, Entry, Store};

/// A restore that could happen.
#[derive(Debug)]
pub struct Plan {
    /// The files to clone.
    pub steps: Vec<Step>,
    /// The `.d` file and its text here.
    pub dep_info: (PathBuf, String),
}

/// One file.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// The blob's file.
    pub source: PathBuf,
    /// Its name.
    pub blob: BlobId,
    /// Bytes.
    pub size: u64,
    /// The output's place.
    pub target: PathBuf,
    /// Whether it may be the blob itself.
    pub sharing: Sharing,
}

/// Plans the restore of `entry`. Every blob is checked here, none is touched.
///
/// `expand` writes a text with tokens as it reads here.
pub fn plan(
    entry: &Entry,
    out_dir: &Path,
    store: &Store,
    expand: impl Fn(&TokenString) -> Option<String>,
) -> Result<Plan, MissReason> {
    let may_share = shares_inodes(entry);
    let mut steps = Vec::with_capacity(entry.outputs.len());
    for output in &entry.outputs {
        let blob = store.check_blob(output.blob, output.size).map_err(miss)?;
        // A mode that was changed through some link (`chmod -R a-w` in a checkout), or that another umask gave, is not
        // handed on.
        let mode = fsx::new_file_mode(output.executable);
        let sharing = if may_share && output.kind.may_share_inode() && blob.mode == mode {
            Sharing::Shared
        } else {
            Sharing::Private { executable: output.executable, mtime: Mtime::Now }
        };
        let target = out_dir.join(&output.name);
        steps.push(Step { source: blob.path, blob: output.blob, size: output.size, target, sharing });
    }
    let dep_info = entry.dep_info.try_map(expand).ok_or(MissReason::RestoreFailed)?;
    let text = dep_info::render(&dep_info);
    Ok(Plan { steps, dep_info: (out_dir.join(&entry.dep_info_name), text) })
}

/// Whether outputs of this entry may share their inode with the blob: only beside an `.rmeta`, which carries the time.
pub fn shares_inodes(entry: &Entry) -> bool {
    entry.outputs.iter().any(|output| output.kind == ArtifactKind::Rmeta)
}

pub(super) fn miss(problem: BlobProblem) -> MissReason {
    match problem {
        BlobProblem::Gone => MissReason::BlobGone,
        BlobProblem::Corrupt => MissReason::BlobCorrupt,
    }
}
