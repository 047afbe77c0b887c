//! The report for a terminal.

use std::io;

use super::BuildReport;
use crate::cli::printer::{Table, plain};
use crate::cli::{CommandContext, units};
use crate::fsx::clock::{self, Time};

pub(super) fn show(cx: &CommandContext, report: &BuildReport) -> io::Result<()> {
    let out = &cx.out;
    let Some(ended) = report.ended else {
        let when = if report.since { "in this period" } else { "yet" };
        out.message(format_args!("no call of cargo's was seen {when}; `kache doctor` tells whether cargo calls kache"));
        return traffic(cx, report);
    };
    match (&report.period, &report.target) {
        (Some(period), _) => out.data(format_args!("The last {}", humantime::format_duration(*period)))?,
        (None, target) => {
            let age = units::age(Time { secs: ended / 1000, nanos: 0 }, clock::now());
            out.data(format_args!("Last build: {age} ago, {}", units::millis(report.wall_ms())))?;
            if let Some(target) = target {
                out.data(format_args!("Target directory: {target}"))?;
            }
        }
    }
    out.table(&overview(report))?;
    let mut misses = Table::new(&[0]).indented().wrapping();
    for miss in &report.slowest {
        misses.row([units::millis(miss.ms), plain(&miss.label()), plain(&miss.reason)]);
    }
    let mut bypasses = Table::new(&[0]).indented().wrapping();
    for (times, id, sentence) in report.bypasses() {
        bypasses.row([times.to_string(), id.to_owned(), sentence.to_owned()]);
    }
    for (title, table) in [("Slowest misses", misses), ("Bypasses", bypasses)] {
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
    let rate = report.rate().map_or_else(String::new, |rate| format!("{rate} %"));
    table.row(["hits".into(), events.hits.to_string(), rate]);
    if report.remote_hits > 0 {
        table.row([String::new(), report.remote_hits.to_string(), "of them came from the remote".into()]);
    }
    table.row(["misses".into(), events.misses.to_string(), format!("{} of rustc", units::millis(report.compiled_ms))]);
    table.row(["bypasses".into(), events.bypasses.to_string(), String::new()]);
    table.row(["time saved".into(), units::millis(events.saved_ms), "of rustc".into()]);
    table
}

fn traffic(cx: &CommandContext, report: &BuildReport) -> io::Result<()> {
    let remote = &report.remote;
    if remote.is_empty() {
        return Ok(());
    }
    cx.out.data("\nRemote")?;
    cx.out.table(&rows(remote))
}

/// A table of the transfers, which `kache stats` shows too.
pub(in crate::cli) fn rows(remote: &crate::events::Traffic) -> Table {
    let mut table = Table::new(&[1]).indented().wrapping();
    for (name, number, bytes) in
        [("fetched", remote.fetched, remote.fetched_bytes), ("sent", remote.sent, remote.sent_bytes)]
    {
        if number > 0 {
            table.row([name.into(), number.to_string(), units::bytes(bytes)]);
        }
    }
    if remote.refusals() > 0 {
        let reasons = format!("{}; what is refused counts as absent", plain(&remote.refusals_by_reason()));
        table.row(["refused".into(), remote.refusals().to_string(), reasons]);
    }
    if remote.failed > 0 {
        let newest = plain(remote.last_failure.as_deref().unwrap_or_default());
        table.row(["failed".into(), remote.failed.to_string(), format!("the last one: {newest}")]);
    }
    table
}
