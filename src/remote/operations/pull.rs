//! Fetches the entries of a plan.
//!
//! Manifests are requested ahead of packs, many packs are downloaded at once, and finished ones are unpacked on all
//! cores meanwhile. A pull ends when the store would exceed its size limit, or when the remote denies everything
//! ([`super::denials`]); any other failure is reported for its entry and does not stop the pull.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Semaphore;

use super::denials::DenialCounter;
use super::fetch::{BundleUse, Fetched, Fetcher, ManifestLookup};
use super::pull_plan::{PullPlan, Spares};
use super::remote::Remote;
use super::remote_entry::{LocatedManifest, ManifestPlace, RemoteEntry};
use super::workspace::Package;
use crate::model::{EntryId, EntryKey};
use crate::remote::format::manifest::PackManifest;
use crate::remote::format::refused::Refused;
use crate::remote::s3::error::RemoteError;
use crate::remote::s3::progress::Control;
use crate::remote::tasks::concurrently;
use crate::store::Store;

/// Manifests that are requested at once.
const CONCURRENT_MANIFESTS: usize = 64;
/// Packs that are downloaded at once. Large ones share the connection limit of the bucket.
const CONCURRENT_PACKS: usize = 64;
/// Entries in progress at once, including those that wait for their pack.
const CONCURRENT_ENTRIES: usize = 256;
/// How a pull ended for one entry.
#[derive(Debug)]
pub enum EntryResult {
    /// The entry was requested, with this result.
    Fetched(Fetched),
    /// The entry would be fetched (dry run).
    WouldFetch(Arc<LocatedManifest>),
    /// The entry is of a package that the lock file does not name.
    OtherPackage,
    /// The store would have exceeded its size limit.
    NoRoom,
    /// The entry was not requested because the pull had ended.
    NotTried,
    /// The request or the import failed.
    Failed(RemoteError),
}

/// Result of a pull.
#[derive(Debug, Default)]
pub struct PullReport {
    /// Entries that were fetched.
    pub fetched: usize,
    /// Size of their packs in bytes.
    pub bytes: u64,
    /// Entries that the store already had.
    pub already_here: usize,
    /// Entries that the remote does not have, or not completely.
    pub absent: usize,
    /// Entries that would be fetched (dry run), in order.
    pub would_fetch: Vec<Arc<LocatedManifest>>,
    /// Entries that were refused, and why.
    pub refused: Vec<(EntryId, Refused)>,
    /// Entries that were skipped because the store was full.
    pub no_room: usize,
    /// Entries that were not requested because the pull ended early.
    pub not_tried: usize,
    /// Entries that failed, and why.
    pub failed: Vec<(EntryId, String)>,
    /// Whether the pull was cancelled.
    pub is_cancelled: bool,
}

impl PullReport {
    fn count(&mut self, id: EntryId, result: EntryResult) {
        match result {
            EntryResult::Fetched(Fetched::Imported { pack, .. }) => {
                self.fetched += 1;
                self.bytes += pack;
            }
            EntryResult::Fetched(Fetched::AlreadyHere) => self.already_here += 1,
            EntryResult::Fetched(Fetched::Absent) => self.absent += 1,
            EntryResult::Fetched(Fetched::Refused(refused)) => self.refused.push((id, refused)),
            EntryResult::WouldFetch(manifest) => self.would_fetch.push(manifest),
            EntryResult::OtherPackage => {}
            EntryResult::NoRoom => self.no_room += 1,
            EntryResult::NotTried | EntryResult::Failed(RemoteError::Cancelled { .. }) => {
                self.not_tried += 1;
            }
            EntryResult::Failed(error) => self.failed.push((id, error.to_string())),
        }
    }
}

/// A pull that is ready to run.
#[derive(Debug)]
pub struct Pull {
    /// Remote to pull from.
    pub remote: Arc<Remote>,
    /// Store to pull into.
    pub store: Arc<Store>,
    /// Progress callback, cancellation and deadline.
    pub control: Control,
    /// Bytes that the store may gain.
    pub room: u64,
    /// Whether this is a dry run, which requests only manifests and does not write to the store.
    pub is_dry: bool,
}

/// State that the tasks of a pull share.
struct PullState {
    pull: Pull,
    fetcher: Fetcher,
    packages: Option<BTreeSet<Package>>,
    room: AtomicU64,
    is_full: AtomicBool,
    manifests: RequestLimit,
    packs: RequestLimit,
}

/// Requests of one kind: how many may run at once, and whether the remote denies them all.
struct RequestLimit {
    permits: Semaphore,
    denials: DenialCounter,
}

impl RequestLimit {
    fn new(limit: usize) -> Self {
        Self { permits: Semaphore::new(limit), denials: DenialCounter::default() }
    }

    fn report_result<T>(&self, result: &Result<T, RemoteError>) {
        match result {
            Ok(_) => self.denials.record_success(),
            Err(error) => self.denials.record_failure(error),
        }
    }
}

impl Pull {
    /// Fetches the planned entries. Calls `on_settled` with the number of settled entries after each of them.
    pub async fn run(self, plan: PullPlan, on_settled: impl Fn(usize)) -> PullReport {
        let state = Arc::new(PullState {
            room: AtomicU64::new(self.room),
            packages: plan.packages,
            is_full: AtomicBool::new(false),
            manifests: RequestLimit::new(CONCURRENT_MANIFESTS),
            packs: RequestLimit::new(CONCURRENT_PACKS),
            fetcher: Fetcher::new(&self.remote, &self.store, self.is_dry),
            pull: self,
        });
        let pull_entry = |(at, entry): (usize, RemoteEntry)| {
            let state = Arc::clone(&state);
            async move {
                let result = state.pull_entry(&entry).await.unwrap_or_else(EntryResult::Failed);
                (at, entry.id, result)
            }
        };
        let (mut spares, mut kept, mut results) = (plan.spares, HashSet::new(), Vec::new());
        let mut batch: Vec<(usize, RemoteEntry)> = plan.entries.into_iter().enumerate().collect();
        while !batch.is_empty() {
            let mut tasks = concurrently(CONCURRENT_ENTRIES, batch, pull_entry);
            let mut settled = Vec::new();
            while let Some(result) = tasks.next().await {
                settled.push(result);
                on_settled(results.len() + settled.len());
            }
            batch = replacements(&settled, &mut spares, &mut kept);
            results.append(&mut settled);
        }
        // An entry is told once, and not at all if another object of it has arrived.
        let mut told = HashSet::new();
        results.retain(|(_, id, result)| !is_gone(result) || !kept.contains(&id.key) && told.insert(id.key));
        results.sort_by_key(|(at, ..)| *at);
        let is_cancelled = state.pull.control.cancel.is_cancelled();
        let mut report = PullReport { is_cancelled, ..PullReport::default() };
        for (_, id, result) in results {
            report.count(id, result);
        }
        report
    }
}

/// The entries to request in place of those that were refused or absent, each at the place of the one that it replaces.
/// `kept`: the entries that need no other object; those that have settled are added. Pure.
fn replacements(
    settled: &[(usize, EntryId, EntryResult)],
    spares: &mut Spares,
    kept: &mut HashSet<EntryKey>,
) -> Vec<(usize, RemoteEntry)> {
    kept.extend(settled.iter().filter(|(_, _, result)| !is_gone(result)).map(|(_, id, _)| id.key));
    let mut next = Vec::new();
    for (at, id, _) in settled.iter().filter(|(_, _, result)| is_gone(result)) {
        let Some(of_lookup) = spares.get_mut(&id.lookup) else { continue };
        while let Some(spare) = of_lookup.pop_front() {
            if !kept.contains(&spare.id.key) {
                next.push((*at, spare));
                break;
            }
        }
    }
    next
}

/// Whether the object of an entry is of no use.
fn is_gone(result: &EntryResult) -> bool {
    matches!(result, EntryResult::Fetched(Fetched::Refused(_) | Fetched::Absent))
}

impl PullState {
    async fn pull_entry(&self, entry: &RemoteEntry) -> Result<EntryResult, RemoteError> {
        let control = &self.pull.control;
        let found = {
            // The semaphores are never closed.
            let _permit = self.manifests.permits.acquire().await;
            if let Some(result) = self.result_if_over() {
                return Ok(result);
            }
            let lookup = self.fetcher.find_manifest(entry);
            let Some(found) = control.cancel.run_until_cancelled(lookup).await else {
                return Ok(EntryResult::NotTried);
            };
            let is_request = matches!(entry.manifest, ManifestPlace::Object(_));
            if is_request && !matches!(found, Ok(ManifestLookup::Settled(Fetched::AlreadyHere))) {
                self.manifests.report_result(&found);
            }
            found?
        };
        let located = match found {
            ManifestLookup::Settled(fetched) => return Ok(EntryResult::Fetched(fetched)),
            ManifestLookup::Found(located) => located,
        };
        if !self.is_wanted(&located.manifest) {
            return Ok(EntryResult::OtherPackage);
        }
        if !self.reserve(&located.manifest) {
            return Ok(EntryResult::NoRoom);
        }
        if self.pull.is_dry {
            return Ok(EntryResult::WouldFetch(located));
        }
        let _permit = self.packs.permits.acquire().await;
        if let Some(result) = self.result_if_over() {
            return Ok(result);
        }
        // The other packs of the bundle are of the same build only if a record led to it.
        let uses = match entry.manifest {
            ManifestPlace::Here(_) => BundleUse::Whole,
            _ => BundleUse::OnlyThis,
        };
        let fetched = self.fetcher.fetch_pack(&located, uses, control).await;
        self.packs.report_result(&fetched);
        fetched.map(EntryResult::Fetched)
    }

    /// The result for entries that have not started, if the pull is over.
    fn result_if_over(&self) -> Option<EntryResult> {
        let is_denied = self.manifests.denials.should_stop() || self.packs.denials.should_stop();
        if is_denied || self.pull.control.cancel.is_cancelled() {
            return Some(EntryResult::NotTried);
        }
        self.is_full.load(Ordering::Relaxed).then_some(EntryResult::NoRoom)
    }

    fn is_wanted(&self, manifest: &PackManifest) -> bool {
        let (name, version) = manifest.package.split_once(' ').unwrap_or_default();
        let package = Package { name: name.to_owned(), version: version.to_owned() };
        self.packages.as_ref().is_none_or(|packages| packages.contains(&package))
    }

    /// Takes the bytes of the entry from the remaining room. The pull ends at the first entry that does not fit: the
    /// later ones in build order are less useful.
    fn reserve(&self, manifest: &PackManifest) -> bool {
        let bytes = manifest.meta.size.saturating_add(manifest.files.iter().map(|file| file.size).sum());
        let take = |room: u64| room.checked_sub(bytes);
        let is_taken = self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if !is_taken {
            self.is_full.store(true, Ordering::Relaxed);
        }
        is_taken
    }
}
