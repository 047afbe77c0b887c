//! Events: one line per invocation, the only thing that the wrapper says about itself.
//!
//! [`event`] is the format, [`log`] appends and reads lines, [`summary`] counts, [`build`] finds what one cargo asked,
//! [`transfer`] is the format of the remote's journal, [`traffic`] counts it.

pub mod build;
pub mod event;
pub mod log;
pub mod summary;
pub mod traffic;
pub mod transfer;

pub use event::Event;
pub use summary::Summary;
pub use traffic::Traffic;
pub use transfer::{Ending, Transfer};

/// What became of invocations.
pub type EventLog = log::Log<Event>;
/// What became of transfers.
pub type Journal = log::Log<Transfer>;
