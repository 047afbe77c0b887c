//! The test harness: a sandboxed project, a counting rustc, and readers of the files that kache leaves behind.

pub(crate) mod action;
mod cache;
mod calls;
mod control;
mod direct;
pub(crate) mod entries;
pub(crate) mod faults;
mod files;
pub(crate) mod forger;
pub(crate) mod github_cache;
pub(crate) mod objects;
mod observed;
pub(crate) mod packs;
mod project;
pub(crate) mod random;
pub(crate) mod recorded_build;
pub(crate) mod remote;
mod rig;
mod run;
pub(crate) mod s3_client;
pub(crate) mod s3_server;
pub(crate) mod scripted;
pub(crate) mod simulated_bucket;
mod snapshot;
pub(crate) mod stores;
mod toolchain;
pub(crate) mod web_server;

pub(crate) use direct::Unit;
pub(crate) use files::{
    CANONICAL_MTIME_NS, Stat, contains, copy_tree, files_under, find, find_one, rewrite_keeping_mtime, stat,
    touch_later,
};
pub(crate) use observed::value_of;
pub(crate) use project::{KACHE, Project, manifest};
pub(crate) use rig::{
    RawOutput, TEMP_PREFIX, Tmpfs, has_program, name_of, settle, signal, snapshot, unsealed, wait_until, write_program,
};
pub(crate) use run::Run;
pub(crate) use scripted::Scripted;
pub(crate) use toolchain::{
    make_toolchain, real_cargo, real_sysroot, shared_toolchain, update_toolchain, write_driver,
};

/// Reports why a test is skipped: something that it needs is not available on this machine.
#[expect(clippy::print_stderr, reason = "the test harness shows it to whoever asks for the output")]
pub(crate) fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}
