//! A web server for a single test: one thread for each connection, one request on each, and a function that answers.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path of the URL, without the query.
    pub(crate) path: String,
    /// What follows the `?`; empty if there is none.
    pub(crate) query: String,
    /// Headers by their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Whether the connection is closed in the middle of the body.
    is_cut: bool,
}

impl Response {
    /// An answer with this status and body.
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), is_cut: false }
    }

    /// Adds a header.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Closes the connection in the middle of the body.
    pub(crate) fn cut(mut self) -> Self {
        self.is_cut = true;
        self
    }

    /// The bytes that the request wants of these, which have the ETag that a server would give them.
    pub(crate) fn object(request: &Request, bytes: &[u8]) -> Self {
        let etag = format!("\"{}\"", &blake3::hash(bytes).to_hex()[..16]);
        if request.headers.get("if-match").is_some_and(|expected| *expected != etag) {
            return Self::new(412, "");
        }
        let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let Some((first, last)) = range else { return Self::new(200, bytes).with("etag", etag) };
        let first: usize = first.parse().expect("a first byte");
        let last = last.parse().unwrap_or(usize::MAX).min(bytes.len().saturating_sub(1));
        if first > last {
            return Self::new(416, "");
        }
        let range = format!("bytes {first}-{last}/{}", bytes.len());
        Self::new(206, &bytes[first..=last]).with("content-range", range).with("etag", etag)
    }
}

/// A running server, which stops when it is dropped.
pub(crate) struct WebServer {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Request>>>,
    thread: Option<JoinHandle<()>>,
}

impl WebServer {
    /// Starts a server that answers with `answer`, from many threads.
    pub(crate) fn start(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("address");
        let (is_over, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (over, requests, answer) = (Arc::clone(&is_over), Arc::clone(&seen), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Acquire) {
                    break;
                }
                let (requests, answer) = (Arc::clone(&requests), Arc::clone(&answer));
                // Ignores errors: a client may leave at any time.
                std::thread::spawn(move || stream.map(|stream| serve(stream, &requests, answer.as_ref())));
            }
        });
        Self { address, is_over, seen, thread: Some(thread) }
    }

    /// Publishes a directory, as any web server does.
    pub(crate) fn of_dir(root: &Path) -> Self {
        let root = root.to_owned();
        Self::start(move |request| file_of(&root, request))
    }

    /// Returns the URL of the server.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns all requests so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("requests").clone()
    }

    /// Counts the requests with this method whose paths contain `part`.
    pub(crate) fn count(&self, method: &str, part: &str) -> usize {
        self.seen().iter().filter(|request| request.method == method && request.path.contains(part)).count()
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
        let ended = self.thread.take().expect("dropped once").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the server's thread panicked");
    }
}

/// Returns the answer to a request for a file below `root`.
pub(crate) fn file_of(root: &Path, request: &Request) -> Response {
    let path: PathBuf = root.join(request.path.trim_start_matches('/'));
    match (request.method.as_str(), fs::read(path)) {
        ("GET" | "HEAD", Ok(bytes)) => Response::object(request, &bytes),
        ("GET" | "HEAD", Err(_)) => Response::new(404, "<html>no such page</html>"),
        _ => Response::new(405, ""),
    }
}

fn serve(
    stream: TcpStream,
    seen: &Mutex<Vec<Request>>,
    answer: &(impl Fn(&Request) -> Response + ?Sized),
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(()) };
    // A proxy is asked for a whole URL.
    let target = target.split_once("://").map_or(target, |(_, rest)| &rest[rest.find('/').unwrap_or(rest.len())..]);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request { method: method.into(), path: path.into(), query: query.into(), ..Request::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        request.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = request.headers.get("content-length").map_or(0, |length| length.parse().expect("a length"));
    request.body = vec![0; length];
    reader.read_exact(&mut request.body)?;
    seen.lock().expect("requests").push(request.clone());
    let response = answer(&request);
    let headers: Vec<_> = response.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let (status, length) = (response.status, response.body.len());
    let head =
        format!("HTTP/1.1 {status} x\r\nconnection: close\r\n{}content-length: {length}\r\n\r\n", headers.concat());
    let mut stream = reader.into_inner();
    stream.write_all(head.as_bytes())?;
    if request.method != "HEAD" {
        let sent = if response.is_cut { response.body.len() / 2 } else { response.body.len() };
        stream.write_all(&response.body[..sent])?;
    }
    stream.flush()
}
