//! The words of kache as plain data: digests and typed ids, artifacts, input sets, outcomes.
//!
//! Nothing here touches the disk, the environment or the clock, and nothing here knows a module above it.

pub mod artifact;
pub mod digest;
pub mod input_set;
pub mod outcome;
pub mod token;

pub use artifact::{ArtifactKind, EmitKind};
pub use digest::{BlobId, Digest, EntryKey, LookupKey};
pub use input_set::{Input, InputSet};
pub use outcome::{BypassReason, HitSource, MissReason, Outcome, Stored};
pub use token::{RootKind, TokenString};
