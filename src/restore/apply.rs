//! Executing a plan.

use super::plan::Plan;
use crate::fsx::ladder::{Clone, Sharing};
use crate::fsx::{self, Ladder, LinkMode, Mtime, Publish, Stamp};
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
    fn add(&mut self, mode: LinkMode, size: u64) {
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
    let mut bytes = Bytes::default();
    let mut staged: Vec<Clone> = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        let clone = ladder.clone_beside(&step.source, &step.target, step.sharing)?;
        bytes.add(clone.mode, step.size);
        staged.push(clone);
    }
    let (path, text) = &plan.dep_info;
    let mut dep_info =
        Publish { mode: fsx::new_file_mode(false), mtime: Mtime::Now, ..Publish::default() }.begin(path)?;
    dep_info.push(text.as_bytes())?;
    dep_info.commit()?;
    for (done, (step, clone)) in plan.steps.iter().zip(staged).enumerate() {
        if let Err(error) = clone.commit(&step.target) {
            remove_placed(plan, done);
            return Err(error);
        }
        // Shared ones too: their slot may hold what an inode of this number was before, and only the mtime tells.
        let is_it = |now: &Stamp| now.size == step.size && (now.is_canonical() || step.sharing != Sharing::Shared);
        stamps.remember_own(&step.target, step.blob.0, is_it);
    }
    Ok(bytes)
}

fn remove_placed(plan: &Plan, done: usize) {
    let _ = fsx::remove_file(&plan.dep_info.0);
    for step in &plan.steps[..done] {
        let _ = fsx::remove_file(&step.target);
    }
}
