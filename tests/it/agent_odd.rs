//! The agent in odd surroundings: it does not slow down a build, does not stay behind, and does not upload to the wrong
//! place.

use std::path::PathBuf;
use std::time::Duration;

use crate::support::faults::{Action, FaultProxy, Rule};
use crate::support::s3_server::{S3Server, WRITER};
use crate::support::{Project, manifest, wait_until};

fn remote(project: &mut Project, endpoint: &str) {
    project.set("KACHE_AGENT_IDLE", "60s");
    project.use_remote(&S3Server::variables(endpoint, WRITER));
}

fn status(project: &Project) -> serde_json::Value {
    project.kache_json(&["agent", "status", "--json"])
}

fn process(project: &Project) -> PathBuf {
    let pid = status(project)["pid"].as_u64().expect("an agent runs");
    PathBuf::from(format!("/proc/{pid}"))
}

/// A program that depends on `count` libraries.
fn libraries(count: usize) -> Project {
    let project = Project::new();
    let all: Vec<String> = (0..count).map(|n| format!("k{n} = {{ path = \"k{n}\" }}\n")).collect();
    let all = all.concat();
    project.file("Cargo.toml", manifest("app", &format!("[dependencies]\n{all}[workspace]\n")));
    project.file("src/main.rs", "fn main() {}\n");
    for n in 0..count {
        project.file(&format!("k{n}/Cargo.toml"), manifest(&format!("k{n}"), ""));
        project.file(&format!("k{n}/src/lib.rs"), format!("pub fn value() -> usize {{ {n} }}\n"));
    }
    project
}

fn waited(project: &Project) -> f64 {
    project.events().iter().filter_map(|event| event["waited_ms"].as_f64()).sum()
}

#[test]
fn where_no_agent_can_be_nobody_waits_for_one() {
    let server = S3Server::start();
    let mut project = libraries(20);
    remote(&mut project, &server.endpoint());
    // Like a read-only cache, or an agent directory that belongs to another user: kache cannot write the agent's files.
    std::fs::create_dir_all(project.cache_dir().join("v1")).expect("the cache");
    std::fs::write(project.cache_dir().join("v1/remote"), "").expect("a file in the way");
    assert_eq!(project.build().compiles().len(), 21);
    // A start that fails takes 150 ms; twenty of them would take three seconds.
    assert!(waited(&project) < 1_000.0, "{}", waited(&project));
}

#[test]
fn an_agent_that_nobody_can_find_ends_and_leaves_the_next_one_alone() {
    let server = S3Server::start();
    let mut project = Project::lib("pub fn value() {}");
    remote(&mut project, &server.endpoint());
    project.build();
    let first = process(&project);
    // The cache is removed and created again between two checks of the first agent.
    std::fs::rename(project.cache_dir(), project.sandbox_dir().join("old")).expect("take the cache away");
    project.file("src/lib.rs", "pub fn other() {}").build();
    let second = process(&project);
    assert_ne!(first, second);
    wait_until("the end of the first", || !first.exists());
    assert!(project.agent_dir().join("socket").exists());
    assert_eq!(process(&project), second);
    // An agent also ends if only its socket is removed.
    std::fs::remove_file(project.agent_dir().join("socket")).expect("the socket");
    wait_until("the end of the second", || !second.exists());
}

#[test]
#[ignore = "slow"]
fn an_agent_with_a_plan_and_no_remote_ends() {
    let server = S3Server::start();
    // More than the agent fetches at once.
    let mut one = libraries(40);
    one.build();
    remote(&mut one, &server.endpoint());
    one.kache(&["push"]).must_succeed_ref();
    let mut two = one.other_machine("two");
    let proxy = FaultProxy::start(server.address());
    proxy.rule(Rule::on("GET", "/bundles/").then(Action::Error(403, "AccessDenied", "no")));
    remote(&mut two, &proxy.endpoint());
    two.set("KACHE_AGENT_IDLE", "10s");
    two.build();
    let agent = process(&two);
    assert_ne!(status(&two)["fetching"], 0, "control: something is planned");
    wait_until("the end", || !agent.exists());
}

#[test]
#[ignore = "slow"]
fn what_is_queued_for_one_remote_never_goes_to_another() {
    let (private, public) = (S3Server::start(), S3Server::start());
    let mut project = Project::lib("pub fn secret() {}");
    let proxy = FaultProxy::start(private.address());
    proxy.rule(Rule::on("PUT", "/").then(Action::Error(503, "SlowDown", "later")));
    remote(&mut project, &proxy.endpoint());
    project.build();
    project.kache(&["agent", "stop"]).must_succeed_ref();
    // Other work with another remote, in the same cache.
    remote(&mut project, &public.endpoint());
    project.file("src/lib.rs", "pub fn open() {}").build();
    wait_until("the sending", || status(&project)["queued"] == 0 && public.objects_with("/manifests/").len() == 1);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(public.objects_with("/manifests/").len(), 1, "{:?}", public.objects());
    project.kache(&["agent", "stop"]).must_succeed_ref();
    // The first entry is not lost either.
    proxy.heal();
    remote(&mut project, &proxy.endpoint());
    project.file("src/lib.rs", "pub fn third() {}").build();
    wait_until("the rest", || private.objects_with("/manifests/").len() == 2);
}

#[test]
#[ignore = "slow"]
fn r08_a_variable_that_looks_secret_is_never_told_to_the_remote() {
    let server = S3Server::start();
    let mut project = Project::app_over("pub fn value() -> u32 { option_env!(\"DATABASE_URL\").map_or(0, |_| 1) }");
    project.set("DATABASE_URL", "postgres://me:hunter2@host/db").build();
    remote(&mut project, &server.endpoint());
    let push = project.kache(&["push"]);
    assert!(push.must_succeed_ref().stderr.contains("looks secret"), "{}", push.stderr);
    assert!(server.objects_with("/manifests/").is_empty(), "neither it nor what links it: {:?}", server.objects());
    // Control: the same variable without a password.
    project.set("DATABASE_URL", "sqlite://file").build();
    wait_until("the sending", || server.objects_with("/manifests/dep/").len() == 1);
}

#[test]
fn a_build_record_without_entries_is_not_written() {
    let server = S3Server::start();
    let mut project = Project::lib("pub fn value() -> u32 { option_env!(\"A_TOKEN\").map_or(0, |_| 1) }");
    project.file("Cargo.lock", "version = 4\n\n[[package]]\nname = \"dep\"\nversion = \"0.1.0\"\n");
    project.set("A_TOKEN", "hunter2").build();
    remote(&mut project, &server.endpoint());
    project.kache(&["push"]).must_succeed_ref();
    assert!(server.objects_with("v2/").is_empty(), "{:?}", server.objects());
    // Control: with an entry, kache writes a record.
    project.unset("A_TOKEN").wipe().build();
    project.kache(&["push"]).must_succeed_ref();
    assert_eq!(server.objects_with(".record.zst").len(), 1, "{:?}", server.objects());
}

#[test]
fn uploads_that_nobody_went_on_with_are_aborted() {
    let server = S3Server::start();
    let proxy = FaultProxy::start(server.address());
    let mut project = Project::lib("pub fn value() {}");
    project.build();
    remote(&mut project, &proxy.endpoint());
    let states = project.cache_dir().join("v1/remote/uploads");
    std::fs::create_dir_all(&states).expect("the states");
    let state = |begun: u64| {
        serde_json::json!({
            "v": 1, "endpoint": proxy.endpoint(), "bucket": project.env_value("KACHE_S3_BUCKET").expect("a bucket").to_str(),
            "name": "v2/packs/x", "upload": "one", "part_size": 1, "size": 1, "digest": "0".repeat(64), "checksums": true,
            "begun": begun, "parts": {},
        })
    };
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_secs();
    for (name, begun) in [("old", 1_000_000), ("young", now)] {
        std::fs::write(states.join(format!("{name}.json")), state(begun).to_string()).expect("a state");
    }
    project.kache(&["push"]).must_succeed_ref();
    assert!(proxy.count("DELETE", "v2/packs/x") > 0);
    assert!(!states.join("old.json").exists() && states.join("young.json").exists());
}

#[test]
fn r09_an_agent_that_always_ends_at_once_is_not_started_by_every_miss() {
    let server = S3Server::start();
    let mut project = libraries(20);
    remote(&mut project, &server.endpoint());
    project.set("KACHE_AGENT_IDLE", "0s");
    // Long enough that each agent has ended when the next miss asks.
    for n in 0..20 {
        project.hook("before", &format!("k{n}"), "sleep 0.2");
    }
    assert_eq!(project.build().compiles().len(), 21);
    let started =
        || std::fs::read_to_string(project.agent_dir().join("log")).map_or(0, |log| log.matches("listening").count());
    wait_until("one agent", || started() > 0);
    // Two concurrent misses may both have started one.
    assert!(started() <= 2, "{}", std::fs::read_to_string(project.agent_dir().join("log")).unwrap_or_default());
}
