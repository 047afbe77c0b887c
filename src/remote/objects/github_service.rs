//! The requests to the cache service of GitHub Actions, and to the blobs behind its signed URLs.
//!
//! The service is Twirp: JSON by `POST`, with the token of the job. Blobs are those of Azure: one `PUT`, or blocks and
//! then their list. See `packages/cache` of <https://github.com/actions/toolkit>.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::web::{WebClient, WebRequest};
use crate::config::{GithubSettings, Secret};
use crate::fsx;
use crate::model::Digest;
use crate::remote::s3::error::{Attempt, RemoteError, Result};
use crate::remote::s3::progress::{ActiveTransfer, Phase};
use crate::remote::s3::transfer::Upload;
use crate::remote::s3::tuning::MIB;
use crate::remote::tasks::run_blocking;

/// The service, below its URL.
const SERVICE: &str = "twirp/github.actions.results.api.v1.CacheService";
/// What the version of entries is the digest of. Entries of another version are not found.
const VERSION: &[u8] = b"kache v2";
/// Most bytes of an answer of the service.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The service for one job.
pub(super) struct CacheService {
    url: String,
    token: Secret,
    version: String,
    client: WebClient,
    /// One permit for each MiB of upload data in memory.
    memory: Semaphore,
}

/// Result of reserving an entry.
pub(super) enum CreatedEntry {
    /// The entry is new: upload it to this signed URL.
    UploadTo(String),
    /// There is one with this key, or another job is uploading it.
    Exists,
}

#[derive(Serialize)]
struct EntryRequest<'a> {
    key: &'a str,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    restore_keys: Option<[&'a str; 1]>,
    /// Size in bytes; a 64-bit number is a text in this JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<String>,
}

/// The answers of the three methods. Servers may spell the fields in either way.
#[derive(Default, Deserialize)]
#[serde(default)]
struct EntryAnswer {
    ok: bool,
    #[serde(alias = "signedUploadUrl")]
    signed_upload_url: String,
    #[serde(alias = "signedDownloadUrl")]
    signed_download_url: String,
    #[serde(alias = "matchedKey")]
    matched_key: String,
}

impl CacheService {
    pub(super) fn new(settings: &GithubSettings, client: WebClient) -> Self {
        let memory = Semaphore::new(client.connections().tuning().upload_memory.max(1) as usize);
        let version = Digest::of(VERSION).hex();
        Self { url: settings.url.clone(), token: settings.token.clone(), version, client, memory }
    }

    pub(super) fn client(&self) -> &WebClient {
        &self.client
    }

    /// A signed URL of the entry with this key or, if `is_prefix`, of the newest one whose key begins with it.
    pub(super) async fn find(&self, attempt: &Attempt, key: &str, is_prefix: bool) -> Result<Option<String>> {
        let restore_keys = is_prefix.then_some([key]);
        let request = EntryRequest { key, version: &self.version, restore_keys, size_bytes: None };
        let found: Option<EntryAnswer> = self.call(attempt, "GetCacheEntryDownloadURL", &request).await?;
        // The service also finds entries whose keys only begin with the requested one.
        let fits = |found: &EntryAnswer| {
            let matched = &found.matched_key;
            matched.is_empty() || if is_prefix { matched.starts_with(key) } else { matched == key }
        };
        let found = found.filter(|found| found.ok && !found.signed_download_url.is_empty() && fits(found));
        Ok(found.map(|found| found.signed_download_url))
    }

    /// Reserves an entry.
    pub(super) async fn create(&self, attempt: &Attempt, key: &str) -> Result<CreatedEntry> {
        let request = EntryRequest { key, version: &self.version, restore_keys: None, size_bytes: None };
        let call = || self.call::<EntryAnswer>(attempt, "CreateCacheEntry", &request);
        match self.client.connections().with_retries(attempt, call).await {
            Ok(Some(created)) if created.ok && !created.signed_upload_url.is_empty() => {
                Ok(CreatedEntry::UploadTo(created.signed_upload_url))
            }
            Ok(None) => Err(absent(attempt)),
            Ok(Some(_)) | Err(RemoteError::Status { status: 409, .. }) => Ok(CreatedEntry::Exists),
            Err(RemoteError::Status { code, .. }) if code == "already_exists" => Ok(CreatedEntry::Exists),
            Err(error) => Err(error),
        }
    }

    /// Makes an entry visible, once all its bytes have been uploaded.
    pub(super) async fn finalize(&self, attempt: &Attempt, key: &str, size: u64) -> Result<()> {
        let size_bytes = Some(size.to_string());
        let request = EntryRequest { key, version: &self.version, restore_keys: None, size_bytes };
        let call = || self.call::<EntryAnswer>(attempt, "FinalizeCacheEntryUpload", &request);
        match self.client.connections().with_retries(attempt, call).await? {
            Some(answer) if answer.ok => Ok(()),
            Some(_) => Err(refused(attempt, "the service did not accept the entry")),
            None => Err(absent(attempt)),
        }
    }

    /// Uploads a blob with one request.
    pub(super) async fn put_blob(&self, attempt: &Attempt, url: &str, bytes: Bytes) -> Result<()> {
        self.put(attempt, url.to_owned(), vec![("x-ms-blob-type", "BlockBlob".to_owned())], bytes).await
    }

    /// Fails if the file does not have the declared size and digest: then the name of its object would be wrong.
    pub(super) async fn check_file(&self, attempt: &Attempt, upload: &Upload, to: &ActiveTransfer) -> Result<()> {
        to.enter(Phase::Uploading);
        let path = upload.path.clone();
        match run_blocking(move || fsx::digest(&path)).await? == (upload.digest, upload.size) {
            true => Ok(()),
            false => Err(RemoteError::Digest { attempt: attempt.clone() }),
        }
    }

    /// Uploads a file that was checked: a small one with one request, a large one in blocks.
    pub(super) async fn put_file(
        &self,
        attempt: &Attempt,
        url: &str,
        upload: &Upload,
        to: &ActiveTransfer,
    ) -> Result<()> {
        let tuning = self.client.connections().tuning();
        let path = upload.path.clone();
        let file = Arc::new(run_blocking(move || fsx::open(&path)).await?);
        let is_large = upload.size >= tuning.parts_from;
        let block = if is_large { tuning.part_size.max(1) } else { upload.size.max(1) };
        let mut ids = Vec::new();
        for number in 0..upload.size.div_ceil(block).max(1) {
            let (first, last) = (number * block, ((number + 1) * block).min(upload.size));
            let length = usize::try_from(last - first).unwrap_or(usize::MAX);
            let wanted = u32::try_from((last - first).div_ceil(MIB)).unwrap_or(u32::MAX);
            let _memory = self.memory.acquire_many(wanted.clamp(1, tuning.upload_memory.max(1))).await;
            let (from, path) = (Arc::clone(&file), upload.path.clone());
            let bytes = run_blocking(move || fsx::offset::read_at(&from, &path, first, length)).await?;
            if !is_large {
                self.put_blob(attempt, url, bytes.into()).await?;
                to.advance(length as u64);
                return Ok(());
            }
            // Letters and digits only, because each of them stands for three digits.
            let id = STANDARD.encode(format!("{number:06}"));
            self.put(attempt, with_query(url, &format!("comp=block&blockid={id}")), Vec::new(), bytes.into()).await?;
            to.advance(length as u64);
            ids.push(format!("<Latest>{id}</Latest>"));
        }
        to.enter(Phase::Verifying);
        let list = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{}</BlockList>", ids.concat());
        let kind = vec![("content-type", "application/xml".to_owned())];
        self.put(attempt, with_query(url, "comp=blocklist"), kind, list.into()).await
    }

    async fn put(
        &self,
        attempt: &Attempt,
        url: String,
        headers: Vec<(&'static str, String)>,
        body: Bytes,
    ) -> Result<()> {
        let request = WebRequest { method: "PUT", url, headers, body };
        let send = || self.client.send(attempt, request.clone());
        match self.client.connections().with_retries(attempt, send).await? {
            Some(_) => Ok(()),
            None => Err(absent(attempt)),
        }
    }

    /// Calls a method once. `None`: the service answers that there is no such thing.
    async fn call<T: DeserializeOwned>(
        &self,
        attempt: &Attempt,
        method: &str,
        request: &EntryRequest<'_>,
    ) -> Result<Option<T>> {
        let headers = vec![
            ("authorization", format!("Bearer {}", self.token.expose())),
            ("content-type", "application/json".to_owned()),
        ];
        let body = serde_json::to_vec(request).unwrap_or_default().into();
        let request = WebRequest { method: "POST", url: format!("{}/{SERVICE}/{method}", self.url), headers, body };
        let Some(answer) = self.client.send(attempt, request).await? else { return Ok(None) };
        let stall = self.client.connections().tuning().stall;
        let mut body = answer.into_object(attempt.clone(), None, stall);
        let mut bytes = Vec::new();
        while let Some(more) = body.next().await? {
            bytes.extend_from_slice(&more);
            if bytes.len() > MAX_ANSWER_BYTES {
                return Err(refused(attempt, "the answer of the service is too long"));
            }
        }
        let answer = serde_json::from_slice(&bytes);
        answer.map(Some).map_err(|_| refused(attempt, "the answer of the service is not JSON of the expected form"))
    }
}

/// Adds parameters to a signed URL, which has some already.
fn with_query(url: &str, parameters: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{parameters}")
}

fn refused(attempt: &Attempt, reason: &str) -> RemoteError {
    RemoteError::InvalidAnswer { attempt: attempt.clone(), reason: reason.to_owned() }
}

fn absent(attempt: &Attempt) -> RemoteError {
    crate::remote::s3::error::absent_error(attempt)
}
