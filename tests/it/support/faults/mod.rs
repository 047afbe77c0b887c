//! A proxy that breaks HTTP on purpose. It runs in front of a server and follows rules.
//!
//! A rule selects requests (by method, part of path and query, header, and count) and names the faults to apply to
//! them. The proxy records every request. It passes heads on unchanged, `Host` included, so that signatures made for
//! the address of the proxy are still valid at the server. It has its own thread and its own runtime, and stops when
//! the value is dropped. Latency and bandwidth apply to all connections together: benches use the proxy as a slow line.
//! It does not depend on kache.
#![allow(dead_code, reason = "a toolbox: each binary that includes it uses its part")]

mod http;
mod kept;
mod listing;
mod proxy;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

/// Header whose value names a header that the server in `s3_server.rs` ignores.
const OVERLOOK: &str = "x-test-overlook";

/// A fault to apply to a request or to its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Delays the request by this long.
    Latency(Duration),
    /// Limits the body of the answer to this many bytes per second.
    Slow(u64),
    /// Keeps the connection open, but never answers.
    Hang,
    /// Sends the head and this many bytes of the body, then nothing, and keeps the connection open.
    HangAfter(u64),
    /// Closes the connection without an answer. The server never sees the request.
    Close,
    /// Closes the connection when this many bytes of the request body have arrived.
    CloseUploadAfter(u64),
    /// Lets the server process the request, and drops the answer.
    LoseAnswer,
    /// Sends the head unchanged and this many bytes of the body, fewer than announced, then closes the connection.
    CutAfter(u64),
    /// Sends a well-formed answer that contains only this many bytes of the body.
    Truncate(u64),
    /// Inverts the bits of the byte at this offset of the body.
    Flip(u64),
    /// Answers with an S3 error that has this status, code and message.
    Error(u16, &'static str, &'static str),
    /// Answers with this status and an empty body.
    Empty(u16),
    /// Answers with this status and this body, as a server that is not S3 does.
    Body(u16, Vec<u8>),
    /// Sends an answer that is not HTTP.
    Garbage,
    /// Makes the server of `s3_server.rs` return the whole object with 200, whatever range was requested.
    IgnoreRange,
    /// Sends the answer in chunks, without announcing its length.
    NoLength,
    /// Removes a header of the answer.
    Without(&'static str),
    /// Sets a header of the answer.
    With(&'static str, String),
    /// Falsifies a listing.
    Listing(Lie),
}

/// How a listing is falsified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lie {
    /// It is marked as truncated, but has no token.
    TruncatedWithoutToken,
    /// It is marked as truncated, with the same token every time.
    RepeatedToken,
    /// It contains these keys, too.
    MoreKeys(Vec<String>),
    /// It is XML that ends in the middle.
    CutXml,
    /// It is not XML at all.
    NoXml,
}

/// Which of the matching requests a rule applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    First(u64),
    /// Counted from 1.
    Nth(u64),
    Every(u64),
}

/// The faults to apply, and the requests to apply them to.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    method: &'static str,
    part: String,
    header: Option<&'static str>,
    which: Which,
    actions: Vec<Action>,
    seen: u64,
}

impl Rule {
    /// Matches all requests of `method` ("*": any) whose path and query contain `part`. The rule has no faults yet.
    pub(crate) fn on(method: &'static str, part: impl Into<String>) -> Self {
        Self { method, part: part.into(), header: None, which: Which::All, actions: Vec::new(), seen: 0 }
    }

    /// Matches only requests with this header, such as `range`.
    pub(crate) fn with_header(self, name: &'static str) -> Self {
        Self { header: Some(name), ..self }
    }

    /// Applies to the first `n` matching requests only.
    pub(crate) fn first(self, n: u64) -> Self {
        Self { which: Which::First(n), ..self }
    }

    /// Applies to the `n`th matching request only, counted from 1.
    pub(crate) fn nth(self, n: u64) -> Self {
        Self { which: Which::Nth(n), ..self }
    }

    /// Applies to every `n`th matching request, beginning with the `n`th.
    pub(crate) fn every(self, n: u64) -> Self {
        Self { which: Which::Every(n), ..self }
    }

    /// Adds a fault. A rule may have several.
    pub(crate) fn then(mut self, action: Action) -> Self {
        self.actions.push(action);
        self
    }

    fn fits(&mut self, method: &str, target: &str, has: impl Fn(&str) -> bool) -> bool {
        let fits_method = self.method == "*" || self.method == method;
        if !fits_method || !target.contains(&self.part) || !self.header.is_none_or(has) {
            return false;
        }
        self.seen += 1;
        match self.which {
            Which::All => true,
            Which::First(n) => self.seen <= n,
            Which::Nth(n) => self.seen == n,
            Which::Every(n) => self.seen.is_multiple_of(n),
        }
    }
}

/// A request that reached the proxy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path and query as the client sent them, escapes included.
    pub(crate) target: String,
    /// The `Range` header of the request.
    pub(crate) range: Option<String>,
    /// The `If-Match` header of the request.
    pub(crate) if_match: Option<String>,
    /// The status that the client received; `None`: the proxy did not send a head.
    pub(crate) status: Option<u16>,
    /// Bytes of the answer body that were sent to the client.
    pub(crate) sent: u64,
    /// Bytes of the request body that arrived from the client.
    pub(crate) received: u64,
    /// Whether a rule applied to the request.
    pub(crate) is_faulty: bool,
}

/// Latency and bandwidth of the line. Rules may slow it down further.
#[derive(Debug, Clone, Copy, Default)]
struct LinkSpeed {
    /// Delay before every answer, and before the first request of every connection.
    latency: Duration,
    /// Bytes per second in each direction, for all connections together; 0: unlimited.
    bandwidth: u64,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    seen: Vec<Seen>,
    /// How many requests were recorded before the oldest one in `seen`.
    forgotten: usize,
    speed: LinkSpeed,
    open: usize,
    peak: usize,
    connections: usize,
    /// Answers to GETs of whole objects, by request target; `None`: objects are not kept.
    kept: Option<HashMap<String, Arc<kept::Kept>>>,
}

#[derive(Default)]
struct Shared(Mutex<State>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics with the lock")
    }
}

/// A running proxy, which stops when it is dropped.
pub(crate) struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// Starts a proxy in front of `upstream`, without any rule.
    pub(crate) fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("address");
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel();
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || proxy::serve(listener, upstream, theirs, stopped));
        Self { address, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Returns the address that the proxy listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns a value for `KACHE_S3_ENDPOINT`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a rule. All rules that match a request apply to it.
    pub(crate) fn rule(&self, rule: Rule) -> &Self {
        self.shared.lock().rules.push(rule);
        self
    }

    /// Adds a rule that applies one fault to all requests.
    pub(crate) fn always(&self, action: Action) -> &Self {
        self.rule(Rule::on("*", "").then(action))
    }

    /// Removes all rules. Requests under way keep their faults.
    pub(crate) fn heal(&self) -> &Self {
        self.shared.lock().rules.clear();
        self
    }

    /// Sets the duration of a round trip, by which connections and answers are delayed.
    pub(crate) fn set_latency(&self, latency: Duration) -> &Self {
        self.shared.lock().speed.latency = latency;
        self
    }

    /// Sets how many bytes of bodies all connections together carry per second in each direction (0: unlimited).
    pub(crate) fn set_bandwidth(&self, bytes_per_second: u64) -> &Self {
        self.shared.lock().speed.bandwidth = bytes_per_second;
        self
    }

    /// From now on, keeps in memory every object that the server returns, and serves it again without the server, even
    /// if it has changed there. A bench then measures little else than the line.
    pub(crate) fn keep_objects(&self) -> &Self {
        self.shared.lock().kept = Some(HashMap::new());
        self
    }

    /// Returns all recorded requests, in the order in which their heads arrived.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    /// Returns the recorded requests of `method` ("*": any) whose path and query contain `part`.
    pub(crate) fn seen_of(&self, method: &str, part: &str) -> Vec<Seen> {
        let fits = |seen: &Seen| (method == "*" || seen.method == method) && seen.target.contains(part);
        self.seen().into_iter().filter(fits).collect()
    }

    /// Counts the requests that [`Self::seen_of`] returns.
    pub(crate) fn count(&self, method: &str, part: &str) -> usize {
        self.seen_of(method, part).len()
    }

    /// Waits until no request is under way: a client may have its answer before the proxy has recorded the whole
    /// request.
    pub(crate) fn wait_for_all(&self) -> &Self {
        while self.shared.lock().open > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        self
    }

    /// Returns the most requests that were under way at once.
    pub(crate) fn peak(&self) -> usize {
        self.shared.lock().peak
    }

    /// Returns how many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// Forgets the recorded requests, and resets the peak and the number of connections.
    pub(crate) fn forget(&self) -> &Self {
        let mut state = self.shared.lock();
        state.forgotten += state.seen.len();
        state.seen.clear();
        state.peak = state.open;
        state.connections = 0;
        drop(state);
        self
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        let stop = self.stop.take().expect("dropped once");
        let _ = stop.send(());
        let ended = self.thread.take().expect("dropped once").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the proxy's thread panicked");
    }
}
