//! Reports each invocation as one event in the event log.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::time::{Duration, Instant};

use super::task::Task;
use crate::config::{Config, Env, env};
use crate::events::{Event, EventLog, event};
use crate::fsx::clock::Time;
use crate::fsx::{clock, sys_process};
use crate::keys::{Roots, roots};
use crate::model::{HitSource, Outcome, Refusal, RemoteAnswer, RootKind};
use crate::store::Entry;

/// Writes the event of one invocation.
pub(super) struct EventReporter {
    log: EventLog,
    started: Instant,
    /// When kache was called, on the precise clock.
    pub(super) asked: Time,
    waited: Cell<Duration>,
    /// What the remote answered, if it was asked.
    answer: RefCell<Option<RemoteAnswer>>,
    /// Whether a hit that follows comes from an offer.
    is_adopted: Cell<bool>,
    /// The number of the build, if kache restores it as a whole.
    whole_build: Option<u64>,
}

impl EventReporter {
    pub(super) fn new(config: &Config, started: Instant) -> Self {
        Self {
            log: EventLog::of(&config.cache_dir.value),
            started,
            asked: clock::precise(),
            waited: Cell::default(),
            answer: RefCell::default(),
            is_adopted: Cell::default(),
            whole_build: None,
        }
    }

    /// For a unit that kache restores before cargo asks for it. `number` is that of the build.
    pub(super) fn of_whole_build(config: &Config, number: u64) -> Self {
        Self { whole_build: Some(number), ..Self::new(config, Instant::now()) }
    }

    /// The event of a call for which there is a lookup key.
    pub(super) fn event(outcome: Outcome, task: &impl Task) -> Event {
        let labels = task.labels();
        Event {
            crate_name: labels.crate_name,
            kind: labels.kind,
            emit: labels.emit.to_owned(),
            lookup: task.common().lookup.key.0.hex(),
            target: task.common().roots.place(RootKind::Target).unwrap_or_default().to_owned(),
            shape: labels.shape,
            unit: labels.unit,
            ..Self::bare(outcome, task.common().env)
        }
    }

    /// The event of a call that was refused before it had a lookup key.
    pub(super) fn refused(refusal: &Refusal, args: &[std::ffi::OsString], vars: &Env) -> Event {
        let name = args.iter().skip_while(|arg| *arg != "--crate-name").nth(1);
        let kind = args.iter().skip_while(|arg| *arg != "--crate-type").nth(1);
        let text =
            |arg: Option<&std::ffi::OsString>| arg.map(|arg| arg.to_string_lossy().into_owned()).unwrap_or_default();
        let mut event = Self::bare(Outcome::Bypass(refusal.reason), vars);
        event.crate_name = text(name);
        event.unit = event.crate_name.clone() + extra_filename(args);
        event.target = target(args).unwrap_or_default();
        event.kind = if args.iter().any(|arg| arg == "--test") { "test".to_owned() } else { text(kind) };
        event.detail.clone_from(&refusal.detail);
        event
    }

    pub(super) fn bare(outcome: Outcome, vars: &Env) -> Event {
        Event {
            v: event::VERSION,
            at: clock::now().as_millis(),
            outcome,
            package: package(vars),
            cargo_pid: sys_process::caller().into(),
            ..Event::default()
        }
    }

    /// Records that an offer was turned into an entry for this call.
    pub(super) fn adopted(&self) {
        self.is_adopted.set(true);
    }

    /// Where a hit of this entry comes from.
    pub(super) fn source_of(&self, entry: &Entry) -> HitSource {
        match entry.pulled {
            _ if self.whole_build.is_some() => HitSource::WholeBuild,
            true => HitSource::Remote,
            false if self.is_adopted.get() => HitSource::Offered,
            false => HitSource::Local,
        }
    }

    /// Adds to the time that this invocation has waited for the remote.
    pub(super) fn waited(&self, time: Duration) {
        self.waited.set(self.waited.get() + time);
    }

    /// Records what the remote answered.
    pub(super) fn answered(&self, answer: RemoteAnswer) {
        self.answer.replace(Some(answer));
    }

    /// Appends the event. A failure is ignored.
    pub(super) fn write(&self, mut event: Event) {
        event.remote = self.answer.take();
        event.waited_ms = self.waited.get().as_secs_f64() * 1000.0;
        event.cargo_pid = self.whole_build.unwrap_or(event.cargo_pid);
        event.ms = self.started.elapsed().as_secs_f64() * 1000.0;
        let _ = self.log.append(&event);
    }
}

/// Target triple and profile of a unit whose outputs are in `out_dir`.
pub(super) fn shape(out_dir: &Path, roots: &Roots) -> String {
    let target = roots.place(RootKind::Target).unwrap_or_default();
    roots::shape(out_dir, Path::new(target)).unwrap_or_default()
}

/// The value of `-C extra-filename`, if it is spelled as cargo spells it.
fn extra_filename(args: &[std::ffi::OsString]) -> &str {
    args.iter().filter_map(|arg| arg.to_str()?.strip_prefix("extra-filename=")).next_back().unwrap_or_default()
}

/// The target directory, as far as raw arguments show it.
fn target(args: &[std::ffi::OsString]) -> Option<String> {
    let after = |name: &str| args.iter().skip_while(|arg| *arg != name).nth(1).and_then(|arg| arg.to_str());
    let out_dir = Path::new(after("--out-dir")?);
    out_dir.is_absolute().then(|| roots::target_dir(out_dir, after("--target")).to_string_lossy().into_owned())
}

/// Name and version of the package, from cargo's environment variables.
pub(super) fn package(vars: &Env) -> String {
    let text = |name| vars.text(name).unwrap_or_default();
    format!("{} {}", text(env::CARGO_PKG_NAME), text(env::CARGO_PKG_VERSION)).trim().to_owned()
}
