//! Whole builds on a cold machine with a remote that helps, and with remotes that do not.
//!
//! `cargo bench --bench agent -- WORKSPACE [ROUNDS]`: builds the workspace (a directory with a lock file, its crates downloaded)
//! once and pushes it, then in every round, each time into an empty cache and an empty target directory: without kache,
//! with kache alone, with an agent at a remote 50 ms away that has everything, with one that is empty (all is uploaded
//! meanwhile), and with remotes that hang, refuse, crawl at 10 KB/s, answer garbage, or are not there. Prints medians, the ratio
//! to kache alone, and how many units were hits. The server runs in this process and takes from the same cores.
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a bench is no part of the program")]

#[path = "../tests/it/support/faults/mod.rs"]
mod faults;
#[path = "../tests/it/support/s3_server.rs"]
mod s3_server;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use faults::{Action, FaultProxy};
use s3_server::{S3Server, WRITER};

const KACHE: &str = env!("CARGO_BIN_EXE_kache");
const LATENCY: Duration = Duration::from_millis(50);

/// A way to build.
struct Scene {
    name: &'static str,
    wrapped: bool,
    endpoint: Option<String>,
    _proxy: Option<FaultProxy>,
}

/// What a build came to.
struct Built {
    seconds: f64,
    hits: usize,
    misses: usize,
}

fn proxied(name: &'static str, server: &S3Server, action: Option<Action>) -> Scene {
    let proxy = FaultProxy::start(server.address());
    proxy.set_latency(LATENCY);
    if let Some(action) = action {
        proxy.always(action);
    }
    Scene { name, wrapped: true, endpoint: Some(proxy.endpoint()), _proxy: Some(proxy) }
}

fn scenes(full: &S3Server, empty: &S3Server) -> Vec<Scene> {
    let alone = |name, wrapped| Scene { name, wrapped, endpoint: None, _proxy: None };
    // A port that was free a moment ago.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let not_there = Scene { name: "not there", wrapped: true, endpoint: Some(format!("http://{gone}")), _proxy: None };
    vec![
        alone("plain cargo", false),
        alone("kache alone", true),
        proxied("has everything", full, None),
        proxied("is empty", empty, None),
        proxied("hangs", full, Some(Action::Hang)),
        proxied("refuses", full, Some(Action::Error(403, "AccessDenied", "no"))),
        proxied("crawls", full, Some(Action::Slow(10_000))),
        proxied("answers garbage", full, Some(Action::Garbage)),
        not_there,
    ]
}

fn command(program: &str, machine: &Path, scene: &Scene, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(machine.join("checkout")).stdout(Stdio::null()).stderr(Stdio::null());
    command.env("KACHE_CACHE_DIR", machine.join("cache")).env("CARGO_NET_OFFLINE", "true");
    command.env("CARGO_TARGET_DIR", machine.join("checkout/target")).env("CARGO_INCREMENTAL", "0");
    match scene.wrapped {
        true => command.env("RUSTC_WRAPPER", KACHE),
        false => command.env_remove("RUSTC_WRAPPER"),
    };
    if let Some(endpoint) = &scene.endpoint {
        command.envs(S3Server::variables(endpoint, WRITER));
    }
    command
}

fn build(machine: &Path, scene: &Scene) -> Built {
    for dir in ["cache", "checkout/target"] {
        std::fs::remove_dir_all(machine.join(dir)).ok();
    }
    let began = Instant::now();
    let status = command("cargo", machine, scene, &["build", "--locked"]).status().expect("cargo");
    let seconds = began.elapsed().as_secs_f64();
    assert!(status.success(), "{}: the build failed", scene.name);
    if scene.endpoint.is_some() {
        command(KACHE, machine, scene, &["agent", "stop"]).status().expect("kache");
    }
    let events = std::fs::read_to_string(machine.join("cache/events/events.jsonl")).unwrap_or_default();
    let count = |outcome: &str| events.matches(&format!("\"outcome\":\"{outcome}")).count();
    Built { seconds, hits: count("hit."), misses: count("miss.") }
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// A checkout of the workspace at a path of its own.
fn checkout(source: &Path, machine: PathBuf) -> PathBuf {
    std::fs::create_dir_all(&machine).expect("create a machine");
    let tar = format!(
        "cd '{}' && tar cf - --exclude ./target --exclude ./.git . | tar xf - -C '{}'",
        source.display(),
        machine.join("checkout").display()
    );
    std::fs::create_dir_all(machine.join("checkout")).expect("create a checkout");
    let status = Command::new("/bin/sh").args(["-c", &tar]).status().expect("sh");
    assert!(status.success(), "cannot copy {}", source.display());
    machine
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let Some(source) = args.first().map(PathBuf::from) else {
        return println!("agent: say which workspace to build (cargo bench --bench agent -- WORKSPACE [ROUNDS])");
    };
    let rounds: usize = args.get(1).and_then(|text| text.parse().ok()).unwrap_or(3);
    let dir = tempfile::Builder::new().prefix("kache-agent-").tempdir().expect("temp dir");
    let (full, empty) = (S3Server::start(), S3Server::start());
    let first = checkout(&source, dir.path().join("first"));
    let direct = Scene { name: "push", wrapped: true, endpoint: None, _proxy: None };
    build(&first, &direct);
    let direct = Scene { endpoint: Some(full.endpoint()), ..direct };
    assert!(command(KACHE, &first, &direct, &["push"]).status().expect("kache").success(), "push");
    let machine = checkout(&source, dir.path().join("second/machine"));
    let scenes = scenes(&full, &empty);
    let mut all: Vec<Vec<Built>> = scenes.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for at in 0..scenes.len() {
            let at = (at + round) % scenes.len();
            empty.clear();
            all[at].push(build(&machine, &scenes[at]));
        }
    }
    let seconds = |at: usize| median(all[at].iter().map(|built| built.seconds).collect());
    println!("{:<16} {:>8} {:>8} {:>6} {:>6}", "remote", "median s", "ratio", "hits", "misses");
    for (at, scene) in scenes.iter().enumerate() {
        let (hits, misses) = all[at].iter().fold((0, 0), |sum, built| (sum.0 + built.hits, sum.1 + built.misses));
        println!("{:<16} {:>8.2} {:>8.3} {:>6} {:>6}", scene.name, seconds(at), seconds(at) / seconds(1), hits, misses);
    }
}
