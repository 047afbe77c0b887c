//! The remote: entries of the store in an S3 bucket, for other machines.
//!
//! Owns the formats of what lies there, the transfers, and their checks: nothing that came over the network reaches the store
//! before its digest was compared. Knows nothing of rustc, keys or the wrapper; the hit path never comes here.

pub mod bucket;
mod credentials;
pub mod error;
pub mod progress;
pub mod retry;
pub mod transfer;

pub use bucket::{Bucket, Head, Listed, Listing};
pub use error::RemoteError;
pub use progress::{Cancel, Control, Phase, Step, Transfer};
pub use transfer::{Download, Upload};
