//! The object store: one type for all kinds of places.

use std::path::Path;
use std::time::Duration;

use super::dir::DirObjects;
use super::dir_listing::DirListing;
use super::github::GithubObjects;
use super::http::HttpObjects;
use super::index_listing::{IndexListing, IndexedPlace};
use super::listing::ObjectListing;
use super::range::ByteRange;
use super::s3::S3Objects;
use crate::fsx::FinishedFile;
use crate::remote::s3::error::{Attempt, Result};
use crate::remote::s3::progress::ActiveTransfer;
use crate::remote::s3::small_objects::ObjectMetadata;
use crate::remote::s3::source::Source;
use crate::remote::s3::transfer::{Download, Upload};

/// A place that holds objects. Cheap to clone.
#[derive(Clone, Debug)]
pub enum ObjectStore {
    /// An S3 bucket, below a prefix.
    S3(S3Objects),
    /// A directory of this machine.
    Dir(DirObjects),
    /// A directory that a web server publishes.
    Http(HttpObjects),
    /// The cache service of GitHub Actions.
    Github(GithubObjects),
}

impl ObjectStore {
    /// Reads a small object; more than `limit` bytes are an error. `None`: the object does not exist.
    pub async fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        match self {
            Self::S3(store) => store.get(name, limit).await,
            Self::Dir(store) => store.get(name, limit).await,
            Self::Http(store) => store.get(name, limit).await,
            Self::Github(store) => store.get(name, limit).await,
        }
    }

    /// Reads a range of an object. `None`: the object does not exist. Returns exactly as many bytes as were requested.
    pub async fn get_range(&self, name: &str, range: ByteRange) -> Result<Option<Vec<u8>>> {
        match self {
            Self::S3(store) => store.get_range(name, range).await,
            Self::Dir(store) => store.get_range(name, range).await,
            Self::Http(store) => store.get_range(name, range).await,
            Self::Github(store) => store.get_range(name, range).await,
        }
    }

    /// Reads the metadata of an object. `None`: the object does not exist.
    pub async fn head(&self, name: &str) -> Result<Option<ObjectMetadata>> {
        match self {
            Self::S3(store) => store.head(name).await,
            Self::Dir(store) => store.head(name).await,
            Self::Http(store) => store.head(name).await,
            Self::Github(store) => store.head(name).await,
        }
    }

    /// Writes a small object, and replaces an existing one. The GitHub Actions cache replaces only indexes; another
    /// object that exists stays as it is. An error for a web server.
    pub async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        match self {
            Self::S3(store) => store.put(name, bytes).await,
            Self::Dir(store) => store.put(name, bytes).await,
            Self::Http(store) => store.read_only("put", name),
            Self::Github(store) => store.put(name, bytes).await,
        }
    }

    /// Deletes an object; an absent one counts as deleted. Does nothing in the GitHub Actions cache, which deletes
    /// entries itself. An error for a web server.
    pub async fn delete(&self, name: &str) -> Result<()> {
        match self {
            Self::S3(store) => store.delete(name).await,
            Self::Dir(store) => store.delete(name).await,
            Self::Http(store) => store.read_only("delete", name),
            Self::Github(_) => Ok(()),
        }
    }

    /// Lists the objects whose names begin with `prefix`, page by page. A web server and the GitHub Actions cache list
    /// what the index of this prefix names ([`super::index`]), or nothing without an index.
    pub fn list(&self, prefix: &str) -> ObjectListing {
        match self {
            Self::S3(store) => store.list(prefix),
            Self::Dir(store) => ObjectListing::Dir(DirListing::new(store, prefix)),
            Self::Http(store) => indexed(IndexedPlace::Http(store.clone()), prefix),
            Self::Github(store) => indexed(IndexedPlace::Github(store.clone()), prefix),
        }
    }

    /// Downloads an object into memory. `None`: the object does not exist.
    pub async fn download_bytes(&self, object: &Download, transfer: &ActiveTransfer) -> Result<Option<Vec<u8>>> {
        match self {
            Self::S3(store) => store.download_bytes(object, transfer).await,
            Self::Dir(store) => store.download_bytes(object, transfer).await,
            Self::Http(store) => store.download_bytes(object, transfer).await,
            Self::Github(store) => store.download_bytes(object, transfer).await,
        }
    }

    /// Downloads an object for the file `to`: complete and checked, but not visible before it is committed. `None`: the
    /// object does not exist.
    pub async fn download_file(
        &self,
        object: &Download,
        to: &Path,
        transfer: &ActiveTransfer,
    ) -> Result<Option<FinishedFile>> {
        match self {
            Self::S3(store) => store.download_file(object, to, transfer).await,
            Self::Dir(store) => store.download_file(object, to, transfer).await,
            Self::Http(store) => store.download_file(object, to, transfer).await,
            Self::Github(store) => store.download_file(object, to, transfer).await,
        }
    }

    /// Uploads a file. An error for a web server. In a bucket, the state of an upload in parts is kept in the directory
    /// `states`, so that it can be resumed.
    pub async fn upload_file(&self, upload: &Upload, states: &Path, transfer: &ActiveTransfer) -> Result<()> {
        match self {
            Self::S3(store) => store.upload_file(upload, states, transfer).await,
            Self::Dir(store) => store.upload_file(upload, transfer).await,
            Self::Http(store) => store.read_only("put", &upload.name),
            Self::Github(store) => store.upload_file(upload, transfer).await,
        }
    }

    /// Ends uploads in parts of any machine that were begun longer than `age` ago. Returns their number.
    pub async fn abort_uploads_older_than(&self, age: Duration) -> Result<u64> {
        match self {
            Self::S3(store) => store.abort_uploads_older_than(age).await,
            Self::Dir(_) | Self::Http(_) | Self::Github(_) => Ok(0),
        }
    }

    /// Ends uploads in parts that this machine began long ago and did not finish.
    pub async fn abort_old_uploads(&self, states: &Path) -> Result<()> {
        match self {
            Self::S3(store) => store.abort_old_uploads(states).await,
            Self::Dir(_) | Self::Http(_) | Self::Github(_) => Ok(()),
        }
    }

    /// Describes a request to this store, for errors.
    pub fn attempt(&self, verb: &'static str, name: &str) -> Attempt {
        match self {
            Self::S3(store) => store.attempt(verb, name),
            Self::Dir(store) => store.attempt(verb, name),
            Self::Http(store) => Source::attempt(store, verb, name),
            Self::Github(store) => Source::attempt(store, verb, name),
        }
    }

    /// Whether objects can be replaced and deleted.
    pub fn is_mutable(&self) -> bool {
        matches!(self, Self::S3(_) | Self::Dir(_))
    }

    /// Whether listings are read from index objects, which somebody must write ([`super::index`]).
    pub fn needs_indexes(&self) -> bool {
        matches!(self, Self::Http(_) | Self::Github(_))
    }
}

fn indexed(place: IndexedPlace, prefix: &str) -> ObjectListing {
    ObjectListing::Indexed(IndexListing::new(place, prefix))
}
