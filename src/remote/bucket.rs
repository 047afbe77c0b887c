//! The bucket: one S3 client and what all its users share (connections, the breaker, the limits).
//!
//! Object names are whole names, as [`super::names`] makes them. Absence is `None`, never an error. Nothing here is made before
//! [`Bucket::connect`], and nothing is static.

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
#[derive(Clone)]
pub struct Bucket(pub(super) Arc<Shared>);

/// What the clones of a bucket share.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) name: String,
    pub(super) endpoint: Option<String>,
    pub(super) checksums: Checksums,
    pub(super) tuning: Tuning,
    pub(super) breaker: Mutex<Breaker>,
    /// One permit for each request on its way, its body included.
    pub(super) connections: Arc<Semaphore>,
    /// One permit for each MiB that waits in memory to be sent.
    pub(super) upload_memory: Arc<Semaphore>,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl Bucket {
    /// Finds credentials and makes a client. No request is sent to the bucket yet.
    pub async fn connect(remote: &Remote, env: &Env) -> Result<Self> {
        Self::connect_tuned(remote, env, Tuning::default()).await
    }

    /// The same with other numbers.
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
            // Retries, deadlines and stalls are judged in one place: ours.
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

    /// Whether the object exists, and what it is like.
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

    /// A small object: more than `limit` bytes are refused.
    pub async fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let tried = self.tried("get", name);
        self.persist(&tried, || get::small(self, name, limit)).await
    }

    /// Writes a small object.
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

    /// The objects whose names begin with `prefix`, page by page.
    pub fn list(&self, prefix: &str) -> Listing {
        Listing::new(self.clone(), prefix)
    }

    /// Removes an object; absence is success.
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

    /// Downloads an object into `to`, which is a temp of the caller's: whole and checked on `Ok(Some(size))`, removed on all
    /// else. `None`: there is no such object.
    pub async fn download(&self, what: &Download, to: &Path, control: &Control) -> Result<Option<u64>> {
        let transfer = control.begin(label(&what.label, &what.name), what.size);
        let result = self.download_in(what, to, &transfer).await;
        transfer.end(&result);
        result
    }

    /// The same as part of a transfer that the caller began and will end.
    pub async fn download_in(&self, what: &Download, to: &Path, transfer: &Transfer) -> Result<Option<u64>> {
        let tried = self.tried("get", &what.name);
        let control = transfer.control();
        unless_stopped(&tried, control, transfer::download::download(self, what, to, transfer)).await
    }

    /// A small object of declared size into memory: whole and checked. As part of a transfer that the caller began and will end.
    pub async fn download_small(&self, what: &Download, transfer: &Transfer) -> Result<Option<Vec<u8>>> {
        let tried = self.tried("get", &what.name);
        unless_stopped(&tried, transfer.control(), transfer::download::into_memory(self, what, transfer)).await
    }

    /// Uploads a file. Large ones in parts, whose state is kept below `states` so that a killed upload goes on where it was.
    pub async fn upload(&self, what: &Upload, states: &Path, control: &Control) -> Result<()> {
        let transfer = control.begin(label(&what.label, &what.name), Some(what.size));
        let result = self.upload_in(what, states, &transfer).await;
        transfer.end(&result);
        result
    }

    /// The same as part of a transfer that the caller began and will end.
    pub async fn upload_in(&self, what: &Upload, states: &Path, transfer: &Transfer) -> Result<()> {
        let tried = self.tried("put", &what.name);
        let control = transfer.control();
        unless_stopped(&tried, control, transfer::upload::upload(self, what, states, transfer)).await
    }

    /// Aborts uploads to this bucket that were begun over three days ago (by `now`) and never finished; returns how many.
    pub async fn sweep_uploads(&self, states: &Path, now: SystemTime) -> Result<usize> {
        transfer::multipart::sweep(self, states, now).await
    }
}

fn label<'a>(label: &'a str, name: &'a str) -> &'a str {
    if label.is_empty() { name } else { label }
}

/// A size as servers give it.
pub(super) fn size(tried: &Tried, size: i64) -> Result<u64> {
    let garbled = |_| RemoteError::Garbled { tried: tried.clone(), reason: "no size is given".to_owned() };
    u64::try_from(size).map_err(garbled)
}

pub(super) fn time(time: &DateTime) -> Option<SystemTime> {
    SystemTime::try_from(*time).ok()
}

/// The error of a 404 where it is not an answer.
pub(super) fn absent(tried: &Tried) -> RemoteError {
    RemoteError::Status { tried: tried.clone(), status: 404, code: String::new(), message: "not found".to_owned() }
}
