//! Whole builds on a cold machine, with remotes that help and with remotes that do not.
//!
//! `cargo bench --bench agent -- WORKSPACE [ROUNDS] [SCENES]` builds the workspace (a directory with a lock file, whose
//! crates are already downloaded) once and pushes it. Every round then builds it several times, each time with an empty
//! cache and an empty target directory: without kache, with kache alone, with an agent and a remote 50 ms away that has
//! everything, with one that is empty, and with remotes that hang, refuse, send 10 KB/s, answer garbage, or do not
//! exist. `SCENES` selects scenes (names separated by `|`); kache alone is always built. `AGENT_BENCH_LOGS` names a
//! directory for the logs of the agents. The server runs in this process and shares the cores.
//!
//! Prints medians, the ratios of wall and processor time to kache alone, the numbers of hits and misses, and the share
//! that the remote takes from the build: the time that misses waited plus the processor time of the agent during the
//! build, divided by the time of all cores. Single builds vary by more than a few percent, so this share is the finer
//! measure.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench is not part of the program"
)]

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
/// The scene that the others are compared to.
const ALONE: &str = "kache alone";
const LATENCY: Duration = Duration::from_millis(50);

/// A way to build.
struct Scene {
    name: &'static str,
    wrapped: bool,
    endpoint: Option<String>,
    _proxy: Option<FaultProxy>,
}

/// The measurements of a build.
struct Built {
    seconds: f64,
    /// Processor seconds of cargo and of everything that it ran.
    cpu: f64,
    hits: usize,
    misses: usize,
    /// Seconds that misses waited, in total.
    waited: f64,
    /// Processor seconds of the agent.
    agent: f64,
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
    // Nothing listens on this port any more.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let not_there = Scene { name: "not there", wrapped: true, endpoint: Some(format!("http://{gone}")), _proxy: None };
    vec![
        alone("plain cargo", false),
        alone(ALONE, true),
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
    let (began, before) = (Instant::now(), children_seconds());
    let status = command("cargo", machine, scene, &["build", "--locked"]).status().expect("cargo");
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), children_seconds() - before);
    assert!(status.success(), "{}: the build failed", scene.name);
    let agent = agent_seconds(machine, scene).unwrap_or(0.0);
    if scene.endpoint.is_some() {
        if let Ok(dir) = std::env::var("AGENT_BENCH_LOGS") {
            let log = machine.join("cache/v1/remote/agent/log");
            std::fs::copy(log, Path::new(&dir).join(scene.name.replace(' ', "-"))).ok();
        }
        command(KACHE, machine, scene, &["agent", "stop"]).status().expect("kache");
    }
    let events = std::fs::read_to_string(machine.join("cache/events/events.jsonl")).unwrap_or_default();
    let count = |outcome: &str| events.matches(&format!("\"outcome\":\"{outcome}")).count();
    let waited = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?["waited_ms"].as_f64();
    let waited = events.lines().filter_map(waited).sum::<f64>() / 1000.0;
    Built { seconds, cpu, hits: count("hit."), misses: count("miss."), waited, agent }
}

/// Returns the processor seconds of the agent so far; `None`: no agent is running.
fn agent_seconds(machine: &Path, scene: &Scene) -> Option<f64> {
    let output = command(KACHE, machine, scene, &["agent", "status", "--json"]);
    let output = { output }.stdout(Stdio::piped()).output().ok()?;
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    // Fields 14 and 15: user and system time of the process.
    ticks(&status["pid"].as_u64()?.to_string(), 14)
}

/// Returns the processor seconds of all children that have ended and of their children: fields 16 and 17.
fn children_seconds() -> f64 {
    ticks("self", 16).expect("/proc/self/stat")
}

/// Returns the sum of `field` and the next field of a process's `stat` (proc_pid_stat(5)), in seconds of 100 ticks.
fn ticks(process: &str, field: usize) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The third field follows the name in parentheses.
    let fields = stat.rsplit_once(')')?.1.split_whitespace().skip(field - 3).take(2);
    Some(fields.filter_map(|text| text.parse::<f64>().ok()).sum::<f64>() / 100.0)
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// Copies the workspace to `machine/checkout`. Returns `machine`.
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
    let wanted = |scene: &Scene| args.get(2).is_none_or(|names| names.split('|').any(|name| name == scene.name));
    let scenes: Vec<Scene> =
        scenes(&full, &empty).into_iter().filter(|scene| scene.name == ALONE || wanted(scene)).collect();
    let mut all: Vec<Vec<Built>> = scenes.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for at in 0..scenes.len() {
            let at = (at + round) % scenes.len();
            empty.clear();
            let built = build(&machine, &scenes[at]);
            eprintln!("{round} {}: {:.2} s, {:.2} s of processor time", scenes[at].name, built.seconds, built.cpu);
            all[at].push(built);
        }
    }
    let median_of = |at: usize, of: fn(&Built) -> f64| median(all[at].iter().map(of).collect());
    let base = scenes.iter().position(|scene| scene.name == ALONE).expect("is always built");
    #[expect(clippy::cast_precision_loss, reason = "a number of cores")]
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
    println!("| remote | median s | ratio | processor | hits | misses | waited s | agent s | taken |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for (at, scene) in scenes.iter().enumerate() {
        let (hits, misses) = all[at].iter().fold((0, 0), |sum, built| (sum.0 + built.hits, sum.1 + built.misses));
        let seconds = median_of(at, |built| built.seconds);
        let (waited, agent) = (median_of(at, |built| built.waited), median_of(at, |built| built.agent));
        println!(
            "| {} | {seconds:.2} | {:.3} | {:.3} | {hits} | {misses} | {waited:.2} | {agent:.2} | {:.2} % |",
            scene.name,
            seconds / median_of(base, |built| built.seconds),
            median_of(at, |built| built.cpu) / median_of(base, |built| built.cpu),
            (waited + agent) / cores / seconds * 100.0
        );
    }
}
