//! Putting an entry's outputs in place: a pure [`plan`], then [`apply`], then [`messages`] replayed.
//!
//! A unit is restored whole or not at all: everything is staged beside its target first, then renamed. [`run`] does the same
//! for a run of a build script.

pub mod apply;
pub mod messages;
pub mod plan;
pub mod run;

pub use apply::{Bytes, apply};
pub use plan::Plan;
