//! The words of kache as plain data: digests and typed ids, artifacts, input sets, outcomes.
//!
//! Nothing here touches the disk, the environment or the clock, and nothing here knows a module above it.

pub mod artifact;
pub mod dep_info;
pub mod digest;
pub mod input_set;
pub mod outcome;
pub mod token;

pub use artifact::{ArtifactKind, EmitKind};
pub use dep_info::DepInfo;
pub use digest::{BlobId, Digest, EntryKey, LookupKey};
pub use input_set::{Input, InputSet, Thing};
pub use outcome::{BypassReason, HitSource, MissReason, Outcome, Refusal, Stored};
pub use token::{RootKind, TokenString};
