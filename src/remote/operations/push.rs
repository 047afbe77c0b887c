//! Uploads many entries: selecting them, and pushing them.
//!
//! Packs are written on all cores while others are being uploaded. Small ones are uploaded together
//! ([`super::bundles`]). An entry that fails does not stop the others, unless the remote denies everything
//! ([`super::denials`]). An entry that came from the remote is an entry like any other (it is not uploaded again
//! because the remote does not lack it), but it is never signed here.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::bundles::{FULL_BUNDLE_BYTES, FULL_BUNDLE_PACKS};
use super::denials::DenialCounter;
use super::upload::{Prepared, PreparedPack, UploadError, Uploaded, Uploader};
use crate::fsx;
use crate::model::{EntryId, EntryKey};
use crate::remote::tasks::concurrently;
use crate::store::withheld::Reason;
use crate::store::{Entry, Store, survey};

/// Entries that a push packs or uploads at once, besides those in bundles.
pub const CONCURRENT_UPLOADS: usize = 32;
/// Bundles that are uploaded at once.
const CONCURRENT_BUNDLES: usize = 4;

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

    fn count(&mut self, id: EntryId, result: Settled) {
        match result {
            Ok(Some(Uploaded::Written(bytes))) => {
                self.uploaded += 1;
                self.bytes += bytes;
            }
            Ok(Some(Uploaded::AlreadyThere)) => self.already_there += 1,
            Ok(Some(Uploaded::Gone)) => self.gone.push(id),
            Ok(Some(Uploaded::Withheld(reason))) => self.withheld.push((id, reason)),
            Ok(None | Some(Uploaded::Pulled)) => self.not_tried.push(id),
            Err(error) if error.is_cancelled() => self.not_tried.push(id),
            Err(error) => self.failed.push((id, error.to_string())),
        }
    }
}

/// Pushes all these entries, `at_once` at a time: large packs as objects of their own, small ones in bundles. Calls
/// `on_settled` with each entry and how it ended.
pub async fn run(
    uploader: &Uploader,
    ids: Vec<EntryId>,
    at_once: usize,
    mut on_settled: impl FnMut(&EntryId, &Settled),
) -> PushReport {
    let denials = Arc::new(DenialCounter::default());
    let upload_large = |id: EntryId| {
        let (uploader, denials) = (uploader.clone(), Arc::clone(&denials));
        async move { first_step(&uploader, &denials, id).await }
    };
    let mut report = PushReport::default();
    let mut settle = |id: EntryId, result: Settled| {
        on_settled(&id, &result);
        report.count(id, result);
    };
    let (mut bundles, mut busy) = (Bundles::new(uploader, &denials), Vec::new());
    let mut tasks = concurrently(at_once, ids, upload_large);
    while let Some(step) = tasks.next().await {
        match step {
            Step::Settled(id, result) => settle(id, result),
            Step::Small(pack) => {
                for (id, result) in bundles.add(*pack).await {
                    settle(id, result);
                }
            }
            Step::Busy(id) => busy.push(id),
        }
    }
    for (id, result) in bundles.finish().await {
        settle(id, result);
    }
    // Other processes work on these. They are waited for now, because this one does not hold any pack.
    let upload_alone = |id: EntryId| {
        let (uploader, denials) = (uploader.clone(), Arc::clone(&denials));
        async move {
            let is_over = uploader.control.cancel.is_cancelled() || denials.should_stop();
            let result = if is_over { Ok(None) } else { uploader.upload_alone(&id).await.map(Some) };
            (id, result)
        }
    };
    let mut tasks = concurrently(at_once, busy, upload_alone);
    while let Some((id, result)) = tasks.next().await {
        settle(id, result);
    }
    report.is_cancelled = uploader.control.cancel.is_cancelled();
    report
}

/// Packs an entry, and uploads it if its pack is large.
async fn first_step(uploader: &Uploader, denials: &DenialCounter, id: EntryId) -> Step {
    if uploader.control.cancel.is_cancelled() || denials.should_stop() {
        return Step::Settled(id, Ok(None));
    }
    match uploader.prepare(&id).await {
        Ok(Prepared::Pack(pack)) if pack.is_small() => Step::Small(pack),
        Ok(Prepared::Pack(pack)) => {
            let uploaded = uploader.upload(*pack).await;
            denials_of(denials, &uploaded);
            Step::Settled(id, uploaded.map(Some))
        }
        Ok(Prepared::Not(not_uploaded)) => Step::Settled(id, Ok(Some(not_uploaded))),
        Ok(Prepared::Busy) => Step::Busy(id),
        Err(error) => Step::Settled(id, Err(error)),
    }
}

/// How the upload of an entry ended. `None`: it was not tried.
pub type Settled = Result<Option<Uploaded>, UploadError>;

/// What became of an entry in the first step.
enum Step {
    Settled(EntryId, Settled),
    /// Its pack is small, so it goes into a bundle.
    Small(Box<PreparedPack>),
    /// Another process works on it.
    Busy(EntryId),
}

/// Small packs on their way into bundles.
struct Bundles<'a> {
    uploader: &'a Uploader,
    denials: &'a Arc<DenialCounter>,
    open: Vec<PreparedPack>,
    running: JoinSet<Vec<(EntryId, Result<Uploaded, UploadError>)>>,
}

impl<'a> Bundles<'a> {
    fn new(uploader: &'a Uploader, denials: &'a Arc<DenialCounter>) -> Self {
        Self { uploader, denials, open: Vec::new(), running: JoinSet::new() }
    }

    /// Adds a pack, and uploads the bundle if it is full. Returns the entries that have ended meanwhile.
    async fn add(&mut self, pack: PreparedPack) -> Vec<(EntryId, Settled)> {
        self.open.push(pack);
        let bytes: u64 = self.open.iter().map(|pack| pack.manifest.pack.size).sum();
        if bytes < FULL_BUNDLE_BYTES && self.open.len() < FULL_BUNDLE_PACKS {
            return Vec::new();
        }
        self.upload();
        let mut ended = Vec::new();
        while self.running.len() >= CONCURRENT_BUNDLES {
            ended.extend(self.next().await);
        }
        ended
    }

    /// Uploads what is left, and returns how all entries ended.
    async fn finish(mut self) -> Vec<(EntryId, Settled)> {
        self.upload();
        let mut ended = Vec::new();
        while !self.running.is_empty() {
            ended.extend(self.next().await);
        }
        ended
    }

    fn upload(&mut self) {
        let (packs, uploader) = (std::mem::take(&mut self.open), self.uploader.clone());
        if !packs.is_empty() {
            self.running.spawn(async move { uploader.upload_bundle(packs).await });
        }
    }

    async fn next(&mut self) -> Vec<(EntryId, Settled)> {
        let ended = match self.running.join_next().await {
            Some(Ok(ended)) => ended,
            // Tasks are aborted only on drop, so this one has panicked.
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            None => Vec::new(),
        };
        for (_, result) in &ended {
            denials_of(self.denials, result);
        }
        ended.into_iter().map(|(id, result)| (id, result.map(Some))).collect()
    }
}

fn denials_of(denials: &DenialCounter, uploaded: &Result<Uploaded, UploadError>) {
    match uploaded {
        Ok(Uploaded::Written(_)) => denials.record_success(),
        Err(UploadError::Remote(error)) => denials.record_failure(error),
        _ => {}
    }
}
