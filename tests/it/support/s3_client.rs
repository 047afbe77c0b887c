//! A plain S3 client for tests: the defaults of the SDK except for TLS, blocking, and a single attempt.
#![allow(dead_code, reason = "a toolbox: each binary that includes it uses its part")]

use std::time::Duration;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, RequestChecksumCalculation};
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::{Client, Config};
use tokio::runtime::Runtime;

/// A client of one bucket.
pub(crate) struct S3Client {
    client: Client,
    bucket: String,
    runtime: Runtime,
}

/// The result of a request: the value, or the HTTP status (0: no answer).
pub(crate) type Answer<T> = Result<T, u16>;

impl S3Client {
    /// Creates a client for `bucket` at `endpoint`, in `us-east-1`.
    pub(crate) fn new(endpoint: &str, bucket: &str, keys: (&str, &str)) -> Self {
        Self::in_region("us-east-1", endpoint, bucket, keys)
    }

    /// Like [`Self::new`], for a server that checks the region.
    pub(crate) fn in_region(region: &str, endpoint: &str, bucket: &str, (access, secret): (&str, &str)) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(endpoint)
            .region(Region::new(region.to_owned()))
            .credentials_provider(Credentials::new(access, secret, None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
            .request_checksum_calculation(RequestChecksumCalculation::WhenSupported)
            .force_path_style(true)
            .build();
        Self { client: Client::from_conf(config), bucket: bucket.to_owned(), runtime }
    }

    /// Creates the bucket.
    pub(crate) fn create_bucket(&self) -> Answer<()> {
        let request = self.client.create_bucket().bucket(&self.bucket);
        self.runtime.block_on(request.send()).map(drop).map_err(|error| status(&error))
    }

    /// Uploads an object in one request.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> Answer<()> {
        let body = ByteStream::from(bytes.to_vec());
        let request = self.client.put_object().bucket(&self.bucket).key(name).body(body);
        self.runtime.block_on(request.send()).map(drop).map_err(|error| status(&error))
    }

    /// Downloads an object.
    pub(crate) fn get(&self, name: &str) -> Answer<Vec<u8>> {
        self.download(name, None)
    }

    /// Downloads the bytes of `range`, such as `bytes=0-9`.
    pub(crate) fn get_range(&self, name: &str, range: &str) -> Answer<Vec<u8>> {
        self.download(name, Some(range.to_owned()))
    }

    /// Like [`Self::get`], but gives up after `time`: `None`.
    pub(crate) fn get_within(&self, name: &str, time: Duration) -> Option<Answer<Vec<u8>>> {
        let download = self.download_async(name, None);
        self.runtime.block_on(async { tokio::time::timeout(time, download).await.ok() })
    }

    fn download(&self, name: &str, range: Option<String>) -> Answer<Vec<u8>> {
        self.runtime.block_on(self.download_async(name, range))
    }

    async fn download_async(&self, name: &str, range: Option<String>) -> Answer<Vec<u8>> {
        let request = self.client.get_object().bucket(&self.bucket).key(name).set_range(range);
        let answer = request.send().await.map_err(|error| status(&error))?;
        let body = answer.body.collect().await.map_err(|_| 0_u16)?;
        Ok(body.to_vec())
    }

    /// Removes an object.
    pub(crate) fn delete(&self, name: &str) -> Answer<()> {
        let request = self.client.delete_object().bucket(&self.bucket).key(name);
        self.runtime.block_on(request.send()).map(drop).map_err(|error| status(&error))
    }

    /// Returns one page of a listing: the names, whether it is marked as truncated, and the token of the next page.
    pub(crate) fn page(&self, prefix: &str, token: Option<String>) -> Answer<(Vec<String>, bool, Option<String>)> {
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix);
        let answer = self.runtime.block_on(request.set_continuation_token(token).send());
        let page = answer.map_err(|error| status(&error))?;
        let names = page.contents().iter().filter_map(|object| object.key().map(str::to_owned)).collect();
        Ok((names, page.is_truncated() == Some(true), page.next_continuation_token().map(str::to_owned)))
    }

    /// Returns the names of all objects below `prefix`.
    pub(crate) fn list(&self, prefix: &str) -> Answer<Vec<String>> {
        let (mut names, mut token) = (Vec::new(), None);
        loop {
            let (page, is_truncated, next) = self.page(prefix, token)?;
            names.extend(page);
            if !is_truncated {
                return Ok(names);
            }
            token = next;
        }
    }
}

fn status<E>(error: &SdkError<E>) -> u16 {
    error.raw_response().map_or(0, |response| response.status().as_u16())
}
