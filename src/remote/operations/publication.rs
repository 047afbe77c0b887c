//! Publishing what builds used: their records, their snapshots, the list of both for stores that cannot list, and the
//! removal of old records. `push` and the agent do it after their uploads.
//!
//! Objects are written only if they say something new, so a push with nothing new costs one listing. Writers at the
//! same time write records under different names, so none is lost; readers use all of them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::build_records::{self, ListedSnapshot, WorkspaceListing};
use super::checkout::Checkout;
use super::known::KnownEntries;
use super::record_choice::{self, ListedRecord};
use super::remote::{Layer, Remote};
use super::snapshots;
use super::upload::{UploadError, UploadSource};
use super::workspace::{UsedEntries, Workspace};
use crate::model::{Digest, EntryKey};
use crate::remote::format::build_record::{BuildRecord, MAX_RECORD_BYTES};
use crate::remote::format::names::{self, WorkspaceObject};
use crate::remote::format::signer_id::SignerId;
use crate::remote::format::snapshot::SnapshotWithCalls;
use crate::remote::objects::index;
use crate::remote::s3::listing::ListedObject;

/// After this time an unchanged record is written again, because `kache remote gc` deletes by age.
const REFRESH_AFTER: Duration = Duration::from_hours(24);
/// More than a signature takes.
const SIGNATURE_BYTES: u64 = 4 << 10;

/// What was published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Records that were written or were there already: object name, and number of units.
    pub records: Vec<(String, usize)>,
    /// Number of snapshots, written or there already.
    pub snapshots: usize,
}

/// What is needed to publish the builds of a workspace.
#[derive(Debug)]
pub struct Publication<'a> {
    /// Remote to publish on.
    pub remote: &'a Arc<Remote>,
    /// Where the entries are, and what must not leave.
    pub source: &'a UploadSource,
    /// What is known of the remote.
    pub known: &'a KnownEntries,
    /// The workspace.
    pub workspace: &'a Workspace,
    /// Its checkout.
    pub checkout: &'a Checkout,
    /// Its records and snapshots on the remote.
    pub listing: WorkspaceListing,
    /// The entries that its builds used.
    pub used: &'a [UsedEntries],
}

impl Publication<'_> {
    /// Writes the records and snapshots, without the entries that `lacks` names.
    pub async fn run(mut self, lacks: impl Fn(EntryKey) -> bool) -> Result<Published, UploadError> {
        let remote = self.remote;
        let Some(at) = remote.layers.iter().position(|layer| !layer.read_only) else {
            return Err(UploadError::ReadOnly);
        };
        let layer = &remote.layers[at];
        let (mut published, mut changed) = (Published::default(), false);
        // An entry without a known manifest was never uploaded from here: it was not selected, or must not leave.
        let known = self.known;
        let lacks = |key| lacks(key) || known.manifest(key).is_none();
        for used in self.used {
            let Some(record) = build_records::create(self.source, self.known, self.checkout, used, lacks) else {
                continue;
            };
            // An empty record would be the best match for other machines, and useless to them.
            if record.units.is_empty() {
                continue;
            }
            let units = record.units.len();
            let object = match self.write_record(record, layer, at).await? {
                Written::Now(object) => {
                    changed = true;
                    object
                }
                Written::Before(object) => object,
            };
            published.records.push((object, units));
        }
        if !published.records.is_empty() {
            self.known.remember(&recorded(&self.checkout.workspace, remote.signer_id()), "");
        }
        changed |= self.write_snapshots(at, &mut published).await?;
        if changed {
            let removed = self.remove_surplus(layer, at).await;
            self.write_index(layer, at, &removed).await?;
        }
        Ok(published)
    }

    /// Writes a record, with the units of the previous one of the same command, unless the remote has it already.
    async fn write_record(
        &mut self,
        mut record: BuildRecord,
        layer: &Layer,
        at: usize,
    ) -> Result<Written, UploadError> {
        let (workspace, signer) = (&self.checkout.workspace, self.remote.signer_id());
        let name = record.name(signer);
        // The record of this build alone, and the merged one that was written instead.
        let memory = format!("record-{}", name.digest);
        let previous = record_choice::previous(&self.listing.records, &name, at);
        if let Some(newest) = previous.first() {
            let object = newest.name.object(workspace);
            if is_recent(newest) && self.known.is_remembered(&memory, &object) {
                return Ok(Written::Before(object));
            }
            if let Some(found) = build_records::read_first(self.remote, workspace, previous).await? {
                build_records::merge(&mut record, &found.record);
            }
        }
        record.fit(MAX_RECORD_BYTES - SIGNATURE_BYTES);
        let name = record.name(signer);
        let object = name.object(workspace);
        let is_it = |listed: &ListedRecord| (listed.layer, &listed.name) == (at, &name);
        let is_there = self.listing.records.iter().any(|listed| is_it(listed) && is_recent(listed));
        if !is_there {
            layer.objects.put(&object, record.encode(self.remote.signer.as_ref())).await?;
        }
        self.known.remember(&memory, &object);
        if is_there {
            return Ok(Written::Before(object));
        }
        self.listing.records.retain(|listed| !is_it(listed));
        self.listing.records.push(ListedRecord { layer: at, name, modified: Some(SystemTime::now()) });
        Ok(Written::Now(object))
    }

    /// Writes the snapshots that are new. Returns whether there was one.
    async fn write_snapshots(&mut self, at: usize, published: &mut Published) -> Result<bool, UploadError> {
        let (store, withheld) = (&self.source.store, &self.source.withheld);
        let all: Vec<SnapshotWithCalls> = snapshots::of_workspace(store, self.workspace, withheld)?;
        published.snapshots = all.len();
        let (layer, signer, mut changed) = (&self.remote.layers[at], self.remote.signer_id(), false);
        for snapshot in &all {
            let name = snapshot.snapshot.name();
            let object = names::snapshot(&self.checkout.workspace, name, signer);
            let digest = Digest::of(&serde_json::to_vec(snapshot).unwrap_or_default()).hex();
            let is_it = |listed: &ListedSnapshot| (listed.layer, listed.name, listed.signer) == (at, name, signer);
            let memory = format!("snapshot-{}-{signer}", name.0.hex());
            if self.listing.snapshots.iter().any(is_it) && self.known.is_remembered(&memory, &digest) {
                continue;
            }
            layer.objects.put(&object, snapshot.encode(self.remote.signer.as_ref())).await?;
            self.known.remember(&memory, &digest);
            self.listing.snapshots.retain(|listed| !is_it(listed));
            self.listing.snapshots.push(ListedSnapshot { layer: at, name, signer, modified: Some(SystemTime::now()) });
            changed = true;
        }
        Ok(changed)
    }

    /// Deletes old records of this signer. Best effort. Returns their names.
    async fn remove_surplus(&mut self, layer: &Layer, at: usize) -> Vec<String> {
        let here: Vec<ListedRecord> =
            self.listing.records.iter().filter(|listed| listed.layer == at).cloned().collect();
        let mut removed = Vec::new();
        for old in record_choice::surplus(&here, self.remote.signer_id(), self.checkout) {
            let object = old.name.object(&self.checkout.workspace);
            if layer.objects.delete(&object).await.is_ok() {
                self.listing.records.retain(|listed| listed != old);
                removed.push(object);
            }
        }
        removed
    }

    /// Writes the list of the records and snapshots of all writers: what is there now, and what this push wrote,
    /// without what it `removed`. Of two writers in the same moment, the later one may leave out what the other wrote.
    /// In a place that lists objects itself, the next push with something new adds it again; in one that does not, only
    /// a further push of that writer, a day later.
    async fn write_index(&self, layer: &Layer, at: usize, removed: &[String]) -> Result<(), UploadError> {
        let prefix = names::workspace_prefix(&self.checkout.workspace);
        let mut there = layer.objects.list(&prefix).all().await?;
        let workspace = &self.checkout.workspace;
        let records = self.listing.records.iter().filter(|listed| listed.layer == at);
        let records = records.map(|listed| (listed.name.object(workspace), listed.modified));
        let snapshots = self.listing.snapshots.iter().filter(|listed| listed.layer == at);
        let snapshots =
            snapshots.map(|listed| (names::snapshot(workspace, listed.name, listed.signer), listed.modified));
        let objects = records.chain(snapshots).map(|(name, modified)| ListedObject { name, size: 0, modified });
        there.extend(objects);
        let is_kept = |object: &ListedObject| {
            WorkspaceObject::parse(workspace, &object.name).is_some() && !removed.contains(&object.name)
        };
        there.retain(is_kept);
        let index = index::encode(&prefix, &there);
        Ok(layer.objects.put(&index::name(&prefix), index).await?)
    }
}

/// Whether the remote has lost the records of this workspace that this machine wrote: it was probably emptied.
pub fn is_lost(remote: &Remote, known: &KnownEntries, workspace: &str, listing: &WorkspaceListing) -> bool {
    let is_own = |listed: &ListedRecord| listed.name.signer == remote.signer_id();
    known.is_remembered(&recorded(workspace, remote.signer_id()), "") && !listing.records.iter().any(is_own)
}

/// Under which name to remember that this signer recorded a workspace.
fn recorded(workspace: &str, signer: SignerId) -> String {
    format!("workspace-{}-{signer}", Digest::of(workspace.as_bytes()).hex())
}

/// A record, by its object name.
enum Written {
    /// It was written.
    Now(String),
    /// It was there.
    Before(String),
}

/// Whether the record was written lately. If the server does not say when, it was.
fn is_recent(listed: &ListedRecord) -> bool {
    let age = |modified: SystemTime| SystemTime::now().duration_since(modified).unwrap_or_default();
    listed.modified.is_none_or(|modified| age(modified) < REFRESH_AFTER)
}
