//! The state of an upload in parts, on disk so that a killed upload can be resumed.
//!
//! The file is `<digest of endpoint, bucket and name>.json`. Version 1 of the format; a file of another version, or a
//! damaged one, counts as absent. There is one file for each target object, replaced as a whole after each part;
//! whoever writes it holds the lock beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::super::bucket::BucketInner;
use super::descriptions::Upload;
use crate::config::Checksums;
use crate::fsx;
use crate::model::Digest;

const VERSION: u32 = 1;

/// Uploads begun longer ago are not resumed: the server may have deleted their parts.
pub(super) const MAX_UPLOAD_AGE: Duration = Duration::from_hours(72);

/// A part that the server has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UploadedPart {
    pub(super) etag: String,
    /// CRC32 in base64, if checksums are on.
    pub(super) crc32: Option<String>,
}

/// The state of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UploadState {
    v: u32,
    pub(super) endpoint: Option<String>,
    pub(super) bucket: String,
    pub(super) name: String,
    /// The id that the server gave the upload.
    #[serde(rename = "upload")]
    pub(super) upload_id: String,
    pub(super) part_size: u64,
    size: u64,
    digest: Digest,
    checksums: bool,
    /// When the upload was begun, in seconds since 1970.
    begun: u64,
    pub(super) parts: BTreeMap<i32, UploadedPart>,
}

impl UploadState {
    /// Creates the state of a new upload.
    pub(super) fn new(
        bucket: &BucketInner,
        upload: &Upload,
        upload_id: String,
        part_size: u64,
        now: SystemTime,
    ) -> Self {
        Self {
            v: VERSION,
            endpoint: bucket.endpoint.clone(),
            bucket: bucket.name.clone(),
            name: upload.name.clone(),
            upload_id,
            part_size,
            size: upload.size,
            digest: upload.digest,
            checksums: bucket.checksums == Checksums::Crc32,
            begun: now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            parts: BTreeMap::new(),
        }
    }

    /// Whether this is an upload of the same bytes to the same object, and not too old.
    pub(super) fn may_resume(&self, bucket: &BucketInner, upload: &Upload, now: SystemTime) -> bool {
        let same = Self {
            parts: self.parts.clone(),
            begun: self.begun,
            ..Self::new(bucket, upload, self.upload_id.clone(), self.part_size, now)
        };
        same == *self && self.part_size > 0 && !self.is_stale(now)
    }

    /// Whether the upload was begun too long ago to be resumed.
    pub(super) fn is_stale(&self, now: SystemTime) -> bool {
        let begun = UNIX_EPOCH + Duration::from_secs(self.begun);
        // A time in the far future comes from a clock that was set back since; it cannot be used.
        now.duration_since(begun).is_ok_and(|age| age > MAX_UPLOAD_AGE) || begun > now + MAX_UPLOAD_AGE
    }

    /// Whether the upload is in this bucket.
    pub(super) fn belongs_to(&self, bucket: &BucketInner) -> bool {
        (&self.endpoint, &self.bucket) == (&bucket.endpoint, &bucket.name)
    }
}

/// Paths for the upload of one target object.
#[derive(Clone, Debug)]
pub(super) struct StateFiles {
    state: PathBuf,
    /// Lock file; whoever works on the upload holds the lock.
    pub(super) lock: PathBuf,
}

impl StateFiles {
    pub(super) fn of(states: &Path, bucket: &BucketInner, name: &str) -> Self {
        let target = [bucket.endpoint.as_deref().unwrap_or_default(), &bucket.name, name].join("\0");
        Self::named(states, &Digest::of(target.as_bytes()).hex())
    }

    /// Takes the name of the state file without its extension.
    pub(super) fn named(states: &Path, stem: &str) -> Self {
        Self { state: states.join(format!("{stem}.json")), lock: states.join(format!("{stem}.lock")) }
    }

    /// Reads the state. `None`: absent, damaged, or of another version.
    pub(super) fn load(&self) -> Option<UploadState> {
        let bytes = fsx::read_if_exists(&self.state).ok()??;
        serde_json::from_slice(&bytes).ok().filter(|state: &UploadState| state.v == VERSION)
    }

    /// Replaces the state and syncs it to disk: the server keeps the part, so the record of it is worth keeping.
    pub(super) fn save(&self, state: &UploadState) -> fsx::Result<()> {
        let bytes = serde_json::to_vec(state).unwrap_or_default();
        fsx::Publish { mode: Some(0o600), sync: true, ..Default::default() }.bytes(&self.state, &bytes).map(|_| ())
    }

    pub(super) fn remove(&self) {
        let _ = fsx::remove_file(&self.state);
    }

    /// When the state was last written.
    pub(super) fn written(&self) -> Option<SystemTime> {
        fsx::metadata(&self.state).ok()?.modified().ok()
    }
}
