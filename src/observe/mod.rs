//! Observes what rustc, its proc macros, the linker and build scripts really read.
//!
//! `preload/` is a small C library. The dynamic linker loads it in front of the C library of the first program and of
//! every program that it starts (`LD_PRELOAD`). It interposes the functions that open, stat and list files, run
//! programs and read variables, and appends a record of each call to a [`trace`] in shared memory. [`wire`] parses the
//! records, and [`facts`] turns them into facts.
//!
//! Invariants: timing aside, a program sees no difference (results, errno, descriptors, environment). An incomplete
//! trace, or a program that could not be observed, is reported and never ignored. Nothing here depends on roots or
//! keys.
//!
//! The observer cannot see system calls that bypass the C library, memory that is shared with other programs, the time,
//! or random numbers. Users declare such inputs in `.kache.toml`.

pub mod facts;
mod first_process;
pub mod library;
mod made_paths;
mod seen;
mod starts;
pub mod trace;
pub mod wire;

pub use first_process::{FirstKind, FirstProcess, TargetNames};
pub use seen::{Fact, Observation, ObservedKind, Seen, Shell};
pub use trace::Trace;
