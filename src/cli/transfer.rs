//! What `push` and `pull` have in common: the remote, the runtime, Ctrl-C, and words for what failed.
//!
//! The only place where commands make a runtime.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::progress::Display;
use super::{Exit, Session, units};
use crate::config::{self, Config};
use crate::fsx::sys_process;
use crate::remote::{Cancel, Control, Item, Open, unless_cancelled};

/// How many failures are told one by one.
const TOLD: usize = 10;
/// Threads for what reads, writes and unpacks.
const BLOCKING: usize = 16;

/// How long what reads or writes may take to end after all else has. What is cut off then leaves temps, which are swept.
const ENDING: Duration = Duration::from_millis(500);

/// The remote of the settings; without one there is nothing to do.
pub(super) fn settings(session: &Session, config: &Config) -> anyhow::Result<config::Remote> {
    let remote = config::Remote::load(&session.env, config).context("cannot read the settings of the remote")?;
    remote.with_context(|| {
        format!(
            "no remote is set: name a bucket with KACHE_S3_BUCKET (and its server with KACHE_S3_ENDPOINT, if it is not \
             AWS), or as bucket under [cache.remote] in {}",
            config.file.display()
        )
    })
}

/// Runs `work` in a runtime of its own. It hears of Ctrl-C by the [`Cancel`]; a second Ctrl-C ends the process.
pub(super) fn run(work: impl AsyncFnOnce(Cancel) -> anyhow::Result<Exit>) -> anyhow::Result<Exit> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.enable_all().max_blocking_threads(BLOCKING).build().context("cannot start threads")?;
    let ended = runtime.block_on(async {
        let cancel = Cancel::default();
        let mut interrupts = signal(SignalKind::interrupt()).context("cannot listen to signals")?;
        let mut terminations = signal(SignalKind::terminate()).context("cannot listen to signals")?;
        let (on_interrupt, on_termination) = (cancel.clone(), cancel.clone());
        tokio::spawn(async move {
            interrupts.recv().await;
            on_interrupt.cancel();
            interrupts.recv().await;
            sys_process::end(Exit::Interrupted as i32);
        });
        tokio::spawn(async move {
            terminations.recv().await;
            on_termination.cancel();
        });
        work(cancel).await
    });
    runtime.shutdown_timeout(ENDING);
    ended
}

/// What `work` comes to; Ctrl-C drops it where it is. For what only asks and writes nothing.
pub(super) async fn asking<T>(
    cancel: &Cancel,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<Option<T>> {
    unless_cancelled(cancel, work).await.transpose()
}

/// The opened remote.
pub(super) async fn connect(session: &Session, settings: &config::Remote) -> anyhow::Result<Arc<Open>> {
    Ok(Arc::new(Open::connect(settings, &session.env).await.context("cannot use the remote")?))
}

/// The control of transfers that `display` shows. To be called in the runtime.
pub(super) fn control(display: &Arc<Display>, cancel: Cancel) -> Control {
    let (display, stopping, cancelled) = (Arc::clone(display), Arc::clone(display), cancel.clone());
    tokio::spawn(async move {
        cancelled.cancelled().await;
        stopping.stopping();
    });
    Control::new(Some(Arc::new(move |step| display.step(step))), cancel, None)
}

/// Says of each of these entries what is wrong with it; of many, of the first.
pub(super) fn tell(session: &Session, level: &str, troubles: &[(Item, String)]) {
    for (item, why) in troubles.iter().take(TOLD) {
        session.out.talk(format_args!("{level}: {} {}: {why}", item.crate_name, item.key.0.short()));
    }
    if let Some(more) = troubles.len().checked_sub(TOLD).filter(|more| *more > 0) {
        session.out.talk(format_args!("{level}: and {}", units::count(more, "more entry", "more entries")));
    }
}

/// Says what a run came to: `pushed 3 entries, 4 MB, in 2 s`, and `, 1 failed` for each of `rest` that is not zero.
pub(super) fn sum_up(
    session: &Session,
    what: &str,
    (entries, bytes): (usize, u64),
    began: Instant,
    rest: &[(usize, &str)],
) -> anyhow::Result<()> {
    let (entries, bytes) = (units::count(entries, "entry", "entries"), units::bytes(bytes));
    let took = units::millis(began.elapsed().as_secs_f64() * 1000.0);
    let rest = rest.iter().filter(|(number, _)| *number > 0);
    let rest = rest.map(|(number, what)| format!(", {number} {what}")).collect::<Vec<_>>().concat();
    Ok(session.out.data(format_args!("{what} {entries}, {bytes}, in {took}{rest}"))?)
}

/// How a run exits.
pub(super) fn exit(session: &Session, is_cancelled: bool, failed: &[(Item, String)]) -> Exit {
    if is_cancelled {
        session.out.talk("interrupted");
        return Exit::Interrupted;
    }
    if failed.is_empty() { Exit::Ok } else { Exit::Failed }
}
