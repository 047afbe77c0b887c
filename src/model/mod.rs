//! The words of kache as plain data: digests and typed ids, artifacts, input sets, outcomes, differences.
//!
//! This module does not touch the disk, the environment or the clock, and does not use any module above it.

pub mod artifact;
pub mod dep_info;
pub mod difference;
pub mod digest;
pub mod entry_id;
pub mod input_set;
pub mod outcome;
pub mod secret;
pub mod token;
pub mod trace;

pub use artifact::{ArtifactKind, EmitKind};
pub use dep_info::DepInfo;
pub use difference::{Difference, DifferenceKind};
pub use digest::{BlobId, Digest, EntryKey, LookupKey, SessionKey, UnitKey};
pub use entry_id::EntryId;
pub use input_set::{Input, InputSet, KnownVariables, Thing};
pub use outcome::{BypassReason, Compared, HitSource, MissReason, Outcome, OutcomeClass, Refusal, Stored};
pub use token::{RootKind, TokenString};
pub use trace::Trace;
