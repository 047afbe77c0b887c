//! The integration tests: real cargo, real rustc, the real kache, judged by a counting rustc.

mod artifacts;
mod cli;
mod clippy;
mod dep_info;
mod freshness;
mod harness;
mod keys_env_use;
mod keys_files;
mod keys_flags;
mod keys_inputs;
mod keys_lints;
mod keys_native;
mod keys_paths;
mod layers;
mod layouts;
mod notices;
mod oracle;
mod over_keying;
mod paths;
mod store_damage;
mod store_links;
mod store_places;
mod store_races;
mod support;
mod toolchain;
