//! A stand-in for the cache service of GitHub Actions, with the blobs behind its signed URLs.
//!
//! It follows the protocol in `packages/cache` of <https://github.com/actions/toolkit>: entries cannot be replaced, an
//! entry exists once it is finalized with the right size, and lookups find an exact key, then the newest entry whose
//! key begins with the key or with a restore key.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::web_server::{Request, Response, WebServer};

/// The token of the job.
pub(crate) const TOKEN: &str = "the-token-of-the-job";

/// One cache entry, the oldest one first.
#[derive(Default)]
struct Entry {
    key: String,
    version: String,
    blob: Option<Vec<u8>>,
    blocks: BTreeMap<String, Vec<u8>>,
    is_final: bool,
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    /// How many calls of the service are answered with 429.
    refused_calls: usize,
    /// Signed URLs contain this number; others have expired.
    signature: u32,
}

/// A running service, which stops when it is dropped.
pub(crate) struct GithubCache {
    pub(crate) server: WebServer,
    state: Arc<Mutex<State>>,
}

impl GithubCache {
    /// Starts an empty service.
    pub(crate) fn start() -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        let server = WebServer::start(move |request| shared.lock().expect("state").answer(request));
        Self { server, state }
    }

    /// Returns the variables of a job that uses this service.
    pub(crate) fn variables(&self) -> [(&'static str, String); 3] {
        let url = format!("{}/", self.server.url());
        [
            ("KACHE_REMOTE_TYPE", "github".to_owned()),
            ("ACTIONS_RESULTS_URL", url),
            ("ACTIONS_RUNTIME_TOKEN", TOKEN.to_owned()),
        ]
    }

    /// Returns the keys of all entries that exist, the oldest one first.
    pub(crate) fn keys(&self) -> Vec<String> {
        let state = self.state.lock().expect("state");
        state.entries.iter().filter(|entry| entry.is_final).map(|entry| entry.key.clone()).collect()
    }

    /// Returns the bytes of an entry.
    pub(crate) fn read(&self, key: &str) -> Vec<u8> {
        let state = self.state.lock().expect("state");
        state.entries.iter().find(|entry| entry.key == key).and_then(|entry| entry.blob.clone()).expect("an entry")
    }

    /// Answers the next calls with 429.
    pub(crate) fn refuse_calls(&self, calls: usize) {
        self.state.lock().expect("state").refused_calls = calls;
    }

    /// Lets all signed URLs expire.
    pub(crate) fn expire(&self) {
        self.state.lock().expect("state").signature += 1;
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Response {
        match request.path.strip_prefix("/twirp/github.actions.results.api.v1.CacheService/") {
            Some(method) => self.call(method, request),
            None => self.blob(request),
        }
    }

    fn call(&mut self, method: &str, request: &Request) -> Response {
        if request.headers.get("authorization") != Some(&format!("Bearer {TOKEN}")) {
            return error(401, "unauthenticated");
        }
        if self.refused_calls > 0 {
            self.refused_calls -= 1;
            return error(429, "resource_exhausted").with("retry-after", "0");
        }
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let (key, version) = (text("key"), text("version"));
        let is_valid = request.method == "POST" && (1..=512).contains(&key.len()) && !key.contains(',');
        if !is_valid || version.is_empty() {
            return error(400, "invalid_argument");
        }
        let host = request.headers.get("host").cloned().unwrap_or_default();
        let signed = |at: usize, signature: u32| format!("http://{host}/blob/{at}?sig={signature}");
        let at = self.entries.iter().position(|entry| (&entry.key, &entry.version) == (&key, &version));
        let answer = match method {
            "CreateCacheEntry" if at.is_some() => return error(409, "already_exists"),
            "CreateCacheEntry" => {
                self.entries.push(Entry { key, version, ..Entry::default() });
                json!({"ok": true, "signed_upload_url": signed(self.entries.len() - 1, self.signature)})
            }
            "FinalizeCacheEntryUpload" => {
                let size = text("size_bytes").parse().ok();
                let found = at.map(|at| &mut self.entries[at]);
                let found = found.filter(|entry| entry.blob.as_ref().map(|blob| blob.len() as u64) == size);
                let Some(entry) = found else { return error(400, "invalid_argument") };
                entry.is_final = true;
                json!({"ok": true, "entry_id": "7"})
            }
            "GetCacheEntryDownloadURL" => {
                let restore = body["restore_keys"].as_array().cloned().unwrap_or_default();
                let prefixes = [key].into_iter().chain(restore.iter().map(|key| key.as_str().unwrap().to_owned()));
                match self.find(&version, prefixes) {
                    Some(at) => {
                        let url = signed(at, self.signature);
                        json!({"ok": true, "signed_download_url": url, "matched_key": self.entries[at].key})
                    }
                    None => json!({"ok": false, "signed_download_url": "", "matched_key": ""}),
                }
            }
            _ => return error(404, "bad_route"),
        };
        Response::new(200, answer.to_string()).with("content-type", "application/json")
    }

    /// For each key in turn: the entry with this key, else the newest one whose key begins with it.
    fn find(&self, version: &str, keys: impl Iterator<Item = String>) -> Option<usize> {
        let newest = |fits: &dyn Fn(&str) -> bool| {
            let is_found = |entry: &Entry| entry.is_final && entry.version == version && fits(&entry.key);
            self.entries.iter().rposition(is_found)
        };
        keys.into_iter()
            .find_map(|key| newest(&|other| other == key).or_else(|| newest(&|other| other.starts_with(&key))))
    }

    fn blob(&mut self, request: &Request) -> Response {
        let parameters: BTreeMap<&str, &str> =
            request.query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        if parameters.get("sig").copied() != Some(self.signature.to_string().as_str()) {
            return Response::new(403, "<Error>AuthenticationFailed</Error>");
        }
        let at = request.path.strip_prefix("/blob/").and_then(|at| at.parse::<usize>().ok());
        let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) else { return Response::new(404, "") };
        match (request.method.as_str(), parameters.get("comp").copied()) {
            ("GET" | "HEAD", None) => match &entry.blob {
                Some(blob) => Response::object(request, blob),
                None => Response::new(404, ""),
            },
            ("PUT", Some("block")) => {
                entry.blocks.insert(parameters["blockid"].to_owned(), request.body.clone());
                Response::new(201, "")
            }
            ("PUT", Some("blocklist")) => {
                let list = String::from_utf8(request.body.clone()).expect("XML");
                let ids = list.split("<Latest>").skip(1).map(|rest| rest.split('<').next().expect("an id"));
                let blocks: Option<Vec<_>> = ids.map(|id| entry.blocks.get(id).cloned()).collect();
                let Some(blocks) = blocks else { return Response::new(400, "") };
                entry.blob = Some(blocks.concat());
                Response::new(201, "")
            }
            ("PUT", None) if request.headers.get("x-ms-blob-type").is_some_and(|kind| kind == "BlockBlob") => {
                entry.blob = Some(request.body.clone());
                Response::new(201, "")
            }
            _ => Response::new(400, ""),
        }
    }
}

fn error(status: u16, code: &str) -> Response {
    Response::new(status, json!({"code": code, "msg": format!("it is {code}")}).to_string())
}
