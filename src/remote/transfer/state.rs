//! What is known on disk of an upload in parts, so that a killed one goes on: `<digest of endpoint, bucket and name>.json`.
//!
//! Version 1 of the format; a file of another version, or a damaged one, counts as none. One file per target object, replaced
//! whole after each part; whoever writes it holds the lock beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::super::bucket::Shared;
use super::Upload;
use crate::config::Checksums;
use crate::fsx;
use crate::model::Digest;

const VERSION: u32 = 1;

/// Uploads begun longer ago are not gone on with: the server may have thrown their parts away.
pub(super) const STALE: Duration = Duration::from_hours(72);

/// A part that the server has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) etag: String,
    /// CRC32 in base64, if checksums are on.
    pub(super) crc32: Option<String>,
}

/// An upload that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    v: u32,
    pub(super) endpoint: Option<String>,
    pub(super) bucket: String,
    pub(super) name: String,
    pub(super) upload: String,
    pub(super) part_size: u64,
    size: u64,
    digest: Digest,
    checksums: bool,
    /// Seconds since 1970.
    begun: u64,
    pub(super) parts: BTreeMap<i32, Done>,
}

impl State {
    /// A new upload.
    pub(super) fn new(bucket: &Shared, what: &Upload, upload: String, part_size: u64, now: SystemTime) -> Self {
        Self {
            v: VERSION,
            endpoint: bucket.endpoint.clone(),
            bucket: bucket.name.clone(),
            name: what.name.clone(),
            upload,
            part_size,
            size: what.size,
            digest: what.digest,
            checksums: bucket.checksums == Checksums::Crc32,
            begun: now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            parts: BTreeMap::new(),
        }
    }

    /// Whether it is an upload of just these bytes to just there, and not too old.
    pub(super) fn serves(&self, bucket: &Shared, what: &Upload, now: SystemTime) -> bool {
        let same = Self {
            parts: self.parts.clone(),
            begun: self.begun,
            ..Self::new(bucket, what, self.upload.clone(), self.part_size, now)
        };
        same == *self && self.part_size > 0 && !self.is_stale(now)
    }

    /// Whether it was begun too long ago.
    pub(super) fn is_stale(&self, now: SystemTime) -> bool {
        let begun = UNIX_EPOCH + Duration::from_secs(self.begun);
        // A time to come is of a clock that was set back: not to be relied on.
        now.duration_since(begun).is_ok_and(|age| age > STALE) || begun > now + STALE
    }

    /// Whether its upload is one of this bucket.
    pub(super) fn belongs_to(&self, bucket: &Shared) -> bool {
        (&self.endpoint, &self.bucket) == (&bucket.endpoint, &bucket.name)
    }
}

/// Where the state of one target object is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    state: PathBuf,
    /// The lock of whoever works on it.
    pub(super) lock: PathBuf,
}

impl Place {
    pub(super) fn of(states: &Path, bucket: &Shared, name: &str) -> Self {
        let target = [bucket.endpoint.as_deref().unwrap_or_default(), &bucket.name, name].join("\0");
        Self::named(states, &Digest::of(target.as_bytes()).hex())
    }

    /// By the state file's name without its ending.
    pub(super) fn named(states: &Path, stem: &str) -> Self {
        Self { state: states.join(format!("{stem}.json")), lock: states.join(format!("{stem}.lock")) }
    }

    /// The state, if there is one that can be read.
    pub(super) fn load(&self) -> Option<State> {
        let bytes = fsx::read_if_exists(&self.state).ok()??;
        serde_json::from_slice(&bytes).ok().filter(|state: &State| state.v == VERSION)
    }

    /// Replaces the state. It reaches the disk: the server keeps the part, so the record of it is worth keeping.
    pub(super) fn save(&self, state: &State) -> fsx::Result<()> {
        let bytes = serde_json::to_vec(state).unwrap_or_default();
        fsx::Publish { mode: Some(0o600), sync: true, ..Default::default() }.bytes(&self.state, &bytes).map(|_| ())
    }

    pub(super) fn remove(&self) {
        let _ = fsx::remove_file(&self.state);
    }

    /// When it was last written.
    pub(super) fn written(&self) -> Option<SystemTime> {
        fsx::metadata(&self.state).ok()?.modified().ok()
    }
}
