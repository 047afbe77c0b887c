//! The observer: what rustc, its proc macros and the linker really read.
//!
//! `preload/` is a small library in C that the dynamic linker puts before the C library of rustc and of everything that
//! rustc starts (`LD_PRELOAD`). It stands in front of the functions that open, look at, list, run and read variables, and
//! appends what it sees to a [`trace`] in shared memory; [`wire`] reads that, and [`seen`] tells what it comes to.
//!
//! Invariants: a program sees no difference (results, errno, descriptors, environment) but for time; a trace that is not
//! whole, or a program that could not be observed, is said to be so, never passed over. Knows nothing of roots or keys.
//!
//! What it cannot see: system calls that go around the C library, memory that is shared with other programs, time and
//! chance. A `.kache.toml` declares such inputs.

pub mod library;
pub mod seen;
mod starts;
pub mod trace;
pub mod wire;

pub use seen::{Fact, Found, Root, Seen, Shell, What};
pub use trace::{First, Trace};
