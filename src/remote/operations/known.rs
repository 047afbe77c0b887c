//! What this machine knows of the remote: the manifests of entries that it uploaded or fetched there, and entries that
//! were found damaged.
//!
//! So a push asks for nothing that it knows, and build records can contain the manifests of entries that were pulled.
//! Files below `remote/known/<remote>/`, one for each entry: the bytes of its manifest object. It only decides what is
//! uploaded: if the remote lost an entry that is known, kache skips an upload until the file is a week old, or until
//! the remote has no record any more of a workspace that was recorded there. Nobody restores anything wrong. A doubted
//! entry counts as lacking, so that the next push replaces it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::fsx::clock::{self, Time};
use crate::fsx::{self, Publish, Stamp, sweep};
use crate::model::{Digest, EntryKey};
use crate::remote::format::manifest;
use crate::remote::format::signature::Trust;
use crate::remote::format::signer_id::SignerId;
use crate::remote::operations::remote::Remote;
use crate::store::Layout;

/// How long an entry is believed to be on the remote without asking.
const MAX_TRUSTED_AGE: Duration = Duration::from_hours(7 * 24);
/// After this time, the file of an entry that is still there is written again.
const REFRESH_AGE: Duration = Duration::from_hours(24);
/// How long a manifest is kept.
const MAX_KEPT_AGE: Duration = Duration::from_hours(30 * 24);

/// What is known of one remote.
#[derive(Clone, Debug)]
pub struct KnownEntries {
    dir: PathBuf,
    doubts: PathBuf,
    /// Whose manifests count, besides those of this machine: who is trusted in the layers.
    trusts: Vec<Trust>,
    own: SignerId,
    /// Whether everything that is known counts as old.
    is_stale: bool,
}

/// What is known of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Knowledge {
    /// It is on the remote.
    Present,
    /// It was on the remote some time ago.
    Old,
    /// Nothing, or that its copy on the remote is damaged.
    Unknown,
}

impl KnownEntries {
    /// What the store with this layout knows of `remote`. An entry of signers that are not trusted is not a known one.
    pub fn of(layout: &Layout, remote: &Remote) -> Self {
        let name = Digest::of(remote.settings.destination().as_bytes()).short();
        Self {
            dir: layout.remote().join("known").join(name),
            doubts: layout.remote().join("doubts"),
            trusts: remote.layers.iter().map(|layer| layer.trust.clone()).collect(),
            own: remote.signer_id(),
            is_stale: false,
        }
    }

    /// The same, but everything counts as old: the remote seems to have been emptied.
    #[must_use]
    pub fn stale(self) -> Self {
        Self { is_stale: true, ..self }
    }

    fn path(&self, key: EntryKey) -> PathBuf {
        self.dir.join(key.0.hex())
    }

    fn doubt_path(&self, key: EntryKey) -> PathBuf {
        self.doubts.join(key.0.hex())
    }

    /// Returns the bytes of the manifest object of an entry, if this machine or a trusted signer signed it.
    pub fn manifest(&self, key: EntryKey) -> Option<Vec<u8>> {
        let object = fsx::read_if_exists(&self.path(key)).ok()??;
        let counts = |signer| signer == self.own || self.trusts.iter().any(|trust| trust.may_trust(signer));
        manifest::signers(&object).into_iter().any(counts).then_some(object)
    }

    /// What is known of an entry at the time `now`.
    pub fn knowledge(&self, key: EntryKey, now: Time) -> Knowledge {
        if self.is_doubted(key) {
            return Knowledge::Unknown;
        }
        if self.manifest(key).is_none() {
            return Knowledge::Unknown;
        }
        match Stamp::of(&self.path(key)) {
            Ok(stamp) if !self.is_stale && age(stamp, now) <= MAX_TRUSTED_AGE => Knowledge::Present,
            Ok(_) => Knowledge::Old,
            Err(_) => Knowledge::Unknown,
        }
    }

    /// Records that an entry is on the remote, with this manifest object. Best effort. An entry in doubt stays so,
    /// unless it was `uploaded` now.
    pub fn confirm(&self, key: EntryKey, manifest: &[u8], uploaded: bool) {
        if uploaded {
            let _ = fsx::remove_file(&self.doubt_path(key));
        }
        let is_same = |stamp: Stamp| stamp.size == manifest.len() as u64 && age(stamp, clock::now()) < REFRESH_AGE;
        // A new upload may have the same size.
        if !uploaded && !self.is_stale && Stamp::of(&self.path(key)).is_ok_and(is_same) {
            return;
        }
        let _ = Publish::default().bytes(&self.path(key), manifest);
    }

    /// Records that the copy of an entry on the remote was refused, or that its pack is missing there. Best effort.
    pub fn doubt(&self, key: EntryKey) {
        let _ = Publish::default().bytes(&self.doubt_path(key), b"");
        let _ = fsx::remove_file(&self.path(key));
    }

    /// Whether the copy of an entry on the remote was refused, or its pack was missing there.
    pub fn is_doubted(&self, key: EntryKey) -> bool {
        fsx::exists(&self.doubt_path(key))
    }

    /// Whether the text under `name` is the one that [`Self::remember`] wrote last. For objects that are replaced.
    pub fn is_remembered(&self, name: &str, text: &str) -> bool {
        let path = self.dir.join("texts").join(name);
        let is_recent = || Stamp::of(&path).is_ok_and(|stamp| age(stamp, clock::now()) <= MAX_TRUSTED_AGE);
        fsx::read(&path).is_ok_and(|bytes| bytes == text.as_bytes()) && is_recent()
    }

    /// Remembers a text under a name. Best effort.
    pub fn remember(&self, name: &str, text: &str) {
        let _ = Publish::default().bytes(&self.dir.join("texts").join(name), text.as_bytes());
    }
}

fn age(stamp: Stamp, now: Time) -> Duration {
    let ns = now.as_nanos().saturating_sub(stamp.mtime.as_nanos());
    Duration::from_nanos(u64::try_from(ns.max(0)).unwrap_or(u64::MAX))
}

/// Removes what was known long ago, of all remotes, and what killed processes left. Best effort.
pub(super) fn sweep(layout: &Layout, now: Time) {
    let all = layout.remote().join("known");
    sweep_dir(&layout.remote().join("doubts"), now);
    for remote in fsx::list(&all).unwrap_or_default() {
        sweep_dir(&all.join(&remote), now);
        sweep_dir(&all.join(&remote).join("texts"), now);
    }
}

fn sweep_dir(dir: &Path, now: Time) {
    let _ = sweep::sweep(dir, now);
    for name in fsx::list(dir).unwrap_or_default() {
        let path = dir.join(&name);
        if Stamp::of(&path).is_ok_and(|stamp| age(stamp, now) > MAX_KEPT_AGE) {
            // Does not remove the directory with the texts.
            let _ = fsx::remove_file(&path);
        }
    }
}
