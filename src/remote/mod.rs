//! The remote: entries of the store in an S3 bucket, shared between machines.
//!
//! Owns the formats of remote objects, the transfers, and their checks: no data from the network reaches the store
//! before its digest has been compared. Does not know rustc, keys or the wrapper; the hit path never uses this module.

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

pub mod bucket;
mod credentials;
pub mod error;
mod http;
mod limit;
pub mod listing;
pub mod progress;
mod request;
pub mod retry;
pub mod transfer;
pub mod tuning;

pub use bucket::{Bucket, Head, Listed};
pub use error::RemoteError;
pub use listing::Listing;
pub use progress::{Cancel, Control, Phase, Step, Transfer};
pub use transfer::{Download, Upload};
pub use tuning::Tuning;

pub mod fetch;
pub mod hope;
pub mod open;
pub mod presence;
pub mod pull;
pub mod push;
pub mod records;
pub mod send;
pub mod workspace;

pub use fetch::{Fetched, Item, fetch, unless_cancelled};
pub use open::{Open, OpenError};
pub use send::{SendError, Sent, send};
pub use workspace::Workspace;

use crate::fsx::{clock, sweep};
use crate::store::Layout;

/// Removes what killed transfers left on this machine: temporary files after an hour, packs in the outbox after three
/// days. Best effort.
pub fn sweep(layout: &Layout) {
    for dir in ["inbox", "uploads", "doubts", "agent"] {
        let _ = sweep::sweep(&layout.remote().join(dir), clock::now());
    }
    send::sweep(layout, clock::now());
}

/// Aborts multipart uploads that this machine began more than three days ago and did not finish: servers keep their
/// parts, and charge for them. Best effort.
pub async fn abort_stale(remote: &Open, layout: &Layout) {
    let _ = remote.bucket.sweep_uploads(&layout.remote().join("uploads"), std::time::SystemTime::now()).await;
}
