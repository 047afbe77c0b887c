//! `kache purge`: empties the store, or removes the entries of one crate.

use std::collections::HashSet;

use anyhow::Context;

use super::context::{CommandContext, Exit};
use super::{list, units};
use crate::fsx::clock;
use crate::model::EntryKey;
use crate::store::{Store, gc, purge, survey};

/// Remove all entries, or those of one crate
///
/// Safe while builds run: a build that finds no complete entry compiles. Target
/// directories stay usable. The event log, which `kache stats` reads, is kept.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = "\
Examples:
  kache purge                       Remove all entries
  kache purge --crate serde_json    Remove the entries of one crate")]
pub(super) struct Args {
    /// Only the entries of this crate or package
    #[arg(long = "crate", value_name = "NAME")]
    name: Option<String>,
}

pub(super) fn run(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    let (_, store) = cx.store()?;
    let purged = match &args.name {
        Some(name) => one(&store, name).with_context(|| format!("cannot purge {name}"))?,
        None => purge::everything(&store).context("cannot purge the store")?,
    };
    if purged.entries == 0
        && let Some(name) = &args.name
    {
        cx.out.message(format_args!("the store does not contain entries of {name}"));
        return Ok(Exit::Ok);
    }
    let entries = units::count(purged.entries, "entry", "entries");
    let blobs = units::count(purged.blobs, "blob", "blobs");
    cx.out.data(format_args!("removed {entries} and {blobs}, {}", units::bytes(purged.bytes)))?;
    if purged.still_linked > 0 {
        let linked = units::bytes(purged.still_linked);
        cx.out.data(format_args!("{linked} of the removed data stay on disk: target directories link to it"))?;
    }
    Ok(Exit::Ok)
}

fn one(store: &Store, name: &str) -> anyhow::Result<purge::Purged> {
    let survey = survey::survey(store)?;
    let wanted = survey.entries.iter().filter(|info| list::is_called(&info.entry, name));
    let keys: HashSet<EntryKey> = wanted.map(|info| info.key).collect();
    if keys.is_empty() {
        return Ok(purge::Purged::default());
    }
    let report = gc::remove(store, &survey, &keys, clock::now())?;
    let bytes = report.before.saturating_sub(report.after);
    Ok(purge::Purged { entries: report.entries, blobs: report.blobs, bytes, still_linked: report.still_linked })
}
