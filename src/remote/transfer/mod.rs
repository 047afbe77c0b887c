//! Large objects: downloads in ranges, uploads in parts, both with retries and resumption.

use std::path::PathBuf;

use crate::model::Digest;

/// What to download.
#[derive(Clone, Debug)]
pub struct Download {
    /// The object's whole name.
    pub name: String,
    /// What to call it in progress reports; empty: its name.
    pub label: String,
    /// Its size, if it was declared: any other is refused.
    pub size: Option<u64>,
    /// The digest of its bytes, if it was declared: any others are refused.
    pub digest: Option<Digest>,
}

/// What to upload.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The object's whole name.
    pub name: String,
    /// What to call it in progress reports; empty: its name.
    pub label: String,
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub size: u64,
    /// The digest of its bytes; a file that has others is refused.
    pub digest: Digest,
}
