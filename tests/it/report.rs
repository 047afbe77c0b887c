//! The JSON of `kache report`, and the reports on the remote's journal, after real builds and with a journal written by
//! hand.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::support::Project;

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
fn the_last_build_is_summarised() {
    let project = Project::app_over("pub fn value() -> u32 { 7 }\n");
    project.warm(&["dep"]);
    project.file("dep/src/lib.rs", "pub fn value() -> u32 { 8 }\n");
    project.wipe().build().misses(&["dep"]);
    let report = project.kache_json(&["report", "--format", "json"]);
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
}

#[test]
fn no_misses_took_no_time() {
    let project = Project::lib("pub fn one() {}\n");
    project.warm(&["dep"]);
    project.wipe().build().hits(&["dep"]);
    let run = project.kache(&["report", "--format", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&run.stdout).unwrap()["events"]["misses"], 0);
    assert!(run.stdout.contains("\"compiled_ms\": 0.0"), "{}", run.stdout);
}

#[test]
fn a_period_has_all_builds_and_their_traffic() {
    let project = Project::lib("pub fn one() {}\n");
    project.warm(&["dep"]);
    let old = now() - 86_400_000;
    journal(&project, &[transfer(old, "sent", 9, ""), transfer(now(), "fetched", 4096, "")]);
    let report = project.kache_json(&["report", "--since", "1h", "--format", "json"]);
    assert_eq!((&report["events"]["hits"], &report["events"]["misses"]), (&json!(1), &json!(1)));
    assert_eq!((&report["remote"]["fetched_bytes"], &report["remote"]["sent"]), (&json!(4096), &json!(0)));
    assert_eq!(report["target"], Value::Null);
    let last = project.kache_json(&["report", "--format", "json"]);
    assert_eq!((&last["events"]["hits"], &last["events"]["misses"]), (&json!(1), &json!(0)));
    let all = project.kache_json(&["report", "--since", "7d", "--format", "json"]);
    assert_eq!(all["remote"]["sent"], 1);
}

#[test]
fn refusals_are_shown_and_secrets_are_not() {
    let mut project = Project::new();
    let refused = |reason: &str| transfer(now(), "refused", 1, reason);
    let lines = [
        refused("unsigned"),
        refused("digest"),
        refused("unsigned"),
        transfer(now(), "sent", 9, ""),
        transfer(now(), "fetched", 4096, ""),
        transfer(now(), "failed", 0, "get x: status 503"),
    ];
    journal(&project, &lines);
    let stats = project.kache_json(&["stats", "--json"]);
    assert_eq!(stats["remote"]["refused"], json!({"digest": 1, "unsigned": 2}));

    // The port is closed: plain `doctor` does not use the network.
    project.set("KACHE_S3_BUCKET", "some-bucket").set("KACHE_S3_ENDPOINT", "http://127.0.0.1:9");
    project.set("KACHE_S3_ACCESS_KEY", "the-id").set("KACHE_S3_SECRET_KEY", "hunter2").set("KACHE_MAX_SIZE", "1GiB");
    project.shows("refusals", &["stats", "report", "report --format markdown", "doctor"]);
    assert!(!project.kache(&["doctor"]).stdout.contains("hunter2"));
}

/// The chapter about the JSON, whose tables name fields and answers.
fn chapter() -> &'static str {
    let text = include_str!("../../docs/commands.md");
    text.split_once("\n## The JSON of `kache report`\n").expect("the chapter").1
}

/// The rows of the table in `chapter` with this first heading: name and second cell.
fn rows<'a>(chapter: &'a str, heading: &str) -> Vec<(&'a str, &'a str)> {
    let (_, table) = chapter.split_once(&format!("\n| {heading} |")).expect("the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        (cells[1].trim_matches('`'), cells[2])
    })
    .collect()
}

/// The names of all fields below `value`. A documented object by id or crate is one field.
fn fields(value: &Value, name: &str, documented: &[(&str, &str)], found: &mut BTreeSet<String>) {
    let is_map = documented.iter().any(|(path, unit)| *path == name && unit.contains("by "));
    match value {
        Value::Object(members) if !is_map => {
            for (member, value) in members {
                let name = if name.is_empty() { member.clone() } else { format!("{name}.{member}") };
                fields(value, &name, documented, found);
            }
        }
        Value::Array(values) if values.iter().any(Value::is_object) => {
            for value in values {
                fields(value, &format!("{name}[]"), documented, found);
            }
        }
        _ => drop(found.insert(name.to_owned())),
    }
}

#[test]
fn the_documented_fields_are_those_that_are_printed() {
    let project = Project::lib("pub fn one() {}\n");
    project.build().misses(&["dep"]);
    journal(&project, &[transfer(now(), "refused", 1, "unsigned"), transfer(now(), "failed", 0, "status 503")]);
    let report = project.kache_json(&["report", "--since", "1h", "--format", "json"]);
    let documented = rows(chapter(), "field");
    let names: BTreeSet<String> = documented.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert!(documented.iter().all(|(_, unit)| !unit.is_empty()) && names.len() == documented.len());
    let printed = |report: &Value| {
        let mut found = BTreeSet::new();
        fields(report, "", &documented, &mut found);
        found
    };
    assert_eq!(printed(&report), names);
    assert_eq!((&report["v"], &report["fleet"]["misses_by_answer"]), (&json!(1), &json!({"not-asked": 1})));
    // Control: one field more is noticed, inside lists too.
    for pointer in ["/fleet", "/slowest/0"] {
        let mut more = report.clone();
        more.pointer_mut(pointer).expect("an object")["new"] = json!(1);
        assert_ne!(printed(&more), names, "{pointer}");
    }
}

#[test]
fn the_documented_answers_of_the_remote_are_all_that_there_are() {
    use kache::model::RemoteAnswer;
    let documented: BTreeSet<&str> = rows(chapter(), "id").into_iter().map(|(id, _)| id).collect();
    let known: BTreeSet<&str> = RemoteAnswer::KNOWN.iter().map(RemoteAnswer::id).chain(["not-asked"]).collect();
    assert_eq!(documented, known);
}
