//! A pull of 500 packs (300 MB) by the real binary, over a line of 1 Gbit/s with 50 ms of latency.
//!
//! This process makes the packs and serves them with s3s-fs behind the tests' proxy, and so shares the cores with
//! kache. s3s-fs reads files in pieces of 4 KiB, which is a third of all work, so a first pull, which is not counted,
//! loads all objects into the memory of the proxy. The table compares the wall time with the best possible time, which
//! is the largest of three: bytes over bandwidth, five round trips, and the local unpack floor (the same packs,
//! unpacked from the page cache into a fresh store with one thread per core). The bench does not remove anything before
//! the end: without a journal, ext4 checks all inodes that were freed in the last minutes, one by one, whenever a file
//! is created (`recently_deleted` in fs/ext4/ialloc.c), and the bench would measure that. `PULL_BENCH_ROUNDS` (3) and
//! `PULL_BENCH_PACKS` (500) can be set.
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench is not part of the program")]

#[path = "../tests/it/support/entries.rs"]
mod entries;
#[path = "../tests/it/support/faults/mod.rs"]
mod faults;
#[path = "support/peak.rs"]
mod peak;
#[path = "../tests/it/support/s3_server.rs"]
mod s3_server;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kache::fsx::clock;
use kache::model::Digest;
use kache::remote::format::pack::{self, PackOptions};
use kache::remote::{
    BuildRecord, BuildUnit, Checkout, EmbeddedManifest, ManifestName, PackManifest, SignerId, Workspace, names,
};
use kache::store::{Store, Withheld};

use entries::{Made, Size};
use faults::FaultProxy;
use s3_server::{S3Server, WRITER};

/// Compresses to about 600 kB at level 3.
const SIZE: Size = Size { bytes: 1_330_000, noise: 38 };
const BANDWIDTH: u64 = 125_000_000;
const LATENCY: Duration = Duration::from_millis(50);
const LOCK: &str = "version = 4\n\n[[package]]\nname = \"bench\"\nversion = \"0.1.0\"\n";

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A remote with packs, and their local files.
struct Fixture {
    dir: tempfile::TempDir,
    server: S3Server,
    packs: Vec<(PackManifest, PathBuf)>,
    stores: AtomicUsize,
}

impl Fixture {
    fn new(count: u64) -> Self {
        let dir = tempfile::Builder::new().prefix("kache-pull-").tempdir().expect("temp dir");
        let cache = dir.path().join("made");
        let made = entries::fill(&cache, count, SIZE);
        let (store, server) = (Store::open(&cache), S3Server::start());
        let mut packs = Vec::new();
        for Made { crate_name, lookup, key } in &made {
            let record = store.manifest(*lookup).expect("manifest").records().next().expect("a record");
            let path = dir.path().join("packs").join(key.0.hex());
            let options = PackOptions { level: 3, withheld: &Withheld::default() };
            let manifest = pack::write(&store, *lookup, &record, options, &path).expect("a pack");
            server.write(&names::pack(crate_name, *key, manifest.pack.digest), &std::fs::read(&path).expect("pack"));
            let name = ManifestName::new(crate_name, *lookup, *key, SignerId::NONE);
            server.write(&name.object(), &manifest.encode(None));
            packs.push((manifest, path));
        }
        let fixture = Self { dir, server, packs, stores: AtomicUsize::new(0) };
        fixture.workspace();
        fixture
    }

    /// Creates a directory to pull in, and the build record for it.
    fn workspace(&self) {
        let root = self.root();
        std::fs::create_dir_all(&root).expect("workspace");
        std::fs::write(root.join("Cargo.toml"), "[package]\nname = \"bench\"\nversion = \"0.1.0\"\n")
            .expect("manifest");
        std::fs::write(root.join("Cargo.lock"), LOCK).expect("lock");
        let unit = |manifest: &PackManifest| BuildUnit {
            crate_name: manifest.crate_name.clone(),
            lookup: manifest.lookup,
            key: manifest.key,
            bytes: manifest.files.iter().map(|file| file.size).sum(),
            cost_ms: manifest.cost_ms,
            manifest: EmbeddedManifest::new(&manifest.encode(None)),
        };
        let workspace = Workspace::around(&root).expect("the workspace");
        let checkout = Checkout::of(&workspace, &kache::config::Env::process());
        let record = BuildRecord {
            workspace: checkout.workspace.clone(),
            branch: String::new(),
            command: String::new(),
            triple: "host".to_owned(),
            profile: "debug".to_owned(),
            lock: Digest::of(LOCK.as_bytes()),
            commit: None,
            created: clock::now().as_millis(),
            units: self.packs.iter().map(|(manifest, _)| unit(manifest)).collect(),
        };
        let name = record.name(SignerId::NONE).object(&checkout.workspace);
        self.server.write(&name, &record.encode(None));
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("bench")
    }

    fn bytes(&self) -> u64 {
        self.packs.iter().map(|(manifest, _)| manifest.pack.size).sum()
    }

    /// Unpacks all packs into a fresh store on all cores. Returns the time that it takes.
    fn unpack(&self) -> Duration {
        let cache = self.fresh();
        let (next, store) = (AtomicUsize::new(0), Store::open(&cache));
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
                scope.spawn(|| {
                    while let Some((manifest, path)) = self.packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let mut file = std::fs::File::open(path).expect("pack");
                        pack::import(&store, manifest, &mut file).expect("import");
                    }
                });
            }
        });
        began.elapsed()
    }

    /// Returns a directory for a new store.
    fn fresh(&self) -> PathBuf {
        self.dir.path().join(format!("store{}", self.stores.fetch_add(1, Ordering::Relaxed)))
    }

    /// Pulls into a fresh store. Returns the wall time, and the peak memory of kache in MB.
    fn pull(&self, endpoint: &str) -> (Duration, u64) {
        let cache = self.fresh();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kache"));
        command.arg("pull").current_dir(self.root()).envs(S3Server::variables(endpoint, WRITER));
        command.env("KACHE_CACHE_DIR", &cache).env("KACHE_CONFIG", cache.join("none.toml"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let began = Instant::now();
        let child = command.spawn().expect("kache starts");
        let watch = peak::Watch::of(child.id());
        let output = child.wait_with_output().expect("kache ends");
        let wall = began.elapsed();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains(&format!("pulled {} entries", self.packs.len())), "{said}");
        (wall, watch.peak())
    }
}

fn main() {
    // Only `cargo bench` passes `--bench`; `cargo test --benches` does not.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let fixture = Fixture::new(number("PULL_BENCH_PACKS", 500));
    let proxy = FaultProxy::start(fixture.server.address());
    proxy.set_latency(LATENCY).set_bandwidth(BANDWIDTH).keep_objects();
    fixture.pull(&proxy.endpoint());
    #[expect(clippy::cast_precision_loss, reason = "a table")]
    let line = fixture.bytes() as f64 / BANDWIDTH as f64;
    let trips = 5.0 * LATENCY.as_secs_f64();
    println!("{} packs, {} MB", fixture.packs.len(), fixture.bytes() / 1_000_000);
    println!(
        "| bytes / bandwidth | 5 round trips | unpack floor | wall | wall / best | memory | requests | connections |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for _ in 0..number("PULL_BENCH_ROUNDS", 3) {
        let floor = fixture.unpack().as_secs_f64();
        proxy.forget();
        let (wall, peak) = fixture.pull(&proxy.endpoint());
        let wall = wall.as_secs_f64();
        let best = line.max(trips).max(floor);
        println!(
            "| {line:.2} s | {trips:.2} s | {floor:.2} s | {wall:.2} s | {:.2} | {peak} MB | {} | {} |",
            wall / best,
            proxy.seen().len(),
            proxy.connections()
        );
    }
}
