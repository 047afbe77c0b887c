//! Decides where each output goes, and whether it may share its inode with the blob.
//!
//! The clock rule: cargo compares the newest mtime among the outputs of a unit with that of its dependencies
//! (`cargo/src/cargo/core/compiler/fingerprint/mod.rs`). So an `.rlib` may be the blob itself, with the canonical old
//! mtime that never changes, if an `.rmeta` next to it has the time of this restore. A unit without an `.rmeta` gets
//! private copies only.

use std::path::{Path, PathBuf};

use crate::fsx::clock::Time;
use crate::fsx::ladder::Sharing;
use crate::fsx::{self, Mtime, Stamp};
use crate::model::{ArtifactKind, BlobId, MissReason, TokenString};
use crate::rustc::dep_info;
use crate::store::{BlobProblem, Entry, Store};

/// The plan to restore a compile, not yet executed.
#[derive(Debug)]
pub struct RestorePlan {
    /// The files to clone.
    pub steps: Vec<RestoreStep>,
    /// The path of the `.d` file, and its text for this checkout.
    pub dep_info: (PathBuf, String),
}

impl RestorePlan {
    /// The same plan; outputs with an inode of their own get the time `mtime`.
    #[must_use]
    pub fn with_mtime(mut self, mtime: Time) -> Self {
        for step in &mut self.steps {
            if let Sharing::Private { executable, .. } = step.sharing {
                step.sharing = Sharing::Private { executable, mtime: Mtime::At(mtime) };
            }
        }
        self
    }

    /// Lets every output be the blob itself, with the canonical time. Blobs of programs become executable. Returns
    /// whether all outputs may; if not, the plan is unchanged.
    pub fn share_all(&mut self) -> bool {
        let is_ready = |step: &RestoreStep| match step.sharing {
            Sharing::Shared => true,
            Sharing::Private { executable, .. } => has_mode(&step.source, executable),
        };
        let all = self.steps.iter().all(is_ready);
        self.steps.iter_mut().filter(|_| all).for_each(|step| step.sharing = Sharing::Shared);
        all
    }
}

/// Whether a blob has the mode of the output. Makes it executable if only that differs.
fn has_mode(blob: &Path, executable: bool) -> bool {
    let Ok(mode) = Stamp::of(blob).map(|stamp| stamp.mode & 0o777) else { return false };
    let wanted = fsx::new_file_mode(executable);
    mode == wanted || (executable && mode == fsx::new_file_mode(false) && fsx::set_mode(blob, wanted).is_ok())
}

/// One file to clone.
#[derive(Debug, PartialEq, Eq)]
pub struct RestoreStep {
    /// The path of the blob.
    pub source: PathBuf,
    /// The id of the blob.
    pub blob: BlobId,
    /// Size in bytes.
    pub size: u64,
    /// The path of the output.
    pub target: PathBuf,
    /// Whether the output may be the blob itself.
    pub sharing: Sharing,
}

/// Plans the restore of `entry`. Checks every blob, but does not touch any.
///
/// `expand` replaces the tokens in a text with the paths of this checkout.
pub fn plan(
    entry: &Entry,
    out_dir: &Path,
    store: &Store,
    expand: impl Fn(&TokenString) -> Option<String>,
) -> Result<RestorePlan, MissReason> {
    let may_share = shares_inodes(entry);
    let mut steps = Vec::with_capacity(entry.outputs.len());
    for output in &entry.outputs {
        let blob = store.check_blob(output.blob, output.size).map_err(miss)?;
        // A mode that was changed through another link (`chmod -R a-w` in a checkout), or that is due to another umask,
        // must not reach this checkout.
        let mode = fsx::new_file_mode(output.executable);
        let sharing = if may_share && output.kind.may_share_inode() && blob.mode == mode {
            Sharing::Shared
        } else {
            Sharing::Private { executable: output.executable, mtime: Mtime::Now }
        };
        let target = out_dir.join(&output.name);
        steps.push(RestoreStep { source: blob.path, blob: output.blob, size: output.size, target, sharing });
    }
    let dep_info = entry.dep_info.try_map(expand).ok_or(MissReason::RestoreFailed)?;
    let text = dep_info::render(&dep_info);
    Ok(RestorePlan { steps, dep_info: (out_dir.join(&entry.dep_info_name), text) })
}

/// Whether outputs of this entry may share their inode with the blob: only next to an `.rmeta`, which has the time of
/// the restore.
pub fn shares_inodes(entry: &Entry) -> bool {
    entry.outputs.iter().any(|output| output.kind == ArtifactKind::Rmeta)
}

pub(super) fn miss(problem: BlobProblem) -> MissReason {
    match problem {
        BlobProblem::Gone => MissReason::BlobGone,
        BlobProblem::Corrupt => MissReason::BlobCorrupt,
    }
}
