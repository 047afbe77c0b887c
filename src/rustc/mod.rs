//! The meaning of rustc's arguments, outputs, messages and files. No caching, and no policy beyond refusing what is not
//! understood.

pub mod alias;
pub mod archive;
pub mod argfile;
pub mod args;
pub mod chain;
pub mod dep_info;
pub mod invocation;
pub mod linked;
pub mod notices;
pub mod question;
pub mod spawn;
pub mod symbols;
pub mod toolchain;

pub use chain::{Driver, ProgramChain};
pub use invocation::Invocation;
