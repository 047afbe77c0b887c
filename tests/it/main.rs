//! Integration tests: real cargo, real rustc, the real kache, judged by a counting rustc.
#![expect(missing_docs, reason = "tests say what they are by their names")]

mod harness;
mod support;
