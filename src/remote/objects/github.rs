//! The objects in the cache service of GitHub Actions (version 2 of its API).
//!
//! An object is one cache entry. Its key is `kache/` and the name of the object. Entries cannot be replaced or deleted,
//! so a write to an existing name leaves the entry, which counts as success: such names stand for their content. Only
//! index objects are rewritten, under a key with the time at its end, and read by the newest key with that beginning.
//! The service cannot list, so listings are read from index objects ([`super::index`]).
//!
//! Never prints the token or signed URLs.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::github_service::{CacheService, CreatedEntry};
use super::range::ByteRange;
use super::web::{WebClient, WebRequest};
use super::{index, names};
use crate::config::{Env, GithubSettings};
use crate::fsx::FinishedFile;
use crate::remote::s3::connections::Connections;
use crate::remote::s3::error::{Attempt, RemoteError, Result};
use crate::remote::s3::progress::ActiveTransfer;
use crate::remote::s3::range::Range;
use crate::remote::s3::small_objects::ObjectMetadata;
use crate::remote::s3::source::{BodyFuture, ObjectBody, Source, Validator, get, get_range};
use crate::remote::s3::transfer::{Download, Upload, download_bytes_from, download_file_from, unless_stopped};
use crate::remote::s3::tuning::Tuning;

/// Longest key that the service accepts.
const MAX_KEY_BYTES: usize = 512;
/// How long the signed URL of an object is used again. The service signs them for longer.
const URL_AGE: Duration = Duration::from_mins(5);
/// Most signed URLs that are kept.
const MAX_URLS: usize = 256;
/// How often another key is tried if an index was written at the same millisecond.
const MAX_KEY_ATTEMPTS: u64 = 5;

/// The objects in the cache of a repository.
#[derive(Clone)]
pub struct GithubObjects(Arc<GithubInner>);

pub(super) struct GithubInner {
    pub(super) service: CacheService,
    /// Signed URLs of objects, and when they were requested.
    urls: Mutex<HashMap<String, (String, Instant)>>,
}

impl std::fmt::Debug for GithubObjects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GithubObjects").finish_non_exhaustive()
    }
}

impl GithubObjects {
    /// The objects in the cache that the settings describe. Does not connect yet.
    pub fn new(settings: &GithubSettings, env: &Env) -> Result<Self> {
        Self::tuned(settings, env, Tuning::default())
    }

    /// Like [`Self::new`], with other limits and timeouts.
    pub fn tuned(settings: &GithubSettings, env: &Env, tuning: Tuning) -> Result<Self> {
        let service = CacheService::new(settings, WebClient::new(env, tuning)?);
        Ok(Self(Arc::new(GithubInner { service, urls: Mutex::default() })))
    }

    pub(super) async fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        get(self, name, limit).await
    }

    pub(super) async fn get_range(&self, name: &str, range: ByteRange) -> Result<Option<Vec<u8>>> {
        get_range(self, name, range.first, range.length).await
    }

    pub(super) async fn head(&self, name: &str) -> Result<Option<ObjectMetadata>> {
        let attempt = Source::attempt(self, "head", name);
        let head = || async {
            let Some(url) = self.find(&attempt, name).await? else { return Ok(None) };
            let request = WebRequest { method: "HEAD", url, ..WebRequest::default() };
            let Some(answer) = self.0.service.client().send(&attempt, request).await? else { return Ok(None) };
            answer.metadata(&attempt).map(Some)
        };
        self.connections().with_retries(&attempt, head).await
    }

    pub(super) async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let attempt = Source::attempt(self, "put", name);
        let Some((key, url)) = self.create(&attempt, name).await? else { return Ok(()) };
        let size = bytes.len() as u64;
        self.0.service.put_blob(&attempt, &url, bytes.into()).await?;
        self.0.service.finalize(&attempt, &key, size).await
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

    pub(super) async fn upload_file(&self, upload: &Upload, to: &ActiveTransfer) -> Result<()> {
        let attempt = Source::attempt(self, "put", &upload.name);
        let work = async {
            self.0.service.check_file(&attempt, upload, to).await?;
            let Some((key, url)) = self.create(&attempt, &upload.name).await? else { return Ok(()) };
            self.0.service.put_file(&attempt, &url, upload, to).await?;
            self.0.service.finalize(&attempt, &key, upload.size).await
        };
        unless_stopped(&attempt, to.control(), work).await
    }

    /// Reserves an entry, and returns its key and the URL to upload to. `None`: it exists already.
    async fn create(&self, attempt: &Attempt, name: &str) -> Result<Option<(String, String)>> {
        let base = key(attempt, name)?;
        if !index::is_index(name) {
            let created = self.0.service.create(attempt, &base).await?;
            return Ok(match created {
                CreatedEntry::UploadTo(url) => Some((base, url)),
                CreatedEntry::Exists => None,
            });
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        for more in 0..MAX_KEY_ATTEMPTS {
            let key = format!("{base}.{:015}", now + u128::from(more));
            if let CreatedEntry::UploadTo(url) = self.0.service.create(attempt, &key).await? {
                return Ok(Some((key, url)));
            }
        }
        Err(RemoteError::Changed { attempt: attempt.clone() })
    }

    /// A signed URL of the object. `None`: it does not exist.
    async fn find(&self, attempt: &Attempt, name: &str) -> Result<Option<String>> {
        let key = key(attempt, name)?;
        if index::is_index(name) {
            return self.0.service.find(attempt, &format!("{key}."), true).await;
        }
        let known = self.urls().get(name).filter(|(_, since)| since.elapsed() < URL_AGE).cloned();
        if let Some((url, _)) = known {
            return Ok(Some(url));
        }
        let found = self.0.service.find(attempt, &key, false).await?;
        if let Some(url) = &found {
            let mut urls = self.urls();
            if urls.len() >= MAX_URLS {
                urls.clear();
            }
            urls.insert(name.to_owned(), (url.clone(), Instant::now()));
        }
        Ok(found)
    }

    async fn request(&self, name: &str, range: Option<Range>, expected: &Validator) -> Result<Option<ObjectBody>> {
        let attempt = self.attempt("get", name);
        let stall = self.connections().tuning().stall;
        let Some(url) = self.find(&attempt, name).await? else { return Ok(None) };
        let answer = match self.0.service.client().send(&attempt, WebRequest::object(url, range, expected)).await {
            Err(RemoteError::Denied { .. }) => {
                // The signature may have expired.
                self.urls().remove(name);
                let Some(url) = self.find(&attempt, name).await? else { return Ok(None) };
                self.0.service.client().send(&attempt, WebRequest::object(url, range, expected)).await?
            }
            answer => answer?,
        };
        Ok(answer.map(|answer| answer.into_object(attempt, range, stall)))
    }

    fn urls(&self) -> MutexGuard<'_, HashMap<String, (String, Instant)>> {
        self.0.urls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for GithubObjects {
    fn connections(&self) -> &Connections {
        self.0.service.client().connections()
    }

    fn attempt(&self, verb: &'static str, object: &str) -> Attempt {
        Attempt { verb, object: object.to_owned(), place: "the GitHub Actions cache".to_owned() }
    }

    fn request_object<'a>(&'a self, name: &'a str, range: Option<Range>, expected: &'a Validator) -> BodyFuture<'a> {
        Box::pin(self.request(name, range, expected))
    }
}

/// The key of an object, without the time of an index.
fn key(attempt: &Attempt, name: &str) -> Result<String> {
    names::check(attempt)?;
    let key = format!("kache/{name}");
    // An index needs 16 more.
    match key.len() + 16 <= MAX_KEY_BYTES {
        true => Ok(key),
        false => Err(RemoteError::Setting(format!("{attempt}: the name is too long for this cache"))),
    }
}
