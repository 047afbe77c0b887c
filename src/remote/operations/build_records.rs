//! Build records on the remote: choosing one, and writing one.
//!
//! A record is only a list of requests: every entry that it names is fetched and checked on its own, so a wrong record
//! costs requests and nothing else. A record that cannot be decoded counts as absent, and the next best one is used.

use std::cmp::Reverse;
use std::time::SystemTime;

use super::remote::Remote;
use super::workspace::Workspace;
use crate::fsx::clock;
use crate::model::{Digest, EntryId};
use crate::remote::format::build_record::{self, BuildRecord, BuildUnit, Checkout};
use crate::remote::format::names::BuildName;
use crate::remote::s3::error::Result;
use crate::remote::tasks::run_blocking;
use crate::store::Store;

/// Most records of a workspace that are kept for one triple and profile.
const MAX_RECORDS: usize = 32;
/// Most records to read until one can be decoded.
const MAX_READS: usize = 3;

/// A record and its object name.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedRecord {
    /// Object name, as `kache pull --build` accepts it.
    pub name: String,
    /// The content of the object, decoded.
    pub record: BuildRecord,
}

impl NamedRecord {
    /// The entries that the record names, in its order.
    pub fn entries(&self) -> impl Iterator<Item = EntryId> {
        let id = |unit: &BuildUnit| EntryId { crate_name: unit.crate_name.clone(), lookup: unit.lookup, key: unit.key };
        self.record.units.iter().map(id)
    }
}

/// The names of the records of a workspace, and when each was written.
type RecordNames = Vec<(BuildName, Option<SystemTime>)>;

/// Finds the record to use for `workspace`. `None`: there is no suitable record that can be read.
///
/// `shape` is `<triple or host>/<directory of the profile>`, if the caller knows what will be built.
pub async fn find(remote: &Remote, workspace: &Workspace, shape: Option<&str>) -> Result<Option<NamedRecord>> {
    Ok(find_best(remote, workspace, shape).await?.map(|(found, ..)| found))
}

/// Like [`find`], followed by the records of other shapes for the same lock file and commit.
pub async fn find_all(remote: &Remote, workspace: &Workspace, shape: Option<&str>) -> Result<Vec<NamedRecord>> {
    let Some((found, chosen, names)) = find_best(remote, workspace, shape).await? else { return Ok(Vec::new()) };
    let mut all = vec![found];
    for other in companions(&names, &chosen) {
        all.extend(read(remote, &remote.names.build(&workspace.name, &other)).await?);
    }
    Ok(all)
}

/// Finds the best record that can be read. Returns it with its name and the names of the others.
async fn find_best(
    remote: &Remote,
    workspace: &Workspace,
    shape: Option<&str>,
) -> Result<Option<(NamedRecord, BuildName, RecordNames)>> {
    let mut names = names(remote, workspace).await?;
    if names.is_empty() {
        return Ok(None);
    }
    let (triple, profile) = shape.and_then(|shape| shape.split_once('/')).unzip();
    let local = workspace.clone();
    let ancestors = run_blocking(move || local.ancestors()).await;
    let owned = |part: Option<&str>| part.map(str::to_owned);
    let checkout = Checkout { lock: workspace.lock, ancestors, triple: owned(triple), profile: owned(profile) };
    for _ in 0..MAX_READS {
        let Some(best) = build_record::choose(&names, &checkout) else { break };
        let chosen = names.swap_remove(best).0;
        if let Some(found) = read(remote, &remote.names.build(&workspace.name, &chosen)).await? {
            return Ok(Some((found, chosen, names)));
        }
    }
    Ok(None)
}

/// The records of other shapes for the same lock file and commit, newest first: one run of CI builds several shapes and
/// pushes once. Pure.
fn companions(names: &RecordNames, chosen: &BuildName) -> Vec<BuildName> {
    let is_companion = |name: &BuildName| {
        let is_same = (&name.lock, &name.commit) == (&chosen.lock, &chosen.commit);
        is_same && (&name.triple, &name.profile) != (&chosen.triple, &chosen.profile)
    };
    let mut found: Vec<_> = names.iter().filter(|(name, _)| is_companion(name)).collect();
    found.sort_by_key(|(name, written)| (Reverse(*written), name));
    found.into_iter().map(|(name, _)| name.clone()).collect()
}

/// Reads the record called `name`: a full object name, or the last part of one among the records of `workspace`.
pub async fn find_by_name(remote: &Remote, workspace: Option<&Workspace>, name: &str) -> Result<Option<NamedRecord>> {
    let below = |workspace: &Workspace| remote.names.builds_of(&workspace.name) + name;
    let spellings = match workspace {
        _ if name.contains('/') => vec![name.to_owned()],
        Some(workspace) => vec![below(workspace), below(workspace) + ".json"],
        None => Vec::new(),
    };
    for spelling in spellings {
        // Only names that are spelled as records are requested.
        let of = spelling.rsplit('/').nth(1).unwrap_or_default();
        if remote.names.parse_build(of, &spelling).is_some()
            && let Some(found) = read(remote, &spelling).await?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Creates the record of a build that used `ids`. `commit`: hexadecimal digits. `None`: `shape` has no `/`.
pub fn create(
    store: &Store,
    workspace: &Workspace,
    commit: Option<&str>,
    shape: &str,
    ids: &[EntryId],
) -> Option<BuildRecord> {
    let (triple, profile) = shape.split_once('/')?;
    let unit = |id: &EntryId| {
        let entry = store.entry(id.key);
        let bytes = |entry: &crate::store::Entry| entry.outputs.iter().map(|output| output.size).sum();
        BuildUnit {
            crate_name: id.crate_name.clone(),
            lookup: id.lookup,
            key: id.key,
            bytes: entry.as_ref().map_or(0, bytes),
            cost_ms: entry.as_ref().map_or(0.0, |entry| entry.cost_ms),
        }
    };
    Some(BuildRecord {
        workspace: workspace.name.clone(),
        triple: triple.to_owned(),
        profile: profile.to_owned(),
        lock: workspace.lock.unwrap_or_else(|| Digest::of(b"")),
        commit: commit.map(str::to_owned),
        created: clock::now().as_millis(),
        units: ids.iter().map(unit).collect(),
    })
}

/// The object name of a record.
pub fn object_name(remote: &Remote, record: &BuildRecord) -> String {
    remote.names.build(&record.workspace, &record.name())
}

/// Writes a record and deletes old ones of its triple and profile (best effort). Returns its object name.
pub async fn publish(remote: &Remote, workspace: &Workspace, record: &BuildRecord) -> Result<String> {
    let name = object_name(remote, record);
    remote.objects.put(&name, record.encode()).await?;
    if let Ok(names) = names(remote, workspace).await {
        for old in surplus(names, &record.name()) {
            let _ = remote.objects.delete(&remote.names.build(&workspace.name, &old)).await;
        }
    }
    Ok(name)
}

/// The records with the triple and profile of `written` beyond the newest [`MAX_RECORDS`]. Pure.
fn surplus(mut names: RecordNames, written: &BuildName) -> Vec<BuildName> {
    names.retain(|(name, _)| (&name.triple, &name.profile) == (&written.triple, &written.profile) && name != written);
    names.sort_by_key(|(name, written)| (Reverse(*written), name.clone()));
    names.into_iter().skip(MAX_RECORDS - 1).map(|(name, _)| name).collect()
}

async fn names(remote: &Remote, workspace: &Workspace) -> Result<RecordNames> {
    let mut listing = remote.objects.list(&remote.names.builds_of(&workspace.name));
    let mut names = Vec::new();
    while let Some(page) = listing.next_page().await? {
        let parse = |name: &str| remote.names.parse_build(&workspace.name, name);
        names.extend(page.into_iter().filter_map(|listed| Some((parse(&listed.name)?, listed.modified))));
    }
    Ok(names)
}

/// Reads a record. `None`: the object does not exist, or cannot be decoded.
async fn read(remote: &Remote, name: &str) -> Result<Option<NamedRecord>> {
    let bytes = remote.objects.get(name, build_record::MAX_RECORD_BYTES).await?;
    let record = bytes.and_then(|bytes| BuildRecord::decode(&bytes).ok());
    Ok(record.map(|record| NamedRecord { name: name.to_owned(), record }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn name(profile: &str, commit: &str, at: u64) -> (BuildName, Option<SystemTime>) {
        let (lock, commit) = ("0123456789abcdef".to_owned(), commit.to_owned());
        let name = BuildName { triple: "host".into(), profile: profile.into(), lock, commit };
        (name, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(at)))
    }

    #[test]
    fn one_push_of_several_shapes_is_pulled_together() {
        let names = vec![
            name("debug", "000000000000", 9),
            name("release", "000000000000", 7),
            name("bench", "000000000000", 8),
            name("release", "111111111111", 10),
        ];
        let profiles: Vec<String> = companions(&names, &names[0].0).into_iter().map(|name| name.profile).collect();
        assert_eq!(profiles, ["bench", "release"]);
    }

    #[test]
    fn only_the_oldest_of_one_shape_are_removed() {
        let commit = |n: u64| format!("{n:012x}");
        let mut names: RecordNames = (0..40).map(|n| name("debug", &commit(n), n)).collect();
        names.push(name("release", &commit(0), 0));
        let written = name("debug", &commit(39), 39).0;
        let gone: Vec<String> = surplus(names.clone(), &written).into_iter().map(|name| name.commit).collect();
        let expected: Vec<String> = (0..8).rev().map(commit).collect();
        assert_eq!(gone, expected);
        assert!(surplus(names[..31].to_vec(), &name("debug", "aaaaaaaaaaaa", 50).0).is_empty());
    }
}
