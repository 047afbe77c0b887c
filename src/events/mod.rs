//! Events: one line per invocation, which is how the wrapper reports what it did.
//!
//! [`event`] is the format, [`log`] appends and reads lines, [`summary`] counts events, and [`build`] finds the events
//! of one build, whose command is in [`command`]. [`transfer`] is the format of the journal of the remote, and
//! [`traffic`] counts its lines.

pub mod build;
pub mod command;
pub mod event;
pub mod log;
pub mod restore;
pub mod summary;
pub mod traffic;
pub mod transfer;

pub use command::BuildCommand;
pub use event::Event;
pub use restore::{WholeBuild, WholeBuilds};
pub use summary::Summary;
pub use traffic::Traffic;
pub use transfer::{Ending, Transfer};

/// The log of invocations.
pub type EventLog = log::Log<Event>;
/// The log of commands.
pub type CommandLog = log::Log<BuildCommand>;
/// The log of restored whole builds.
pub type RestoreLog = log::Log<WholeBuild>;
/// The log of transfers.
pub type Journal = log::Log<Transfer>;
