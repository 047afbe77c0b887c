//! The bucket: one S3 client and the resources that its users share (connections, the breaker, limits).
//!
//! Object names are full names, as [`super::names`] builds them. An absent object is `None`, never an error. Nothing is
//! created before [`Bucket::connect`], and nothing is static.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use tokio::sync::Semaphore;

use super::credentials;
use super::error::{RemoteError, Result, Tried};
use super::http;
use super::limit::Limit;
use super::listing::Listing;
use super::progress::{Control, Transfer};
use super::retry::Breaker;
use super::transfer::{self, Download, Upload, get, unless_stopped};
use super::tuning::Tuning;
use crate::config::{Checksums, Env, Remote};

/// Metadata of an object, read without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Size in bytes.
    pub size: u64,
    /// Strong ETag, including its quotes. `None`: the server sent none, or a weak one.
    pub etag: Option<String>,
    /// Time of the last write, by the server's clock.
    pub modified: Option<SystemTime>,
}

/// One object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Full name of the object.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last write, by the server's clock.
    pub modified: Option<SystemTime>,
}

/// An S3 bucket. Cheap to clone: clones share connections, limits and the breaker.
#[derive(Clone)]
pub struct Bucket(pub(super) Arc<Shared>);

/// State that the clones of a bucket share.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) name: String,
    pub(super) endpoint: Option<String>,
    pub(super) checksums: Checksums,
    pub(super) tuning: Tuning,
    pub(super) breaker: Mutex<Breaker>,
    /// One permit for each request in flight, including its body.
    pub(super) connections: Arc<Semaphore>,
    /// One permit for each MiB of upload data in memory.
    pub(super) upload_memory: Arc<Semaphore>,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl Bucket {
    /// Finds credentials and creates the client. Does not send a request to the bucket yet.
    pub async fn connect(remote: &Remote, env: &Env) -> Result<Self> {
        Self::connect_tuned(remote, env, Tuning::default()).await
    }

    /// Like [`Self::connect`], with other limits and timeouts.
    pub async fn connect_tuned(remote: &Remote, env: &Env, tuning: Tuning) -> Result<Self> {
        let https = http::client(env, true, tuning.connections)?;
        let signer = credentials::find(remote, env, &https).await?;
        let http = match &remote.endpoint {
            Some(endpoint) if endpoint.starts_with("http://") => http::client(env, false, tuning.connections)?,
            _ => https,
        };
        let mut config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .region(signer.region)
            .credentials_provider(signer.credentials)
            // kache handles retries, deadlines and stalls itself, in one place.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(tuning.connect).build())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &remote.endpoint {
            config = config.endpoint_url(endpoint).force_path_style(true);
        }
        Ok(Self(Arc::new(Shared {
            client: Client::from_conf(config.build()),
            name: remote.bucket.clone(),
            endpoint: remote.endpoint.clone(),
            checksums: remote.checksums,
            tuning,
            breaker: Mutex::new(Breaker::new(tuning.breaker)),
            connections: Arc::new(Semaphore::new(tuning.connections)),
            upload_memory: Arc::new(Semaphore::new(tuning.upload_memory as usize)),
        })))
    }

    pub(super) fn tried(&self, verb: &'static str, object: &str) -> Tried {
        Tried { verb, object: object.to_owned(), bucket: self.0.name.clone() }
    }

    /// Reads the metadata of an object. `None`: the object does not exist.
    pub async fn head(&self, name: &str) -> Result<Option<Head>> {
        let tried = self.tried("head", name);
        self.persist(&tried, || async {
            let request = self.0.client.head_object().bucket(&self.0.name).key(name);
            let Some(head) = self
                .ask(&tried, self.patience(0), Box::pin(request.customize().interceptor(Limit::Each).send()))
                .await?
            else {
                return Ok(None);
            };
            let size = size(&tried, head.content_length().unwrap_or(-1))?;
            let modified = head.last_modified().and_then(time);
            Ok(Some(Head { size, etag: get::strong(head.e_tag()), modified }))
        })
        .await
    }

    /// Reads a small object; more than `limit` bytes are an error. `None`: the object does not exist.
    pub async fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let tried = self.tried("get", name);
        self.persist(&tried, || get::small(self, name, limit)).await
    }

    /// Writes a small object in one request.
    pub async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let tried = self.tried("put", name);
        let bytes = bytes::Bytes::from(bytes);
        let patience = self.patience(bytes.len() as u64);
        self.persist(&tried, || async {
            let request = self.0.client.put_object().bucket(&self.0.name).key(name);
            let send =
                Box::pin(request.body(ByteStream::from(bytes.clone())).customize().interceptor(Limit::Each).send());
            match self.ask(&tried, patience, send).await? {
                Some(_) => Ok(()),
                None => Err(absent(&tried)),
            }
        })
        .await
    }

    /// Lists the objects whose names begin with `prefix`, page by page.
    pub fn list(&self, prefix: &str) -> Listing {
        Listing::new(self.clone(), prefix)
    }

    /// Deletes an object; an absent one counts as deleted.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let tried = self.tried("delete", name);
        self.persist(&tried, || async {
            let request = self.0.client.delete_object().bucket(&self.0.name).key(name);
            self.ask(&tried, self.patience(0), Box::pin(request.customize().interceptor(Limit::Each).send()))
                .await
                .map(|_| ())
        })
        .await
    }

    /// Downloads an object into `to`, a temporary file of the caller. On `Ok(Some(size))` the file is complete and
    /// checked; otherwise it is removed. `None`: the object does not exist.
    pub async fn download(&self, what: &Download, to: &Path, control: &Control) -> Result<Option<u64>> {
        let transfer = control.begin(label(&what.label, &what.name), what.size);
        let result = self.download_in(what, to, &transfer).await;
        transfer.end(&result);
        result
    }

    /// Like [`Self::download`], as part of a transfer that the caller began and will end.
    pub async fn download_in(&self, what: &Download, to: &Path, transfer: &Transfer) -> Result<Option<u64>> {
        let tried = self.tried("get", &what.name);
        let control = transfer.control();
        unless_stopped(&tried, control, transfer::download::download(self, what, to, transfer)).await
    }

    /// Downloads a small object of declared size into memory, complete and checked, as part of a transfer that the
    /// caller began and will end. `None`: the object does not exist.
    pub async fn download_small(&self, what: &Download, transfer: &Transfer) -> Result<Option<Vec<u8>>> {
        let tried = self.tried("get", &what.name);
        unless_stopped(&tried, transfer.control(), transfer::download::into_memory(self, what, transfer)).await
    }

    /// Uploads a file. A large one goes in parts, with their state in `states`, so that a killed upload can be resumed.
    pub async fn upload(&self, what: &Upload, states: &Path, control: &Control) -> Result<()> {
        let transfer = control.begin(label(&what.label, &what.name), Some(what.size));
        let result = self.upload_in(what, states, &transfer).await;
        transfer.end(&result);
        result
    }

    /// Like [`Self::upload`], as part of a transfer that the caller began and will end.
    pub async fn upload_in(&self, what: &Upload, states: &Path, transfer: &Transfer) -> Result<()> {
        let tried = self.tried("put", &what.name);
        let control = transfer.control();
        unless_stopped(&tried, control, transfer::upload::upload(self, what, states, transfer)).await
    }

    /// Aborts uploads to this bucket that were begun more than three days before `now` and not finished. Returns their
    /// number.
    pub async fn sweep_uploads(&self, states: &Path, now: SystemTime) -> Result<usize> {
        transfer::multipart::sweep(self, states, now).await
    }
}

fn label<'a>(label: &'a str, name: &'a str) -> &'a str {
    if label.is_empty() { name } else { label }
}

/// Checks a size that the server sent; callers pass -1 for a missing one.
pub(super) fn size(tried: &Tried, size: i64) -> Result<u64> {
    let garbled = |_| RemoteError::Garbled { tried: tried.clone(), reason: "no size is given".to_owned() };
    u64::try_from(size).map_err(garbled)
}

pub(super) fn time(time: &DateTime) -> Option<SystemTime> {
    SystemTime::try_from(*time).ok()
}

/// The error for a 404 where absence is not a valid answer.
pub(super) fn absent(tried: &Tried) -> RemoteError {
    RemoteError::Status { tried: tried.clone(), status: 404, code: String::new(), message: "not found".to_owned() }
}
