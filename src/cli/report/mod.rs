//! `kache report`: summarises one build for people, programs and job summaries.
//!
//! All data comes from the event log and the journal of the remote. This file gathers it; [`text`] and [`markdown`]
//! write the same report in two formats.

mod figures;
mod markdown;
pub(super) mod text;

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context;

use figures::{BuildReport, FleetCounts, SlowMiss};

use super::context::{CommandContext, Exit, span};
use super::{builds, trouble};
use crate::events::{Ending, Event, EventLog, Journal, RestoreLog, Summary, Traffic, Transfer, WholeBuilds};
use crate::fsx::clock;
use crate::model::{Compared, HitSource, Outcome, OutcomeClass, Stored};

/// How many of the slowest misses the report lists.
const MAX_SLOWEST: usize = 10;

/// Summarise the last build
///
/// Shows hits, misses and bypasses, the time that hits saved and misses took,
/// the slowest misses with their reasons, and the transfers from and to the
/// remote since the build began. The last build is that of this workspace, else
/// the last one of all.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = "\
Examples:
  kache report                           The last build
  kache report --since 1h                All builds of the last hour
  kache report --format markdown >> \"$GITHUB_STEP_SUMMARY\"

JSON, for scraping; docs/commands.md has the unit and meaning of every field
(fields are added, never renamed; times are in milliseconds):
  v           1
  since       whether this is about a period and not about one build
  began, ended  milliseconds since 1970; null if there are no events
  target      the target directory of the build; null for a period
  hit_rate    percentage of hits among hits and misses; null if there are none
  remote_hits hits of entries that were fetched from the remote at any time
  compiled_ms total time of the misses
  fleet       the counts of this machine for a fleet: units, hits, hits_fetched
              (from the remote, since it began), hits_local, misses, bypasses,
              hits_by_answer and misses_by_answer {id: number} (what the remote
              answered, or not-asked), fetched_bytes, uploaded_bytes, saved_ms,
              waited_ms, refused, failed
  events      as in `kache stats --json`
  slowest     the slowest misses, at most 10: crate, package, kind, ms, outcome,
              reason (in words), stored
  remote      transfers by builds, push and pull since it began: fetched,
              fetched_bytes, sent, sent_bytes, refused {reason: number},
              failed, last_failure
  whole_builds  builds restored before cargo asked: builds, restored (units),
              left (units that were left to cargo), ms
  remote_problems  what is wrong with the remote and what to do, in words")]
pub(super) struct Args {
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Summarise the last 90s, 15m, 1h, 7d, ... and not the last build
    #[arg(long, value_name = "TIME", value_parser = span)]
    since: Option<Duration>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For a terminal
    Text,
    /// For programs
    Json,
    /// For a job summary
    Markdown,
}

pub(super) fn run(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    let config = cx.config()?;
    let now = clock::now().as_millis();
    let from = args.since.map(|span| now.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)));
    let log = EventLog::of(&config.cache_dir.value);
    let events = log.read(from.unwrap_or(i64::MIN)).context("cannot read the event log")?;
    let events = if from.is_some() { events.iter().collect() } else { builds::last(cx, &events) };
    let began = from.or(builds::period(&events).map(|(began, _)| began));
    let journal = Journal::of(&config.cache_dir.value);
    let transfers = match began {
        Some(began) => journal.read(began).context("cannot read the journal of the remote")?,
        None => Vec::new(),
    };
    let restores = RestoreLog::of(&config.cache_dir.value).read(from.unwrap_or(i64::MIN));
    let restores = restores.context("cannot read the log of whole builds")?;
    let of_build = restores.iter().filter(|restore| from.is_some() || builds::is_part(restore, &events));
    let mut report = gather(&events, &transfers, WholeBuilds::of(of_build), args.since);
    report.remote_problems = trouble::of_remote(cx, &config, &report.events.miss_answers);
    match args.format {
        Format::Text => text::show(cx, &report)?,
        Format::Json => cx.out.json(&report)?,
        Format::Markdown => cx.out.data(markdown::of(&report).trim_end())?,
    }
    Ok(Exit::Ok)
}

/// `transfers`: those since the first event began. The problems of the remote are not gathered here.
fn gather(
    events: &[&Event],
    transfers: &[Transfer],
    whole_builds: WholeBuilds,
    since: Option<Duration>,
) -> BuildReport {
    let summary = Summary::of(events.iter().copied());
    let remote = Traffic::of(transfers);
    let fetched: HashSet<&str> =
        transfers.iter().filter(|one| one.ending == Ending::Fetched).map(|one| one.key.as_str()).collect();
    let fetched_hits = events.iter().filter(|event| event.outcome.is_hit() && fetched.contains(event.key.as_str()));
    let fleet = FleetCounts::of(&summary, &remote, fetched_hits.count() as u64);
    let period = builds::period(events);
    let mut misses: Vec<&Event> = events.iter().copied().filter(|event| event.outcome.is_miss()).collect();
    misses.sort_by(|one, other| other.ms.total_cmp(&one.ms));
    let target = builds::target(events);
    BuildReport {
        v: 1,
        since: since.is_some(),
        began: period.map(|(began, _)| began),
        ended: period.map(|(_, ended)| ended),
        target: (since.is_none() && !target.is_empty()).then(|| target.to_owned()),
        hit_rate: summary.hit_rate(),
        remote_hits: summary.outcomes.get(&Outcome::Hit(HitSource::Remote)).copied().unwrap_or_default(),
        // Not `sum`, which returns -0 for an empty list.
        compiled_ms: misses.iter().fold(0.0, |sum, event| sum + event.ms),
        slowest: misses.iter().take(MAX_SLOWEST).map(|event| slow_miss(event)).collect(),
        fleet,
        events: summary,
        remote,
        whole_builds,
        remote_problems: Vec::new(),
        period: since,
    }
}

fn slow_miss(event: &Event) -> SlowMiss {
    SlowMiss {
        crate_name: event.crate_name.clone(),
        package: event.package.clone(),
        kind: event.kind.clone(),
        ms: event.ms,
        outcome: event.outcome.clone(),
        reason: reason(event),
        stored: event.stored.as_ref().map_or("", Stored::id).to_owned(),
    }
}

/// Why the event was not a hit, in one line; `kache why` shows more.
fn reason(event: &Event) -> String {
    let sentence = match &event.compared {
        Some(compared @ (Compared::FirstSeen | Compared::Removed)) => compared.sentence(),
        _ => event.outcome.sentence(),
    };
    match (event.differs.first(), event.differing) {
        (None, _) => sentence.to_owned(),
        (Some(first), 1) => format!("{sentence}; differs: {} {}", first.kind.replace('-', " "), first.name),
        (Some(first), n) => {
            format!("{sentence}; differs: {} {} and {} more", first.kind.replace('-', " "), first.name, n - 1)
        }
    }
}

impl BuildReport {
    /// The hit rate in percent, such as `12.3`: rounded down, so that 99.96 does not show as 100.
    fn rate(&self) -> Option<String> {
        self.hit_rate.map(|rate| format!("{:.1}", (rate * 10.0).floor() / 10.0))
    }

    /// Milliseconds from the start of the first invocation to the end of the last.
    fn wall_ms(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds for people")]
        let wall = self.ended.zip(self.began).map_or(0.0, |(ended, began)| (ended - began) as f64);
        wall
    }

    /// The bypasses, the most frequent first: count, id, sentence.
    fn bypasses(&self) -> Vec<(u64, &str, &'static str)> {
        let bypasses = self.events.outcomes.iter().filter(|(outcome, _)| outcome.class() == OutcomeClass::Bypass);
        let mut all: Vec<(u64, &str, &'static str)> =
            bypasses.map(|(outcome, times)| (*times, outcome.short_id(), outcome.sentence())).collect();
        all.sort_by_key(|(times, id, _)| (std::cmp::Reverse(*times), *id));
        all
    }
}

impl SlowMiss {
    /// The unit as text, such as `dep 0.1.0 (lib)`.
    fn label(&self) -> String {
        let name = if self.package.is_empty() { &self.crate_name } else { &self.package };
        if self.kind.is_empty() { name.clone() } else { format!("{name} ({})", self.kind) }
    }
}
