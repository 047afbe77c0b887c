//! kache observes what each compile reads, and restores its result only if all of that is unchanged.
//!
//! The path of one rustc call, top to bottom (`wrapper` takes the steps):
//!
//! * **Hit**: [`rustc::invocation`] parses the call, [`keys::compiler`] identifies the compiler from a memo,
//!   [`keys::lookup`] digests everything that is known without running rustc, [`store::manifests`] lists the input sets
//!   recorded under that lookup key, of which the one that was stored or matched last comes first, [`keys::validate`]
//!   finds the first one that still holds, [`store::entries`] reads the entry, and [`restore`] restores the outputs and
//!   replays the messages. kache starts rustc only if [`keys::compiler`] has to identify the compiler anew, or if the
//!   user sets `KACHE_VERIFY`.
//! * **Miss**: an offer ([`store::offers`]) or the agent may still give an entry; [`store::claims`] lets one process
//!   compile the unit, unless the others would wait too long; [`rustc::spawn`] runs the real rustc and passes its
//!   streams on live; [`keys::record`] records what rustc read; [`keys::scan`] searches the outputs for machine-local
//!   roots; then kache publishes blobs, entry and manifest, in that order. A private result (its compile continued an
//!   incremental session, or depends on a private result) needs no claim, and kache does not scan its outputs: it only
//!   offers the result.
//! * **Bypass**: kache `exec`s every call that it does not understand, unchanged. A cache problem is never a build
//!   problem.
//!
//! * **Remote**: a miss asks [`agent::client`]; [`agent`] and the commands transfer entries through [`remote`].
//!
//! Dependencies point down the table of layers in `ARCHITECTURE.md`; `tests/it/layers` enforces it.

#[cfg(not(unix))]
compile_error!("kache runs on Linux and macOS: it needs POSIX file systems, flock and exec");

pub mod agent;
pub mod cargo;
pub mod cli;
pub mod config;
pub mod events;
pub mod fsx;
pub mod keys;
pub mod model;
pub mod observe;
pub mod remote;
pub mod restore;
pub mod rustc;
pub mod script;
pub mod store;
pub mod wrapper;
