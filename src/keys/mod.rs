//! Keys: everything that a compile depends on, as known before it runs (the lookup key) and as recorded (input sets).
//!
//! Everything hashed is tagged and length-prefixed, and the same calls can write a readable trace. kache refuses
//! anything that it does not recognise instead of leaving it out.

pub mod clippy;
pub mod compiler;
pub mod declared;
mod dots;
pub mod env_use;
pub mod environment;
pub mod escaped;
pub mod explain;
mod files;
mod git;
mod globs;
pub mod hasher;
pub mod hidden;
mod known_variables;
pub mod lookup;
pub mod macros;
pub mod native;
pub mod observed;
pub mod offered;
mod processor;
pub mod question;
pub mod record;
pub mod roots;
pub mod scan;
pub mod script;
mod shells;
mod subject;
pub mod things;
pub mod times;
mod tokens;
pub mod told;
mod upward;
pub mod validate;
pub mod written;

pub use compiler::Compiler;
pub use declared::Declared;
pub use hasher::KeyHasher;
pub use lookup::Lookup;
pub use roots::Roots;
pub use subject::Subject;

use std::path::Path;

use crate::config::Env;
use crate::fsx::clock::Time;
use crate::rustc::Invocation;
use crate::store::Stamps;

/// The context in which inputs are recorded and validated.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The working directory. Relative paths start there.
    pub cwd: &'a Path,
    /// The value of `--diagnostic-width`, for a compile that has one.
    pub diagnostic_width: Option<&'a str>,
    /// The machine-local roots of this checkout.
    pub roots: &'a Roots,
    /// The environment of this call.
    pub env: &'a Env,
    /// The memo of file digests.
    pub stamps: &'a Stamps,
}

impl<'a> Context<'a> {
    /// Creates the context of a compile.
    pub fn of(invocation: &'a Invocation, roots: &'a Roots, env: &'a Env, stamps: &'a Stamps) -> Self {
        let diagnostic_width = invocation.diagnostic_width.as_deref();
        Self { cwd: &invocation.cwd, diagnostic_width, roots, env, stamps }
    }
}

/// The state before a compile or a run of a script starts. It shows afterwards what changed in the meantime.
#[derive(Debug)]
pub struct Start {
    /// The kernel's time at the start.
    pub time: Time,
    /// The git repository around the package.
    git: Option<git::Before>,
}

impl Start {
    /// Records the state at the kernel's `time`. Without a `context` it is only the time, because no inputs will be
    /// recorded.
    pub fn note(time: Time, context: Option<Context<'_>>) -> Self {
        Self { time, git: context.and_then(git::Before::of) }
    }

    /// Whether `path` is the directory of the git repository and contains the same names as at the start. Its ctime
    /// alone does not show that, because git creates and removes lock files there.
    fn is_same_repository(&self, path: &Path, context: Context<'_>) -> bool {
        self.git.as_ref().is_some_and(|git| git.holds_the_same_names(path, context))
    }
}
