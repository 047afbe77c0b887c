//! The figures of a report.

use std::time::Duration;

use serde::Serialize;

use crate::events::{Summary, Traffic, WholeBuilds};
use crate::model::Outcome;

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
    pub(super) events: Summary,
    pub(super) slowest: Vec<SlowMiss>,
    pub(super) remote: Traffic,
    pub(super) whole_builds: WholeBuilds,
    #[serde(skip)]
    pub(super) period: Option<Duration>,
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
