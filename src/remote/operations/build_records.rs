//! Build records on the remote: finding those to use, and writing one.
//!
//! A record is only a list of requests: every entry that it names is checked on its own, so a wrong record costs
//! requests and nothing else. A record that is refused counts as absent, and the next best one is used. Records of
//! signers that are not trusted are not even read.

use std::collections::HashSet;

use super::checkout::Checkout;
use super::known::KnownEntries;
use super::record_choice::{self, ListedRecord, Purpose};
use super::remote::Remote;
use super::remote_entry::RemoteEntry;
use super::upload::UploadSource;
use super::workspace::UsedEntries;
use crate::fsx::clock;
use crate::model::{Digest, EntryId, EntryKey, secret};
use crate::remote::format::build_record::{self, BuildRecord, BuildUnit, EmbeddedManifest, MAX_UNITS};
use crate::remote::format::names::{self, RecordName, WorkspaceObject};
use crate::remote::format::signature::Trust;
use crate::remote::format::signer_id::SignerId;
use crate::remote::s3::error::{RemoteError, Result};
use crate::store::build_snapshots::SnapshotName;

/// Most records that are read for one pull: one for each command, target and profile.
pub const MAX_RECORDS: usize = 8;
/// Most records to read in vain: anybody who can write to the remote can put any number of them there, with a trusted
/// signer in their names.
const MAX_REFUSED: usize = 64;

/// A record, and where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundRecord {
    /// The layer that has it.
    pub layer: usize,
    /// Its name.
    pub name: RecordName,
    /// The content of the object, decoded.
    pub record: BuildRecord,
}

impl FoundRecord {
    /// Object name, as `kache pull --build` accepts it.
    pub fn object(&self) -> String {
        self.name.object(&self.record.workspace)
    }

    /// The entries that the record names, in its order.
    pub fn entries<'a>(&'a self, remote: &'a Remote) -> impl Iterator<Item = RemoteEntry> + 'a {
        let units = self.record.units.iter();
        units.map(|unit| RemoteEntry::of_unit(remote, self.layer, unit, self.name.signer))
    }
}

/// The records and snapshots of a workspace on the remote, of trusted signers.
#[derive(Clone, Debug, Default)]
pub struct WorkspaceListing {
    /// The records.
    pub records: Vec<ListedRecord>,
    /// The snapshots.
    pub snapshots: Vec<ListedSnapshot>,
    /// Number of records of other signers.
    pub untrusted: usize,
}

/// A snapshot in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSnapshot {
    /// The layer that has it.
    pub layer: usize,
    /// Its name.
    pub name: SnapshotName,
    /// Who signed it.
    pub signer: SignerId,
    /// When it was written, by the server's clock.
    pub modified: Option<std::time::SystemTime>,
}

/// Lists the records and snapshots of `workspace` in all layers. A layer that fails is left out, unless all fail.
pub async fn list(remote: &Remote, workspace: &str) -> Result<WorkspaceListing> {
    let (mut listing, mut failure, mut answered) = (WorkspaceListing::default(), None, false);
    for (at, layer) in remote.layers.iter().enumerate() {
        let objects = match layer.objects.list(&names::workspace_prefix(workspace)).all().await {
            Ok(objects) => objects,
            Err(error) => {
                tracing::warn!(%error, "cannot list the build records");
                failure = failure.or(Some(error));
                continue;
            }
        };
        answered = true;
        for object in objects {
            match WorkspaceObject::parse(workspace, &object.name) {
                Some(WorkspaceObject::Record(name)) if layer.trust.may_trust(name.signer) => {
                    listing.records.push(ListedRecord { layer: at, name, modified: object.modified });
                }
                Some(WorkspaceObject::Snapshot(name, signer)) if layer.trust.may_trust(signer) => {
                    let modified = object.modified;
                    listing.snapshots.push(ListedSnapshot { layer: at, name, signer, modified });
                }
                Some(WorkspaceObject::Record(_)) => listing.untrusted += 1,
                _ => {}
            }
        }
    }
    match failure {
        Some(error) if !answered => Err(error),
        _ => Ok(listing),
    }
}

/// Finds the record to use for a checkout. `None`: there is no suitable record that can be read.
pub async fn find(
    remote: &Remote,
    listing: &WorkspaceListing,
    checkout: &Checkout,
    purpose: &Purpose,
) -> Result<Option<FoundRecord>> {
    Ok(find_all(remote, listing, checkout, purpose, 1).await?.pop())
}

/// Finds the records to use for a checkout, at most `limit`: the best one, and those of other commands, targets and
/// profiles for the same lock file or commit. One that is refused makes room for the next best one.
pub async fn find_all(
    remote: &Remote,
    listing: &WorkspaceListing,
    checkout: &Checkout,
    purpose: &Purpose,
    limit: usize,
) -> Result<Vec<FoundRecord>> {
    let (mut records, mut refused) = (listing.records.clone(), 0);
    let mut found: Vec<FoundRecord> = Vec::new();
    while found.len() < limit && refused <= MAX_REFUSED {
        let is_new = |at: &usize| found.iter().all(|found| found.name != records[*at].name);
        let chosen = record_choice::choose_all(&records, checkout, purpose);
        let Some(next) = chosen.into_iter().find(is_new) else { break };
        if let Some(record) = read(remote, &checkout.workspace, &records[next]).await? {
            found.push(record);
        } else {
            refused += 1;
            records.swap_remove(next);
        }
    }
    Ok(found)
}

/// Reads the record called `name`: a full object name, or the last part of one among the records of `workspace`.
pub async fn find_by_name(remote: &Remote, workspace: Option<&str>, name: &str) -> Result<Option<FoundRecord>> {
    let spellings = match workspace {
        _ if name.contains('/') => vec![name.to_owned()],
        Some(workspace) => {
            let below = names::workspace_prefix(workspace) + name;
            vec![below.clone(), below + ".record.zst"]
        }
        None => Vec::new(),
    };
    for spelling in spellings {
        // Only names that are spelled as records are requested.
        let Some((_, WorkspaceObject::Record(record))) = WorkspaceObject::parse_any(&spelling) else { continue };
        for (layer, place) in remote.layers.iter().enumerate() {
            let Some(bytes) = place.objects.get(&spelling, build_record::MAX_RECORD_BYTES).await? else { continue };
            if let Ok(decoded) = BuildRecord::decode(&bytes, &record, &place.trust) {
                return Ok(Some(FoundRecord { layer, name: record, record: decoded }));
            }
        }
    }
    Ok(None)
}

/// Reads a record. `None`: the object does not exist, or is refused.
pub async fn read(remote: &Remote, workspace: &str, listed: &ListedRecord) -> Result<Option<FoundRecord>> {
    let ListedRecord { layer, name, .. } = listed;
    let place = &remote.layers[*layer];
    let object = name.object(workspace);
    let bytes = match place.objects.get(&object, build_record::MAX_RECORD_BYTES).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) | Err(RemoteError::Size { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    match BuildRecord::decode(&bytes, name, &place.trust) {
        Ok(record) => Ok(Some(FoundRecord { layer: *layer, name: name.clone(), record })),
        Err(refused) => {
            tracing::warn!(object, %refused, "a build record is refused");
            Ok(None)
        }
    }
}

/// Reads the newest of these records that can be read.
pub async fn read_first(
    remote: &Remote,
    workspace: &str,
    listed: impl IntoIterator<Item = &ListedRecord>,
) -> Result<Option<FoundRecord>> {
    for listed in listed.into_iter().take(MAX_REFUSED) {
        if let Some(found) = read(remote, workspace, listed).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Records which wanted entries of a record are on the remote, so that a push does not upload them and the next record
/// can contain their manifests. Entries whose manifests are refused are not.
pub fn confirm_units(remote: &Remote, known: &KnownEntries, found: &FoundRecord, is_wanted: impl Fn(EntryKey) -> bool) {
    let trust = &remote.layers[found.layer].trust;
    for unit in found.record.units.iter().filter(|unit| is_wanted(unit.key)) {
        if let (Some(embedded), Some(Ok(_))) = (&unit.manifest, unit.decode_manifest(trust)) {
            known.confirm(unit.key, embedded.as_bytes(), false);
        }
    }
}

/// Creates the record of builds that used these entries, without those that `lacks` names. A command or branch in which
/// something looks secret counts as unknown.
pub fn create(
    UploadSource { store, withheld }: &UploadSource,
    known: &KnownEntries,
    checkout: &Checkout,
    used: &UsedEntries,
    lacks: impl Fn(EntryKey) -> bool,
) -> Option<BuildRecord> {
    let (triple, profile) = record_choice::record_shape(&used.shape)?;
    let unit = |id: &EntryId| {
        let entry = store.entry(id.key);
        let bytes = |entry: &crate::store::Entry| entry.outputs.iter().map(|output| output.size).sum();
        BuildUnit {
            crate_name: id.crate_name.clone(),
            lookup: id.lookup,
            key: id.key,
            bytes: entry.as_ref().map_or(0, bytes),
            cost_ms: entry.as_ref().map_or(0.0, |entry| entry.cost_ms),
            manifest: known.manifest(id.key).and_then(|object| EmbeddedManifest::new(&object)),
        }
    };
    let kept = used.entries.iter().filter(|id| !lacks(id.key));
    let unless_secret = |text: &str| {
        let is_secret = text.lines().any(secret::is_secret_word) || withheld.value_in(text.as_bytes()).is_some();
        if is_secret { String::new() } else { text.to_owned() }
    };
    Some(BuildRecord {
        workspace: checkout.workspace.clone(),
        branch: unless_secret(&checkout.branch),
        command: unless_secret(&used.command),
        triple,
        profile: profile.to_owned(),
        lock: checkout.lock.unwrap_or_else(|| Digest::of(b"")),
        commit: checkout.commit().map(str::to_owned),
        created: clock::now().as_millis(),
        units: kept.map(unit).take(MAX_UNITS).collect(),
    })
}

/// Adds the units of an earlier record of the same command, of targets of which this build compiled nothing: a build of
/// one package does not make the others unknown. Pure.
pub fn merge(record: &mut BuildRecord, previous: &BuildRecord) {
    let built: HashSet<[String; 4]> = record.units.iter().map(target).collect();
    let kept: Vec<BuildUnit> = previous.units.iter().filter(|unit| !built.contains(&target(unit))).cloned().collect();
    record.units.extend(kept);
    record.units.truncate(MAX_UNITS);
}

/// What a unit compiles: its crate, package, kind and what it emits. All build scripts have one crate name, and a check
/// does not replace a build. Without a manifest, only the crate is known.
fn target(unit: &BuildUnit) -> [String; 4] {
    let (package, kind, emit) = match unit.decode_manifest(&Trust::Anyone) {
        Some(Ok(manifest)) => (manifest.package, manifest.kind, manifest.emit),
        _ => Default::default(),
    };
    [unit.crate_name.clone(), package, kind, emit]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LookupKey;

    #[test]
    fn another_build_script_is_another_target() {
        let unit = |package: &str, key: &[u8]| {
            let mut manifest = crate::remote::format::manifest::tests::manifest();
            let crate_name = manifest.crate_name.clone();
            package.clone_into(&mut manifest.package);
            let (lookup, key_of) = (manifest.lookup, EntryKey(Digest::of(key)));
            let embedded = EmbeddedManifest::new(&manifest.encode(None));
            let unit = BuildUnit { crate_name, lookup, key: manifest.key, bytes: 1, cost_ms: 1.0, manifest: embedded };
            assert_eq!(target(&unit)[1], package);
            (target(&unit), key_of)
        };
        assert_ne!(unit("a 1.0.0", b"a").0, unit("b 1.0.0", b"b").0);
        assert_eq!(unit("a 1.0.0", b"a").0, unit("a 1.0.0", b"other").0);
    }

    #[test]
    fn a_build_of_one_package_keeps_the_units_of_the_others() {
        let unit = |name: &str, key: &[u8]| BuildUnit {
            crate_name: name.into(),
            lookup: LookupKey(Digest::of(key)),
            key: EntryKey(Digest::of(key)),
            bytes: 1,
            cost_ms: 1.0,
            manifest: None,
        };
        let of = |units: Vec<BuildUnit>| BuildRecord {
            workspace: "w".into(),
            branch: String::new(),
            command: String::new(),
            triple: "host".into(),
            profile: "debug".into(),
            lock: Digest::of(b"l"),
            commit: None,
            created: 1,
            units,
        };
        let mut record = of(vec![unit("one", b"new")]);
        let previous =
            of(vec![unit("dep", b"dep"), unit("one", b"old"), unit("one", b"old test"), unit("two", b"two")]);
        merge(&mut record, &previous);
        let keys: Vec<_> = record.units.iter().map(|unit| unit.key).collect();
        assert_eq!(keys, [b"new".as_slice(), b"dep", b"two"].map(|key| EntryKey(Digest::of(key))));
    }
}
