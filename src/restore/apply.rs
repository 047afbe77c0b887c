//! Executes a restore plan.

use super::plan::{RestorePlan, RestoreStep};
use crate::fsx::ladder::{PendingClone, Sharing};
use crate::fsx::{self, Ladder, LinkMode, Publish, Stamp};
use crate::store::Stamps;

/// The bytes restored, by the method of the ladder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Bytes in extents shared with the store.
    pub reflink: u64,
    /// Bytes in inodes shared with the store.
    pub hard_link: u64,
    /// Bytes that were copied.
    pub copy: u64,
}

impl Bytes {
    pub(super) fn add(&mut self, mode: LinkMode, size: u64) {
        match mode {
            LinkMode::Reflink => self.reflink += size,
            LinkMode::HardLink => self.hard_link += size,
            LinkMode::Copy => self.copy += size,
        }
    }
}

/// Stages every file, then renames all of them. If a rename fails, removes the files that were already renamed, because
/// the compile that follows writes the whole unit again.
pub fn apply(plan: &RestorePlan, stamps: &Stamps) -> fsx::Result<Bytes> {
    let mut ladder = Ladder::default();
    let mut staged: Vec<(&RestoreStep, PendingClone)> = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        staged.push((step, ladder.clone_beside(&step.source, &step.target, step.sharing)?));
    }
    let (path, text) = &plan.dep_info;
    let mut dep_info = Publish::default().begin(path)?;
    dep_info.push(text.as_bytes())?;
    dep_info.commit()?;
    // A link that turns out to be impossible becomes a copy, which may fail if the disk is full. So links come first,
    // before any file is renamed.
    staged.sort_by_key(|(_, clone)| !clone.is_link());
    let mut bytes = Bytes::default();
    let mut placed: Vec<&RestoreStep> = Vec::with_capacity(staged.len());
    for (step, clone) in staged {
        match clone.commit(&step.target) {
            Ok(mode) => bytes.add(mode, step.size),
            Err(error) => {
                remove_placed(plan, &placed);
                return Err(error);
            }
        }
        placed.push(step);
        // Remember shared files too: their slot may still describe an earlier file with the same inode number, and only
        // the mtime tells the two apart.
        let is_it = |now: &Stamp| now.size == step.size && (now.is_canonical() || step.sharing != Sharing::Shared);
        stamps.remember_own(&step.target, step.blob.0, is_it);
    }
    Ok(bytes)
}

fn remove_placed(plan: &RestorePlan, placed: &[&RestoreStep]) {
    let _ = fsx::remove_file(&plan.dep_info.0);
    for step in placed {
        let _ = fsx::remove_file(&step.target);
    }
}
