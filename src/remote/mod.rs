//! The remote: entries of the store in an S3 bucket, shared between machines.
//!
//! [`format`] owns the bytes of remote objects, [`s3`] the client, [`objects`] the places that can hold objects, and
//! [`operations`] what kache does with all of them: `format` and `objects` know neither each other nor `operations`.
//! No data from the network reaches the store before its digest has been compared. Does not know rustc, keys or the
//! wrapper; the hit path never uses this module.

pub mod format;
pub mod objects;
pub mod operations;
pub mod s3;
mod tasks;

pub use format::build_record::{BuildRecord, BuildUnit, EmbeddedManifest};
pub use format::manifest::{BundleRef, FileRef, PackManifest, PackRef};
pub use format::names::{self, ManifestName, RecordName, WorkspaceObject};
pub use format::refused::Refused;
pub use format::signature::{KeyError, PublicKey, SigningKey, Trust};
pub use format::signer_id::SignerId;

pub use s3::bucket::Bucket;
pub use s3::error::RemoteError;
pub use s3::listing::{ListedObject, Listing};
pub use s3::progress::{ActiveTransfer, Control, Phase, TransferProgress};
pub use s3::small_objects::ObjectMetadata;
pub use s3::transfer::{Download, Upload, abort_old_uploads, download_bytes, download_file, upload_file};
pub use s3::tuning::Tuning;

pub use operations::checkout::Checkout;
pub use operations::cleanup::{abort_stale_uploads, sweep};
pub use operations::fetch::{Fetched, Fetcher};
pub use operations::remote::{ConnectError, Layer, Remote};
pub use operations::remote_entry::RemoteEntry;
pub use operations::upload::{UploadError, UploadSource, Uploaded, Uploader, upload_entry};
pub use operations::workspace::Workspace;
