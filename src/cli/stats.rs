//! `kache stats`: how invocations ended, and how full the store is.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use super::context::{CommandContext, Exit, limit, span};
use super::printer::Table;
use super::{report, trouble, units};
use crate::events::{EventLog, Journal, RestoreLog, Summary, Traffic, WholeBuilds};
use crate::fsx::clock;
use crate::model::{HitSource, Outcome, OutcomeClass, Stored};
use crate::store::survey;

/// Show hits, misses and bypasses, with their reasons
///
/// Each call of rustc by cargo ends in one of three ways. On a hit, kache
/// restores the outputs. On a miss, rustc runs, and kache stores the result if
/// it may. On a bypass, rustc runs and kache does nothing else. The time saved
/// is the time of the original compiles, less the time of the hits.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = "\
Examples:
  kache stats                  All events in the log
  kache stats --since 10m      The build that has just ended
  kache stats --json | jq .events.hits

JSON (fields are added, never renamed; times are in milliseconds):
  v           1
  cache_dir   the cache directory
  since       start of the period in milliseconds since 1970; null for all
  hit_rate    percentage of hits among hits and misses; null if there are none
  events      hits, misses, bypasses, outcomes {id: number},
              stored {id: number} (of misses: whether the result was stored),
              verified, differing {crate: {hits, detail}} (verified hits that
              differ), saved_ms, hit_ms (mean), reflink_bytes, hardlink_bytes,
              copy_bytes, stored_bytes, waited_ms (for the remote), hit_answers
              and miss_answers {id: number} (what the remote answered)
  store       entries, blobs, bytes, spare_bytes (the part of bytes in sessions
              and offers of incremental compiles), max_bytes
  remote      fetched, fetched_bytes, sent, sent_bytes, failed, last_failure and
              refused {reason: number}; refused entries count as absent
  remote_problems  what is wrong with the remote and what to do, in words")]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Count only the last 90s, 15m, 1h, 7d, ...
    #[arg(long, value_name = "TIME", value_parser = span)]
    since: Option<Duration>,
}

/// The figures of `kache stats`; serialized, they are the JSON output.
#[derive(Serialize)]
struct Stats {
    v: u32,
    cache_dir: String,
    since: Option<i64>,
    hit_rate: Option<f64>,
    events: Summary,
    store: StoreSize,
    remote: Traffic,
    whole_builds: WholeBuilds,
    remote_problems: Vec<String>,
}

#[derive(Serialize)]
struct StoreSize {
    entries: usize,
    blobs: usize,
    bytes: u64,
    spare_bytes: u64,
    max_bytes: u64,
}

pub(super) fn run(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    let stats = gather(cx, args.since)?;
    if args.json {
        cx.out.json(&stats)?;
    } else {
        show(cx, &stats, args.since)?;
    }
    Ok(Exit::Ok)
}

fn gather(cx: &CommandContext, since: Option<Duration>) -> anyhow::Result<Stats> {
    let (config, store) = cx.store()?;
    let since = since.map(|span| clock::now().as_millis() - i64::try_from(span.as_millis()).unwrap_or(i64::MAX));
    let log = EventLog::of(&config.cache_dir.value);
    let events = Summary::of(&log.read(since.unwrap_or(i64::MIN)).context("cannot read the event log")?);
    let transfers = Journal::of(&config.cache_dir.value).read(since.unwrap_or(i64::MIN));
    let remote = Traffic::of(&transfers.context("cannot read the journal of the remote")?);
    let restores = RestoreLog::of(&config.cache_dir.value).read(since.unwrap_or(i64::MIN));
    let whole_builds = WholeBuilds::of(&restores.context("cannot read the log of whole builds")?);
    let survey = survey::survey(&store).context("cannot read the store")?;
    let store = StoreSize {
        entries: survey.entries.len(),
        blobs: survey.blobs.len(),
        bytes: survey.total_bytes(),
        spare_bytes: survey.evictable_bytes,
        max_bytes: limit(&config).bytes(&config.cache_dir.value, survey.total_bytes()),
    };
    let cache_dir = config.cache_dir.value.to_string_lossy().into_owned();
    let remote_problems = trouble::of_remote(cx, &config, &events.miss_answers);
    let hit_rate = events.hit_rate();
    Ok(Stats { v: 1, cache_dir, since, hit_rate, events, store, remote, whole_builds, remote_problems })
}

fn show(cx: &CommandContext, stats: &Stats, since: Option<Duration>) -> anyhow::Result<()> {
    let (out, events) = (&cx.out, &stats.events);
    if events.outcomes.is_empty() {
        out.message(super::context::no_events(since.is_some()));
    }
    out.table(&overview(stats, since))?;
    let misses = reasons("MISSES", &events.outcomes, OutcomeClass::Miss);
    // "stored" is the normal fate, so the table appears only if some result was not stored.
    let fates = fates(&events.stored);
    let all_stored = events.stored.keys().all(|stored| *stored == Stored::Yes);
    for (title, table) in [
        ("Verified hits that differ, by crate", differing(events)),
        ("Misses, by reason", misses),
        ("Results of misses", if all_stored { Table::new(&[]) } else { fates }),
        ("Bypasses, by reason", reasons("BYPASSES", &events.outcomes, OutcomeClass::Bypass)),
        ("Restored data, by method", restored(events)),
        ("Remote", report::text::rows(&stats.remote)),
        ("Misses, by the answer of the remote", report::text::answers(&events.miss_answers)),
        ("Problems of the remote", trouble::table(&stats.remote_problems)),
    ] {
        if !table.is_empty() {
            out.data(format_args!("\n{title}"))?;
            out.table(&table)?;
        }
    }
    out.data("\nStore")?;
    out.table(&store(stats))?;
    Ok(())
}

fn overview(stats: &Stats, since: Option<Duration>) -> Table {
    let events = &stats.events;
    let mut table = Table::new(&[1]).wrapping();
    let rate = stats.hit_rate.map_or_else(String::new, |rate| {
        let total = events.hits + events.misses;
        format!(": {:.1} % of {total} hits and misses", floor_to_tenth(rate))
    });
    let mean = match events.hit_ms > 0.0 {
        true => format!("of compile time; {} per hit spent restoring", units::millis(events.hit_ms)),
        false => "of compile time".to_owned(),
    };
    table.row(["Hits".into(), events.hits.to_string(), format!("{} restored{rate}", units::units(events.hits))]);
    if let Some(hits) = events.outcomes.get(&Outcome::Hit(HitSource::Remote)) {
        table.row(["Remote hits".into(), hits.to_string(), "of the hits: fetched from the remote".into()]);
    }
    if let Some(hits) = events.outcomes.get(&Outcome::Hit(HitSource::WholeBuild)) {
        table.row(["Whole builds".into(), hits.to_string(), units::in_whole_builds(&stats.whole_builds)]);
    }
    if let Some(hits) = events.outcomes.get(&Outcome::Hit(HitSource::Offered)) {
        table.row([
            "Offered hits".into(),
            hits.to_string(),
            "of the hits: compiled after an edit, on this machine".into(),
        ]);
    }
    let differing: u64 = events.differing.values().map(|difference| difference.hits).sum();
    if events.verified + differing > 0 {
        let verdict = format!("of the hits: compiled again to compare; {differing} differ");
        table.row(["Verified hits".into(), (events.verified + differing).to_string(), verdict]);
    }
    table.row(["Misses".into(), events.misses.to_string(), format!("{} compiled", units::units(events.misses))]);
    let calls = units::noun(events.bypasses, "call", "calls");
    table.row(["Bypasses".into(), events.bypasses.to_string(), format!("{calls} passed on to rustc, not cached")]);
    table.row(["Time saved".into(), units::millis(events.saved_ms), mean]);
    table.row(["Stored".into(), units::bytes(events.stored_bytes), "added to the store".into()]);
    if let Some(since) = since {
        table.row(["Period".into(), humantime::format_duration(since).to_string(), "until now".into()]);
    }
    table
}

/// Rounds down to a tenth, so that 99.96 does not show as 100.
fn floor_to_tenth(percent: f64) -> f64 {
    (percent * 10.0).floor() / 10.0
}

/// A table of the outcomes of one class: count (called `what`), id and meaning, the most frequent first.
fn reasons(what: &str, counts: &BTreeMap<Outcome, u64>, class: OutcomeClass) -> Table {
    let of_class = counts.iter().filter(|(outcome, _)| outcome.class() == class);
    by_frequency(
        [what, "REASON", "MEANING"],
        of_class.map(|(outcome, count)| (*count, outcome.short_id(), outcome.sentence())),
    )
}

/// A table of what became of the results of misses.
fn fates(counts: &BTreeMap<Stored, u64>) -> Table {
    by_frequency(
        ["MISSES", "RESULT", "MEANING"],
        counts.iter().map(|(stored, count)| (*count, stored.id(), stored.sentence())),
    )
}

/// A table of counts, ids and sentences, the highest count first. Leaves out a sentence that repeats the id.
fn by_frequency<'a>(heading: [&str; 3], rows: impl Iterator<Item = (u64, &'a str, &'static str)>) -> Table {
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_key(|(count, id, _)| (std::cmp::Reverse(*count), *id));
    let mut table = Table::new(&[0]).indented().wrapping().headed(heading);
    for (count, id, sentence) in rows {
        let sentence = if sentence == id { "" } else { sentence };
        table.row([count.to_string(), id.to_owned(), sentence.to_owned()]);
    }
    table
}

/// A table of the crates whose verified hits differed: count, crate and the newest difference.
fn differing(events: &Summary) -> Table {
    let mut table = Table::new(&[0]).indented().wrapping().headed(["HITS", "CRATE", "NEWEST DIFFERENCE"]);
    for (name, difference) in &events.differing {
        table.row([difference.hits.to_string(), name.clone(), difference.detail.clone()]);
    }
    table
}

fn restored(events: &Summary) -> Table {
    let mut table = Table::new(&[1]).indented().headed(["METHOD", "SIZE"]);
    for (name, bytes) in
        [("reflink", events.reflink_bytes), ("hard link", events.hardlink_bytes), ("copy", events.copy_bytes)]
    {
        table.row([name.into(), units::bytes(bytes)]);
    }
    let bytes = events.reflink_bytes + events.hardlink_bytes + events.copy_bytes;
    if bytes == 0 { Table::new(&[]) } else { table }
}

fn store(stats: &Stats) -> Table {
    let size = &stats.store;
    let mut table = Table::new(&[]).indented();
    table.row(["directory".into(), stats.cache_dir.clone()]);
    table.row(["size".into(), format!("{} of {} at most", units::bytes(size.bytes), units::bytes(size.max_bytes))]);
    table.row(["entries".into(), units::count(size.entries, "stored result", "stored results")]);
    table.row(["blobs".into(), units::count(size.blobs, "file of these results", "files of these results")]);
    table
        .row(["incremental".into(), format!("{} of the size, for incremental builds", units::bytes(size.spare_bytes))]);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearly_all_is_not_all() {
        assert_eq!(format!("{:.1}", floor_to_tenth(99.96)), "99.9");
        assert_eq!(format!("{:.1}", floor_to_tenth(100.0)), "100.0");
    }
}
