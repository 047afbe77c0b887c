//! `kache push`: uploads entries to the remote after a build.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::context::{CommandContext, Exit};
use super::printer::Table;
use super::progress::Display;
use super::{transfer, units};
use crate::config::{Config, RemoteSettings, Secret};
use crate::events::{CommandLog, EventLog};
use crate::fsx::{self, clock, sys_process};
use crate::keys;
use crate::model::{EntryId, EntryKey};
use crate::remote::operations::known::{Knowledge, KnownEntries};
use crate::remote::operations::publication::{Publication, is_lost};
use crate::remote::operations::pull_plan::Place;
use crate::remote::operations::push::{self, Candidate, Filter, PushReport, Settled};
use crate::remote::operations::record_choice::Purpose;
use crate::remote::operations::workspace::UsedEntries;
use crate::remote::operations::{build_records, presence, workspace};
use crate::remote::{Checkout, Remote, RemoteError, UploadSource, Uploader, Workspace};
use crate::store::{Store, Withheld};

/// Build records that are read to learn what the remote has.
const MAX_RECORDS: usize = 2;
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
  kache push --sign-with env:K  Sign with the key in the variable K

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
    /// Sign with the key in this file, or in a variable (env:NAME):
    /// for the last step of a job, so that no build script sees it
    #[arg(long, value_name = "KEY", verbatim_doc_comment)]
    sign_with: Option<String>,
    /// Only list the entries to upload, with sizes before compression
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    let (config, store) = cx.store()?;
    let settings = settings(cx, &config, args)?;
    anyhow::ensure!(settings.writer().is_some() || args.dry_run, crate::remote::UploadError::ReadOnly);
    let began = Instant::now();
    let events = EventLog::of(&config.cache_dir.value).read(i64::MIN).context("cannot read the event log")?;
    let commands = CommandLog::of(&config.cache_dir.value).read(i64::MIN).context("cannot read the event log")?;
    let here = fsx::current_dir()?;
    let used = workspace::used_entries(&events, &commands, &workspace::target_dir_candidates(&here, &cx.env));
    if args.offered {
        let offered =
            offered(&store, &filter(args, &settings), args.dry_run).context("cannot read the offers of the store")?;
        let results = units::count(offered, "result of an incremental compile", "results of incremental compiles");
        cx.out.data(format_args!("{} {results}", if args.dry_run { "would store" } else { "stored" }))?;
    }
    let candidates = push::candidates(&store, &filter(args, &settings)).context("cannot read the store")?;
    let source = UploadSource { withheld: withheld(cx, &store)?, store: Arc::new(store) };
    transfer::run(async |cancel| {
        let remote = transfer::unless_interrupted(&cancel, transfer::connect(cx, &settings)).await?;
        let Some(remote) = remote else { return Ok(Exit::Interrupted) };
        let known = KnownEntries::of(source.store.layout(), &remote);
        let place = transfer::unless_interrupted(&cancel, place(cx, &remote, &here)).await?;
        let Some(place) = place else { return Ok(Exit::Interrupted) };
        let is_lost = |place: &Place| is_lost(&remote, &known, &place.checkout.workspace, &place.listing);
        let known = if place.as_ref().is_some_and(is_lost) { known.clone().stale() } else { known };
        let push = PushContext { cx, remote, source, known, place, cancel };
        let lacking = push.lacking(&candidates, args.all);
        let Some(lacking) = transfer::unless_interrupted(&push.cancel, lacking).await? else {
            return Ok(Exit::Interrupted);
        };
        if args.dry_run {
            return push.dry_run(&lacking, &used);
        }
        let report = push.send(lacking.iter().map(|candidate| candidate.id.clone()).collect()).await;
        let exit = print_summary(cx, &report, candidates.len() - lacking.len(), began)?;
        if exit == Exit::Interrupted {
            return Ok(exit);
        }
        let published = push.publish(&used, &report).await?;
        Ok(if published == Exit::Ok { exit } else { published })
    })
}

/// The settings of the remote, with the key that signs this push.
fn settings(cx: &CommandContext, config: &Config, args: &Args) -> anyhow::Result<RemoteSettings> {
    let mut settings = transfer::settings(cx, config)?;
    if let Some(key) = &args.sign_with {
        // Earlier steps restored entries of whoever was trusted then, and this key vouches for what was made of them.
        anyhow::ensure!(
            settings.signing_key.is_some() || settings.layers.iter().all(|layer| !layer.trusted_keys.is_empty()),
            "--sign-with needs trusted_keys: without them, this machine has restored entries of anyone, and the key \
             would vouch for what was compiled with them"
        );
        let text = match key.strip_prefix("env:") {
            Some(name) => cx.env.text(name).with_context(|| format!("--sign-with: the variable {name} is not set"))?,
            None => fsx::read_to_string(Path::new(key)).context("--sign-with")?,
        };
        settings.signing_key = Some(Secret::new(text));
    }
    Ok(settings)
}

/// The workspace around the current directory, and what the remote has of it.
async fn place(cx: &CommandContext, remote: &Remote, here: &Path) -> anyhow::Result<Option<Place>> {
    let Some(workspace) = Workspace::around(here) else { return Ok(None) };
    let checkout = Checkout::of(&workspace, &cx.env);
    let listing = build_records::list(remote, &checkout.workspace).await.context("cannot list the build records")?;
    Ok(Some(Place { workspace, checkout, listing, purpose: Purpose::default() }))
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

/// What must not leave this machine.
fn withheld(cx: &CommandContext, store: &Store) -> anyhow::Result<Arc<Withheld>> {
    Ok(Arc::new(Withheld::of(store, cx.env.texts()).context("cannot read the store")?))
}

/// What a push needs.
struct PushContext<'a> {
    cx: &'a CommandContext,
    remote: Arc<Remote>,
    source: UploadSource,
    known: KnownEntries,
    /// The workspace around the current directory, if there is one.
    place: Option<Place>,
    cancel: CancellationToken,
}

impl PushContext<'_> {
    /// The candidates to upload, in their order: those that the remote lacks, or all of them.
    async fn lacking<'c>(&self, candidates: &'c [Candidate], all: bool) -> anyhow::Result<Vec<&'c Candidate>> {
        let mut ids: Vec<EntryId> = candidates.iter().map(|candidate| candidate.id.clone()).collect();
        if !all {
            self.learn(&ids).await.context("cannot read the build records")?;
            let asked = presence::lacking(&self.remote, &self.known, ids).await;
            ids = asked.context("cannot find the entries that the remote lacks")?;
        }
        let keys: HashSet<_> = ids.iter().map(|id| id.key).collect();
        Ok(candidates.iter().filter(|candidate| keys.contains(&candidate.id.key)).collect())
    }

    /// Reads the build records that fit best, if they may name entries of which nothing is known.
    async fn learn(&self, ids: &[EntryId]) -> Result<(), RemoteError> {
        let now = clock::now();
        let unknown = ids.iter().filter(|id| self.known.knowledge(id.key, now) == Knowledge::Unknown);
        let unknown: HashSet<EntryKey> = unknown.map(|id| id.key).collect();
        let Some(place) = self.place.as_ref().filter(|_| !unknown.is_empty()) else { return Ok(()) };
        let Place { checkout, listing, purpose, .. } = place;
        for found in build_records::find_all(&self.remote, listing, checkout, purpose, MAX_RECORDS).await? {
            build_records::confirm_units(&self.remote, &self.known, &found, |key| unknown.contains(&key));
        }
        Ok(())
    }

    fn dry_run(&self, lacking: &[&Candidate], used: &[UsedEntries]) -> anyhow::Result<Exit> {
        let UploadSource { withheld, .. } = &self.source;
        let may_leave = |candidate: &&&Candidate| withheld.reason(candidate.id.key).is_none();
        let lacking: Vec<&Candidate> = lacking.iter().filter(may_leave).copied().collect();
        let mut table = Table::new(&[2]).headed(["CRATE", "PACKAGE", "SIZE", "KEY"]);
        for candidate in &lacking {
            let id = &candidate.id;
            let (package, size) = (candidate.package.clone(), units::bytes(candidate.bytes));
            table.row([id.crate_name.clone(), package, size, id.key.0.short()]);
        }
        let out = &self.cx.out;
        if !table.is_empty() {
            out.table(&table)?;
        }
        for used in self.place.iter().flat_map(|place| used.iter().map(move |used| (place, used))) {
            let (place, used) = used;
            let is_withheld = |key| withheld.reason(key).is_some();
            let Some(record) = build_records::create(&self.source, &self.known, &place.checkout, used, is_withheld)
            else {
                continue;
            };
            let entries = units::count(record.units.len(), "entry", "entries");
            let command = if record.command.is_empty() { String::new() } else { format!(", cargo {}", record.command) };
            let command = command.replace('\n', " ");
            out.data(format_args!("build record of {}{command}: {entries}", record.workspace))?;
        }
        let bytes = units::bytes(lacking.iter().map(|candidate| candidate.bytes).sum());
        let entries = units::count(lacking.len(), "entry", "entries");
        out.data(format_args!("would push {entries}, {bytes} before compression"))?;
        Ok(Exit::Ok)
    }

    async fn send(&self, ids: Vec<EntryId>) -> PushReport {
        crate::remote::sweep(self.source.store.layout());
        let display = Arc::new(Display::new("push", ids.len()));
        let control = transfer::control(&display, self.cancel.clone());
        let uploader = Uploader::new(&self.remote, &self.source, &control);
        let mut settled = 0;
        let on_settled = |_: &EntryId, _: &Settled| {
            settled += 1;
            display.settled(settled);
        };
        let report = push::run(&uploader, ids, push::CONCURRENT_UPLOADS, on_settled).await;
        let stale = crate::remote::abort_stale_uploads(&self.remote, self.source.store.layout());
        let _ = self.cancel.run_until_cancelled(stale).await;
        display.finish();
        report
    }

    /// Waits for the snapshots of builds that have ended: they are made just afterwards.
    async fn wait_for_snapshots(&self) {
        let waiting = Instant::now();
        let is_pending = || {
            let cargos = self.source.store.awaited_cargos();
            cargos.into_iter().any(|(pid, began)| !sys_process::is_running(pid, began))
        };
        while is_pending() && waiting.elapsed() < MAX_SNAPSHOT_WAIT && !self.cancel.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Writes the build records and snapshots of the workspace, without the entries that could not be uploaded.
    async fn publish(&self, used: &[UsedEntries], report: &PushReport) -> anyhow::Result<Exit> {
        let Some(Place { workspace, checkout, listing, .. }) = &self.place else { return Ok(Exit::Ok) };
        self.wait_for_snapshots().await;
        let publication = Publication {
            remote: &self.remote,
            source: &self.source,
            known: &self.known,
            workspace,
            checkout,
            listing: listing.clone(),
            used,
        };
        let out = &self.cx.out;
        let Some(published) = self.cancel.run_until_cancelled(publication.run(|key| report.lacks(key))).await else {
            out.message("interrupted");
            return Ok(Exit::Interrupted);
        };
        let published = match published {
            Ok(published) => published,
            Err(error) => {
                out.message(format_args!("error: cannot write the build record: {error}"));
                return Ok(Exit::Failed);
            }
        };
        for (name, entries) in &published.records {
            out.data(format_args!("build record {name}: {}", units::count(*entries, "entry", "entries")))?;
        }
        if published.snapshots > 0 {
            let snapshots = units::count(published.snapshots, "build snapshot", "build snapshots");
            out.data(format_args!("{snapshots}"))?;
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
