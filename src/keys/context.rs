//! The context in which inputs are recorded and validated.

use std::path::Path;

use super::Roots;
use crate::config::Env;
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
