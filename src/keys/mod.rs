//! Keys: what a compile depends on, before it runs (the lookup key) and as it was recorded (input sets).
//!
//! Everything hashed is tagged and length-prefixed, and the same calls can write a readable trace. What is not understood
//! is refused, never left out.

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

/// What every question about inputs needs.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The working directory, which relative paths start from.
    pub cwd: &'a Path,
    /// `--diagnostic-width` of a compile.
    pub diagnostic_width: Option<&'a str>,
    /// The machine-local roots of this checkout.
    pub roots: &'a Roots,
    /// The environment of this call.
    pub env: &'a Env,
    /// Digests of files.
    pub stamps: &'a Stamps,
}

impl<'a> Context<'a> {
    /// The context of a compile.
    pub fn of(invocation: &'a Invocation, roots: &'a Roots, env: &'a Env, stamps: &'a Stamps) -> Self {
        let diagnostic_width = invocation.diagnostic_width.as_deref();
        Self { cwd: &invocation.cwd, diagnostic_width, roots, env, stamps }
    }
}

/// What is noted before a compile or a run of a script begins, to tell afterwards what changed meanwhile.
#[derive(Debug)]
pub struct Start {
    /// The kernel's time.
    pub time: Time,
    /// git's repository around the package.
    git: Option<git::Before>,
}

impl Start {
    /// Notes what is there at the kernel's `time`. Without a `context` only the time: nothing will be recorded.
    pub fn note(time: Time, context: Option<Context<'_>>) -> Self {
        Self { time, git: context.and_then(git::Before::of) }
    }

    /// Whether `path` is the directory of git's repository and holds the same names as at the start: git's locks come and go.
    fn is_same_repository(&self, path: &Path, context: Context<'_>) -> bool {
        self.git.as_ref().is_some_and(|git| git.holds_the_same_names(path, context))
    }
}
