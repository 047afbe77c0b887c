//! The integration tests: real cargo, real rustc, real files.

mod cli;
mod layers;
