//! The bucket: one S3 client and the resources that its users share (connections, the breaker, limits).
//!
//! Object names are full names; the client does not know what they mean. An absent object is `None`, never an error.
//! Nothing is created before [`Bucket::connect`], and nothing is static.

use std::sync::Arc;
use std::time::SystemTime;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use aws_sdk_s3::primitives::DateTime;
use tokio::sync::Semaphore;

use super::connections::Connections;
use super::credentials;
use super::error::{Attempt, Result};
use super::http;
use super::tuning::Tuning;
use crate::config::{Checksums, Env, S3Settings};

/// An S3 bucket. Cheap to clone: clones share connections, limits and the breaker.
#[derive(Clone)]
pub struct Bucket(pub(super) Arc<BucketInner>);

/// State that the clones of a bucket share.
pub(super) struct BucketInner {
    pub(super) client: Client,
    pub(super) name: String,
    pub(super) endpoint: Option<String>,
    pub(super) checksums: Checksums,
    pub(super) tuning: Tuning,
    pub(super) connections: Connections,
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
    pub async fn connect(settings: &S3Settings, env: &Env) -> Result<Self> {
        Self::connect_tuned(settings, env, Tuning::default()).await
    }

    /// Like [`Self::connect`], with other limits and timeouts.
    pub async fn connect_tuned(settings: &S3Settings, env: &Env, tuning: Tuning) -> Result<Self> {
        let https = http::client(env, true, tuning.connections)?;
        let found = credentials::find(settings, env, &https).await?;
        let http = match &settings.endpoint {
            Some(endpoint) if endpoint.starts_with("http://") => http::client(env, false, tuning.connections)?,
            _ => https,
        };
        let mut config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .region(found.region)
            .credentials_provider(found.credentials)
            // kache handles retries, deadlines and stalls itself, in one place.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(tuning.connect).build())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &settings.endpoint {
            config = config.endpoint_url(endpoint).force_path_style(true);
        }
        Ok(Self(Arc::new(BucketInner {
            client: Client::from_conf(config.build()),
            name: settings.bucket.clone(),
            endpoint: settings.endpoint.clone(),
            checksums: settings.checksums,
            tuning,
            connections: Connections::new(tuning),
            upload_memory: Arc::new(Semaphore::new(tuning.upload_memory as usize)),
        })))
    }

    /// Describes a request to this bucket, for errors.
    pub fn attempt(&self, verb: &'static str, object: &str) -> Attempt {
        Attempt { verb, object: object.to_owned(), place: format!("bucket {}", self.0.name) }
    }
}

/// Converts a time that the server sent.
pub(super) fn system_time(time: &DateTime) -> Option<SystemTime> {
    SystemTime::try_from(*time).ok()
}
