//! Keeps a remote small: deletes old build records, and the objects to which no remaining record refers.
//!
//! Safe beside pushes: nothing young is deleted, records that appear meanwhile are read before anything that they may
//! name is deleted, and an object is deleted after those that refer to it (records, manifests, packs and bundles). A
//! record that cannot be read ends the collection, since it may name anything, and so does one of a later version of
//! the format. One that is damaged names nothing. Memory grows with the records, not with the objects. At worst a
//! reader finds an entry absent, and compiles.

use std::collections::{BinaryHeap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::inventory::Sum;
use super::remote::{Layer, Remote};
use super::retention::{CollectionOptions, ListedBuild, is_old, is_record, kept};
use super::upload::UploadError;
use crate::remote::format::build_record::{self, BuildRecord, BuildUnit};
use crate::remote::format::manifest::{self, MAX_MANIFEST_BYTES, PackManifest};
use crate::remote::format::names::{self, ManifestName, RecordName, WorkspaceObject};
use crate::remote::format::refused::Refused;
use crate::remote::format::signature::Trust;
use crate::remote::objects::{ObjectStore, index};
use crate::remote::s3::error::RemoteError;
use crate::remote::s3::listing::ListedObject;
use crate::remote::tasks::concurrently;

/// Machines believe for a week that what they uploaded is still there, so nothing younger is deleted.
pub const MIN_AGE: Duration = Duration::from_hours(8 * 24);
/// How much longer packs and bundles stay than manifests: a manifest may be younger than its pack.
const PACK_GRACE: Duration = Duration::from_hours(7 * 24);
/// Objects that are chosen, the oldest first, before they are deleted.
///
/// Each batch costs a listing. In memory, one takes about 40 MB.
const BATCH: usize = 200_000;
/// Requests in flight at once.
const CONCURRENT_REQUESTS: usize = 32;

/// What was deleted, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectionReport {
    /// Build records and snapshots.
    pub builds: Sum,
    /// Manifests.
    pub manifests: Sum,
    /// Packs.
    pub packs: Sum,
    /// Bundles.
    pub bundles: Sum,
    /// Build records that stay.
    pub kept_records: u64,
    /// Uploads in parts that nobody finished.
    pub aborted_uploads: u64,
}

/// Collects the layer that kache writes to, at the time `now`.
pub async fn collect(
    remote: &Arc<Remote>,
    options: &CollectionOptions,
    now: SystemTime,
) -> Result<CollectionReport, UploadError> {
    let layer = remote.writer().ok_or(UploadError::ReadOnly)?;
    let mut collection = Collection {
        layer,
        options,
        now,
        hasher: RandomState::new(),
        live: HashSet::new(),
        read: HashSet::new(),
        report: CollectionReport::default(),
    };
    let builds = collection.list_builds().await?;
    let kept = kept(&builds, options, now);
    collection.report.kept_records =
        builds.iter().zip(&kept).filter(|(build, kept)| is_record(build) && **kept).count() as u64;
    collection.read_records(builds.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(build, _)| build)).await?;
    collection.delete_builds(&builds, &kept).await?;
    collection.sweep(&names::all_manifests(), Duration::ZERO).await?;
    collection.note_live_manifests().await?;
    collection.sweep(&names::all_packs(), PACK_GRACE).await?;
    collection.sweep(&names::all_bundles(), PACK_GRACE).await?;
    if !options.is_dry {
        collection.report.aborted_uploads = layer.objects.abort_uploads_older_than(PACK_GRACE).await?;
    }
    Ok(collection.report)
}

struct Collection<'a> {
    layer: &'a Layer,
    options: &'a CollectionOptions,
    now: SystemTime,
    hasher: RandomState,
    /// Hashes of the names that records refer to. Equal hashes of two names only keep more.
    live: HashSet<u64>,
    /// Records that were read.
    read: HashSet<String>,
    report: CollectionReport,
}

impl Collection<'_> {
    async fn list_builds(&self) -> Result<Vec<ListedBuild>, RemoteError> {
        let mut listing = self.layer.objects.list(&names::all_workspaces());
        let mut builds = Vec::new();
        while let Some(page) = listing.next_page().await? {
            builds.extend(page.into_iter().filter_map(|object| {
                let (workspace, parsed) = WorkspaceObject::parse_any(&object.name)?;
                Some(ListedBuild { workspace: workspace.to_owned(), parsed, object: object.clone() })
            }));
        }
        Ok(builds)
    }

    /// Reads records, and notes what they refer to.
    async fn read_records<'b>(&mut self, builds: impl Iterator<Item = &'b ListedBuild>) -> Result<(), RemoteError> {
        let unread: Vec<(RecordName, String)> = builds
            .filter_map(|build| match &build.parsed {
                WorkspaceObject::Record(name) => Some((name.clone(), build.object.name.clone())),
                WorkspaceObject::Snapshot(..) => None,
            })
            .filter(|(_, object)| !self.read.contains(object))
            .collect();
        let objects = self.layer.objects.clone();
        let mut reads = concurrently(CONCURRENT_REQUESTS, unread, move |(name, object): (RecordName, String)| {
            let objects = objects.clone();
            async move {
                let bytes = match objects.get(&object, build_record::MAX_RECORD_BYTES).await {
                    Err(RemoteError::Size { .. }) => Ok(None),
                    read => read,
                };
                let later_version = || RemoteError::InvalidAnswer {
                    attempt: objects.attempt("get", &object),
                    reason: "a build record of a later version of kache".to_owned(),
                };
                let record = bytes.and_then(|bytes| match bytes.map(|bytes| decode(&bytes, &name)) {
                    Some(Err(Refused::Version)) => Err(later_version()),
                    Some(Ok(record)) => Ok(Some((name, record))),
                    // A record that is damaged cannot be used by anybody.
                    Some(Err(_)) | None => Ok(None),
                });
                (object, record)
            }
        });
        let mut incomplete = Vec::new();
        while let Some((object, record)) = reads.next().await {
            self.read.insert(object);
            let Some((name, record)) = record? else { continue };
            for unit in &record.units {
                incomplete.extend(self.note_unit(unit, &name));
            }
        }
        for name in incomplete {
            if let Some(manifest) = read_manifest(&self.layer.objects, &name).await? {
                self.note(&pack_object(&manifest));
            }
        }
        Ok(())
    }

    /// Notes what a unit refers to. Returns the name of its manifest if the record does not contain it.
    fn note_unit(&mut self, unit: &BuildUnit, record: &RecordName) -> Option<ManifestName> {
        let name = |signer| ManifestName::new(&unit.crate_name, unit.lookup, unit.key, signer);
        let Some(embedded) = &unit.manifest else {
            self.note(&name(record.signer).object());
            return Some(name(record.signer));
        };
        for signer in manifest::signers(embedded.as_bytes()) {
            self.note(&name(signer).object());
        }
        if let Some(Ok(manifest)) = unit.decode_manifest(&Trust::Anyone) {
            self.note(&pack_object(&manifest));
        }
        None
    }

    fn note(&mut self, object: &str) {
        self.live.insert(self.hasher.hash_one(object));
    }

    fn is_live(&self, object: &str) -> bool {
        self.live.contains(&self.hasher.hash_one(object))
    }

    /// Deletes the builds that are not kept, and writes the lists of the workspaces that lost some.
    async fn delete_builds(&mut self, builds: &[ListedBuild], kept: &[bool]) -> Result<(), RemoteError> {
        let old: Vec<ListedObject> =
            builds.iter().zip(kept).filter(|(_, kept)| !**kept).map(|(build, _)| build.object.clone()).collect();
        for object in &old {
            self.report.builds.add(object);
        }
        if self.options.is_dry || old.is_empty() {
            return Ok(());
        }
        let touched: HashSet<&str> =
            builds.iter().zip(kept).filter(|(_, kept)| !**kept).map(|(build, _)| build.workspace.as_str()).collect();
        self.delete(old).await?;
        for workspace in touched {
            let prefix = format!("{}{workspace}/", names::all_workspaces());
            let objects = self.layer.objects.list(&prefix).all().await?;
            self.layer.objects.put(&index::name(&prefix), index::encode(&prefix, &objects)).await?;
        }
        Ok(())
    }

    /// Reads the old manifests that stay, and notes their packs: a manifest may have been replaced since a record
    /// copied it. Packs of young manifests are young.
    async fn note_live_manifests(&mut self) -> Result<(), RemoteError> {
        let mut listing = self.layer.objects.list(&names::all_manifests());
        while let Some(page) = listing.next_page().await? {
            let stays =
                |object: &ListedObject| is_old(object, self.options.older_than, self.now) && self.is_live(&object.name);
            let live: Vec<ManifestName> = page
                .iter()
                .filter(|object| stays(object))
                .filter_map(|object| ManifestName::parse(&object.name))
                .collect();
            let store = self.layer.objects.clone();
            let mut reads = concurrently(CONCURRENT_REQUESTS, live, move |name: ManifestName| {
                let store = store.clone();
                async move { read_manifest(&store, &name).await }
            });
            while let Some(manifest) = reads.next().await {
                if let Some(manifest) = manifest? {
                    self.note(&pack_object(&manifest));
                }
            }
        }
        Ok(())
    }

    /// Deletes the old objects below `prefix` to which nothing refers, the oldest first.
    async fn sweep(&mut self, prefix: &str, grace: Duration) -> Result<(), RemoteError> {
        if self.options.is_dry {
            return self.count(prefix, self.options.older_than + grace).await;
        }
        loop {
            let (batch, is_all) = self.oldest(prefix, self.options.older_than + grace).await?;
            if batch.is_empty() {
                return Ok(());
            }
            // Records that were written since the collection began.
            let builds = self.list_builds().await?;
            let young = builds.iter().filter(|build| !is_old(&build.object, self.options.older_than, self.now));
            let young: Vec<ListedBuild> = young.cloned().collect();
            self.read_records(young.iter()).await?;
            let batch: Vec<ListedObject> = batch.into_iter().filter(|object| !self.is_live(&object.name)).collect();
            for object in &batch {
                self.sum(prefix).add(object);
            }
            let is_over = is_all || batch.is_empty();
            self.delete(batch).await?;
            if is_over {
                return Ok(());
            }
        }
    }

    /// Counts what a sweep would delete.
    async fn count(&mut self, prefix: &str, age: Duration) -> Result<(), RemoteError> {
        let mut listing = self.layer.objects.list(prefix);
        while let Some(page) = listing.next_page().await? {
            for object in page {
                if is_old(&object, age, self.now) && !self.is_live(&object.name) {
                    self.sum(prefix).add(&object);
                }
            }
        }
        Ok(())
    }

    /// What was deleted below `prefix`.
    fn sum(&mut self, prefix: &str) -> &mut Sum {
        match () {
            () if prefix == names::all_manifests() => &mut self.report.manifests,
            () if prefix == names::all_packs() => &mut self.report.packs,
            () => &mut self.report.bundles,
        }
    }

    /// The oldest objects below `prefix` to which nothing refers, at most [`BATCH`], the oldest first; and whether
    /// these are all.
    async fn oldest(&self, prefix: &str, age: Duration) -> Result<(Vec<ListedObject>, bool), RemoteError> {
        let mut listing = self.layer.objects.list(prefix);
        let (mut found, mut is_all) = (BinaryHeap::new(), true);
        while let Some(page) = listing.next_page().await? {
            for object in page {
                if !is_old(&object, age, self.now) || self.is_live(&object.name) {
                    continue;
                }
                found.push(ByAge(object));
                if found.len() > BATCH {
                    found.pop();
                    is_all = false;
                }
            }
        }
        Ok((found.into_sorted_vec().into_iter().map(|ByAge(object)| object).collect(), is_all))
    }

    async fn delete(&self, objects: Vec<ListedObject>) -> Result<(), RemoteError> {
        let store = self.layer.objects.clone();
        let mut deletions = concurrently(CONCURRENT_REQUESTS, objects, move |object: ListedObject| {
            let store = store.clone();
            async move { store.delete(&object.name).await }
        });
        while let Some(deleted) = deletions.next().await {
            deleted?;
        }
        Ok(())
    }
}

fn decode(bytes: &[u8], name: &RecordName) -> Result<BuildRecord, Refused> {
    BuildRecord::decode(bytes, name, &Trust::Anyone)
}

/// Reads a manifest. `None`: it does not exist, or is damaged.
async fn read_manifest(objects: &ObjectStore, name: &ManifestName) -> Result<Option<PackManifest>, RemoteError> {
    match objects.get(&name.object(), MAX_MANIFEST_BYTES).await {
        Ok(bytes) => Ok(bytes.and_then(|bytes| PackManifest::decode(&bytes, name, &Trust::Anyone).ok())),
        Err(RemoteError::Size { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The object that holds the pack of a manifest.
fn pack_object(manifest: &PackManifest) -> String {
    match manifest.bundle {
        Some(bundle) => names::bundle(bundle.digest),
        None => names::pack(&manifest.crate_name, manifest.key, manifest.pack.digest),
    }
}

/// An object, ordered by age: the newest is the greatest.
#[derive(PartialEq, Eq)]
struct ByAge(ListedObject);

impl Ord for ByAge {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0.modified, &self.0.name).cmp(&(other.0.modified, &other.0.name))
    }
}

impl PartialOrd for ByAge {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
