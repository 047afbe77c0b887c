//! Probes: calls that compile nothing.
//!
//! Cargo asks two questions in every fresh target directory (`rustc::question`), several times over. They are answered from
//! a memo, byte for byte as the compiler answered; every other probe goes to the compiler untouched. Only answers that ended
//! with exit code 0 and left stderr empty are remembered: how rustc lays out a warning depends on terminals that no key
//! holds. No probe leaves an event.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use super::bypass;
use crate::config::{Config, Env};
use crate::fsx::{self, sys_process};
use crate::keys;
use crate::model::Digest;
use crate::rustc::question::{self, Question};
use crate::rustc::spawn::{self, Ran, Until};
use crate::rustc::{Chain, Driver};
use crate::store::Store;

/// A question that may be answered from the memo.
struct Asked {
    question: Question,
    name: Digest,
    cwd: PathBuf,
    store: Store,
}

/// Answers a probe. Whatever is not one of cargo's two questions, or fails before the compiler was asked, ends in `exec`.
pub(super) fn serve(chain: &Chain, vars: &Env) -> ! {
    let asked = catch_unwind(AssertUnwindSafe(|| Asked::read(chain, vars)));
    let Some(asked) = asked.unwrap_or_default() else { bypass::exec(chain, vars) };
    if let Some(answer) = asked.store.probe(asked.name) {
        let mut stdout = std::io::stdout().lock();
        if stdout.write_all(&answer).and_then(|()| stdout.flush()).is_ok() {
            sys_process::end(0)
        }
        // Nobody reads it: the compiler has its own words for that.
        bypass::exec(chain, vars)
    }
    match spawn::run(spawn::command(&chain.program, &chain.args, &asked.cwd, &[]), Until::Ended, None) {
        Ok(ran) => {
            let _ = catch_unwind(AssertUnwindSafe(|| asked.remember(chain, vars, &ran)));
            sys_process::end_like(ran.status)
        }
        Err(_) => bypass::exec(chain, vars),
    }
}

impl Asked {
    fn read(chain: &Chain, vars: &Env) -> Option<Self> {
        let question = question::read(chain.rustc_args())?;
        let reads_stdin = matches!(question, Question::Target { .. });
        // What comes from stdin is the crate, whose attributes have a say in the answer.
        if chain.driver == Driver::Unknown || (reads_stdin && !fsx::stdin_is_null()) {
            return None;
        }
        let config = Config::load(vars).ok().filter(|config| !config.disabled.value)?;
        let cwd = fsx::current_dir().ok()?;
        let store = Store::open(&config.cache_dir.value);
        let name = keys::question::name(&question, chain, &cwd, vars, &store)?;
        Some(Self { question, name, cwd, store })
    }

    /// Remembers what was answered, unless the compiler was replaced meanwhile. Best effort.
    fn remember(&self, chain: &Chain, vars: &Env, ran: &Ran) {
        let is_plain = ran.status.success() && ran.stderr.is_empty();
        let is_same = || keys::question::name(&self.question, chain, &self.cwd, vars, &self.store) == Some(self.name);
        if is_plain && is_same() {
            let _ = self.store.put_probe(self.name, &ran.stdout);
        }
    }
}
