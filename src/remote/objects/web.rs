//! Plain HTTP: requests without signatures, redirects, and classified answers.
//!
//! 404 and 410 are absence, 401 and 403 a denial. Error messages never contain URLs: signed ones are secrets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_sdk_s3::primitives::{ByteStream, DateTime, DateTimeFormat, SdkBody};
use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use url::Url;

use crate::config::Env;
use crate::remote::s3::connections::Connections;
use crate::remote::s3::error::{Attempt, RemoteError, Result, one_line, root_cause};
use crate::remote::s3::http::connector;
use crate::remote::s3::range::{Range, interpret};
use crate::remote::s3::small_objects::ObjectMetadata;
use crate::remote::s3::source::{ObjectBody, Validator, strong};
use crate::remote::s3::tuning::Tuning;

/// Most redirects that a request follows.
const MAX_REDIRECTS: usize = 5;
/// Most bytes of an answer with an error status that are read.
const MAX_ERROR_BYTES: usize = 4096;
/// Longest wait that a server may request.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(1);
/// The value of `User-Agent`.
const USER_AGENT: &str = concat!("kache/", env!("CARGO_PKG_VERSION"));

/// A request.
#[derive(Clone, Debug, Default)]
pub(super) struct WebRequest {
    /// Method; an empty one is `GET`.
    pub(super) method: &'static str,
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
}

impl WebRequest {
    /// A request for an object, or for a range of it as long as it has the version `expected`.
    pub(super) fn object(url: String, range: Option<Range>, expected: &Validator) -> Self {
        let mut headers = Vec::new();
        if let Some(range) = range {
            headers.push(("range", range.header()));
            let modified = expected.modified.and_then(|time| time.fmt(DateTimeFormat::HttpDate).ok());
            match (&expected.etag, modified) {
                (Some(etag), _) => headers.push(("if-match", etag.clone())),
                (None, Some(modified)) => headers.push(("if-unmodified-since", modified)),
                (None, None) => {}
            }
        }
        Self { url, headers, ..Self::default() }
    }

    fn may_be_redirected(&self) -> bool {
        matches!(self.method, "" | "GET" | "HEAD")
    }
}

/// An answer with a success status. Its body has not been read.
pub(super) struct WebAnswer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: SdkBody,
    permit: OwnedSemaphorePermit,
}

impl WebAnswer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Size of the body as the server declares it.
    pub(super) fn length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// The metadata of the object that a HEAD request was for.
    pub(super) fn metadata(&self, attempt: &Attempt) -> Result<ObjectMetadata> {
        let unknown = || RemoteError::InvalidAnswer { attempt: attempt.clone(), reason: "no size is given".into() };
        let modified = self.modified().and_then(|time| SystemTime::try_from(time).ok());
        Ok(ObjectMetadata { size: self.length().ok_or_else(unknown)?, etag: self.etag(), modified })
    }

    fn etag(&self) -> Option<String> {
        strong(self.header("etag"))
    }

    fn modified(&self) -> Option<DateTime> {
        DateTime::from_str(self.header("last-modified")?, DateTimeFormat::HttpDate).ok()
    }

    /// The answer as the body of an object, of which `range` was requested.
    pub(super) fn into_object(self, attempt: Attempt, range: Option<Range>, stall: Duration) -> ObjectBody {
        let content = interpret(range, self.status, self.header("content-range"), self.length());
        let validator = Validator { etag: self.etag(), modified: self.modified() };
        let stream = ByteStream::new(self.body);
        ObjectBody { content, validator, stream, attempt, stall, _permit: self.permit }
    }
}

/// A client for `http://` and `https://` URLs. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct WebClient {
    https: SharedHttpConnector,
    http: SharedHttpConnector,
    connections: Connections,
    /// When the server wants to hear of this client again. `None`: now.
    resume: Arc<Mutex<Option<Instant>>>,
}

impl WebClient {
    pub(super) fn new(env: &Env, tuning: Tuning) -> Result<Self> {
        let (https, http) = (connector(env, true, &tuning)?, connector(env, false, &tuning)?);
        Ok(Self { https, http, connections: Connections::new(tuning), resume: Arc::default() })
    }

    pub(super) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Sends a request once, apart from redirects, but not before the server wants one. `None`: 404 or 410. Another
    /// status that is not success is an error.
    pub(super) async fn send(&self, attempt: &Attempt, request: WebRequest) -> Result<Option<WebAnswer>> {
        let resume = *self.resume.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resume) = resume {
            tokio::time::sleep_until(resume.into()).await;
        }
        let permit = self.connections.permit(attempt).await?;
        let timeout = self.connections.timeout(request.body.len() as u64);
        let answered = self.connections.send(attempt, timeout, self.follow(attempt, request)).await?;
        Ok(answered.map(|(response, body)| {
            let headers = response.headers().iter();
            let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
            WebAnswer { status: response.status().as_u16(), headers, body, permit }
        }))
    }

    /// Sends a request and follows redirects. Records the time that the server asks to wait.
    async fn follow(&self, attempt: &Attempt, mut request: WebRequest) -> Result<Option<(HttpResponse, SdkBody)>> {
        for _ in 0..=MAX_REDIRECTS {
            let mut response = self.send_once(attempt, &request).await?;
            let status = response.status().as_u16();
            match status {
                200..=299 => {
                    let body = response.take_body();
                    return Ok(Some((response, body)));
                }
                404 | 410 => return Ok(None),
                301 | 302 | 303 | 307 | 308 if request.may_be_redirected() => {
                    let target = response.headers().get("location").and_then(|to| resolve(&request.url, to));
                    let refused =
                        || RemoteError::Setting(format!("{attempt}: redirected to a URL that is not allowed"));
                    request.url = target.ok_or_else(refused)?;
                }
                _ => {
                    if let Some(resume) = resume_at(status, response.headers().get("retry-after"), Instant::now()) {
                        *self.resume.lock().unwrap_or_else(PoisonError::into_inner) = Some(resume);
                    }
                    return Err(status_error(attempt, status, response.take_body()).await);
                }
            }
        }
        Err(RemoteError::Setting(format!("{attempt}: more than {MAX_REDIRECTS} redirects")))
    }

    async fn send_once(&self, attempt: &Attempt, request: &WebRequest) -> Result<HttpResponse> {
        let invalid = |_| RemoteError::Setting(format!("{attempt}: the URL or a header is not valid"));
        let mut sent = HttpRequest::new(SdkBody::from(request.body.clone()));
        sent.set_uri(request.url.as_str()).map_err(invalid)?;
        sent.set_method(if request.method.is_empty() { "GET" } else { request.method }).map_err(invalid)?;
        sent.headers_mut().try_insert("user-agent", USER_AGENT).map_err(invalid)?;
        for (name, value) in &request.headers {
            sent.headers_mut().try_insert(*name, value.clone()).map_err(invalid)?;
        }
        let connector = if request.url.starts_with("https://") { &self.https } else { &self.http };
        connector.call(sent).await.map_err(|error| match error.is_timeout() {
            true => RemoteError::TimedOut { attempt: attempt.clone() },
            false => RemoteError::Unreachable { attempt: attempt.clone(), reason: root_cause(&error) },
        })
    }
}

/// When a server that answered with this status and `Retry-After` wants the next request.
fn resume_at(status: u16, retry_after: Option<&str>, now: Instant) -> Option<Instant> {
    let seconds = retry_after?.trim().parse().ok()?;
    matches!(status, 429 | 503).then(|| now + Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// The error for a status, with the code and message in a JSON body, if there are any.
async fn status_error(attempt: &Attempt, status: u16, body: SdkBody) -> RemoteError {
    let mut stream = ByteStream::new(body);
    let mut bytes = Vec::new();
    while let Some(Ok(more)) = stream.next().await {
        bytes.extend_from_slice(&more);
        if bytes.len() > MAX_ERROR_BYTES {
            break;
        }
    }
    let said: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let text = |name: &str| one_line(said[name].as_str().unwrap_or_default());
    let (attempt, code, message) = (attempt.clone(), text("code"), text("msg"));
    match status {
        401 | 403 => RemoteError::Denied { attempt, status, code, message },
        _ => RemoteError::Status { attempt, status, code, message },
    }
}

/// The URL that a redirect leads to. `None`: it leads from https to http, or to something else than a web server.
fn resolve(base: &str, location: &str) -> Option<String> {
    let base = Url::parse(base).ok()?;
    let mut target = base.join(location).ok().filter(|_| !location.is_empty())?;
    target.set_fragment(None);
    let is_allowed = target.scheme() == "https" || (target.scheme(), base.scheme()) == ("http", "http");
    is_allowed.then(|| target.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r09_a_server_may_ask_for_a_wait_but_not_for_ever() {
        let now = Instant::now();
        let wait = |status, header| resume_at(status, header, now).map(|at| at - now);
        assert_eq!(wait(429, Some("7")), Some(Duration::from_secs(7)));
        assert_eq!(wait(503, Some(" 0 ")), Some(Duration::ZERO));
        assert_eq!(wait(429, Some("18446744073709551615")), Some(MAX_RETRY_AFTER));
        for (status, header) in
            [(429, None), (429, Some("soon")), (429, Some("-1")), (403, Some("7")), (500, Some("7"))]
        {
            assert_eq!(wait(status, header), None, "{status} {header:?}");
        }
    }

    #[test]
    fn redirects_are_resolved_and_never_leave_tls() {
        let to = |base, location| resolve(base, location);
        let base = "https://a.example/x/y?z=1";
        assert_eq!(to(base, "https://b.example/q?r=2#s").as_deref(), Some("https://b.example/q?r=2"));
        assert_eq!(to(base, "//b.example/q").as_deref(), Some("https://b.example/q"));
        assert_eq!(to(base, "/q").as_deref(), Some("https://a.example/q"));
        assert_eq!(to(base, "q/r").as_deref(), Some("https://a.example/x/q/r"));
        assert_eq!(to("https://a.example", "q").as_deref(), Some("https://a.example/q"));
        for bad in ["http://a.example/q", "ftp://a.example/q", "file:/etc/passwd", "", "javascript:x"] {
            assert_eq!(to(base, bad), None, "{bad}");
        }
        assert_eq!(to("http://a/x", "http://b/y").as_deref(), Some("http://b/y"), "control: plain to plain");
        assert_eq!(to("http://a/x", "https://b/y").as_deref(), Some("https://b/y"));
    }
}
