//! Events: one line per invocation, the only thing that the wrapper says about itself.
//!
//! [`event`] is the format, [`log`] appends and reads it, [`summary`] counts, [`build`] finds what one cargo asked,
//! [`transfer`] is the journal of the remote, [`traffic`] counts it.

pub mod build;
pub mod event;
pub mod log;
pub mod summary;
pub mod traffic;
pub mod transfer;

pub use event::Event;
pub use log::EventLog;
pub use summary::Summary;
pub use traffic::Traffic;
pub use transfer::{Ending, Journal, Transfer};
