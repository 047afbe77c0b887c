//! kache observes what a compile really read and what it really wrote, and reuses it only when both still hold.
//!
//! The walk of one rustc call, top to bottom (see `wrapper`, the only module that decides):
//!
//! * **Hit**: [`rustc::invocation`] parses the call, [`rustc::compiler`] names the compiler from a memo,
//!   [`keys::lookup`] digests all that is known without running rustc, [`store::manifests`] lists the input sets seen
//!   under that lookup key, [`keys::validate`] finds the newest one that still holds, [`store::entries`] gives the
//!   result, [`restore`] puts it in place and replays the messages. No rustc is spawned on the way.
//! * **Miss**: [`store::claims`] lets one process per machine compile the unit; [`rustc::spawn`] runs the real rustc with
//!   its streams passed on live; [`keys::record`] records what it read; [`keys::scan`] looks for machine-local roots in
//!   what it wrote; then blobs, entry and manifest are published, in that order.
//! * **Bypass**: whatever is not understood is `exec`ed untouched. A cache problem is never a build problem.
//!
//! * **Remote**: [`agent::client`] is asked on a miss; [`agent`] and the commands move entries by [`remote`].
//!
//! Dependencies point down: `cli, wrapper -> restore, keys -> store, rustc -> fsx, config -> model`; `tests/it/layers.rs`
//! keeps it so.

#[cfg(not(unix))]
compile_error!("kache runs on Linux and macOS: it rests on POSIX file systems, flock and exec");

pub mod agent;
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
