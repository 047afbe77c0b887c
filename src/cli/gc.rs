//! `kache gc`: trims the store to its maximum size.

use anyhow::Context;

use super::context::{CommandContext, Exit, limit};
use super::units;
use crate::config::Config;
use crate::events::EventLog;
use crate::fsx::clock;
use crate::store::{Store, gc};

/// Evict least recently used entries until the store fits its limit
///
/// The limit is cache.max_size in the settings, or KACHE_MAX_SIZE. Also removes
/// files that no entry refers to. Builds run this in the background now and
/// then; it does not disturb running builds.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = "\
Examples:
  kache gc                         Trim the store to its limit
  KACHE_MAX_SIZE=2GiB kache gc     Trim it to another limit, this time only")]
pub(super) struct Args {
    /// Print nothing, and ignore unknown settings (as builds run it)
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn run(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    // Settings for a newer kache must not stop the builds of an older one, nor their collections.
    let config = if args.quiet { Config::load(&cx.env).context("cannot read the settings")? } else { cx.config()? };
    let store = Store::open(&config.cache_dir.value);
    let report = gc::collect(&store, limit(&config), clock::now()).context("cannot trim the store")?;
    EventLog::of(&config.cache_dir.value).rotate().context("cannot rotate the event log")?;
    if args.quiet {
        return Ok(Exit::Ok);
    }
    let Some(report) = report else {
        cx.out.message("another process is trimming the store");
        return Ok(Exit::Ok);
    };
    let (before, after) = (units::bytes(report.before), units::bytes(report.after));
    cx.out.data(format_args!(
        "removed {} and {}",
        units::count(report.entries, "entry", "entries"),
        units::count(report.blobs, "blob", "blobs")
    ))?;
    cx.out.data(format_args!(
        "size of the store: {before} before, {after} now, {} at most",
        units::bytes(report.limit)
    ))?;
    if report.still_linked > 0 {
        let linked = units::bytes(report.still_linked);
        cx.out.data(format_args!("{linked} of the removed data stay on disk: target directories link to it"))?;
    }
    Ok(Exit::Ok)
}
