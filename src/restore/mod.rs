//! Restores the outputs of an entry: a pure [`plan`], then [`apply`], then the replay of the [`messages`].
//!
//! kache stages clones next to their targets before it replaces anything. If a later step fails, it removes what it has
//! placed, and rustc compiles the unit. [`run`] does the same for a run of a build script.

pub mod apply;
pub mod messages;
pub mod plan;
pub mod run;

pub use apply::{Bytes, apply};
pub use plan::RestorePlan;
