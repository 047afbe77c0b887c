//! `kache push`: uploads entries to the remote after a build.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::context::{CommandContext, Exit};
use super::printer::Table;
use super::progress::Display;
use super::{transfer, units};
use crate::config::RemoteSettings;
use crate::events::EventLog;
use crate::fsx::{self, clock, sys_process};
use crate::keys;
use crate::model::EntryId;
use crate::remote::operations::push::{self, Candidate, Filter, PushReport};
use crate::remote::operations::{build_records, presence, snapshots, workspace};
use crate::remote::{BuildRecord, Remote, UploadSource, Workspace};
use crate::store::{Store, Withheld};

/// How long to wait for the snapshots of builds that have just ended.
const MAX_SNAPSHOT_WAIT: Duration = Duration::from_secs(5);

/// Upload entries that the remote lacks
///
/// Uploads the entries of the store, oldest first, and writes the build record
/// of the workspace around the current directory: the entries of its last build
/// and of its builds in the six hours before that. `kache pull` reads the record
/// on other machines.
///
/// With a signing key, kache uploads only entries that were compiled on this
/// machine, because a signature vouches for them. You can interrupt a push and
/// run it again; large uploads then continue where they stopped.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = "\
Examples:
  kache push                    All entries that the remote lacks
  kache push --since 1h         Only entries compiled in the last hour
  kache push --offered          Also results of incremental compiles
  kache push --dry-run          List the entries, upload nothing

Exit codes: 1 if an upload failed; 130 after Ctrl-C.")]
pub(super) struct Args {
    /// Only entries compiled in the last 90s, 15m, 1h, 7d, ...
    #[arg(long, value_name = "TIME", value_parser = super::context::span)]
    since: Option<Duration>,
    /// Only entries of this crate or package (repeatable)
    #[arg(long = "crate", value_name = "NAME")]
    crates: Vec<String>,
    /// Upload entries that the remote already has, too:
    /// after it lost objects, or to sign again
    #[arg(long, verbatim_doc_comment)]
    all: bool,
    /// Also upload results of incremental compiles, stored as entries first
    #[arg(long)]
    offered: bool,
    /// Only list the entries to upload, with sizes before compression
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    let (config, store) = cx.store()?;
    let settings = transfer::settings(cx, &config)?;
    anyhow::ensure!(!settings.read_only || args.dry_run, crate::remote::UploadError::ReadOnly);
    let began = Instant::now();
    let events = EventLog::of(&config.cache_dir.value).read(i64::MIN).context("cannot read the event log")?;
    let here = fsx::current_dir()?;
    let used = workspace::used_entries(&events, &workspace::target_dir_candidates(&here, &cx.env));
    let workspace = Workspace::around(&here);
    if args.offered {
        let offered =
            offered(&store, &filter(args, &settings), args.dry_run).context("cannot read the offers of the store")?;
        let results = units::count(offered, "result of an incremental compile", "results of incremental compiles");
        cx.out.data(format_args!("{} {results}", if args.dry_run { "would store" } else { "stored" }))?;
    }
    let candidates = push::candidates(&store, &filter(args, &settings)).context("cannot read the store")?;
    let withheld = withheld(cx, &store)?;
    let store = Arc::new(store);
    transfer::run(async |cancel| {
        let remote = transfer::unless_interrupted(&cancel, transfer::connect(cx, &settings)).await?;
        let Some(remote) = remote else { return Ok(Exit::Interrupted) };
        let lacking = lacking(&remote, &store, &candidates, args.all);
        let Some(lacking) = transfer::unless_interrupted(&cancel, lacking).await? else { return Ok(Exit::Interrupted) };
        let records = || workspace.as_ref().map_or_else(Vec::new, |workspace| records_of(&store, workspace, &used));
        if args.dry_run {
            let may_leave = |candidate: &&Candidate| withheld.reason(candidate.id.key).is_none();
            let lacking: Vec<&Candidate> = lacking.into_iter().filter(may_leave).collect();
            return dry_run(cx, &remote, &lacking, &records());
        }
        let push = PushContext { cx, remote, store: Arc::clone(&store), withheld, cancel };
        let report = push.send(lacking.iter().map(|candidate| candidate.id.clone()).collect()).await;
        let mut exit = print_summary(cx, &report, candidates.len() - lacking.len(), began)?;
        if let Some(workspace) = &workspace
            && exit != Exit::Interrupted
        {
            for written in
                [push.write_records(workspace, records(), &report).await?, push.write_snapshots(workspace).await?]
            {
                exit = if written == Exit::Ok { exit } else { written };
            }
        }
        Ok(exit)
    })
}

/// Stores the offers that `filter` selects as entries, and returns how many. A dry run only counts them.
fn offered(store: &Store, filter: &Filter, is_dry: bool) -> fsx::Result<usize> {
    let mut count = 0;
    for (lookup, offer) in store.all_offers()?.into_iter().filter(|(_, offer)| filter.selects(&offer.offer.entry)) {
        // `None`: an output was modified after the compile, or holds data that an entry must not hold.
        let Some(complete) = keys::offered::complete(&offer) else { continue };
        match is_dry {
            true => count += 1,
            false => count += usize::from(store.store_offer(lookup, &offer, &complete)?),
        }
    }
    Ok(count)
}

fn filter(args: &Args, settings: &RemoteSettings) -> Filter {
    let ago = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    let since = args.since.map(|span| clock::now().as_millis().saturating_sub(ago(span)));
    Filter { since, crates: args.crates.clone(), own: settings.signing_key.is_some() }
}

/// The candidates to upload, in their order: those that the remote lacks, or all of them.
async fn lacking<'a>(
    remote: &Arc<Remote>,
    store: &Store,
    candidates: &'a [Candidate],
    all: bool,
) -> anyhow::Result<Vec<&'a Candidate>> {
    let mut ids: Vec<EntryId> = candidates.iter().map(|candidate| candidate.id.clone()).collect();
    if !all {
        let asked = presence::lacking(remote, store.layout(), ids).await;
        ids = asked.context("cannot find the entries that the remote lacks")?;
    }
    let keys: std::collections::HashSet<_> = ids.iter().map(|id| id.key).collect();
    Ok(candidates.iter().filter(|candidate| keys.contains(&candidate.id.key)).collect())
}

fn records_of(store: &Store, workspace: &Workspace, used: &[workspace::UsedEntries]) -> Vec<BuildRecord> {
    let commit = workspace.commit();
    let record = |used: &workspace::UsedEntries| {
        build_records::create(store, workspace, commit.as_deref(), &used.shape, &used.entries)
    };
    used.iter().filter_map(record).collect()
}

fn dry_run(
    cx: &CommandContext,
    remote: &Remote,
    lacking: &[&Candidate],
    records: &[BuildRecord],
) -> anyhow::Result<Exit> {
    let mut table = Table::new(&[2]).headed(["CRATE", "PACKAGE", "SIZE", "KEY"]);
    for candidate in lacking {
        let id = &candidate.id;
        let (package, size) = (candidate.package.clone(), units::bytes(candidate.bytes));
        table.row([id.crate_name.clone(), package, size, id.key.0.short()]);
    }
    if !table.is_empty() {
        cx.out.table(&table)?;
    }
    for record in records {
        let entries = units::count(record.units.len(), "entry", "entries");
        cx.out.data(format_args!("build record {}: {entries}", build_records::object_name(remote, record)))?;
    }
    let bytes = units::bytes(lacking.iter().map(|candidate| candidate.bytes).sum());
    let entries = units::count(lacking.len(), "entry", "entries");
    cx.out.data(format_args!("would push {entries}, {bytes} before compression"))?;
    Ok(Exit::Ok)
}

/// What must not leave this machine.
fn withheld(cx: &CommandContext, store: &Store) -> anyhow::Result<Arc<Withheld>> {
    Ok(Arc::new(Withheld::of(store, cx.env.texts()).context("cannot read the store")?))
}

/// What an upload needs.
struct PushContext<'a> {
    cx: &'a CommandContext,
    remote: Arc<Remote>,
    store: Arc<Store>,
    withheld: Arc<Withheld>,
    cancel: CancellationToken,
}

impl PushContext<'_> {
    async fn send(&self, ids: Vec<EntryId>) -> PushReport {
        crate::remote::sweep(self.store.layout());
        let display = Arc::new(Display::new("push", ids.len()));
        let control = transfer::control(&display, self.cancel.clone());
        let on_settled = |settled| display.settled(settled);
        let source = UploadSource { store: Arc::clone(&self.store), withheld: Arc::clone(&self.withheld) };
        let report = push::run(&self.remote, &source, ids, &control, on_settled).await;
        let stale = crate::remote::abort_stale_uploads(&self.remote, self.store.layout());
        let _ = self.cancel.run_until_cancelled(stale).await;
        display.finish();
        report
    }

    /// Writes the build records, without the entries that could not be uploaded.
    async fn write_records(
        &self,
        workspace: &Workspace,
        records: Vec<BuildRecord>,
        report: &PushReport,
    ) -> anyhow::Result<Exit> {
        let mut exit = Exit::Ok;
        for mut record in records {
            record.units.retain(|unit| !report.lacks(unit.key));
            // An empty record would be the best match for other machines, and useless to them.
            if record.units.is_empty() {
                continue;
            }
            let publish = build_records::publish(&self.remote, workspace, &record);
            let Some(published) = self.cancel.run_until_cancelled(publish).await else {
                self.cx.out.message("interrupted");
                return Ok(Exit::Interrupted);
            };
            match published {
                Ok(name) => {
                    let entries = units::count(record.units.len(), "entry", "entries");
                    self.cx.out.data(format_args!("build record {name}: {entries}"))?;
                }
                Err(error) => {
                    self.cx.out.message(format_args!("error: cannot write the build record: {error}"));
                    exit = Exit::Failed;
                }
            }
        }
        Ok(exit)
    }
}

impl PushContext<'_> {
    /// Waits for the snapshots of builds that have ended: they are made just afterwards.
    async fn wait_for_snapshots(&self) {
        let waiting = Instant::now();
        let is_pending = || {
            let cargos = self.store.awaited_cargos();
            cargos.into_iter().any(|(pid, began)| !sys_process::is_running(pid, began))
        };
        while is_pending() && waiting.elapsed() < MAX_SNAPSHOT_WAIT && !self.cancel.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Writes the build snapshots of the workspace.
    async fn write_snapshots(&self, workspace: &Workspace) -> anyhow::Result<Exit> {
        self.wait_for_snapshots().await;
        let all = snapshots::of_workspace(&self.store, workspace, &self.withheld)
            .context("cannot read the build snapshots")?;
        for snapshot in &all {
            match self.cancel.run_until_cancelled(snapshots::publish(&self.remote, snapshot)).await {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    self.cx.out.message(format_args!("error: cannot write a build snapshot: {error}"));
                    return Ok(Exit::Failed);
                }
                None => {
                    self.cx.out.message("interrupted");
                    return Ok(Exit::Interrupted);
                }
            }
        }
        if !all.is_empty() {
            self.cx.out.data(format_args!("{}", units::count(all.len(), "build snapshot", "build snapshots")))?;
        }
        Ok(Exit::Ok)
    }
}

/// Prints the failures and the totals. `there`: number of entries that were not tried because the remote has them.
fn print_summary(cx: &CommandContext, report: &PushReport, there: usize, began: Instant) -> anyhow::Result<Exit> {
    let withheld: Vec<_> = report.withheld.iter().map(|(id, why)| (id.clone(), why.to_string())).collect();
    transfer::print_failures(cx, "not uploaded", &withheld);
    transfer::print_failures(cx, "error", &report.failed);
    let rest = [
        (there + report.already_there, "already on the remote"),
        (report.gone.len(), "no longer complete in the store"),
        (report.withheld.len(), "not uploaded (a secret may be in them)"),
        (report.failed.len(), "failed"),
        (report.not_tried.len(), "not tried"),
    ];
    let (entries, bytes) = (report.uploaded, report.bytes);
    transfer::Totals { verb: "pushed", entries, bytes, took: Some(began.elapsed()), rest: &rest }.print(cx)?;
    Ok(transfer::exit(cx, report.is_cancelled, &report.failed))
}
