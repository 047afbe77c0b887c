//! `kache list`: lists the entries of the store.

use std::cmp::Reverse;

use anyhow::Context;
use serde::Serialize;

use super::context::{CommandContext, Exit};
use super::printer::Table;
use super::units;
use crate::fsx::clock;
use crate::store::Entry;
use crate::store::survey::{self, EntryInfo};

/// List the entries of the store, last used first
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = "\
Examples:
  kache list                 All entries
  kache list serde           The entries of one crate or package
  kache list --json | jq -r '.[].crate' | sort | uniq -c

JSON: an array of objects with the fields key, crate, package, kind, emit,
outputs (name, bytes), bytes, cost_ms (time of the compile), created and used
(in milliseconds since 1970; used is exact to six hours).")]
pub(super) struct Args {
    /// Only the entries of this crate or package
    #[arg(value_name = "CRATE")]
    name: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// An entry as JSON.
#[derive(Serialize)]
struct JsonEntry<'a> {
    key: String,
    #[serde(rename = "crate")]
    crate_name: &'a str,
    package: &'a str,
    kind: &'a str,
    emit: &'a str,
    outputs: Vec<JsonOutput<'a>>,
    bytes: u64,
    cost_ms: f64,
    created: i64,
    used: i64,
}

#[derive(Serialize)]
struct JsonOutput<'a> {
    name: &'a str,
    bytes: u64,
}

pub(super) fn run(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    let (config, store) = cx.store()?;
    let survey = survey::survey(&store).context("cannot read the store")?;
    let is_wanted = |info: &&EntryInfo| args.name.as_ref().is_none_or(|name| is_called(&info.entry, name));
    let mut entries: Vec<&EntryInfo> = survey.entries.iter().filter(is_wanted).collect();
    entries.sort_by_key(|info| (Reverse(info.used), &info.entry.crate_name, info.key));
    if args.json {
        cx.out.json(&entries.iter().copied().map(json_entry).collect::<Vec<_>>())?;
        return Ok(Exit::Ok);
    }
    if entries.is_empty() {
        let what = args.name.as_ref().map_or_else(String::new, |name| format!(" of {name}"));
        cx.out
            .message(format_args!("the store in {} does not contain entries{what}", config.cache_dir.value.display()));
        return Ok(Exit::Ok);
    }
    cx.out.table(&table(&entries))?;
    Ok(Exit::Ok)
}

/// Whether an entry belongs to the crate or package `name`.
pub(super) fn is_called(entry: &Entry, name: &str) -> bool {
    entry.crate_name == name.replace('-', "_") || package_name(entry) == name
}

fn package_name(entry: &Entry) -> &str {
    entry.package.split(' ').next().unwrap_or_default()
}

fn bytes_of(entry: &Entry) -> u64 {
    entry.outputs.iter().map(|output| output.size).sum()
}

fn json_entry(info: &EntryInfo) -> JsonEntry<'_> {
    let entry = &info.entry;
    JsonEntry {
        key: info.key.0.hex(),
        crate_name: &entry.crate_name,
        package: &entry.package,
        kind: &entry.kind,
        emit: &entry.emit,
        outputs: entry.outputs.iter().map(|output| JsonOutput { name: &output.name, bytes: output.size }).collect(),
        bytes: bytes_of(entry),
        cost_ms: entry.cost_ms,
        created: entry.created,
        used: info.used.as_millis(),
    }
}

fn table(entries: &[&EntryInfo]) -> Table {
    let heading = ["CRATE", "PACKAGE", "KIND", "EMIT", "SIZE", "COMPILE TIME", "LAST USED", "KEY"];
    let mut table = Table::new(&[4, 5, 6]).headed(heading);
    let now = clock::now();
    for info in entries {
        let entry = &info.entry;
        table.row([
            entry.crate_name.clone(),
            package(entry),
            entry.kind.clone(),
            entry.emit.clone(),
            units::bytes(bytes_of(entry)),
            units::millis(entry.cost_ms),
            format!("{} ago", units::age(info.used, now)),
            info.key.0.short(),
        ]);
    }
    table
}

/// The package as the table shows it: only its version if it has the name of the crate.
fn package(entry: &Entry) -> String {
    match entry.package.split_once(' ') {
        Some((name, version)) if name.replace('-', "_") == entry.crate_name => version.to_owned(),
        _ => entry.package.clone(),
    }
}
