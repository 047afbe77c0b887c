//! What a remote holds: counts and bytes of each kind of object, and the build records of each workspace.
//!
//! Pages through everything, for administrators. What is kept in memory does not grow with the number of manifests,
//! packs and bundles.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::remote::Layer;
use crate::remote::format::names::{self, WorkspaceObject};
use crate::remote::s3::error::Result;
use crate::remote::s3::listing::ListedObject;

/// The number and the bytes of some objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Number of objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Sum {
    /// Adds an object.
    pub fn add(&mut self, object: &ListedObject) {
        self.objects += 1;
        self.bytes += object.size;
    }
}

/// The records of a workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkspaceRecords {
    /// Number of build records.
    pub records: u64,
    /// Number of branches that have one.
    pub branches: u64,
    /// Number of build snapshots.
    pub snapshots: u64,
    /// When the newest of them was written.
    pub newest: Option<SystemTime>,
}

/// What a layer holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Manifests: one for each entry and signer.
    pub manifests: Sum,
    /// Packs that are objects of their own.
    pub packs: Sum,
    /// Bundles of small packs.
    pub bundles: Sum,
    /// Build records, build snapshots and the lists of them.
    pub builds: Sum,
    /// The records by workspace, as object names spell it.
    pub workspaces: BTreeMap<String, WorkspaceRecords>,
}

/// Takes stock of a layer. Calls `on_page` with the number of objects so far.
pub async fn take(layer: &Layer, mut on_page: impl FnMut(u64)) -> Result<Inventory> {
    let (mut inventory, mut seen) = (Inventory::default(), 0);
    let mut branches: BTreeMap<String, std::collections::BTreeSet<String>> = BTreeMap::new();
    for prefix in [names::all_workspaces(), names::all_manifests(), names::all_packs(), names::all_bundles()] {
        let mut listing = layer.objects.list(&prefix);
        while let Some(page) = listing.next_page().await? {
            seen += page.len() as u64;
            on_page(seen);
            for object in &page {
                inventory.sum_of(&prefix).add(object);
                if let Some((workspace, parsed)) = WorkspaceObject::parse_any(&object.name) {
                    inventory.add_build(workspace, &parsed, object.modified);
                    if let WorkspaceObject::Record(name) = parsed {
                        branches.entry(workspace.to_owned()).or_default().insert(name.branch);
                    }
                }
            }
        }
    }
    for (workspace, branches) in branches {
        inventory.workspaces.entry(workspace).or_default().branches = branches.len() as u64;
    }
    Ok(inventory)
}

impl Inventory {
    fn sum_of(&mut self, prefix: &str) -> &mut Sum {
        match () {
            () if prefix == names::all_manifests() => &mut self.manifests,
            () if prefix == names::all_packs() => &mut self.packs,
            () if prefix == names::all_bundles() => &mut self.bundles,
            () => &mut self.builds,
        }
    }

    fn add_build(&mut self, workspace: &str, parsed: &WorkspaceObject, modified: Option<SystemTime>) {
        let of = self.workspaces.entry(workspace.to_owned()).or_default();
        match parsed {
            WorkspaceObject::Record(_) => of.records += 1,
            WorkspaceObject::Snapshot(..) => of.snapshots += 1,
        }
        of.newest = of.newest.max(modified);
    }
}
