//! What a remote costs: the requests, bytes, dollars and seconds of pushes, pulls and a build with the agent alone.
//!
//! A workspace of 40 and one of 1,000 entries; a bucket that is empty, and one with ten million manifests of others,
//! whose names are computed (`simulated_bucket.rs`). The real binary, over a line of 1 Gbit/s with 50 ms of latency.
//! Server, proxy and kache share the cores. The entries are made without a compiler, and the events of their build are
//! appended to the log as the wrapper does; their sizes are drawn with a fixed seed like those of the entries of kache
//! itself ([`PACKS`]). The "build" of the agent is this process: it asks for one entry after the other through the
//! wrapper's client, two at a time, and sleeps where a build would compile. The bench prints all figures, then fails if
//! one exceeds its budget. `REMOTE_COST_KACHE` names another kache than the one that was built with the bench,
//! `REMOTE_COST_ENTRIES` (40,1000) and `REMOTE_COST_MANIFESTS` (0,10000000) other sizes.
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench is not part of the program")]

#[path = "remote_cost/cost.rs"]
mod cost;
#[path = "../tests/it/support/entries.rs"]
mod entries;
#[path = "../tests/it/support/faults/mod.rs"]
mod faults;
#[path = "support/peak.rs"]
mod peak;
#[path = "../tests/it/support/recorded_build.rs"]
mod recorded_build;
#[path = "../tests/it/support/s3_server.rs"]
mod s3_server;
#[path = "../tests/it/support/simulated_bucket.rs"]
mod simulated_bucket;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kache::agent::client;
use kache::agent::paths::AgentPaths;
use kache::agent::protocol::{self, Answer, FetchRequest};
use kache::config::{Config, Env, RemoteSettings};
use kache::store::{Layout, Store};

use cost::{Cost, is_list};
use entries::{Made, Size};
use faults::{FaultProxy, Seen};
use peak::Watch;
use s3_server::{S3Server, WRITER};
use simulated_bucket::SimulatedBucket;

const BANDWIDTH: u64 = 125_000_000;
const LATENCY: Duration = Duration::from_millis(50);
/// New entries of the push after a small edit.
const NEW: u64 = 10;
/// Jobs of the build that the agent serves.
const JOBS: usize = 2;
/// How long the build "compiles" an entry that did not come.
const COMPILE: Duration = Duration::from_millis(100);
/// About what one hit costs besides (process, checks, links).
const HIT: Duration = Duration::from_millis(2);
/// Sizes of packs: per cent of all, from, to (KiB). 150 of the 998 entries of a store in which kache was built had
/// these sizes, compressed by `zstd -3`; 1 % were larger than 8 MiB.
const PACKS: [(u32, u32, u32); 4] = [(41, 4, 64), (31, 64, 256), (20, 256, 1024), (8, 1024, 8192)];
/// Bytes of the `.rlib` of an entry whose pack has one byte, with 38 % of noise (pull.rs).
const BYTES_PER_PACKED_BYTE: f64 = 1_330_000.0 / 600_000.0;

/// Whether the agent sent this request for a miss, and not to find out what the remote has of the workspace.
fn is_for_a_miss(seen: &Seen) -> bool {
    let of_lookup_key = |rest: &str| rest.matches("%2F").count() == 2;
    match is_list(seen) {
        true => seen.target.split("manifests%2F").nth(1).is_some_and(of_lookup_key),
        false => !seen.target.contains("/builds/"),
    }
}

/// A checkout and its store.
struct Machine {
    root: PathBuf,
    cache: PathBuf,
}

/// A workspace with entries, and a bucket.
struct Case {
    dir: tempfile::TempDir,
    kache: String,
    bucket: SimulatedBucket,
    count: u64,
    manifests: u64,
    /// Operations that exceeded their budget.
    over: Vec<String>,
    /// What to print below the table.
    notes: Vec<String>,
}

impl Case {
    fn new(count: u64, manifests: u64) -> Self {
        let dir = tempfile::Builder::new().prefix("kache-cost-").tempdir().expect("temp dir");
        let kache = std::env::var("REMOTE_COST_KACHE").unwrap_or_else(|_| env!("CARGO_BIN_EXE_kache").to_owned());
        Self {
            dir,
            kache,
            bucket: SimulatedBucket::start(manifests),
            count,
            manifests,
            over: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn machine(&self, name: &str) -> Machine {
        let dir = self.dir.path().join(name);
        let machine = Machine { root: dir.join("bench"), cache: dir.join("cache") };
        recorded_build::write_workspace(&machine.root);
        machine
    }

    /// Stores entries of the crates `c0`, `c1` and so on, and the events of the build that compiled them.
    fn build(machine: &Machine, count: u64, number: u64) -> Vec<Made> {
        let (store, mut rng) = (Store::open(&machine.cache), fastrand::Rng::with_seed(number));
        let made: Vec<Made> = (0..count)
            .map(|n| {
                let bytes = (f64::from(packed(&mut rng)) * 1024.0 * BYTES_PER_PACKED_BYTE).round();
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some MB")]
                let size = Size { bytes: bytes as usize, noise: 38 };
                entries::make(&store, &format!("c{n}"), number * 1_000_000 + n, size)
            })
            .collect();
        recorded_build::append_events(&machine.cache, &machine.root, number, &made);
        made
    }

    fn proxy(&self) -> FaultProxy {
        let proxy = FaultProxy::start(self.bucket.address());
        proxy.set_latency(LATENCY).set_bandwidth(BANDWIDTH);
        proxy
    }

    /// A kache command on a machine. All connections of one machine go to the same address: it is part of what kache
    /// knows of the remote.
    fn command(&self, machine: &Machine, endpoint: &str, args: &[&str]) -> Command {
        let mut command = Command::new(&self.kache);
        command.args(args).current_dir(&machine.root).envs(variables(machine, endpoint));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command and measures it. Its output must contain `expected`.
    fn measure(&self, machine: &Machine, proxy: &FaultProxy, command: &str, expected: &str) -> Cost {
        proxy.wait_for_all().forget();
        let began = Instant::now();
        let child = self.command(machine, &proxy.endpoint(), &[command]).spawn().expect("kache starts");
        let watch = Watch::of(child.id());
        let output = child.wait_with_output().expect("kache ends");
        let wall = began.elapsed();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains(expected), "no {expected:?} in {said}");
        Cost::of(&proxy.wait_for_all().seen(), wall, watch.peak())
    }

    /// Prints a row, and checks the budget.
    fn print(&mut self, what: &str, cost: &Cost, budget: Option<usize>) {
        let (of_requests, of_traffic) = cost.dollars();
        let Cost { writes, gets, heads, lists, deletes, up, down, wall, peak } = cost;
        #[expect(clippy::cast_precision_loss, reason = "a table")]
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        println!(
            "| {} | {} | {what} | {} | {} | {writes} | {gets} | {lists} | {} | {:.2} | {:.2} | {of_requests:.3} | \
             {of_traffic:.2} | {:.2} | {peak} |",
            self.count,
            self.manifests,
            cost.requests(),
            budget.map_or_else(|| "none".to_owned(), |budget| budget.to_string()),
            heads + deletes,
            megabytes(*up),
            megabytes(*down),
            wall.as_secs_f64(),
        );
        if budget.is_some_and(|budget| cost.requests() > budget) {
            let (count, manifests, requests) = (self.count, self.manifests, cost.requests());
            let budget = budget.unwrap_or(0);
            self.over.push(format!("{what}, {count} entries, {manifests} manifests: {requests}, not {budget}"));
        }
    }

    fn run(&mut self) {
        let one = self.machine("one");
        let made = Self::build(&one, self.count, 1);
        let size = made.len();
        let proxy = self.proxy();
        let cost = self.measure(&one, &proxy, "push", &format!("pushed {size} entries"));
        self.print("first push", &cost, Some(2 * size + 10));
        let (bundles, packs) = (self.bucket.objects("v2/bundles"), self.bucket.objects("v2/packs"));
        let cost = self.measure(&one, &proxy, "push", "pushed 0 entries");
        self.print("push with nothing new", &cost, Some(3));

        // Loads the objects into the memory of the proxy (pull.rs). Not counted.
        let line = self.proxy();
        line.keep_objects();
        let pulled = format!("pulled {size} entries");
        self.measure(&self.machine("warm-up"), &line, "pull", &pulled);
        let two = self.machine("two");
        let cost = self.measure(&two, &line, "pull", &pulled);
        self.print("cold pull", &cost, Some(250));
        let cost = self.measure(&two, &line, "pull", "pulled 0 entries");
        self.print("warm pull", &cost, None);
        self.build_with_agent(&line, &made);

        Self::build(&one, NEW, 2);
        let cost = self.measure(&one, &proxy, "push", &format!("pushed {NEW} entries"));
        self.print("push of 10 new entries", &cost, Some(30));
        let (pages, names) = self.bucket.listed();
        self.notes.push(format!("{bundles} bundles, {packs} packs alone; all listings: {pages} pages, {names} names"));
    }

    /// Asks an agent for all entries on a machine without any.
    fn build_with_agent(&mut self, proxy: &FaultProxy, made: &[Made]) {
        proxy.wait_for_all().forget();
        let machine = self.machine("three");
        let agent = RunningAgent::start(self.command(&machine, &proxy.endpoint(), &["agent", "run"]), &machine);
        let vars = variables(&machine, &proxy.endpoint());
        let vars = Env::of(vars.into_iter().chain([("HOME", "/nonexistent".to_owned())]));
        let config = Config::load(&vars).expect("the settings");
        let remote = RemoteSettings::load(&vars, &config).expect("a remote").expect("a remote").identity(&vars);
        let (store, next, came) = (Store::open(&machine.cache), AtomicUsize::new(0), AtomicUsize::new(0));
        let ask = |made: &Made| {
            let (crate_name, workspace) = (made.crate_name.clone(), machine.root.to_str().map(str::to_owned));
            let shape = recorded_build::SHAPE.to_owned();
            let request =
                FetchRequest { remote: remote.clone(), workspace, shape, build: 1, crate_name, lookup: made.lookup };
            store.entry(made.key).is_some() || client::fetch(store.layout(), request).is_ok()
        };
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..JOBS {
                scope.spawn(|| {
                    while let Some(made) = made.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let is_hit = ask(made);
                        came.fetch_add(usize::from(is_hit), Ordering::Relaxed);
                        std::thread::sleep(if is_hit { HIT } else { COMPILE });
                    }
                });
            }
        });
        let wall = began.elapsed();
        let peak = agent.finish();
        let seen = proxy.wait_for_all().seen();
        let record = seen.iter().position(|seen| seen.target.contains(".record.zst")).expect("a record");
        let (of_misses, start): (Vec<Seen>, Vec<Seen>) = seen[..=record].iter().cloned().partition(is_for_a_miss);
        self.print("start of the agent", &Cost::of(&start, Duration::ZERO, 0), Some(3));
        self.print("build with the agent alone", &Cost::of(&seen, wall, peak), None);
        let (came, all) = (came.into_inner(), made.len());
        let before = of_misses.len();
        self.notes.push(format!("{came} of {all} came by the agent; {before} requests for misses before the record"));
    }
}

/// The size of a pack in KiB, of the distribution [`PACKS`].
fn packed(rng: &mut fastrand::Rng) -> u32 {
    let mut percentage = rng.u32(..100);
    for (share, from, to) in PACKS {
        if percentage < share {
            let (low, high) = (f64::from(from).ln(), f64::from(to).ln());
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from..to")]
            let size = (low + rng.f64() * (high - low)).exp() as u32;
            return size;
        }
        percentage -= share;
    }
    unreachable!("the shares are 100 per cent")
}

/// The variables of kache on a machine.
fn variables(machine: &Machine, endpoint: &str) -> Vec<(&'static str, String)> {
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let mut variables = S3Server::variables(endpoint, WRITER);
    variables.push(("KACHE_CACHE_DIR", text(&machine.cache)));
    variables.push(("KACHE_CONFIG", text(&machine.cache.join("none.toml"))));
    variables
}

/// An agent process.
struct RunningAgent {
    child: Child,
    watch: Watch,
    layout: Layout,
}

impl RunningAgent {
    fn start(mut command: Command, machine: &Machine) -> Self {
        let layout = Store::open(&machine.cache).layout().clone();
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the agent starts");
        let (watch, socket) = (Watch::of(child.id()), AgentPaths::of(&layout).socket());
        while !socket.exists() {
            std::thread::sleep(Duration::from_millis(2));
        }
        Self { child, watch, layout }
    }

    /// Waits until everything planned has been fetched, and stops the agent. Returns its peak memory in MB.
    fn finish(mut self) -> u64 {
        let ask = |command| client::send_command(&self.layout, command, Duration::from_secs(5));
        while matches!(ask(protocol::Command::Status), Some(Answer::Status(status)) if status.fetching > 0) {
            std::thread::sleep(Duration::from_millis(50));
        }
        ask(protocol::Command::Stop).expect("the agent answers");
        assert!(self.child.wait().expect("the agent ends").success());
        self.watch.peak()
    }
}

/// The numbers in a variable, separated by commas.
fn numbers(name: &str, default: &str) -> Vec<u64> {
    let text = std::env::var(name).unwrap_or_else(|_| default.to_owned());
    text.split(',').map(|number| number.parse().expect("a number")).collect()
}

fn main() {
    // Only `cargo bench` passes `--bench`; `cargo test --benches` does not.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    println!(
        "| entries | manifests of others | operation | requests | budget | PUT, POST | GET | LIST | HEAD, DELETE | \
         up (MB) | down (MB) | requests of 1,000 runs (USD) | traffic of 1,000 runs (USD) | time (s) | memory (MB) |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    // Nothing is removed before the end (pull.rs).
    let mut cases = Vec::new();
    for count in numbers("REMOTE_COST_ENTRIES", "40,1000") {
        for manifests in numbers("REMOTE_COST_MANIFESTS", "0,10000000") {
            let mut case = Case::new(count, manifests);
            case.run();
            cases.push(case);
        }
    }
    for case in &cases {
        println!("{} entries, {} manifests: {}", case.count, case.manifests, case.notes.join("; "));
    }
    let over: Vec<String> = cases.iter().flat_map(|case| case.over.clone()).collect();
    assert!(over.is_empty(), "over their budgets:\n{}", over.join("\n"));
}
