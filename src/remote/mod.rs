//! The remote: entries of the store in an S3 bucket, for other machines.
//!
//! Owns the formats of what lies there, the transfers, and their checks: nothing that came over the network reaches the store
//! before its digest was compared. Knows nothing of rustc, keys or the wrapper; the hit path never comes here.

pub mod build;
pub mod manifest;
pub mod names;
pub mod pack;
pub mod refused;
pub mod sign;

pub use build::{BuildRecord, BuildUnit};
pub use manifest::{FileRef, Manifest, PackRef};
pub use names::{BuildName, Located, Names};
pub use refused::Refused;
pub use sign::{SigningKey, Trust};
