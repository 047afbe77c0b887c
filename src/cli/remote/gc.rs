//! `kache remote gc`: deletes what no build record refers to any more.

use std::time::{Duration, SystemTime};

use anyhow::Context;

use crate::cli::context::{CommandContext, Exit, span};
use crate::cli::printer::Table;
use crate::cli::{transfer, units};
use crate::remote::operations::collection::{self, CollectionReport, MIN_AGE};
use crate::remote::operations::inventory::Sum;
use crate::remote::operations::retention::CollectionOptions;

/// Delete old entries from the remote
///
/// Build records that are older than the given time are deleted, except the
/// newest of each command, target and profile on the branches to keep. Then
/// everything of that age to which no remaining record refers, the oldest first.
/// It is safe beside pushes and pulls: at worst, a machine compiles again.
/// Uploads in parts that nobody finished are ended, too.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = "\
Examples:
  kache remote gc --older-than 30d --keep-branch main --dry-run
  kache remote gc --older-than 90d

Exit codes: 1 if the remote cannot be listed or denies deletions; what was
deleted until then stays deleted, and nothing refers to it.")]
pub(super) struct Args {
    /// Delete only what is older: 30d, 12weeks, ... (at least 8d: for a week,
    /// machines believe that what they uploaded is there)
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "30d", verbatim_doc_comment)]
    older_than: Duration,
    /// Keep the newest records of this branch, however old (repeatable)
    #[arg(long = "keep-branch", value_name = "NAME")]
    keep_branches: Vec<String>,
    /// Only count what would be deleted
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    anyhow::ensure!(args.older_than >= MIN_AGE, "--older-than: at least 8d");
    let options = CollectionOptions {
        older_than: args.older_than,
        keep_branches: args.keep_branches.clone(),
        is_dry: args.dry_run,
    };
    transfer::run_connected(cx, async |remote, cancel| {
        if let Some(writer) = remote.writer().filter(|writer| writer.objects.needs_indexes()) {
            anyhow::bail!("{} neither lists nor deletes its objects; it removes old ones itself", writer.place);
        }
        let collected = async {
            let collected = collection::collect(&remote, &options, SystemTime::now()).await;
            collected.context("cannot collect the garbage of the remote")
        };
        match transfer::unless_interrupted(&cancel, collected).await? {
            Some(report) => print(cx, args, &report),
            None => Ok(Exit::Interrupted),
        }
    })
}

fn print(cx: &CommandContext, args: &Args, report: &CollectionReport) -> anyhow::Result<Exit> {
    let rows = [
        ("build records and snapshots", report.builds),
        ("manifests", report.manifests),
        ("packs", report.packs),
        ("bundles of small packs", report.bundles),
    ];
    let mut table = Table::new(&[1, 2]);
    let mut all = Sum::default();
    for (kind, sum) in rows {
        table.row([kind.to_owned(), sum.objects.to_string(), units::bytes(sum.bytes)]);
        all = Sum { objects: all.objects + sum.objects, bytes: all.bytes + sum.bytes };
    }
    if all.objects > 0 {
        cx.out.table(&table)?;
    }
    let objects = units::count(usize::try_from(all.objects).unwrap_or(usize::MAX), "object", "objects");
    let verb = if args.dry_run { "would delete" } else { "deleted" };
    let kept =
        units::count(usize::try_from(report.kept_records).unwrap_or(usize::MAX), "build record", "build records");
    cx.out.data(format_args!("{verb} {objects}, {}; {kept} kept", units::bytes(all.bytes)))?;
    if report.aborted_uploads > 0 {
        cx.out.data(format_args!("ended {} unfinished uploads", report.aborted_uploads))?;
    }
    Ok(Exit::Ok)
}
