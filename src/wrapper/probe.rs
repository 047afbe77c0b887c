//! Serves probes: calls that compile nothing.
//!
//! Cargo asks the same two questions several times in every fresh target directory (`rustc::question`). kache answers
//! them from a memo, byte for byte as the compiler did, and passes every other probe on to the compiler. It remembers
//! an answer only if the exit code is 0 and stderr is empty, because the layout of warnings depends on the terminal,
//! which is not part of any key. Probes are not logged as events.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use super::{at_start, bypass};
use crate::config::{Config, Env};
use crate::fsx::{self, sys_process};
use crate::keys;
use crate::model::Digest;
use crate::rustc::question::{self, Question};
use crate::rustc::spawn::{self, ProgramOutput, ReadUntil};
use crate::rustc::{Driver, ProgramChain};
use crate::store::Store;

/// A question that kache may answer from the memo.
struct CacheableQuestion {
    question: Question,
    name: Digest,
    cwd: PathBuf,
    config: Config,
    store: Store,
}

/// Answers a probe. Ends in `exec` if the probe is not one of the two questions, or if kache fails before it has
/// asked the compiler.
pub(super) fn serve(chain: &ProgramChain, vars: &Env) -> ! {
    let cacheable = catch_unwind(AssertUnwindSafe(|| CacheableQuestion::read(chain, vars)));
    let Some(cacheable) = cacheable.unwrap_or_default() else { bypass::exec(chain, vars) };
    if cacheable.question == Question::Version {
        // A failure leaves everything to cargo, as does a panic.
        let _ = catch_unwind(AssertUnwindSafe(|| at_start::restore(&cacheable.config, &cacheable.store, vars)));
    }
    if let Some(answer) = cacheable.store.compiler_answer(cacheable.name) {
        let mut stdout = std::io::stdout().lock();
        if stdout.write_all(&answer).and_then(|()| stdout.flush()).is_ok() {
            sys_process::exit(0)
        }
        // stdout cannot be written: let the compiler report that in its own words.
        bypass::exec(chain, vars)
    }
    match spawn::run(
        spawn::command(&chain.program, &chain.args, &cacheable.cwd, &[]),
        ReadUntil::ShortlyAfterExit,
        None,
    ) {
        Ok(ran) => {
            let _ = catch_unwind(AssertUnwindSafe(|| cacheable.remember(chain, vars, &ran)));
            sys_process::exit_like(ran.status)
        }
        Err(_) => bypass::exec(chain, vars),
    }
}

impl CacheableQuestion {
    fn read(chain: &ProgramChain, vars: &Env) -> Option<Self> {
        let question = question::read(chain.rustc_args())?;
        let reads_stdin = matches!(question, Question::Target { .. });
        // stdin contains the crate, and its attributes affect the answer.
        if chain.driver == Driver::Unknown || (reads_stdin && !fsx::stdin_is_null()) {
            return None;
        }
        let config = Config::load(vars).ok().filter(|config| !config.disabled.value)?;
        let cwd = fsx::current_dir().ok()?;
        let store = Store::open(&config.cache_dir.value);
        let name = keys::question::name(&question, chain, &cwd, vars, &store)?;
        Some(Self { question, name, cwd, config, store })
    }

    /// Remembers the answer, unless the compiler was replaced meanwhile. Best effort.
    fn remember(&self, chain: &ProgramChain, vars: &Env, ran: &ProgramOutput) {
        let is_plain = ran.status.success() && ran.stderr.is_empty();
        let is_same = || keys::question::name(&self.question, chain, &self.cwd, vars, &self.store) == Some(self.name);
        if is_plain && is_same() {
            let _ = self.store.put_compiler_answer(self.name, &ran.stdout);
        }
    }
}
