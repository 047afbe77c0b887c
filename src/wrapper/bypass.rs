//! Bypasses the cache: this process becomes the compiler.

use super::report::EventReporter;
use crate::config::{Env, env};
use crate::fsx::{self, Stamp, sys_process};
use crate::keys::compiler;
use crate::model::{BypassReason, Refusal};
use crate::rustc::{Invocation, ProgramChain, spawn, toolchain};

/// How deep calls of kache may be nested, through compilers that it cannot identify, before it reports a loop and
/// exits.
const MAX_DEPTH: u32 = 4;

/// Logs the reason, then becomes the compiler.
pub(super) fn refuse(chain: &ProgramChain, vars: &Env, report: &EventReporter, refusal: &Refusal) -> ! {
    if refusal.reason != BypassReason::Probe && !is_build_script_probe(chain, vars) {
        report.write(EventReporter::refused(refusal, chain.rustc_args(), vars));
    }
    let unidentified = matches!(refusal.reason, BypassReason::UnknownDriver | BypassReason::CompilerUnknown);
    become_compiler(chain, vars, unidentified)
}

/// Becomes the compiler without logging an event.
pub(super) fn exec(chain: &ProgramChain, vars: &Env) -> ! {
    become_compiler(chain, vars, chain.driver == crate::rustc::Driver::Unknown)
}

fn become_compiler(chain: &ProgramChain, vars: &Env, unidentified: bool) -> ! {
    let depth = compiler::depth(vars);
    if depth >= MAX_DEPTH {
        fail(chain, "it leads back to kache");
    }
    // Only a program that kache cannot identify, or one that only starts a compiler (a script, rustup's proxy), may
    // call kache again.
    let starts_another = || toolchain::sysroot_around(std::path::Path::new(&chain.program)).is_none();
    let extra = (unidentified || depth > 0 || starts_another()).then(|| (env::KACHE_DEPTH, compiler::next_depth(vars)));
    let error = spawn::exec(&chain.program, &chain.args, extra);
    fail(chain, &error.to_string())
}

/// Reports that the compiler cannot be run. Apart from the same message for build scripts, the wrapper prints no other.
#[expect(clippy::print_stderr, reason = "nothing else runs that could say it")]
fn fail(chain: &ProgramChain, why: &str) -> ! {
    eprintln!("kache: cannot run {}: {why}", chain.program.display());
    sys_process::exit(127)
}

/// Whether a build script (autocfg, anyhow, thiserror, ...) compiles below its `OUT_DIR` to test the compiler. Such
/// compiles are not repeated, so they are not logged.
fn is_build_script_probe(chain: &ProgramChain, vars: &Env) -> bool {
    let Some(out_dir) = vars.path(env::OUT_DIR) else { return false };
    let mut args = chain.rustc_args().iter();
    args.any(|arg| arg == "--out-dir") && args.next().is_some_and(|dir| std::path::Path::new(dir).starts_with(&out_dir))
}

/// Removes outputs that have more than one link, because rustc must not write into the store. Metadata stays, as it
/// does without kache if the compile fails: rustc itself links it into its session, and renames a new file over it
/// (`rustc_metadata::fs::encode_and_write_metadata`).
pub(super) fn unlink_shared(invocation: &Invocation) {
    for path in invocation.possible_outputs() {
        let is_metadata = path.extension().is_some_and(|extension| extension == "rmeta");
        if !is_metadata && Stamp::of(&path).is_ok_and(|stamp| stamp.nlink > 1) {
            let _ = fsx::remove_file(&path);
        }
    }
}
