//! What a remote does to builds is shown: each miss says what the remote answered, and `stats`, `why`, `report` and
//! `doctor` say what is wrong and what to do, after the agent has ended too.

use std::time::Duration;

use crate::support::faults::{Action, FaultProxy, Rule};
use crate::support::s3_server::{S3Server, WRITER};
use crate::support::{Project, manifest, wait_until};

const CRATES: usize = 8;

/// A program over a chain of libraries, so that cargo compiles one after the other.
fn chain(endpoint: &str) -> Project {
    let mut project = Project::new();
    project.file("Cargo.toml", manifest("app", "[dependencies]\nk0 = { path = \"k0\" }\n[workspace]\n"));
    project.file("src/main.rs", "fn main() { k0::value(); }\n");
    for n in 0..CRATES {
        let is_last = n + 1 == CRATES;
        let next = format!("[dependencies]\nk{m} = {{ path = \"../k{m}\" }}\n", m = n + 1);
        project.file(&format!("k{n}/Cargo.toml"), manifest(&format!("k{n}"), if is_last { "" } else { &next }));
        let body = if is_last { String::new() } else { format!("k{}::value();", n + 1) };
        project.file(&format!("k{n}/src/lib.rs"), format!("pub fn value() {{ {body} }}\n"));
    }
    project.set("KACHE_AGENT_IDLE", "60s").set("CARGO_BUILD_JOBS", "2");
    project.use_remote(&S3Server::variables(endpoint, WRITER));
    project
}

/// The answers of the remote to the misses so far.
fn answers(project: &Project) -> Vec<String> {
    let events = project.events();
    let misses = events.iter().filter(|event| event["outcome"].as_str().expect("an outcome").starts_with("miss."));
    misses.map(|event| event["remote"].as_str().expect("an answer").to_owned()).collect()
}

/// The output of every command that shows problems of the remote.
fn shown(project: &Project) -> Vec<(&'static str, String)> {
    let commands =
        ["stats", "stats --json", "why", "why --json", "report", "report --format markdown", "report --format json"];
    let run = |command: &str| project.kache(&command.split(' ').collect::<Vec<_>>()).stdout;
    commands.into_iter().chain(["doctor"]).map(|command| (command, run(command))).collect()
}

#[track_caller]
fn shows_everywhere(project: &Project, parts: &[&str]) {
    for (command, text) in shown(project) {
        for part in parts {
            // Markdown escapes some characters.
            let text = text.replace('\\', "");
            assert!(text.contains(part), "{command}: {part} is not in {text}");
        }
        if command == "doctor" {
            assert!(
                text.lines().any(|line| line.trim_start().starts_with("warn") && line.contains(parts[0])),
                "{text}"
            );
        }
    }
}

#[track_caller]
fn shows_nothing(project: &Project) {
    for (command, text) in shown(project) {
        let is_about_it = match command.contains("json") {
            true => !text.contains("\"remote_problems\": []"),
            false => {
                text.contains("Problem") || text.contains("the remote failed") || text.contains("misses that asked")
            }
        };
        assert!(!is_about_it, "{command}: {text}");
    }
}

#[test]
fn a_remote_that_denies_is_shown_until_it_does_not() {
    let server = S3Server::start();
    let proxy = FaultProxy::start(server.address());
    proxy.rule(Rule::on("*", "/").then(Action::Error(403, "AccessDenied", "not you")));
    let project = chain(&proxy.endpoint());
    project.build();
    for work in ["query", "upload"] {
        let file = project.agent_dir().join(format!("failed-{work}"));
        wait_until("the failure is kept", || file.exists());
        let text = std::fs::read_to_string(&file).expect("a failure");
        assert!(text.contains("AccessDenied") && !text.contains(WRITER.1), "{text}");
    }
    let answers = answers(&project);
    assert_eq!(answers.len(), CRATES + 1);
    let is_told = |answer: &String| ["failed", "unusable", "no-agent", "late"].contains(&answer.as_str());
    assert!(answers.iter().all(is_told) && answers.iter().any(|answer| answer == "unusable"), "{answers:?}");
    assert!(project.kache(&["why", "k0"]).stdout.contains("the agent has paused it"), "{answers:?}");
    project.kache(&["agent", "stop"]).must_succeed();
    shows_everywhere(&project, &["the last query of the remote failed", "These credentials do not allow this"]);
    assert!(project.kache(&["doctor"]).stdout.contains("the last upload to the remote failed"));

    // Control: the same checkout, after the remote has allowed both.
    proxy.heal();
    project.file("k0/src/lib.rs", "pub fn value() { k1::value(); k1::value(); }\n");
    project.build();
    for work in ["query", "upload"] {
        let file = project.agent_dir().join(format!("failed-{work}"));
        wait_until("the failure is over", || !file.exists());
    }
    project.kache(&["agent", "stop"]).must_succeed();
    shows_nothing(&project);
}

#[test]
fn a_remote_that_is_not_there_is_shown() {
    // The port was free a moment ago, so nothing listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let project = chain(&format!("http://127.0.0.1:{port}"));
    project.build();
    wait_until("the failure is kept", || project.agent_dir().join("failed-query").exists());
    assert!(answers(&project).iter().all(|answer| !["", "unknown", "fetched"].contains(&answer.as_str())));
    project.kache(&["agent", "stop"]).must_succeed();
    shows_everywhere(&project, &["the last query of the remote failed", "Check the endpoint"]);
    assert!(!project.kache(&["stats"]).stdout.contains("it is slow"), "only what is the matter");
}

#[test]
fn a_remote_that_is_slow_is_shown() {
    let server = S3Server::start();
    let proxy = FaultProxy::start(server.address());
    proxy.set_latency(Duration::from_secs(3));
    let project = chain(&proxy.endpoint());
    project.build();
    let late = answers(&project).iter().filter(|answer| *answer == "late").count();
    assert!(late * 2 > CRATES + 1, "{:?}", answers(&project));
    project.kache(&["agent", "stop"]).must_succeed();
    shows_everywhere(&project, &["stopped waiting for the remote: it is slow"]);
    assert!(project.kache(&["why", "k0"]).stdout.contains("when the time to wait was over"));
}

#[test]
fn a_healthy_remote_is_no_problem() {
    let server = S3Server::start();
    let project = chain(&server.endpoint());
    project.build();
    let answers = answers(&project);
    assert!(answers.iter().any(|answer| answer == "unknown"), "{answers:?}");
    shows_nothing(&project);
    let fleet = &project.kache_json(&["report", "--format", "json"])["fleet"];
    assert_eq!((&fleet["units"], &fleet["hits_fetched"]), (&(CRATES + 1).into(), &0.into()));
    let by_answer = fleet["misses_by_answer"].as_object().expect("answers");
    assert_eq!(by_answer.values().filter_map(serde_json::Value::as_u64).sum::<u64>(), CRATES as u64 + 1);
    // Without a remote, nothing is asked, and nothing is said of it.
    let mut alone = project.other_machine("alone");
    alone.use_no_remote().build();
    assert!(alone.events().iter().all(|event| event["remote"] == ""));
    assert!(!alone.kache(&["why"]).stdout.contains("remote"));
}

#[test]
#[ignore = "slow"]
fn hits_that_were_fetched_during_the_build_are_counted() {
    let server = S3Server::start();
    let one = chain(&server.endpoint());
    for n in 0..CRATES {
        one.hook("before", &format!("k{n}"), "sleep 0.5");
    }
    one.build();
    one.kache(&["push"]).must_succeed();
    let two = one.other_machine("two");
    two.build();
    let events = two.events();
    let hits = events.iter().filter(|event| event["outcome"] == "hit.remote").count();
    assert!(hits > 0 && events.iter().any(|event| event["remote"] == "fetched"), "{}", two.history());
    let report = two.kache_json(&["report", "--format", "json"]);
    assert_eq!((&report["fleet"]["hits_fetched"], &report["fleet"]["hits_local"]), (&hits.into(), &0.into()));
    assert!(report["fleet"]["fetched_bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    // Control: the next build has them in its store.
    two.wipe().build();
    let report = two.kache_json(&["report", "--format", "json"]);
    assert_eq!((&report["fleet"]["hits_fetched"], &report["remote_hits"]), (&0.into(), &hits.into()));
}
