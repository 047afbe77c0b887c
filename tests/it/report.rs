//! `kache report`, and the reports of `stats` and `doctor` on the remote's journal, after real builds and with a
//! journal written by hand.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Project, Run};

fn parsed(run: &Run) -> Value {
    serde_json::from_str(&run.must_succeed_ref().stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stdout))
}

fn journal(project: &Project, lines: &[Value]) {
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    fs::create_dir_all(project.cache_dir().join("events")).unwrap();
    fs::write(project.cache_dir().join("events/transfers.jsonl"), lines.join("\n") + "\n").unwrap();
}

fn transfer(at: u64, ending: &str, bytes: u64, reason: &str) -> Value {
    json!({"v": 1, "at": at, "ending": ending, "crate": "dep", "key": "00", "bytes": bytes, "ms": 1.0, "reason": reason})
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

#[test]
fn the_last_build_is_summarised_in_three_formats() {
    let project = Project::app_over("pub fn value() -> u32 { 7 }\n");
    project.warm(&["dep"]);
    project.file("dep/src/lib.rs", "pub fn value() -> u32 { 8 }\n");
    project.wipe().build().misses(&["dep"]);
    let report = parsed(&project.kache(&["report", "--format", "json"]));
    let events = project.events();
    let of_last: Vec<_> = events.iter().filter(|event| event["build"] == events[events.len() - 1]["build"]).collect();
    let misses = of_last.iter().filter(|event| event["outcome"].as_str().unwrap().starts_with("miss.")).count();
    assert!(misses > 0 && of_last.len() < events.len());
    assert_eq!(report["events"]["misses"], misses);
    assert_eq!(report["slowest"].as_array().unwrap().len(), misses);
    assert_eq!(report["target"], project.target_dir().to_str().unwrap());
    let dep = report["slowest"].as_array().unwrap().iter().find(|miss| miss["crate"] == "dep").expect("dep");
    assert!(dep["reason"].as_str().unwrap().contains("file dep/src/lib.rs"), "{dep}");
    assert_eq!(report["remote"]["fetched"], 0);

    let text = project.kache(&["report"]).must_succeed().stdout;
    assert!(text.contains("Slowest misses") && text.contains("dep 0.1.0 (lib)"), "{text}");
    assert!(!text.contains("Remote"), "nothing was on its way: {text}");
    let markdown = project.kache(&["report", "--format", "markdown"]).must_succeed().stdout;
    assert!(markdown.starts_with("### kache: "), "{markdown}");
    assert!(
        markdown.contains(&format!("| Misses | {misses}, ")) && markdown.contains("| dep 0.1.0 (lib) |"),
        "{markdown}"
    );
}

#[test]
fn no_misses_took_no_time() {
    let project = Project::lib("pub fn one() {}\n");
    project.warm(&["dep"]);
    project.wipe().build().hits(&["dep"]);
    let run = project.kache(&["report", "--format", "json"]);
    assert_eq!(parsed(&run)["events"]["misses"], 0);
    assert!(run.stdout.contains("\"compiled_ms\": 0.0"), "{}", run.stdout);
}

#[test]
fn a_period_has_all_builds_and_their_traffic() {
    let project = Project::lib("pub fn one() {}\n");
    project.warm(&["dep"]);
    let old = now() - 86_400_000;
    journal(&project, &[transfer(old, "sent", 9, ""), transfer(now(), "fetched", 4096, "")]);
    let report = parsed(&project.kache(&["report", "--since", "1h", "--format", "json"]));
    assert_eq!((&report["events"]["hits"], &report["events"]["misses"]), (&json!(1), &json!(1)));
    assert_eq!((&report["remote"]["fetched_bytes"], &report["remote"]["sent"]), (&json!(4096), &json!(0)));
    assert_eq!(report["target"], Value::Null);
    let last = parsed(&project.kache(&["report", "--format", "json"]));
    assert_eq!((&last["events"]["hits"], &last["events"]["misses"]), (&json!(1), &json!(0)));
    let all = parsed(&project.kache(&["report", "--since", "7d", "--format", "json"]));
    assert_eq!(all["remote"]["sent"], 1);
}

#[test]
fn without_a_build_there_is_nothing_to_report() {
    let project = Project::new();
    let run = project.kache(&["report"]).must_succeed();
    assert!(run.stdout.is_empty() && run.stderr.contains("cargo has not called kache yet"), "{run:?}");
    let report = parsed(&project.kache(&["report", "--format", "json"]));
    assert_eq!((&report["began"], &report["hit_rate"]), (&Value::Null, &Value::Null));
    let markdown = project.kache(&["report", "--format", "markdown"]).must_succeed().stdout;
    assert!(markdown.contains("no hits or misses"), "{markdown}");
}

#[test]
fn stats_and_doctor_say_what_was_refused() {
    let mut project = Project::new();
    let text = project.kache(&["stats"]).must_succeed().stdout;
    assert!(!text.contains("Remote"), "{text}");
    assert!(project.kache(&["doctor"]).stdout.contains("remote            none"));
    let refused = |reason: &str| transfer(now(), "refused", 1, reason);
    let lines = [
        refused("unsigned"),
        refused("digest"),
        refused("unsigned"),
        transfer(now(), "failed", 0, "get x: status 503"),
    ];
    journal(&project, &lines);
    let text = project.kache(&["stats"]).must_succeed().stdout;
    assert!(text.contains("2 unsigned, 1 digest") && text.contains("get x: status 503"), "{text}");
    let stats = parsed(&project.kache(&["stats", "--json"]));
    assert_eq!(stats["remote"]["refused"], json!({"digest": 1, "unsigned": 2}));

    // The port is closed: plain `doctor` does not use the network.
    project.set("KACHE_S3_BUCKET", "some-bucket").set("KACHE_S3_ENDPOINT", "http://127.0.0.1:9");
    project.set("KACHE_S3_ACCESS_KEY", "the-id").set("KACHE_S3_SECRET_KEY", "hunter2");
    let text = project.kache(&["doctor"]).stdout;
    for part in ["s3://some-bucket at http://127.0.0.1:9", "the-id", "whoever can write", "2 unsigned, 1 digest"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("hunter2") && !text.contains("Test requests"), "{text}");
}

#[test]
fn half_a_remote_is_a_finding() {
    let mut project = Project::new();
    project.set("KACHE_S3_BUCKET", "some-bucket").set("KACHE_S3_ACCESS_KEY", "the-id");
    let run = project.kache(&["doctor", "--remote"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert_eq!(run.stdout.matches("KACHE_S3_SECRET_KEY").count(), 1, "said once: {run:?}");
}
