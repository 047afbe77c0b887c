//! The formats of remote objects: their names, pack manifests, signatures, packs, build records and snapshots.
//!
//! Owns every byte that kache writes to a remote, and the checks of every byte that it reads there: what a reader
//! refuses is in [`refused`]. Does not know the network: neither the S3 client nor an operation.

pub mod build_record;
pub mod limits;
pub mod manifest;
mod name_parts;
pub mod names;
pub mod pack;
pub mod refused;
pub mod revocation;
pub mod signature;
mod signed;
pub mod signer_id;
pub mod snapshot;
