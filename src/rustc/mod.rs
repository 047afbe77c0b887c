//! What kache knows of rustc: its arguments, its outputs, its messages, its files. No caching, no policy beyond "not
//! understood is refused".

pub mod alias;
pub mod archive;
pub mod argfile;
pub mod args;
pub mod chain;
pub mod dep_info;
pub mod invocation;
pub mod notices;
pub mod question;
pub mod spawn;
pub mod symbols;
pub mod toolchain;

pub use chain::{Chain, Driver};
pub use invocation::Invocation;
