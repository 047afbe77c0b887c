//! Executing a plan.

use super::plan::{Plan, Step};
use crate::fsx::ladder::{Clone, Sharing};
use crate::fsx::{self, Ladder, LinkMode, Publish, Stamp};
use crate::store::Stamps;

/// Bytes restored, by the rung of the ladder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Shared extents.
    pub reflink: u64,
    /// Shared inodes.
    pub hard_link: u64,
    /// Own bytes.
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

/// Stages every file, then renames them all. If a rename fails, what was renamed before is removed: the compile that follows
/// writes the whole unit anew.
pub fn apply(plan: &Plan, stamps: &Stamps) -> fsx::Result<Bytes> {
    let mut ladder = Ladder::default();
    let mut staged: Vec<(&Step, Clone)> = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        staged.push((step, ladder.clone_beside(&step.source, &step.target, step.sharing)?));
    }
    let (path, text) = &plan.dep_info;
    let mut dep_info = Publish::default().begin(path)?;
    dep_info.push(text.as_bytes())?;
    dep_info.commit()?;
    // A link that turns out to be impossible becomes a copy, which may fail for want of room: before anything is renamed.
    staged.sort_by_key(|(_, clone)| !clone.is_link());
    let mut bytes = Bytes::default();
    let mut placed: Vec<&Step> = Vec::with_capacity(staged.len());
    for (step, clone) in staged {
        match clone.commit(&step.target) {
            Ok(mode) => bytes.add(mode, step.size),
            Err(error) => {
                remove_placed(plan, &placed);
                return Err(error);
            }
        }
        placed.push(step);
        // Shared ones too: their slot may hold what an inode of this number was before, and only the mtime tells.
        let is_it = |now: &Stamp| now.size == step.size && (now.is_canonical() || step.sharing != Sharing::Shared);
        stamps.remember_own(&step.target, step.blob.0, is_it);
    }
    Ok(bytes)
}

fn remove_placed(plan: &Plan, placed: &[&Step]) {
    let _ = fsx::remove_file(&plan.dep_info.0);
    for step in placed {
        let _ = fsx::remove_file(&step.target);
    }
}
