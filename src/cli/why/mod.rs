//! `kache why`: explains why units of the last build were not hits.
//!
//! All data comes from the event log, so nothing has to be switched on before a build. [`causes`] groups each cause
//! with the units that were compiled because of it; [`show`] prints the text.

mod causes;
mod show;
mod totals;

use anyhow::Context;
use serde::Serialize;

use totals::BuildTotals;

use super::context::{CommandContext, Exit};
use super::{builds, trouble};
use crate::events::{Event, EventLog, RestoreLog, Summary, WholeBuild};
use crate::model::{Compared, Difference, HitSource, Outcome, RemoteAnswer, Stored};

/// Show why units of the last build were compiled
///
/// For a miss: the differences from the nearest recorded compile (a file, a
/// variable, a flag, a dependency, the compiler, ...), with the old and the new
/// value. Files, dependencies and values that look secret are shown by the
/// first digits of their digests. For a bypass: the flag or file that kache
/// does not cache. Units that were compiled only because of a dependency follow
/// that dependency. Hits that KACHE_VERIFY found to differ are shown, too.
///
/// The last build is that of this workspace, else the last one of all.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = "\
Examples:
  kache why               All units that were not hits
  kache why serde         All units of one crate or package, hits included
  kache why --json | jq -r '.units[].differs[] | [.kind, .name] | @tsv'

JSON (fields are added, never renamed; times are in milliseconds since 1970):
  v       1
  build   null if cargo has never called kache; else began, ended, target (its
          target directory), hits, misses, bypasses
  whole_build  null, or how the whole build was restored before cargo asked:
          restored, present (there already), left (left to cargo), left_out
          [{unit, reason}], at most 50, ms
  units   units that were not hits, and verified hits that differ, causes first;
          with CRATE all units of it. Each:
          crate, package, kind, emit, unit (crate and cargo's hash), ended
          outcome, reason      an id of `kache stats`, and its meaning
          stored, fate         of misses: whether the result was stored
          remote, answer       null, or an id and its meaning: what the remote
                               answered
          compared             first-seen, removed, call or input-set
          differs              [{kind, name, old, new}], at most 20; old and new
                               are null for an absent or unset value; kind is
                               compiler, setting, directory, flag, file,
                               absent-file, listing, link, program, variable,
                               root, library, dependency, derived or other
          differing            number of differences
          because_of           crates among these units that it depends on, if
                               nothing else differs
          detail, ms, lookup, key
  remote_problems  what is wrong with the remote and what to do, in words")]
pub(super) struct Args {
    /// Only the units of this crate or package, with all details
    #[arg(value_name = "CRATE")]
    name: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The answer of `kache why`; serialized, it is the JSON output.
#[derive(Serialize)]
struct Why<'a> {
    v: u32,
    build: Option<BuildTotals<'a>>,
    whole_build: Option<&'a WholeBuild>,
    units: Vec<JsonUnit<'a>>,
    remote_problems: Vec<String>,
}

/// One unit of the build, as JSON.
#[derive(Serialize)]
struct JsonUnit<'a> {
    #[serde(rename = "crate")]
    crate_name: &'a str,
    package: &'a str,
    kind: &'a str,
    emit: &'a str,
    unit: &'a str,
    ended: i64,
    outcome: &'a str,
    reason: &'a str,
    stored: Option<&'a str>,
    fate: Option<&'a str>,
    remote: Option<&'a str>,
    answer: Option<&'a str>,
    compared: Option<&'a str>,
    differs: &'a [Difference],
    differing: usize,
    because_of: Vec<&'a str>,
    detail: &'a str,
    ms: f64,
    lookup: &'a str,
    key: &'a str,
}

pub(super) fn run(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    let config = cx.config()?;
    let events = EventLog::of(&config.cache_dir.value).read(i64::MIN).context("cannot read the event log")?;
    let events = builds::last(cx, &events);
    let restores = RestoreLog::of(&config.cache_dir.value).read(i64::MIN).context("cannot read the log of restores")?;
    let whole_build = restores.iter().rfind(|restore| builds::is_part(restore, &events));
    let compiled: Vec<&Event> = events.iter().copied().filter(|event| !is_plain_hit(event)).collect();
    let groups = causes::groups(&compiled);
    let remote_problems = trouble::of_remote(cx, &config, &Summary::of(events.iter().copied()).miss_answers);
    let of_crate: Option<Vec<&Event>> =
        args.name.as_ref().map(|name| events.iter().copied().filter(|event| is_called(event, name)).collect());
    if args.json {
        let all = || groups.iter().flat_map(causes::Group::all).collect();
        let units = of_crate.unwrap_or_else(all).into_iter().map(|event| json_unit(event, &compiled)).collect();
        cx.out.json(&Why { v: 1, build: totals_of(&events), whole_build, units, remote_problems })?;
        return Ok(Exit::Ok);
    }
    let Some(build) = totals_of(&events) else {
        cx.out.message(super::context::no_events(false));
        return Ok(Exit::Ok);
    };
    show::print_heading(cx, &build)?;
    whole_build.map_or(Ok(()), |whole| show::print_left_out(cx, whole))?;
    match (of_crate, &args.name) {
        (Some(units), Some(name)) if units.is_empty() => cx.out.message(format_args!(
            "this build does not contain {name}: cargo did not compile it again, or there is no such crate"
        )),
        (Some(units), _) => units.iter().try_for_each(|event| show::print_unit(cx, event, &compiled))?,
        (None, _) if groups.is_empty() => cx.out.data("\nAll units were hits.")?,
        (None, _) => groups.iter().try_for_each(|group| show::print_group(cx, group))?,
    }
    if !remote_problems.is_empty() {
        cx.out.data("\nProblems of the remote")?;
        cx.out.table(&trouble::table(&remote_problems))?;
    }
    Ok(Exit::Ok)
}

fn totals_of<'a>(events: &[&'a Event]) -> Option<BuildTotals<'a>> {
    let first = events.first()?;
    let counts = Summary::of(events.iter().copied());
    let (began, ended) = builds::period(events).unwrap_or((first.at, first.at));
    Some(BuildTotals {
        began,
        ended,
        target: builds::target(events),
        hits: counts.hits,
        misses: counts.misses,
        bypasses: counts.bypasses,
    })
}

/// Whether the event is a hit without anything to explain. A verified hit that differs has something to explain.
fn is_plain_hit(event: &Event) -> bool {
    event.outcome.is_hit() && event.outcome != Outcome::Hit(HitSource::Differs)
}

fn is_called(event: &Event, name: &str) -> bool {
    event.crate_name == name.replace('-', "_") || event.package.split(' ').next() == Some(name)
}

fn json_unit<'a>(event: &'a Event, compiled: &[&'a Event]) -> JsonUnit<'a> {
    JsonUnit {
        crate_name: &event.crate_name,
        package: &event.package,
        kind: &event.kind,
        emit: &event.emit,
        unit: &event.unit,
        ended: event.at,
        outcome: event.outcome.id(),
        reason: event.outcome.sentence(),
        stored: event.stored.as_ref().map(Stored::id),
        fate: event.stored.as_ref().map(Stored::sentence),
        remote: event.remote.as_ref().map(RemoteAnswer::id),
        answer: event.remote.as_ref().map(RemoteAnswer::sentence),
        compared: event.compared.as_ref().map(Compared::id),
        differs: &event.differs,
        differing: event.differing,
        because_of: causes::because_of(event, compiled).iter().map(|cause| cause.crate_name.as_str()).collect(),
        detail: &event.detail,
        ms: event.ms,
        lookup: &event.lookup,
        key: &event.key,
    }
}
