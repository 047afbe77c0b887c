//! Keys: what a compile depends on, before it runs (the lookup key) and as it was recorded (input sets).
//!
//! Everything hashed is tagged and length-prefixed, and the same calls can write a readable trace. What is not understood
//! is refused, never left out.

pub mod clippy;
pub mod compiler;
pub mod declared;
pub mod env_use;
pub mod environment;
pub mod explain;
mod files;
mod globs;
pub mod hasher;
pub mod hidden;
pub mod lookup;
pub mod macros;
pub mod native;
pub mod observed;
pub mod question;
pub mod record;
pub mod roots;
pub mod scan;
pub mod things;
pub mod times;
mod tokens;
pub mod told;
pub mod validate;
pub mod written;

pub use compiler::Compiler;
pub use declared::Declared;
pub use hasher::KeyHasher;
pub use lookup::Lookup;
pub use roots::Roots;

use crate::config::Env;
use crate::rustc::Invocation;
use crate::store::Stamps;

/// What every question about an invocation's inputs needs.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The call.
    pub invocation: &'a Invocation,
    /// The machine-local roots of this checkout.
    pub roots: &'a Roots,
    /// The environment of this call.
    pub env: &'a Env,
    /// Digests of files.
    pub stamps: &'a Stamps,
}
