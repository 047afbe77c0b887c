//! Cargo calls `kache <compiler> args...`, the hook in a build script calls `kache <program> --kache-build-script <name>`;
//! anything else is the command line.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let started = Instant::now();
    let argv: Vec<OsString> = std::env::args_os().skip(1).collect();
    match argv.first() {
        _ if kache::script::is_call(&argv) => kache::wrapper::run_script(&argv, started),
        Some(first) if names_a_compiler(first) || kache::cli::is_foreign(&argv) => kache::wrapper::run(argv, started),
        _ => kache::cli::run(),
    }
}

/// Cargo calls a wrapper with a compiler's path, or with the bare name that `RUSTC` holds. No command of ours has a slash
/// in it or is called like a compiler.
fn names_a_compiler(first: &OsStr) -> bool {
    first.as_encoded_bytes().contains(&b'/')
        || kache::rustc::chain::is_rustc(first)
        || matches!(first.to_str(), None | Some("clippy-driver" | "kache"))
}
