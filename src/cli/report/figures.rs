//! The figures of a report.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::events::{Summary, Traffic, WholeBuilds};
use crate::model::{Outcome, RemoteAnswer};

/// The figures of the report; serialized, they are the JSON output.
#[derive(Serialize)]
pub(super) struct BuildReport {
    pub(super) v: u32,
    pub(super) since: bool,
    pub(super) began: Option<i64>,
    pub(super) ended: Option<i64>,
    pub(super) target: Option<String>,
    pub(super) hit_rate: Option<f64>,
    pub(super) remote_hits: u64,
    pub(super) compiled_ms: f64,
    pub(super) fleet: FleetCounts,
    pub(super) events: Summary,
    pub(super) slowest: Vec<SlowMiss>,
    pub(super) remote: Traffic,
    pub(super) whole_builds: WholeBuilds,
    pub(super) remote_problems: Vec<String>,
    #[serde(skip)]
    pub(super) period: Option<Duration>,
}

/// The counts that a fleet of machines collects: a flat list, in one place. docs/commands.md describes each.
#[derive(Serialize)]
pub(super) struct FleetCounts {
    pub(super) units: u64,
    pub(super) hits: u64,
    pub(super) hits_fetched: u64,
    pub(super) hits_local: u64,
    pub(super) misses: u64,
    pub(super) bypasses: u64,
    pub(super) hits_by_answer: BTreeMap<String, u64>,
    pub(super) misses_by_answer: BTreeMap<String, u64>,
    pub(super) fetched_bytes: u64,
    pub(super) uploaded_bytes: u64,
    pub(super) saved_ms: f64,
    pub(super) waited_ms: f64,
    pub(super) refused: u64,
    pub(super) failed: u64,
}

impl FleetCounts {
    /// `hits_fetched`: how many of the hits came from the remote since the build or period began.
    pub(super) fn of(events: &Summary, remote: &Traffic, hits_fetched: u64) -> Self {
        Self {
            units: events.hits + events.misses + events.bypasses,
            hits: events.hits,
            hits_fetched,
            hits_local: events.hits.saturating_sub(hits_fetched),
            misses: events.misses,
            bypasses: events.bypasses,
            hits_by_answer: with_not_asked(&events.hit_answers, events.hits),
            misses_by_answer: with_not_asked(&events.miss_answers, events.misses),
            fetched_bytes: remote.fetched_bytes,
            uploaded_bytes: remote.sent_bytes,
            saved_ms: events.saved_ms,
            waited_ms: events.waited_ms,
            refused: remote.refusals(),
            failed: remote.failed,
        }
    }
}

/// The answers by id, and the rest of `total` as `not-asked`: the store had a hit, or there is no remote.
fn with_not_asked(answers: &BTreeMap<RemoteAnswer, u64>, total: u64) -> BTreeMap<String, u64> {
    let mut all: BTreeMap<String, u64> =
        answers.iter().map(|(answer, number)| (answer.id().to_owned(), *number)).collect();
    let not_asked = total.saturating_sub(answers.values().sum());
    if not_asked > 0 {
        all.insert("not-asked".to_owned(), not_asked);
    }
    all
}

/// One of the slowest misses.
#[derive(Serialize)]
pub(super) struct SlowMiss {
    #[serde(rename = "crate")]
    pub(super) crate_name: String,
    pub(super) package: String,
    pub(super) kind: String,
    pub(super) ms: f64,
    pub(super) outcome: Outcome,
    pub(super) reason: String,
    pub(super) stored: String,
}
