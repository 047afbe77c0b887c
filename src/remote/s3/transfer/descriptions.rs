//! Descriptions of transfers: an object to download, and a file to upload.

use std::path::PathBuf;

use crate::model::Digest;

/// An object to download.
#[derive(Clone, Debug)]
pub struct Download {
    /// Full name of the object.
    pub name: String,
    /// Size in bytes, if it was declared; any other size is refused.
    pub size: Option<u64>,
    /// Digest of the bytes, if it was declared; any other digest is refused.
    pub digest: Option<Digest>,
}

/// A file to upload, and the object to upload it to.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Full name of the object.
    pub name: String,
    /// Path of the file.
    pub path: PathBuf,
    /// Size of the file in bytes.
    pub size: u64,
    /// Digest of the bytes; a file with another digest is refused.
    pub digest: Digest,
}
