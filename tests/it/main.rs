//! The integration tests: real cargo, real rustc, the real kache, judged by a counting rustc.
#![expect(clippy::disallowed_methods, reason = "tests look at files with other eyes than the program")]

mod artifacts;
mod cli;
mod clippy;
mod dep_info;
mod freshness;
mod harness;
mod incremental;
mod keys_env_use;
mod keys_files;
mod keys_flags;
mod keys_inputs;
mod keys_lints;
mod keys_native;
mod keys_paths;
mod kill;
mod layers;
mod layouts;
mod notices;
mod oracle;
mod over_keying;
mod paths;
mod probes;
mod recursion;
mod setup;
mod store_damage;
mod store_links;
mod store_places;
mod store_races;
mod streams;
mod support;
mod toolchain;
mod transparency;
mod verify;
mod why;
