//! `kache remote stats`: what the remote holds.

use std::time::SystemTime;

use anyhow::Context;
use serde::Serialize;

use crate::cli::context::{CommandContext, Exit};
use crate::cli::printer::Table;
use crate::cli::{transfer, units};
use crate::remote::operations::inventory::{self, Inventory, Sum};

/// Show what the remote holds
///
/// Counts manifests (one for each entry and signer), packs, bundles of small
/// packs, and the build records of each workspace. Lists all objects.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A layer, as JSON. Fields are added, never renamed.
#[derive(Serialize)]
struct LayerStats {
    place: String,
    manifests: Counted,
    packs: Counted,
    bundles: Counted,
    builds: Counted,
    workspaces: Vec<WorkspaceStats>,
}

#[derive(Serialize)]
struct Counted {
    objects: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct WorkspaceStats {
    workspace: String,
    records: u64,
    branches: u64,
    snapshots: u64,
    /// When the newest was written, in seconds since 1970; 0 if unknown.
    newest: u64,
}

pub(super) fn run(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    transfer::run_connected(cx, async |remote, cancel| {
        let mut all = Vec::new();
        for layer in &remote.layers {
            if layer.objects.needs_indexes() {
                cx.out.message(format_args!("{} does not list its objects", layer.place));
                continue;
            }
            let taken = async {
                let taken = inventory::take(layer, |_| {}).await;
                taken.with_context(|| format!("cannot list {}", layer.place))
            };
            let Some(taken) = transfer::unless_interrupted(&cancel, taken).await? else {
                return Ok(Exit::Interrupted);
            };
            all.push((layer.place.clone(), taken));
        }
        match args.json {
            true => cx.out.json(&all.iter().map(|(place, taken)| stats(place, taken)).collect::<Vec<_>>())?,
            false => all.iter().try_for_each(|(place, taken)| print(cx, place, taken))?,
        }
        Ok(Exit::Ok)
    })
}

fn stats(place: &str, taken: &Inventory) -> LayerStats {
    let counted = |sum: Sum| Counted { objects: sum.objects, bytes: sum.bytes };
    let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let workspaces = taken.workspaces.iter().map(|(workspace, of)| WorkspaceStats {
        workspace: workspace.clone(),
        records: of.records,
        branches: of.branches,
        snapshots: of.snapshots,
        newest: of.newest.map_or(0, seconds),
    });
    LayerStats {
        place: place.to_owned(),
        manifests: counted(taken.manifests),
        packs: counted(taken.packs),
        bundles: counted(taken.bundles),
        builds: counted(taken.builds),
        workspaces: workspaces.collect(),
    }
}

fn print(cx: &CommandContext, place: &str, taken: &Inventory) -> anyhow::Result<()> {
    cx.out.data(place)?;
    let mut kinds = Table::new(&[1, 2]).indented();
    for (kind, sum) in [
        ("manifests", taken.manifests),
        ("packs", taken.packs),
        ("bundles of small packs", taken.bundles),
        ("build records and snapshots", taken.builds),
    ] {
        kinds.row([kind.to_owned(), sum.objects.to_string(), units::bytes(sum.bytes)]);
    }
    cx.out.table(&kinds)?;
    if taken.workspaces.is_empty() {
        return Ok(());
    }
    let mut workspaces =
        Table::new(&[1, 2, 3, 4]).indented().headed(["WORKSPACE", "RECORDS", "BRANCHES", "SNAPSHOTS", "NEWEST"]);
    for (workspace, of) in &taken.workspaces {
        let age = |newest: SystemTime| {
            let age = newest.elapsed().unwrap_or_default();
            format!("{} ago", units::millis(age.as_secs_f64() * 1000.0))
        };
        workspaces.row([
            workspace.clone(),
            of.records.to_string(),
            of.branches.to_string(),
            of.snapshots.to_string(),
            of.newest.map_or_else(|| "unknown".to_owned(), age),
        ]);
    }
    Ok(cx.out.table(&workspaces)?)
}
