//! Restores the outputs of an entry: a pure [`plan`], then [`apply`], then the replay of the [`messages`].
//!
//! kache restores a unit completely or not at all: it stages everything next to its target, then renames. [`run`] does
//! the same for a run of a build script.

pub mod apply;
pub mod messages;
pub mod plan;
pub mod run;

pub use apply::{Bytes, apply};
pub use plan::RestorePlan;
