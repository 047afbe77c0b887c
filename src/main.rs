//! Cargo calls `kache <compiler> args...`, and the hook in a build script calls
//! `kache <program> --kache-build-script <name>`. Anything else is the command line.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let started = Instant::now();
    let mut argv = std::env::args_os();
    let is_run_by_cargo = argv.next().is_some_and(|own| kache::cli::is_cargo_subcommand(&own));
    let argv: Vec<OsString> = argv.collect();
    match argv.first() {
        _ if is_run_by_cargo => kache::cli::run(&argv),
        _ if kache::script::is_hook_call(&argv) => kache::wrapper::run_script(&argv, started),
        Some(first) if names_a_compiler(first) || kache::cli::is_foreign(&argv) => kache::wrapper::run(argv, started),
        _ => kache::cli::run(&argv),
    }
}

/// Whether the first argument names a compiler. Cargo passes a path, or the bare name that `RUSTC` holds; a verb of
/// kache never contains a slash and is never named like a compiler. Another kache, or a name that is not UTF-8, counts
/// as a compiler too.
fn names_a_compiler(first: &OsStr) -> bool {
    first.as_encoded_bytes().contains(&b'/')
        || kache::rustc::chain::is_rustc(first)
        || matches!(first.to_str(), None | Some("clippy-driver" | "kache"))
}
