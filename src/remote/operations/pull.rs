//! Fetches many entries: planning what to request, and fetching it.
//!
//! A plan lists entries in the order in which a build will need them. Manifests are requested ahead of packs, many
//! packs are downloaded at once, and finished ones are unpacked on all cores meanwhile. A pull ends when the store
//! would exceed its size limit, or when the remote denies everything ([`super::denials`]); any other failure is
//! reported for its entry and does not stop the pull.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Semaphore;

use super::build_records;
use super::denials::DenialCounter;
use super::fetch::{self, Fetched, ManifestLookup};
use super::remote::Remote;
use super::workspace::{Package, Workspace};
use crate::model::EntryId;
use crate::remote::format::manifest::PackManifest;
use crate::remote::format::refused::Refused;
use crate::remote::s3::error::RemoteError;
use crate::remote::s3::progress::Control;
use crate::remote::tasks::concurrently;
use crate::store::Store;
use crate::store::manifests::MAX_SETS;

/// Manifests that are requested at once.
const CONCURRENT_MANIFESTS: usize = 64;
/// Packs that are downloaded at once. Large ones share the connection limit of the bucket.
const CONCURRENT_PACKS: usize = 64;
/// Entries in progress at once, including those that wait for their pack.
const CONCURRENT_ENTRIES: usize = 256;
/// Crates that are listed at once.
const CONCURRENT_LISTINGS: usize = 32;
/// Most entries of one crate in a plan made from the lock file: one version has many features, profiles and compilers.
const MAX_PER_CRATE: usize = 64;
/// Most entries of one lookup key in a plan, including those that the store has. Half of what the store keeps: with
/// more, pulled and local entries would push each other out, and the next pull would fetch them again.
const MAX_PER_LOOKUP: usize = MAX_SETS / 2;

/// The entries that a user wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Entries that builds of the workspace used, else entries of the packages in its lock file.
    Workspace,
    /// Entries that this build record names.
    Build(String),
    /// All entries of these crates.
    Crates(Vec<String>),
    /// All entries on the remote.
    All,
}

/// Where the entries of a plan come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Build records, by their object names.
    Builds(Vec<String>),
    /// The packages in `Cargo.lock`, because there is no build record.
    Lock,
    /// The crates that the user named.
    Crates,
    /// All manifests on the remote.
    All,
}

/// The entries to request.
#[derive(Clone, Debug)]
pub struct PullPlan {
    /// Where the entries come from.
    pub origin: Origin,
    /// The entries, in order and without duplicates.
    pub entries: Vec<EntryId>,
    /// If set, only entries of these packages are fetched.
    pub packages: Option<BTreeSet<Package>>,
}

/// Why a plan could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The network or the server failed.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// Neither the current directory nor a directory above it contains a `Cargo.toml`.
    #[error("no Cargo.toml here or above: change to a workspace, or name the entries (--crate, --build, --all)")]
    NoWorkspace,
    /// The build record does not exist, or cannot be decoded.
    #[error("the remote has no build record {0:?} that can be read")]
    NoBuild(String),
}

/// Makes a plan. `workspace` is the one around the current directory, `shape` that of the last build there.
pub async fn plan(
    remote: &Arc<Remote>,
    wanted: &Wanted,
    workspace: Option<&Workspace>,
    shape: Option<&str>,
) -> Result<PullPlan, PlanError> {
    match wanted {
        Wanted::All => {
            let entries = list(remote, &remote.names.all_manifests()).await?;
            Ok(PullPlan { origin: Origin::All, entries, packages: None })
        }
        Wanted::Crates(names) => {
            let names = names.iter().map(|name| name.replace('-', "_")).collect();
            let entries = list_crates(remote, names, usize::MAX).await?;
            Ok(PullPlan { origin: Origin::Crates, entries, packages: None })
        }
        Wanted::Build(name) => {
            let found = build_records::find_by_name(remote, workspace, name).await?;
            found.map(|found| plan_from_records(&[found])).ok_or_else(|| PlanError::NoBuild(name.clone()))
        }
        Wanted::Workspace => {
            let workspace = workspace.ok_or(PlanError::NoWorkspace)?;
            let found = build_records::find_all(remote, workspace, shape).await?;
            if found.is_empty() { plan_from_lock(remote, workspace).await } else { Ok(plan_from_records(&found)) }
        }
    }
}

/// Plans the entries of all records, without duplicates, each at the place where it is first named.
fn plan_from_records(found: &[build_records::NamedRecord]) -> PullPlan {
    let mut seen = HashSet::new();
    let entries = found.iter().flat_map(build_records::NamedRecord::entries).filter(|id| seen.insert(id.key)).collect();
    PullPlan { origin: Origin::Builds(found.iter().map(|found| found.name.clone()).collect()), entries, packages: None }
}

/// Plans the entries of the packages in the lock file: of crates with the name of their package, and of build scripts.
async fn plan_from_lock(remote: &Arc<Remote>, workspace: &Workspace) -> Result<PullPlan, PlanError> {
    let mut names: BTreeSet<String> = workspace.packages.iter().map(|package| package.name.replace('-', "_")).collect();
    names.insert("build_script_build".to_owned());
    let entries = list_crates(remote, names.into_iter().collect(), MAX_PER_CRATE).await?;
    Ok(PullPlan { origin: Origin::Lock, entries, packages: Some(workspace.packages.clone()) })
}

/// Lists the newest entries of each crate, at most `limit` of one crate.
async fn list_crates(remote: &Arc<Remote>, names: Vec<String>, limit: usize) -> Result<Vec<EntryId>, RemoteError> {
    let list_crate = |(at, name): (usize, String)| {
        let remote = Arc::clone(remote);
        async move { (at, list(&remote, &remote.names.manifests_of(&name)).await) }
    };
    let mut listings = concurrently(CONCURRENT_LISTINGS, names.into_iter().enumerate(), list_crate);
    let mut found: Vec<(usize, Vec<EntryId>)> = Vec::new();
    while let Some((at, listed)) = listings.next().await {
        found.push((at, listed?.into_iter().take(limit).collect()));
    }
    found.sort_by_key(|(at, _)| *at);
    Ok(found.into_iter().flat_map(|(_, ids)| ids).collect())
}

/// Lists the entries whose manifest names begin with `prefix`, newest first, at most [`MAX_PER_LOOKUP`] of one lookup
/// key.
async fn list(remote: &Remote, prefix: &str) -> Result<Vec<EntryId>, RemoteError> {
    let mut listing = remote.objects.list(prefix);
    let mut found = Vec::new();
    while let Some(page) = listing.next_page().await? {
        found.extend(page.into_iter().filter_map(|listed| {
            let name = remote.names.parse_manifest(&listed.name)?;
            let id = EntryId { crate_name: name.crate_part, lookup: name.lookup, key: name.key };
            Some((Reverse(listed.modified), id))
        }));
    }
    found.sort();
    Ok(newest(found.into_iter().map(|(_, id)| id)))
}

/// The first [`MAX_PER_LOOKUP`] of `ids` under each lookup key, without duplicates. Pure.
fn newest(ids: impl Iterator<Item = EntryId>) -> Vec<EntryId> {
    let (mut seen, mut per_lookup) = (HashSet::new(), HashMap::<_, usize>::new());
    let is_kept = |id: &EntryId| {
        let kept = per_lookup.entry(id.lookup).or_default();
        let is_kept = *kept < MAX_PER_LOOKUP && seen.insert(id.key);
        *kept += usize::from(is_kept);
        is_kept
    };
    ids.filter(is_kept).collect()
}

/// How a pull ended for one entry.
#[derive(Debug)]
pub enum EntryResult {
    /// The entry was requested, with this result.
    Fetched(Fetched),
    /// The entry would be fetched (dry run).
    WouldFetch(Arc<PackManifest>),
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
    pub would_fetch: Vec<Arc<PackManifest>>,
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
            pull: self,
        });
        let pull_entry = |(at, id): (usize, EntryId)| {
            let state = Arc::clone(&state);
            async move {
                let result = state.pull_entry(&id).await.unwrap_or_else(EntryResult::Failed);
                (at, id, result)
            }
        };
        let mut tasks = concurrently(CONCURRENT_ENTRIES, plan.entries.into_iter().enumerate(), pull_entry);
        let mut results = Vec::new();
        while let Some(settled) = tasks.next().await {
            results.push(settled);
            on_settled(results.len());
        }
        results.sort_by_key(|(at, ..)| *at);
        let is_cancelled = state.pull.control.cancel.is_cancelled();
        let mut report = PullReport { is_cancelled, ..PullReport::default() };
        for (_, id, result) in results {
            report.count(id, result);
        }
        report
    }
}

impl PullState {
    async fn pull_entry(&self, id: &EntryId) -> Result<EntryResult, RemoteError> {
        let Pull { remote, store, control, .. } = &self.pull;
        let found = {
            // The semaphores are never closed.
            let _permit = self.manifests.permits.acquire().await;
            if let Some(result) = self.result_if_over() {
                return Ok(result);
            }
            let lookup = fetch::find_manifest(remote, store, id, self.pull.is_dry);
            let Some(found) = control.cancel.run_until_cancelled(lookup).await else {
                return Ok(EntryResult::NotTried);
            };
            if !matches!(found, Ok(ManifestLookup::Settled(Fetched::AlreadyHere))) {
                self.manifests.report_result(&found);
            }
            found?
        };
        let manifest = match found {
            ManifestLookup::Settled(fetched) => return Ok(EntryResult::Fetched(fetched)),
            ManifestLookup::Found(manifest) => manifest,
        };
        if !self.is_wanted(&manifest) {
            return Ok(EntryResult::OtherPackage);
        }
        if !self.reserve(&manifest) {
            return Ok(EntryResult::NoRoom);
        }
        if self.pull.is_dry {
            return Ok(EntryResult::WouldFetch(manifest));
        }
        let _permit = self.packs.permits.acquire().await;
        if let Some(result) = self.result_if_over() {
            return Ok(result);
        }
        let fetched = fetch::fetch_pack(remote, store, &manifest, control).await;
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
