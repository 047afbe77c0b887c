//! Keys: everything that a compile depends on, as known before it runs (the lookup key) and as recorded (input sets).
//!
//! Everything hashed is tagged and length-prefixed, and the same calls can write a readable key trace. kache refuses
//! anything that it does not recognise instead of leaving it out.

pub mod clippy;
pub mod compiler;
mod context;
pub mod declared;
pub mod env_use;
pub mod environment;
pub mod escaped_roots;
pub mod explain;
mod files;
mod git;
mod globs;
pub mod hasher;
pub mod inspect;
mod known_variables;
pub mod leaked_paths;
pub mod lookup;
pub mod macros;
pub mod native;
mod not_stored;
pub mod observed;
mod observed_context;
pub mod offered;
mod outside_checkout;
mod parent_paths;
mod processor;
pub mod question;
pub mod record;
pub mod roots;
pub mod scan;
pub mod script;
mod shells;
pub mod side_effects;
mod start_snapshot;
mod subject;
pub mod times;
mod tokens;
pub mod unscannable;
pub mod validate;

pub use compiler::Compiler;
pub use context::Context;
pub use declared::Declared;
pub use hasher::KeyHasher;
pub use lookup::Lookup;
pub use not_stored::NotStored;
pub use observed_context::ObservedContext;
pub use roots::Roots;
pub use start_snapshot::StartSnapshot;
pub use subject::ObservedSubject;
