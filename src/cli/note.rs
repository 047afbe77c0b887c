//! `kache note`: waits for the end of one run of cargo and makes a snapshot of its build. Only the wrapper starts it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::context::{CommandContext, Exit};
use crate::cargo::built_units::GrowingBuild;
use crate::fsx::{self, clock, sys_process};
use crate::remote::Workspace;
use crate::store::build_snapshots::SnapshotName;
use crate::wrapper::snapshot::{self, EndedBuild};

/// How long to wait for cargo at most.
const MAX_WAIT: Duration = Duration::from_hours(6);
/// How often to look whether it is still cargo.
const INTERVAL: Duration = Duration::from_secs(10);
/// How often to read new units at most, and how many times as long to wait as the processor needed to read them.
const READ_INTERVAL: Duration = Duration::from_millis(200);
const READ_PAUSE: u32 = 50;
/// How much earlier than its recorded start cargo may have begun, in milliseconds.
const CLOCK_MARGIN_MS: i64 = 1500;
/// Make a snapshot of a build
#[derive(clap::Args)]
pub(super) struct Args {
    /// Process ID of cargo, and when it began
    #[arg(long, value_parser = cargo)]
    cargo: (u32, u64),
    /// The directory of the workspace
    #[arg(long)]
    workspace: PathBuf,
    /// The working directory of cargo
    #[arg(long)]
    directory: PathBuf,
    /// The name of the command
    #[arg(long, allow_hyphen_values = true)]
    command: String,
    /// Where the build directory probably is
    #[arg(long)]
    build_dir: PathBuf,
}

fn cargo(text: &str) -> Result<(u32, u64), String> {
    let parts = text.split_once('-').and_then(|(pid, began)| Some((pid.parse().ok()?, began.parse().ok()?)));
    parts.ok_or_else(|| "expected PID-BEGAN".to_owned())
}

pub(super) fn run(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    let (pid, began) = args.cargo;
    let (config, store) = cx.store()?;
    let marker = Marker(store.layout().awaited(&format!("{pid}-{began}")));
    sys_process::lower_priority();
    let Some(since) = sys_process::wall_clock(began) else { return Ok(Exit::Ok) };
    let since = since - CLOCK_MARGIN_MS;
    // Cargo may not have written `Cargo.lock` yet, which names the workspace.
    let previous = || {
        let workspace = Workspace::around(&args.workspace)?;
        let snapshot = store.snapshot(SnapshotName::of(&workspace.name, &args.command));
        Some((workspace, snapshot))
    };
    let is_first = previous().is_none_or(|(_, snapshot)| snapshot.is_none());
    let mut growing = is_first.then(|| GrowingBuild::new(args.build_dir.clone(), since));
    if !wait(pid, began, &marker, growing.as_mut()) {
        return Ok(Exit::Ok);
    }
    // The cache was removed meanwhile, and must not come back.
    if !fsx::exists(&marker.0) {
        return Ok(Exit::Ok);
    }
    let Some((workspace, previous)) = previous() else { return Ok(Exit::Ok) };
    let build = EndedBuild {
        config: &config,
        store: &store,
        vars: &cx.env,
        workspace: &workspace.root,
        name: &workspace.name,
        directory: &args.directory,
        command: &args.command,
        cargo_pid: pid.into(),
        since,
        read_before: growing.as_ref(),
    };
    if let Some(snapshot) = snapshot::take(&build, previous.as_ref())? {
        store.put_snapshot(&snapshot)?;
    }
    Ok(Exit::Ok)
}

/// Waits until cargo has ended, or has become the program that it runs (`cargo run`), and reads its units meanwhile.
/// `false`: that takes too long.
fn wait(pid: u32, began: u64, marker: &Marker, mut growing: Option<&mut GrowingBuild>) -> bool {
    let waiting = Instant::now();
    let mut touched = Instant::now();
    let mut pause = if growing.is_some() { READ_INTERVAL } else { INTERVAL };
    while waiting.elapsed() < MAX_WAIT {
        let has_ended = sys_process::wait_for_end(pid, began, pause) || !sys_process::runs(pid, "cargo");
        if let Some(growing) = &mut growing {
            let before = sys_process::processor_time();
            growing.read_new();
            pause = READ_INTERVAL.max(sys_process::processor_time().saturating_sub(before) * READ_PAUSE);
        }
        if has_ended {
            return true;
        }
        if touched.elapsed() >= INTERVAL {
            // A garbage collection removes old markers.
            let _ = fsx::open(&marker.0).and_then(|file| clock::stamp_now(&file, &marker.0));
            touched = Instant::now();
        }
    }
    false
}

/// The marker that this process waits for cargo. Dropping it removes it.
struct Marker(PathBuf);

impl Drop for Marker {
    fn drop(&mut self) {
        let _ = fsx::remove_file(&self.0);
    }
}
