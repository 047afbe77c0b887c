//! Build snapshots: the units that one command of cargo built in a workspace, with the fingerprints that cargo wrote.
//!
//! A snapshot says what to ask for, never what holds: whoever restores from it looks up every unit like a call from
//! cargo, and cargo compares the fingerprints. Version 1: one sealed JSON object, with tokens instead of local paths,
//! filed under the digest of the workspace's name and the command. Snapshots may be lost at any time.

use serde::{Deserialize, Serialize};

use super::{Store, files, sealed};
use crate::cargo::unit_dir::UnitName;
use crate::fsx::clock::Time;
use crate::fsx::{self, Publish};
use crate::model::{Digest, LookupKey, TokenString};

/// At most this many units are kept in a snapshot.
pub const MAX_UNITS: usize = 5000;

/// How long a snapshot is kept after it was written, in seconds.
const MAX_AGE_SECS: i64 = 30 * 24 * 3600;

/// The units that a command built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSnapshot {
    /// The name of the workspace.
    pub workspace: String,
    /// The name of the command ([`crate::cargo::command`]).
    pub command: String,
    /// The digest of cargo's configuration ([`crate::cargo::configuration`]).
    pub configuration: Digest,
    /// The build directory: the target directory, unless `build.build-dir` names another one.
    pub build_dir: TokenString,
    /// The units; each one comes after those that it depends on.
    pub units: Vec<BuiltUnit>,
    /// Whether it came from the remote.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pulled: bool,
}

/// A unit that cargo built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltUnit {
    /// Which unit it is.
    pub name: UnitName,
    /// The lookup key of the call in which cargo asked for it.
    pub lookup: LookupKey,
    /// The fields of its fingerprint, as JSON.
    pub fingerprint: TokenString,
    /// The hash of the fingerprint.
    pub hash: u64,
    /// For a run of a build script: the digest of what it printed, from which cargo makes the calls of other units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub printed: Option<Digest>,
}

/// The name of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotName(pub Digest);

impl BuildSnapshot {
    /// Returns the name under which the store files it, made of the workspace and the command.
    pub fn name(&self) -> SnapshotName {
        SnapshotName::of(&self.workspace, &self.command)
    }
}

impl SnapshotName {
    /// Returns the name for a command (normalised, [`crate::cargo::command`]) in a workspace.
    pub fn of(workspace: &str, command: &str) -> Self {
        Self(Digest::of(format!("{workspace}\0{command}").as_bytes()))
    }
}

impl Store {
    /// Returns the snapshot with this name.
    pub fn snapshot(&self, name: SnapshotName) -> Option<BuildSnapshot> {
        let sealed = fsx::read(&self.layout().snapshot(name.0)).ok()?;
        serde_json::from_slice(sealed::open(name.0, &sealed)?).ok()
    }

    /// Returns all snapshots, in no particular order.
    pub fn snapshots(&self) -> fsx::Result<Vec<BuildSnapshot>> {
        let mut names = Vec::new();
        files::each_file(&self.layout().shards("snapshots"), |path, _| names.extend(files::digest_in_name(path)))?;
        Ok(names.into_iter().filter_map(|name| self.snapshot(SnapshotName(name))).collect())
    }

    /// Returns the runs of cargo of which snapshots are being made: the process ID of each, and when it began, in ticks
    /// since boot.
    pub fn awaited_cargos(&self) -> Vec<(u32, u64)> {
        let names = fsx::list(&self.layout().claims()).unwrap_or_default();
        let cargo = |name: &str| {
            let (pid, began) = name.strip_prefix("cargo-")?.split_once('-')?;
            Some((pid.parse().ok()?, began.parse().ok()?))
        };
        names.iter().filter_map(|name| cargo(name.to_str()?)).collect()
    }

    /// Replaces the snapshot with the same name.
    pub fn put_snapshot(&self, snapshot: &BuildSnapshot) -> fsx::Result<()> {
        let name = snapshot.name();
        let sealed = sealed::seal(name.0, &serde_json::to_vec(snapshot).unwrap_or_default());
        Publish::default().bytes(&self.layout().snapshot(name.0), &sealed).map(|_| ())
    }
}

/// Removes snapshots that were written long ago.
pub(super) fn sweep(store: &Store, now: Time) -> fsx::Result<()> {
    let mut old = Vec::new();
    files::each_file(&store.layout().shards("snapshots"), |path, stamp| {
        if now.secs - stamp.mtime.secs > MAX_AGE_SECS {
            old.push(path.to_owned());
        }
    })?;
    old.iter().try_for_each(|path| fsx::remove_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::clock;

    fn snapshot(workspace: &str, command: &str) -> BuildSnapshot {
        let build_dir = TokenString::spelled("{workspace}/target").unwrap();
        BuildSnapshot {
            workspace: workspace.into(),
            command: command.into(),
            configuration: Digest::of(b""),
            build_dir,
            units: Vec::new(),
            pulled: false,
        }
    }

    #[test]
    fn i07_each_command_of_a_workspace_has_a_snapshot_and_damage_loses_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let all = [snapshot("a", "build"), snapshot("a", "test"), snapshot("b", "build")];
        for snapshot in &all {
            store.put_snapshot(snapshot).unwrap();
        }
        assert_eq!(store.snapshots().unwrap().len(), 3);
        assert_eq!(store.snapshot(all[1].name()).as_ref(), Some(&all[1]));
        let path = store.layout().snapshot(all[1].name().0);
        let bytes = fsx::read(&path).unwrap();
        Publish::default().bytes(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(store.snapshot(all[1].name()), None);
        assert_eq!(SnapshotName::of("ab", "c"), SnapshotName::of("ab", "c"));
        assert_ne!(SnapshotName::of("ab", "c"), SnapshotName::of("a", "bc"));
    }

    #[test]
    fn old_snapshots_go() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        store.put_snapshot(&snapshot("a", "build")).unwrap();
        let now = clock::now();
        sweep(&store, now).unwrap();
        assert_eq!(store.snapshots().unwrap().len(), 1);
        sweep(&store, Time { secs: now.secs + MAX_AGE_SECS + 60, nanos: 0 }).unwrap();
        assert!(store.snapshots().unwrap().is_empty());
    }
}
