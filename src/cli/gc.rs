//! `kache gc`: trims the store to its maximum size.

use anyhow::Context;

use super::{CommandContext, Exit, limit, units};
use crate::config::Config;
use crate::events::EventLog;
use crate::fsx::clock;
use crate::store::{Store, gc};

/// Trim the store to its maximum size
///
/// The limit is cache.max_size in the settings, or KACHE_MAX_SIZE. Removes the
/// entries that were not used for the longest time until the store is smaller
/// than its limit, then what nothing refers to any more. Builds do this by
/// themselves in the background now and then; running builds are not disturbed.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Print nothing, and ignore unknown settings (builds call it like this)
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn run(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    // Settings for a newer kache must not stop the builds of an older one, nor their collections.
    let config = if args.quiet { Config::load(&cx.env)? } else { cx.config()? };
    let store = Store::open(&config.cache_dir.value);
    let report = gc::collect(&store, limit(&config), clock::now()).context("cannot collect garbage")?;
    EventLog::of(&config.cache_dir.value).rotate().context("cannot put the event log aside")?;
    if args.quiet {
        return Ok(Exit::Ok);
    }
    let Some(report) = report else {
        cx.out.message("another collection is running");
        return Ok(Exit::Ok);
    };
    let (before, after) = (units::bytes(report.before), units::bytes(report.after));
    cx.out.data(format_args!(
        "removed {} and {}",
        units::count(report.entries, "entry", "entries"),
        units::count(report.blobs, "blob", "blobs")
    ))?;
    cx.out.data(format_args!("store: {before} before, {after} now, limit {}", units::bytes(report.limit)))?;
    if report.still_linked > 0 {
        let linked = units::bytes(report.still_linked);
        cx.out.data(format_args!("target directories still hold {linked} of what was removed"))?;
    }
    Ok(Exit::Ok)
}
