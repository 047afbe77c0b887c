//! What cargo writes beside the outputs of a unit, and compares before it calls the unit fresh: fingerprints and
//! dep-info.
//!
//! No caching here. The formats are those of cargo 1.95 (`cargo/src/cargo/core/compiler/fingerprint`). Whoever restores
//! such a file must not invent facts: cargo computes each fingerprint again and compares, so a wrong one only makes it
//! build the unit.

pub mod built_units;
pub mod command;
pub mod configuration;
pub mod dep_info;
pub mod fingerprint;
pub mod metadata;
pub mod newest_file;
pub mod unit_dir;
pub mod workspace;

pub use fingerprint::Fingerprint;
