//! Shared parts of `push` and `pull`: opening the remote, the runtime, Ctrl-C, and messages about failures.
//!
//! Commands start an async runtime only here.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::context::{CommandContext, Exit};
use super::progress::Display;
use super::units;
use crate::agent::failure::Cause;
use crate::config::{self, Config};
use crate::fsx::sys_process;
use crate::model::EntryId;
use crate::remote::operations::pull_plan::PlanError;
use crate::remote::{Control, Remote, RemoteError};

/// How many failures are printed one by one.
const MAX_PRINTED: usize = 10;
/// Threads for blocking work: reading, writing and unpacking.
const MAX_BLOCKING_THREADS: usize = 16;

/// How long blocking work may continue after everything else has ended. Work that is cut off leaves temporary files,
/// which a later sweep removes.
const STOP_TIMEOUT: Duration = Duration::from_millis(500);

/// The configured remote. Fails if none is configured.
pub(super) fn settings(cx: &CommandContext, config: &Config) -> anyhow::Result<config::RemoteSettings> {
    let remote = config::RemoteSettings::load(&cx.env, config).context("cannot read the settings of the remote")?;
    remote.with_context(|| no_remote(config))
}

/// The error if no remote is configured.
pub(super) fn no_remote(config: &Config) -> String {
    format!(
        "no remote is set: set KACHE_S3_BUCKET (and KACHE_S3_ENDPOINT for a server other than AWS), or bucket below \
         [cache.remote] in {}",
        config.file.display()
    )
}

/// Runs `work` in a new runtime. Ctrl-C or SIGTERM cancels the token; a second Ctrl-C ends the process.
pub(super) fn run(work: impl AsyncFnOnce(CancellationToken) -> anyhow::Result<Exit>) -> anyhow::Result<Exit> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime =
        builder.enable_all().max_blocking_threads(MAX_BLOCKING_THREADS).build().context("cannot start threads")?;
    let ended = runtime.block_on(async {
        let cancel = CancellationToken::new();
        let mut interrupts = signal(SignalKind::interrupt()).context("cannot listen to signals")?;
        let mut terminations = signal(SignalKind::terminate()).context("cannot listen to signals")?;
        let (on_interrupt, on_termination) = (cancel.clone(), cancel.clone());
        tokio::spawn(async move {
            interrupts.recv().await;
            on_interrupt.cancel();
            interrupts.recv().await;
            sys_process::exit(Exit::Interrupted as i32);
        });
        tokio::spawn(async move {
            terminations.recv().await;
            on_termination.cancel();
        });
        work(cancel).await.map_err(advised)
    });
    runtime.shutdown_timeout(STOP_TIMEOUT);
    ended
}

/// The error, followed by advice if there is any.
fn advised(error: anyhow::Error) -> anyhow::Error {
    let of_remote = |cause: &'_ (dyn std::error::Error + 'static)| match cause.downcast_ref() {
        Some(PlanError::Remote(error)) => advice(error),
        _ => advice(cause.downcast_ref()?),
    };
    match error.chain().find_map(of_remote) {
        Some(advice) => anyhow::anyhow!("{}. {advice}", format!("{error:#}").trim_end_matches('.')),
        None => error,
    }
}

/// What to do about an error.
pub(super) fn advice(error: &RemoteError) -> Option<&'static str> {
    advice_on(&Cause::from(error))
}

/// What to do about an error with this cause. Codes differ between servers, so the HTTP status decides where the code
/// is unknown.
pub(super) fn advice_on(cause: &Cause) -> Option<&'static str> {
    let (status, code) = match cause {
        Cause::Status(status, code) => (*status, code.as_str()),
        Cause::Unreachable => return Some("Check the endpoint, and that this machine may reach it."),
        Cause::TimedOut => return Some("The server is overloaded, or the network is slow or blocks it."),
        Cause::Other => return None,
    };
    Some(match (status, code) {
        (_, "RequestTimeTooSkewed") => "The clock of this machine, or of the server, is wrong.",
        (_, "SignatureDoesNotMatch") => "The secret key does not belong to the access key, or the region is wrong.",
        (_, "InvalidAccessKeyId") => "The server does not know this access key.",
        (_, "ExpiredToken") => "The credentials have expired.",
        (401 | 403, _) => "These credentials do not allow this. If they allow only reads, set KACHE_REMOTE_READONLY=1.",
        (_, "NoSuchBucket") | (404, _) => "There is no such bucket at this endpoint.",
        (301 | 307 | 400, _) => "Check the region.",
        _ => return None,
    })
}

/// Runs `work`, and drops it on Ctrl-C (`None`). Only for work that reads and does not write.
pub(super) async fn unless_interrupted<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<Option<T>> {
    cancel.run_until_cancelled(work).await.transpose()
}

/// Opens the remote: finds credentials, and asks for revoked keys if there are trusted ones.
pub(super) async fn connect(cx: &CommandContext, settings: &config::RemoteSettings) -> anyhow::Result<Arc<Remote>> {
    let mut remote = Remote::connect(settings, &cx.env).await.context("cannot use the remote")?;
    remote.read_revocations().await.context("cannot read the lists of revoked keys")?;
    Ok(Arc::new(remote))
}

/// Connects to the remote of the settings, and runs `work` with it as [`run`] does. For commands whose interruption
/// needs no cleanup before they are connected.
pub(super) fn run_connected(
    cx: &CommandContext,
    work: impl AsyncFnOnce(Arc<Remote>, CancellationToken) -> anyhow::Result<Exit>,
) -> anyhow::Result<Exit> {
    let settings = settings(cx, &cx.config()?)?;
    run(async |cancel| match unless_interrupted(&cancel, connect(cx, &settings)).await? {
        Some(remote) => work(remote, cancel).await,
        None => Ok(Exit::Interrupted),
    })
}

/// The control of transfers that `display` shows. Must be called inside the runtime.
pub(super) fn control(display: &Arc<Display>, cancel: CancellationToken) -> Control {
    let (display, stopping, cancelled) = (Arc::clone(display), Arc::clone(display), cancel.clone());
    tokio::spawn(async move {
        cancelled.cancelled().await;
        stopping.stopping();
    });
    Control::new(Some(Arc::new(move |progress| display.update(progress))), cancel, None)
}

/// Prints one line for each of these entries, with the reason. Beyond [`MAX_PRINTED`] entries, prints only how many
/// more there are.
pub(super) fn print_failures(cx: &CommandContext, level: &str, failures: &[(EntryId, String)]) {
    for (id, why) in failures.iter().take(MAX_PRINTED) {
        cx.out.message(format_args!("{level}: {} {}: {why}", id.crate_name, id.key.0.short()));
    }
    if let Some(more) = failures.len().checked_sub(MAX_PRINTED).filter(|more| *more > 0) {
        cx.out.message(format_args!("{level}: and {}", units::count(more, "more entry", "more entries")));
    }
}

/// The totals of a run.
pub(super) struct Totals<'a> {
    /// The verb in the past tense: `pushed`.
    pub(super) verb: &'a str,
    /// Number of entries that were transferred.
    pub(super) entries: usize,
    /// Size of their packs, in bytes.
    pub(super) bytes: u64,
    /// How long the run took. `None`: it was a dry run.
    pub(super) took: Option<Duration>,
    /// The entries that were not transferred: number and reason.
    pub(super) rest: &'a [(usize, &'a str)],
}

impl Totals<'_> {
    /// Prints them: `pushed 3 entries, 4 MB, in 2 s`, and `, 1 failed` for each of the rest that is not zero.
    pub(super) fn print(&self, cx: &CommandContext) -> io::Result<()> {
        let (entries, bytes) = (units::count(self.entries, "entry", "entries"), units::bytes(self.bytes));
        let took = self.took.map(|took| format!(", in {}", units::millis(took.as_secs_f64() * 1000.0)));
        let took = took.unwrap_or_default();
        let rest = self.rest.iter().filter(|(number, _)| *number > 0);
        let rest = rest.map(|(number, reason)| format!(", {number} {reason}")).collect::<Vec<_>>().concat();
        cx.out.data(format_args!("{} {entries}, {bytes}{took}{rest}", self.verb))
    }
}

/// The exit code of a run. Prints `interrupted` if it was cancelled.
pub(super) fn exit(cx: &CommandContext, is_cancelled: bool, failed: &[(EntryId, String)]) -> Exit {
    if is_cancelled {
        cx.out.message("interrupted");
        return Exit::Interrupted;
    }
    if failed.is_empty() { Exit::Ok } else { Exit::Failed }
}
