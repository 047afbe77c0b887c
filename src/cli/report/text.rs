//! The report for a terminal.

use std::collections::BTreeMap;
use std::io;

use super::figures::BuildReport;
use crate::cli::context::CommandContext;
use crate::cli::printer::{Table, plain};
use crate::cli::{trouble, units};
use crate::fsx::clock::{self, Time};
use crate::model::RemoteAnswer;

pub(super) fn show(cx: &CommandContext, report: &BuildReport) -> io::Result<()> {
    let out = &cx.out;
    let Some(ended) = report.ended else {
        out.message(crate::cli::context::no_events(report.since));
        return traffic(cx, report);
    };
    match (&report.period, &report.target) {
        (Some(period), _) => out.data(format_args!("The last {}", humantime::format_duration(*period)))?,
        (None, target) => {
            let age = units::age(Time { secs: ended / 1000, nanos: 0 }, clock::now());
            out.data(format_args!("Last build: {age} ago, took {}", units::millis(report.wall_ms())))?;
            if let Some(target) = target {
                out.data(format_args!("Target directory: {target}"))?;
            }
        }
    }
    out.table(&overview(report))?;
    let mut misses = Table::new(&[0]).indented().wrapping().headed(["TIME", "UNIT", "REASON"]);
    for miss in &report.slowest {
        misses.row([units::millis(miss.ms), plain(&miss.label()), plain(&miss.reason)]);
    }
    let mut bypasses = Table::new(&[0]).indented().wrapping().headed(["BYPASSES", "REASON", "MEANING"]);
    for (times, id, sentence) in report.bypasses() {
        bypasses.row([times.to_string(), id.to_owned(), sentence.to_owned()]);
    }
    for (title, table) in [("Slowest misses", misses), ("Bypasses, by reason", bypasses)] {
        if !table.is_empty() {
            out.data(format_args!("\n{title}"))?;
            out.table(&table)?;
        }
    }
    traffic(cx, report)
}

fn overview(report: &BuildReport) -> Table {
    let events = &report.events;
    let mut table = Table::new(&[1]).indented().wrapping();
    let rate = report.rate().map_or_else(String::new, |rate| format!(": {rate} % of hits and misses"));
    table.row(["Hits".into(), events.hits.to_string(), format!("{} restored{rate}", units::units(events.hits))]);
    if report.remote_hits > 0 {
        let new = match report.fleet.hits_fetched {
            0 => String::new(),
            new => format!(", {new} of them {}", if report.since { "in this time" } else { "during the build" }),
        };
        let text = format!("of the hits: fetched from the remote{new}");
        table.row(["Remote hits".into(), report.remote_hits.to_string(), text]);
    }
    let whole = &report.whole_builds;
    if whole.restored > 0 {
        table.row(["Whole builds".into(), whole.restored.to_string(), units::in_whole_builds(whole)]);
    }
    let compiled = match events.misses {
        0 => String::new(),
        _ => format!(" in {} of compile time", units::millis(report.compiled_ms)),
    };
    let compiled = format!("{} compiled{compiled}", units::units(events.misses));
    table.row(["Misses".into(), events.misses.to_string(), compiled]);
    let calls = units::noun(events.bypasses, "call", "calls");
    table.row(["Bypasses".into(), events.bypasses.to_string(), format!("{calls} passed on to rustc, not cached")]);
    table.row(["Time saved".into(), units::millis(events.saved_ms), "of compile time".into()]);
    if events.waited_ms > 0.0 {
        table.row(["Waited".into(), units::millis(events.waited_ms), "for the remote, by all units together".into()]);
    }
    table
}

fn traffic(cx: &CommandContext, report: &BuildReport) -> io::Result<()> {
    for (title, table) in [
        ("Remote", rows(&report.remote)),
        ("Misses, by the answer of the remote", answers(&report.events.miss_answers)),
        ("Problems of the remote", trouble::table(&report.remote_problems)),
    ] {
        if !table.is_empty() {
            cx.out.data(format_args!("\n{title}"))?;
            cx.out.table(&table)?;
        }
    }
    Ok(())
}

/// A table of the answers of the remote to misses, the most frequent first, which `kache stats` shows too.
pub(in crate::cli) fn answers(answers: &BTreeMap<RemoteAnswer, u64>) -> Table {
    let mut all: Vec<_> = answers.iter().collect();
    all.sort_by_key(|(answer, number)| (std::cmp::Reverse(**number), *answer));
    let mut table = Table::new(&[0]).indented().wrapping().headed(["MISSES", "ANSWER", "MEANING"]);
    for (answer, number) in all {
        table.row([number.to_string(), plain(answer.id()), answer.sentence().to_owned()]);
    }
    table
}

/// A table of the transfers, which `kache stats` shows too.
pub(in crate::cli) fn rows(remote: &crate::events::Traffic) -> Table {
    let entries = |number| units::noun(number, "entry", "entries");
    let mut table = Table::new(&[1]).indented().wrapping();
    for (name, number, bytes) in
        [("fetched", remote.fetched, remote.fetched_bytes), ("uploaded", remote.sent, remote.sent_bytes)]
    {
        if number > 0 {
            let size = format!("{}, {}", entries(number), units::bytes(bytes));
            table.row([name.into(), number.to_string(), size]);
        }
    }
    if remote.refusals() > 0 {
        let (refused, reasons) = (remote.refusals(), plain(&remote.refusals_by_reason()));
        let text = format!("{}: {reasons}; refused entries count as absent", entries(refused));
        table.row(["refused".into(), refused.to_string(), text]);
    }
    if remote.failed > 0 {
        let newest = plain(remote.last_failure.as_deref().unwrap_or_default());
        table.row([
            "failed".into(),
            remote.failed.to_string(),
            format!("{}; last error: {newest}", entries(remote.failed)),
        ]);
    }
    table
}
