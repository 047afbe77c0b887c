//! A proxy that gets HTTP wrong on purpose: it stands in front of a server and follows rules.
//!
//! Rules name requests (method, part of path and query, which of them) and say what goes wrong with them. Everything that
//! passes is written down. Heads are passed on unchanged, `Host` included, so that signatures made for the proxy's
//! address still hold at the server. It runs on a thread of its own with a runtime of its own and ends with the value.
//! Latency and bandwidth hold for all connections together: benches use it as a slow line. Knows no kache.
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

/// Tells the server of `s3_server.rs` what to overlook.
const OVERLOOK: &str = "x-test-overlook";

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// The answer comes this much later.
    Latency(Duration),
    /// At most this many bytes per second of this answer's body.
    Slow(u64),
    /// The connection stays open, and no answer ever comes.
    Hang,
    /// The head and this many bytes of the body come, then nothing, and the connection stays open.
    HangAfter(u64),
    /// The connection is closed without an answer; the server never sees the request.
    Close,
    /// The connection is closed when this many bytes of the request's body have come.
    CloseUploadAfter(u64),
    /// The server does what it is asked to, and the answer is lost.
    LoseAnswer,
    /// The head comes as it is, then this many bytes of the body, then the connection is closed: shorter than announced.
    CutAfter(u64),
    /// A well-formed answer that holds only this many bytes of the body.
    Truncate(u64),
    /// The bits of this byte of the body are turned over.
    Flip(u64),
    /// An error of S3's with this status, code and message.
    Error(u16, &'static str, &'static str),
    /// This status with an empty body.
    Empty(u16),
    /// This status with this body, of a server that is no S3.
    Body(u16, Vec<u8>),
    /// The answer is not HTTP.
    Garbage,
    /// The server (ours) gives the whole object with 200, whatever range was asked for.
    IgnoreRange,
    /// The answer comes in chunks, its length not announced.
    NoLength,
    /// A header of the answer is left out.
    Without(&'static str),
    /// A header of the answer is set.
    With(&'static str, String),
    /// A listing.
    Listing(Lie),
}

/// What is wrong with a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Says that there is more, without a token.
    TruncatedWithoutToken,
    /// Says that there is more, with the same token every time.
    RepeatedToken,
    /// Has these keys as well.
    MoreKeys(Vec<String>),
    /// XML that ends in the middle.
    CutXml,
    /// No XML at all.
    NoXml,
}

/// Which of the requests that fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    First(u64),
    /// Counted from 1.
    Nth(u64),
    Every(u64),
}

/// What goes wrong, and where.
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
    /// Requests of `method` ("*": any) whose path and query contain `part`, all of them, and nothing goes wrong yet.
    pub(crate) fn on(method: &'static str, part: impl Into<String>) -> Self {
        Self { method, part: part.into(), header: None, which: Which::All, actions: Vec::new(), seen: 0 }
    }

    /// Only requests with this header, such as `range`.
    pub(crate) fn with_header(self, name: &'static str) -> Self {
        Self { header: Some(name), ..self }
    }

    /// Only the first `n` of them.
    pub(crate) fn first(self, n: u64) -> Self {
        Self { which: Which::First(n), ..self }
    }

    /// Only the `n`th of them, counted from 1.
    pub(crate) fn nth(self, n: u64) -> Self {
        Self { which: Which::Nth(n), ..self }
    }

    /// Only each `n`th of them: the first is the `n`th.
    pub(crate) fn every(self, n: u64) -> Self {
        Self { which: Which::Every(n), ..self }
    }

    /// What goes wrong. Can be said several times.
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

/// A request that passed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path and query as they were sent, escapes included.
    pub(crate) target: String,
    /// The `Range` asked for.
    pub(crate) range: Option<String>,
    /// The `If-Match` asked for.
    pub(crate) if_match: Option<String>,
    /// The status the client was given; `None`: no head was sent.
    pub(crate) status: Option<u16>,
    /// Bytes of the body that were sent to the client.
    pub(crate) sent: u64,
    /// Bytes of the body that came from the client.
    pub(crate) received: u64,
    /// A rule had its hand in it.
    pub(crate) is_faulty: bool,
}

/// What the line is like when no rule says otherwise.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    /// Before every answer, and before every connection is served.
    latency: Duration,
    /// Bytes per second and direction, of all connections together; 0: no limit.
    bandwidth: u64,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    seen: Vec<Seen>,
    /// Requests seen before the oldest of `seen`.
    forgotten: usize,
    line: Line,
    open: usize,
    peak: usize,
    connections: usize,
    /// Answers to GETs of whole objects, by the requests' targets, if they are kept.
    kept: Option<HashMap<String, Arc<kept::Kept>>>,
}

#[derive(Default)]
struct Shared(Mutex<State>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics with the lock")
    }
}

/// A running proxy.
pub(crate) struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// Starts a proxy in front of `upstream` that does nothing wrong yet.
    pub(crate) fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("address");
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel();
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || proxy::serve(listener, upstream, theirs, stopped));
        Self { address, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `KACHE_S3_ENDPOINT` would be.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a rule. All rules that fit a request act on it.
    pub(crate) fn rule(&self, rule: Rule) -> &Self {
        self.shared.lock().rules.push(rule);
        self
    }

    /// Shorthand for a rule about all requests.
    pub(crate) fn always(&self, action: Action) -> &Self {
        self.rule(Rule::on("*", "").then(action))
    }

    /// Forgets all rules. Requests under way keep theirs.
    pub(crate) fn heal(&self) -> &Self {
        self.shared.lock().rules.clear();
        self
    }

    /// A round trip takes this long: connections and answers come that much later.
    pub(crate) fn set_latency(&self, latency: Duration) -> &Self {
        self.shared.lock().line.latency = latency;
        self
    }

    /// All connections together carry this many bytes of bodies per second and direction (0: no limit).
    pub(crate) fn set_bandwidth(&self, bytes_per_second: u64) -> &Self {
        self.shared.lock().line.bandwidth = bytes_per_second;
        self
    }

    /// From now on every object that the server gives is kept in memory and given again without the server, however it may
    /// have changed there: the line then costs a bench next to nothing but the line.
    pub(crate) fn keep_objects(&self) -> &Self {
        self.shared.lock().kept = Some(HashMap::new());
        self
    }

    /// All requests so far, in the order in which their heads came.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    /// The requests of `method` ("*": any) whose path and query contain `part`.
    pub(crate) fn seen_of(&self, method: &str, part: &str) -> Vec<Seen> {
        let fits = |seen: &Seen| (method == "*" || seen.method == method) && seen.target.contains(part);
        self.seen().into_iter().filter(fits).collect()
    }

    /// How many those are.
    pub(crate) fn count(&self, method: &str, part: &str) -> usize {
        self.seen_of(method, part).len()
    }

    /// Waits until no request is under way: a client may have its answer before it was counted.
    pub(crate) fn wait_for_all(&self) -> &Self {
        while self.shared.lock().open > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        self
    }

    /// The most requests that were under way at once.
    pub(crate) fn peak(&self) -> usize {
        self.shared.lock().peak
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// Forgets what was seen, peak and connections included.
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
