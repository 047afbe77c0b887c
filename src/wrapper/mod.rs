//! Decides whether a call is a hit, a miss or a bypass, and serves it. No other folder decides this. Order: `run`,
//! `Call::prepare`, `hit`, `miss`.
//!
//! Neither this module nor any that it calls writes to stdout or stderr, except what rustc or a build script printed:
//! cargo records and replays every byte. (The one exception is a program that cannot be started.) kache's errors never
//! fail the build. A failure before rustc runs ends in `exec` of the real compiler, and a failure after it is an
//! outcome in the event log.

mod alias;
mod at_start;
mod background;
mod bypass;
mod call;
mod call_record;
pub mod checkout;
mod declared;
mod delivered;
mod entry_hit;
mod explain;
mod hit;
mod incremental;
mod incremental_plan;
mod log;
mod miss;
mod offer;
mod origin;
mod probe;
mod publish;
mod recorded;
mod remote;
mod report;
mod script;
pub mod snapshot;
mod store_entry;
mod task;
mod unstored;
mod verify;
pub mod whole_build;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use call::Call;

use crate::config::{Config, Env, env};
use crate::fsx::{self, sys_process};
use crate::model::{BypassReason, Refusal};
use crate::rustc::{Invocation, ProgramChain, chain};
use crate::store::claims::Claim;

/// Serves one run of a build script, which its hook handed over ([`crate::script::FLAG`]). Never returns.
pub fn run_script(argv: &[OsString], started: Instant) -> ! {
    std::panic::set_hook(Box::new(|_| {}));
    sys_process::survive_size_limit();
    script::serve(argv, &Env::process(), started)
}

/// Serves one call from cargo. `argv` does not contain the name of this program. Never returns.
pub fn run(argv: Vec<OsString>, started: Instant) -> ! {
    // A panic is an outcome; it must not print a message.
    std::panic::set_hook(Box::new(|_| {}));
    sys_process::survive_size_limit();
    let env = Env::process();
    let Some(chain) = own_name_removed(argv) else { sys_process::exit(2) };
    if is_called_by_observed_script(&env) && !is_compile_of_cargo(&chain) {
        bypass::exec(&chain, &env);
    }
    if chain::is_probe(chain.rustc_args()) {
        probe::serve(&chain, &env);
    }
    let config = match Config::load(&env) {
        Ok(config) if !config.disabled.value => config,
        _ => bypass::exec(&chain, &env),
    };
    log::init(&config);
    let report = report::EventReporter::new(&config, started);
    let served = catch_unwind(AssertUnwindSafe(|| serve(&chain, &config, &env, &report)));
    let refusal = served.unwrap_or_else(|_| Refusal::new(BypassReason::Internal, "panic"));
    bypass::refuse(&chain, &env, &report, &refusal);
}

/// Whether an observed build script called this wrapper. Its probes go to the compiler, where the observer sees what
/// the answers depend on. A compile of a nested cargo is served as usual; its event in the log is a side effect that
/// keeps the script's run out of the store.
fn is_called_by_observed_script(vars: &Env) -> bool {
    vars.get(env::KACHE_OBSERVED).is_some()
}

fn is_compile_of_cargo(chain: &ProgramChain) -> bool {
    let args = chain.rustc_args();
    !chain::is_probe(args) && fsx::current_dir().is_ok_and(|cwd| Invocation::parse(args, &cwd).is_ok())
}

/// Parses the call without kache's own name at its front, which is there if `RUSTC` leads back to kache.
fn own_name_removed(mut argv: Vec<OsString>) -> Option<ProgramChain> {
    while argv
        .first()
        .is_some_and(|program| std::path::Path::new(program).file_stem().is_some_and(|stem| stem == "kache"))
    {
        argv.remove(0);
    }
    ProgramChain::parse(argv)
}

/// Serves a hit or a miss; both end this process. Returns only if kache cannot cache the call, or failed before rustc
/// ran.
fn serve(chain: &ProgramChain, config: &Config, env: &Env, report: &report::EventReporter) -> Refusal {
    let call = match Call::prepare(chain, config, env) {
        Ok(call) => call,
        Err(refusal) => return refusal,
    };
    let missed = hit::serve(&call, &mut Claim::None, report);
    match miss::compile(&call, missed, report) {
        Ok(status) => sys_process::exit_like(status),
        Err(refusal) => refusal,
    }
}
