//! The bucket: one S3 client and what all its users share (connections, the breaker, the limits).
//!
//! Object names are whole names, as [`super::names`] makes them. Absence is `None`, never an error. Nothing here is made before
//! [`Bucket::connect`], and nothing is static.

use std::path::Path;
use std::time::SystemTime;

use super::error::Result;
use super::progress::{Control, Transfer};
use super::transfer::{Download, Upload};
use crate::config::{Env, Remote};

/// What is known of an object without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes.
    pub size: u64,
    /// The strong ETag, with its quotes.
    pub etag: Option<String>,
    /// When it was written, by the server's clock.
    pub modified: Option<SystemTime>,
}

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The object's whole name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// When it was written, by the server's clock.
    pub modified: Option<SystemTime>,
}

/// An S3 bucket. Cheap to clone; clones share connections, limits and the breaker.
#[derive(Clone, Debug)]
pub struct Bucket {}

impl Bucket {
    /// Finds credentials and makes a client. No request is sent to the bucket yet.
    pub async fn connect(remote: &Remote, env: &Env) -> Result<Self> {
        let _ = (remote, env);
        todo!()
    }

    /// Whether the object exists, and what it is like.
    pub async fn head(&self, name: &str) -> Result<Option<Head>> {
        let _ = name;
        todo!()
    }

    /// A small object: more than `limit` bytes are refused.
    pub async fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let _ = (name, limit);
        todo!()
    }

    /// Writes a small object.
    pub async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let _ = (name, bytes);
        todo!()
    }

    /// The objects whose names begin with `prefix`, page by page.
    pub fn list(&self, prefix: &str) -> Listing {
        let _ = prefix;
        todo!()
    }

    /// Removes an object; absence is success.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let _ = name;
        todo!()
    }

    /// Downloads an object into `to`, which is a temp of the caller's: whole and checked on `Ok(Some(size))`, removed on all
    /// else. `None`: there is no such object.
    pub async fn download(&self, what: &Download, to: &Path, control: &Control) -> Result<Option<u64>> {
        let _ = (what, to, control);
        todo!()
    }

    /// The same as part of a transfer that the caller began and will end.
    pub async fn download_in(&self, what: &Download, to: &Path, transfer: &Transfer) -> Result<Option<u64>> {
        let _ = (what, to, transfer);
        todo!()
    }

    /// Uploads a file. Large ones in parts, whose state is kept below `states` so that a killed upload goes on where it was.
    pub async fn upload(&self, what: &Upload, states: &Path, control: &Control) -> Result<()> {
        let _ = (what, states, control);
        todo!()
    }

    /// The same as part of a transfer that the caller began and will end.
    pub async fn upload_in(&self, what: &Upload, states: &Path, transfer: &Transfer) -> Result<()> {
        let _ = (what, states, transfer);
        todo!()
    }

    /// Aborts uploads to this bucket that were begun over three days ago (by `now`) and never finished; returns how many.
    pub async fn sweep_uploads(&self, states: &Path, now: SystemTime) -> Result<usize> {
        let _ = (states, now);
        todo!()
    }
}

/// A listing on its way.
#[derive(Debug)]
pub struct Listing {}

impl Listing {
    /// The next page, in the server's order; `None`: no more.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Listed>>> {
        todo!()
    }
}
