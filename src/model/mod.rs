//! The words that several modules use, as plain data: digests and typed ids, artifacts, input sets, outcomes,
//! differences.
//!
//! This module does not touch the disk, the environment or the clock, and does not use any module above it.

pub mod artifact;
pub mod dep_info;
pub mod difference;
pub mod digest;
pub mod entry_id;
pub mod glibc;
pub mod input_kind;
pub mod input_set;
pub mod key_trace;
pub mod outcome;
pub mod secret;
pub mod token;

pub use artifact::{ArtifactKind, EmitKind};
pub use dep_info::DepInfo;
pub use difference::{Difference, DifferenceKind};
pub use digest::{BlobId, Digest, EntryKey, LookupKey, SessionKey, UnitKey};
pub use entry_id::EntryId;
pub use glibc::GlibcVersion;
pub use input_kind::InputKind;
pub use input_set::{Input, InputSet, KnownVariables, PathKind};
pub use key_trace::KeyTrace;
pub use outcome::{
    BypassReason, Compared, HitSource, MissReason, Outcome, OutcomeClass, Refusal, RemoteAnswer, Stored,
};
pub use token::{RootKind, TokenString};
