//! A build on a machine with an empty cache: `kache pull` and `cargo build`, beside cargo alone.
//!
//! `COLD_MACHINE_SRC` names a git repository. One checkout is built with kache, which pushes the result over a fast
//! line. Then, as often as `COLD_MACHINE_ROUNDS` (3) says, another checkout is built by cargo alone, and one with an
//! empty cache that is pulled first, over a line of 1 Gbit/s with 50 ms of latency. All use the downloaded packages of
//! this machine. s3s-fs serves behind the tests' proxy, in this process, on the same cores. `COLD_MACHINE_KACHE` names
//! another kache than the one that was built with the bench.
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench is not part of the program")]

#[path = "../tests/it/support/faults/mod.rs"]
mod faults;
#[path = "../tests/it/support/s3_server.rs"]
mod s3_server;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use faults::FaultProxy;
use s3_server::{S3Server, WRITER};

const BANDWIDTH: u64 = 125_000_000;
const LATENCY: Duration = Duration::from_millis(50);

/// Checkouts and caches of one repository.
struct Fixture {
    dir: tempfile::TempDir,
    source: PathBuf,
    kache: String,
    server: S3Server,
}

impl Fixture {
    fn checkout(&self, name: &str) -> PathBuf {
        let checkout = self.dir.path().join(name).join("checkout");
        run(Command::new("git").args(["clone", "-q"]).arg(&self.source).arg(&checkout));
        checkout
    }

    /// A command in a checkout; `cache` is that of the machine, and `None` stands for cargo alone.
    fn command(&self, program: &str, checkout: &Path, cache: Option<&str>, endpoint: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(checkout).env_remove("RUSTC_WRAPPER").env_remove("CARGO_TARGET_DIR");
        if let Some(cache) = cache {
            let cache = self.dir.path().join(cache);
            command.env("RUSTC_WRAPPER", &self.kache).env("KACHE_CONFIG", cache.join("none.toml"));
            command.env("KACHE_CACHE_DIR", &cache).envs(S3Server::variables(endpoint, WRITER));
        }
        command
    }

    fn build(&self, checkout: &Path, cache: Option<&str>, endpoint: &str) -> Duration {
        run(self.command("cargo", checkout, cache, endpoint).args(["build", "--locked", "--offline", "-q"]))
    }
}

/// Runs a command to its end, and returns how long that took.
fn run(command: &mut Command) -> Duration {
    let began = Instant::now();
    let output = command.output().expect("the command starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    began.elapsed()
}

fn main() {
    let Some(source) = std::env::var_os("COLD_MACHINE_SRC").filter(|_| std::env::args().any(|arg| arg == "--bench"))
    else {
        return;
    };
    let rounds = std::env::var("COLD_MACHINE_ROUNDS").map_or(3, |rounds| rounds.parse().expect("a number"));
    let dir = tempfile::Builder::new().prefix("kache-cold-").tempdir().expect("temp dir");
    let kache = std::env::var("COLD_MACHINE_KACHE").unwrap_or_else(|_| env!("CARGO_BIN_EXE_kache").to_owned());
    let fixture = Fixture { dir, source: source.into(), kache, server: S3Server::start() };
    let first = fixture.checkout("first");
    let endpoint = fixture.server.endpoint();
    fixture.build(&first, Some("cache"), &endpoint);
    // The snapshot is made right after the build.
    std::thread::sleep(Duration::from_secs(3));
    run(fixture.command(&fixture.kache, &first, Some("cache"), &endpoint).arg("push"));
    println!("| cargo alone | pull | build | pull and build | ratio | bytes / bandwidth | requests |");
    println!("|---|---|---|---|---|---|---|");
    for round in 0..rounds {
        let plain = fixture.build(&fixture.checkout(&format!("plain{round}")), None, "").as_secs_f64();
        let proxy = FaultProxy::start(fixture.server.address());
        proxy.set_latency(LATENCY).set_bandwidth(BANDWIDTH);
        let (checkout, cache) = (fixture.checkout(&format!("cold{round}")), format!("cache{round}"));
        let pull =
            run(fixture.command(&fixture.kache, &checkout, Some(&cache), &proxy.endpoint()).arg("pull")).as_secs_f64();
        let build = fixture.build(&checkout, Some(&cache), &proxy.endpoint()).as_secs_f64();
        let objects = fixture.server.objects();
        let sizes = objects.iter().filter_map(|name| fixture.server.read(name)).map(|bytes| bytes.len() as u64);
        #[expect(clippy::cast_precision_loss, reason = "a table")]
        let line = sizes.sum::<u64>() as f64 / BANDWIDTH as f64;
        let (both, requests) = (pull + build, proxy.seen().len());
        println!(
            "| {plain:.2} s | {pull:.2} s | {build:.2} s | {both:.2} s | {:.3} | {line:.2} s | {requests} |",
            both / plain
        );
    }
}
