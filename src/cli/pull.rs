//! `kache pull`: downloads entries from the remote before a build.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::context::{CommandContext, Exit, limit};
use super::printer::Table;
use super::progress::Display;
use super::pull_budget::{PullBudget, Stopped};
use super::{transfer, units};
use crate::config::Config;
use crate::events::{CommandLog, EventLog};
use crate::fsx;
use crate::remote::operations::build_records::{self, WorkspaceListing};
use crate::remote::operations::pull::{Pull, PullReport};
use crate::remote::operations::pull_plan::{self, Origin, Place, PullPlan, RecordOrigin, Wanted};
use crate::remote::operations::record_choice::Purpose;
use crate::remote::operations::remote_entry::LocatedManifest;
use crate::remote::operations::{snapshots, workspace};
use crate::remote::{Checkout, Remote, SignerId, Workspace, names};
use crate::store::{Store, survey};

/// Download entries from the remote before a build
///
/// Without options: the entries that builds of this workspace used, in their
/// order. Build records name them; kache takes the record of the same
/// Cargo.lock, else of the nearest earlier commit, else of the same target and
/// profile, and those that the same push wrote for other targets and profiles.
/// Without a record: the entries of the packages in Cargo.lock.
///
/// kache checks each entry before it stores it. An entry that is damaged, gone,
/// or not signed as trusted_keys requires, counts as absent. A pull ends when
/// the store would exceed cache.max_size. You can interrupt a pull and run it
/// again.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = "\
Examples:
  kache pull                    The entries for this workspace
  kache pull --dry-run          List them, download nothing
  kache pull --crate serde      All entries of one crate

Exit codes: 1 if a download failed, an entry was damaged, the store is full or
the time is over (an absent entry, or one whose signer is not trusted, is not a
failure); 130 after Ctrl-C.")]
pub(super) struct Args {
    /// All entries of the remote, newest first;
    /// at most eight that differ only in inputs
    #[arg(long, verbatim_doc_comment, group = "what")]
    all: bool,
    /// All entries of this crate (repeatable)
    #[arg(long = "crate", value_name = "NAME", group = "what")]
    crates: Vec<String>,
    /// The entries in this build record, named as push and pull print it
    #[arg(long, value_name = "NAME", group = "what")]
    build: Option<String>,
    /// Stop after this time, and after 30 s without progress
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = super::context::span)]
    timeout: Duration,
    /// Only list the entries to download, with sizes; write nothing
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    fn wanted(&self) -> Wanted {
        match &self.build {
            _ if self.all => Wanted::All,
            Some(name) => Wanted::Build(name.clone()),
            None if self.crates.is_empty() => Wanted::Workspace,
            None => Wanted::Crates(self.crates.clone()),
        }
    }
}

pub(super) fn run(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    let (config, store) = cx.store()?;
    let settings = transfer::settings(cx, &config)?;
    let here = fsx::current_dir()?;
    let purpose = last_purpose(cx, &config, &here);
    if !args.dry_run {
        store.mark_as_cache().context("cannot create the cache directory")?;
        crate::remote::sweep(store.layout());
    }
    let began = Instant::now();
    transfer::run(async |cancel| {
        let remote = transfer::unless_interrupted(&cancel, transfer::connect(cx, &settings)).await?;
        let Some(remote) = remote else { return Ok(Exit::Interrupted) };
        let room = tokio::task::block_in_place(|| room(&store, &config))?;
        let budget = PullBudget::start(args.timeout, &cancel);
        let plan = async {
            let place = place(cx, &remote, &here, args, purpose).await?;
            let plan =
                pull_plan::plan(&remote, &args.wanted(), place.as_ref()).await.context("cannot plan the pull")?;
            Ok((place, plan))
        };
        let Some((place, plan)) = transfer::unless_interrupted(&cancel, plan).await? else {
            return Ok(budget.end().map_or(Exit::Interrupted, |stopped| print_stopped(cx, stopped)));
        };
        print_origin(cx, &remote, &plan, place.as_ref());
        let display = Arc::new(Display::new("pull", plan.entries.len()));
        let control = transfer::control(&display, cancel.clone());
        budget.watch(Some(&display));
        let store = Arc::new(store);
        let pull = Pull { remote: Arc::clone(&remote), store: Arc::clone(&store), control, room, is_dry: args.dry_run };
        let report = pull.run(plan, |settled| display.settled(settled)).await;
        display.finish();
        budget.watch(None);
        if let Some(place) = place.as_ref().filter(|_| !args.dry_run) {
            transfer::unless_interrupted(&cancel, pull_snapshots(cx, &remote, &store, place)).await?;
        }
        let stopped = budget.end();
        if args.dry_run {
            print_manifests(cx, &report.would_fetch)?;
        }
        let exit = print_summary(cx, args, &report, began, stopped)?;
        Ok(exit)
    })
}

/// The workspace around the current directory, and what the remote has of it, if the pull is for the workspace.
async fn place(
    cx: &CommandContext,
    remote: &Remote,
    here: &Path,
    args: &Args,
    purpose: Purpose,
) -> anyhow::Result<Option<Place>> {
    let Some(workspace) = Workspace::around(here) else { return Ok(None) };
    let checkout = Checkout::of(&workspace, &cx.env);
    let listing = match args.wanted() {
        Wanted::Workspace | Wanted::Build(_) => {
            build_records::list(remote, &checkout.workspace).await.context("cannot plan the pull")?
        }
        Wanted::Crates(_) | Wanted::All => WorkspaceListing::default(),
    };
    Ok(Some(Place { workspace, checkout, listing, purpose }))
}

/// Fetches the build snapshots of the workspace. Without them, units are restored one by one, so a failure is only
/// reported.
async fn pull_snapshots(cx: &CommandContext, remote: &Remote, store: &Store, place: &Place) -> anyhow::Result<()> {
    match snapshots::read_all(remote, &place.checkout, &place.listing).await {
        Ok(found) => {
            let imported = snapshots::import(store, &found).context("cannot write a build snapshot")?;
            if imported > 0 {
                cx.out.data(units::count(imported, "build snapshot", "build snapshots"))?;
            }
        }
        Err(error) => cx.out.message(format_args!("warning: cannot read the build snapshots: {error}")),
    }
    Ok(())
}

/// What the last build of this workspace was for, if there was one.
fn last_purpose(cx: &CommandContext, config: &Config, here: &Path) -> Purpose {
    let events = EventLog::of(&config.cache_dir.value).read(i64::MIN).unwrap_or_default();
    let commands = CommandLog::of(&config.cache_dir.value).read(i64::MIN).unwrap_or_default();
    let targets = workspace::target_dir_candidates(here, &cx.env);
    let Some(last) = workspace::used_entries(&events, &commands, &targets).into_iter().next() else {
        return Purpose::default();
    };
    let command = (!last.command.is_empty()).then(|| names::command_part(&last.command));
    Purpose { command, ..Purpose::of_shape(&last.shape) }
}

/// How many bytes the store may still grow until it reaches its limit.
fn room(store: &Store, config: &Config) -> anyhow::Result<u64> {
    let used = survey::survey(store).context("cannot read the store")?.total_bytes();
    Ok(limit(config).bytes(&config.cache_dir.value, used).saturating_sub(used))
}

fn print_origin(cx: &CommandContext, remote: &Remote, plan: &PullPlan, place: Option<&Place>) {
    if let Some(untrusted) = place.map(|place| place.listing.untrusted).filter(|untrusted| *untrusted > 0) {
        let records = units::count(untrusted, "build record", "build records");
        cx.out.message(format_args!("ignored {records} of signers that are not trusted here (trusted_keys)"));
    }
    match &plan.origin {
        Origin::Builds(records) => {
            for record in records {
                cx.out.message(format_args!("build record {}{}", record.object, described(record)));
            }
        }
        Origin::Lock => {
            let name = place.map_or("", |place| place.checkout.workspace.as_str());
            cx.out.message(format_args!("no build record of {name}: using the packages in Cargo.lock"));
        }
        Origin::Crates | Origin::All if remote.layers.iter().all(|layer| layer.objects.needs_indexes()) => {
            cx.out.message("the remote does not list its entries; without options, pull uses build records");
        }
        Origin::Crates if plan.entries.is_empty() => {
            cx.out.message("the remote does not contain entries of these crates");
        }
        Origin::All if plan.entries.is_empty() => cx.out.message("the remote has no entries"),
        Origin::Crates | Origin::All => {}
    }
}

/// What a record is of, for people: its branch, command and signer, as far as they are known.
fn described(record: &RecordOrigin) -> String {
    let branch = (!record.branch.is_empty()).then(|| format!("branch {}", record.branch));
    let command = (!record.command.is_empty()).then(|| format!("cargo {}", record.command));
    let signer = (record.signer != SignerId::NONE.to_string()).then(|| format!("signed by {}", record.signer));
    let parts: Vec<String> = [branch, command, signer].into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

fn print_manifests(cx: &CommandContext, manifests: &[Arc<LocatedManifest>]) -> anyhow::Result<()> {
    let heading = ["CRATE", "PACKAGE", "KIND", "EMIT", "DOWNLOAD", "SIZE", "KEY"];
    let mut table = Table::new(&[4, 5]).headed(heading);
    for manifest in manifests.iter().map(|located| &located.manifest) {
        table.row([
            manifest.crate_name.clone(),
            manifest.package.clone(),
            manifest.kind.clone(),
            manifest.emit.clone(),
            units::bytes(manifest.pack.size),
            units::bytes(manifest.files.iter().map(|file| file.size).sum()),
            manifest.key.0.short(),
        ]);
    }
    if !table.is_empty() {
        cx.out.table(&table)?;
    }
    Ok(())
}

fn print_stopped(cx: &CommandContext, stopped: Stopped) -> Exit {
    cx.out.message(format_args!("error: {stopped}; run `kache pull` again to go on"));
    Exit::Failed
}

fn print_summary(
    cx: &CommandContext,
    args: &Args,
    report: &PullReport,
    began: Instant,
    stopped: Option<Stopped>,
) -> anyhow::Result<Exit> {
    let refused: Vec<_> = report.refused.iter().map(|(id, why)| (id.clone(), format!("refused: {why}"))).collect();
    transfer::print_failures(cx, "warning", &refused);
    transfer::print_failures(cx, "error", &report.failed);
    let (verb, entries, bytes) = match args.dry_run {
        true => (
            "would pull",
            report.would_fetch.len(),
            report.would_fetch.iter().map(|located| located.manifest.pack.size).sum(),
        ),
        false => ("pulled", report.fetched, report.bytes),
    };
    let rest = [
        (report.already_here, "already in the store"),
        (report.absent, "absent"),
        (report.refused.len(), "refused"),
        (report.failed.len(), "failed"),
        (report.not_tried, "not tried"),
    ];
    let took = (!args.dry_run).then(|| began.elapsed());
    transfer::Totals { verb, entries, bytes, took, rest: &rest }.print(cx)?;
    if report.no_room > 0 {
        let left = units::count(report.no_room, "entry", "entries");
        cx.out.message(format_args!(
            "error: {left} not pulled: the store would exceed its limit, cache.max_size (see `kache gc --help`)"
        ));
    }
    if let Some(stopped) = stopped {
        return Ok(print_stopped(cx, stopped));
    }
    let exit = transfer::exit(cx, report.is_cancelled, &report.failed);
    let is_damaged = report.refused.iter().any(|(_, why)| !why.is_by_policy());
    let is_incomplete = report.no_room > 0 || is_damaged;
    Ok(if exit == Exit::Ok && is_incomplete && !args.dry_run { Exit::Failed } else { exit })
}
