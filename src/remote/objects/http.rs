//! The objects in a directory that a web server publishes. Read-only.
//!
//! Anybody can publish such a directory: a bucket with public access, a CDN, or any server for a directory that kache
//! writes to. A web server cannot list, so listings are read from index objects ([`super::index`]).

use std::path::Path;
use std::sync::Arc;

use super::names;
use super::range::ByteRange;
use super::web::{WebClient, WebRequest};
use crate::config::Env;
use crate::fsx::FinishedFile;
use crate::remote::s3::connections::Connections;
use crate::remote::s3::error::{Attempt, RemoteError, Result};
use crate::remote::s3::progress::ActiveTransfer;
use crate::remote::s3::range::Range;
use crate::remote::s3::small_objects::ObjectMetadata;
use crate::remote::s3::source::{BodyFuture, Source, Validator, get, get_range};
use crate::remote::s3::transfer::{Download, download_bytes_from, download_file_from};
use crate::remote::s3::tuning::Tuning;

/// The objects below a URL.
#[derive(Clone, Debug)]
pub struct HttpObjects {
    base: Arc<str>,
    client: WebClient,
}

impl HttpObjects {
    /// The objects below `url`, which does not end with a slash. Does not connect yet.
    pub fn new(url: &str, env: &Env) -> Result<Self> {
        Self::tuned(url, env, Tuning::default())
    }

    /// Like [`Self::new`], with other limits and timeouts.
    pub fn tuned(url: &str, env: &Env, tuning: Tuning) -> Result<Self> {
        Ok(Self { base: url.into(), client: WebClient::new(env, tuning)? })
    }

    pub(super) async fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        get(self, name, limit).await
    }

    pub(super) async fn get_range(&self, name: &str, range: ByteRange) -> Result<Option<Vec<u8>>> {
        get_range(self, name, range.first, range.length).await
    }

    pub(super) async fn head(&self, name: &str) -> Result<Option<ObjectMetadata>> {
        let attempt = Source::attempt(self, "head", name);
        names::check(&attempt)?;
        let head = || async {
            let request = WebRequest { method: "HEAD", url: self.url(name), ..WebRequest::default() };
            let Some(answer) = self.client.send(&attempt, request).await? else { return Ok(None) };
            answer.metadata(&attempt).map(Some)
        };
        self.connections().with_retries(&attempt, head).await
    }

    pub(super) async fn download_bytes(&self, object: &Download, to: &ActiveTransfer) -> Result<Option<Vec<u8>>> {
        download_bytes_from(Arc::new(self.clone()), object, to).await
    }

    pub(super) async fn download_file(
        &self,
        object: &Download,
        path: &Path,
        to: &ActiveTransfer,
    ) -> Result<Option<FinishedFile>> {
        download_file_from(Arc::new(self.clone()), object, path, to).await
    }

    /// The error of a write.
    pub(super) fn read_only<T>(&self, verb: &'static str, name: &str) -> Result<T> {
        let attempt = Source::attempt(self, verb, name);
        Err(RemoteError::Setting(format!("{attempt}: a remote of type \"http\" is read-only")))
    }

    fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.base)
    }
}

impl Source for HttpObjects {
    fn connections(&self) -> &Connections {
        self.client.connections()
    }

    fn attempt(&self, verb: &'static str, object: &str) -> Attempt {
        Attempt { verb, object: object.to_owned(), place: self.base.to_string() }
    }

    fn request_object<'a>(&'a self, name: &'a str, range: Option<Range>, expected: &'a Validator) -> BodyFuture<'a> {
        Box::pin(async move {
            let attempt = self.attempt("get", name);
            names::check(&attempt)?;
            let request = WebRequest::object(self.url(name), range, expected);
            let answer = self.client.send(&attempt, request).await?;
            let stall = self.connections().tuning().stall;
            Ok(answer.map(|answer| answer.into_object(attempt, range, stall)))
        })
    }
}
