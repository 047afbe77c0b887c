//! Uploads many entries: selecting them, and pushing them.
//!
//! Packs are written on all cores while others are being uploaded. An entry that fails does not stop the others, unless
//! the remote denies everything ([`super::denials`]). An entry that came from the remote is an entry like any other (it
//! is not uploaded again because the remote does not lack it), but it is never signed here.

use std::sync::Arc;

use super::denials::DenialCounter;
use super::remote::Remote;
use super::upload::{UploadError, UploadSource, Uploaded, upload_entry};
use crate::fsx;
use crate::model::{EntryId, EntryKey};
use crate::remote::s3::error::RemoteError;
use crate::remote::s3::progress::Control;
use crate::remote::tasks::concurrently;
use crate::store::withheld::Reason;
use crate::store::{Entry, Store, survey};

/// Entries that are packed or uploaded at once; the outbox holds at most this many packs.
const CONCURRENT_UPLOADS: usize = 32;

/// Selects the entries to push.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only entries made at this time or later, in milliseconds since 1970.
    pub since: Option<i64>,
    /// Only entries of these crates or packages; empty: of any.
    pub crates: Vec<String>,
    /// Only entries that this machine compiled: a signer vouches for its own compiles, not for those of others.
    pub own: bool,
}

/// An entry of the store that can be pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Names of the objects to upload: crate name, lookup key and entry key.
    pub id: EntryId,
    /// Package name and version.
    pub package: String,
    /// When the entry was made, in milliseconds since 1970.
    pub created: i64,
    /// Size of the outputs in bytes.
    pub bytes: u64,
}

impl Filter {
    /// Whether the filter selects an entry.
    pub fn selects(&self, entry: &Entry) -> bool {
        let package = entry.package.split(' ').next().unwrap_or_default();
        let is_called = |name: &String| entry.crate_name == name.replace('-', "_") || package == name;
        (!self.own || !entry.pulled)
            && self.since.is_none_or(|since| entry.created >= since)
            && (self.crates.is_empty() || self.crates.iter().any(is_called))
    }
}

/// Lists the entries of the store that `filter` selects, oldest first, so that dependencies come before their
/// dependents.
pub fn candidates(store: &Store, filter: &Filter) -> fsx::Result<Vec<Candidate>> {
    let entries = survey::survey(store)?.entries;
    let mut lookups = survey::lookup_keys_by_entry(store)?;
    let mut found: Vec<Candidate> = entries
        .into_iter()
        .filter(|info| filter.selects(&info.entry))
        .filter_map(|info| {
            let entry = info.entry;
            Some(Candidate {
                id: EntryId { crate_name: entry.crate_name, lookup: lookups.remove(&info.key)?, key: info.key },
                package: entry.package,
                created: entry.created,
                bytes: entry.outputs.iter().map(|output| output.size).sum(),
            })
        })
        .collect();
    found.sort_by_key(|candidate| (candidate.created, candidate.id.key));
    Ok(found)
}

/// Result of a push.
#[derive(Debug, Default)]
pub struct PushReport {
    /// Entries that were uploaded.
    pub uploaded: usize,
    /// Size of their packs in bytes.
    pub bytes: u64,
    /// Entries that another process uploaded meanwhile.
    pub already_there: usize,
    /// Entries that the store no longer has completely, or that a pack cannot hold.
    pub gone: Vec<EntryId>,
    /// Entries that must not leave this machine, and why.
    pub withheld: Vec<(EntryId, Reason)>,
    /// Entries that were not uploaded because the push ended early, or because they were pulled and would be signed
    /// here.
    pub not_tried: Vec<EntryId>,
    /// Entries that failed, and why.
    pub failed: Vec<(EntryId, String)>,
    /// Whether the push was cancelled.
    pub is_cancelled: bool,
}

impl PushReport {
    /// Whether this entry was not uploaded, so that the remote may lack it.
    pub fn lacks(&self, key: EntryKey) -> bool {
        let withheld = self.withheld.iter().map(|(id, _)| id);
        let failed = self.failed.iter().map(|(id, _)| id);
        let mut others = self.gone.iter().chain(withheld).chain(&self.not_tried).chain(failed);
        others.any(|other| other.key == key)
    }

    fn count(&mut self, id: EntryId, result: Result<Option<Uploaded>, UploadError>) {
        match result {
            Ok(Some(Uploaded::Written(bytes))) => {
                self.uploaded += 1;
                self.bytes += bytes;
            }
            Ok(Some(Uploaded::AlreadyThere)) => self.already_there += 1,
            Ok(Some(Uploaded::Gone)) => self.gone.push(id),
            Ok(Some(Uploaded::Withheld(reason))) => self.withheld.push((id, reason)),
            Ok(None | Some(Uploaded::Pulled)) | Err(UploadError::Remote(RemoteError::Cancelled { .. })) => {
                self.not_tried.push(id);
            }
            Err(error) => self.failed.push((id, error.to_string())),
        }
    }
}

/// Pushes all these entries. Calls `on_settled` with the number of settled entries after each of them.
pub async fn run(
    remote: &Arc<Remote>,
    source: &UploadSource,
    ids: Vec<EntryId>,
    control: &Control,
    on_settled: impl Fn(usize),
) -> PushReport {
    let denials = Arc::new(DenialCounter::default());
    let push_entry = |id: EntryId| {
        let (remote, source, control) = (Arc::clone(remote), source.clone(), control.clone());
        let denials = Arc::clone(&denials);
        async move {
            let is_over = control.cancel.is_cancelled() || denials.should_stop();
            let result = match is_over {
                true => Ok(None),
                false => upload_entry(&remote, &source, &id, &control).await.map(Some),
            };
            match &result {
                Ok(Some(Uploaded::Written(_) | Uploaded::AlreadyThere)) => denials.record_success(),
                Err(UploadError::Remote(error)) => denials.record_failure(error),
                _ => {}
            }
            (id, result)
        }
    };
    let mut tasks = concurrently(CONCURRENT_UPLOADS, ids, push_entry);
    let (mut report, mut settled) = (PushReport::default(), 0);
    while let Some((id, result)) = tasks.next().await {
        report.count(id, result);
        settled += 1;
        on_settled(settled);
    }
    report.is_cancelled = control.cancel.is_cancelled();
    report
}
