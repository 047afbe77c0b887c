//! Fetches many entries: planning what to request, and fetching it.
//!
//! A plan lists entries in the order in which a build will need them. Manifests are requested ahead of packs, many
//! packs are downloaded at once, and finished ones are unpacked on all cores meanwhile. A pull ends when the store
//! would exceed its size limit, or when the remote denies everything ([`super::hope`]); any other failure is reported
//! for its entry and does not stop the pull.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::error::RemoteError;
use super::fetch::{self, Fetched, Item, Looked};
use super::hope::Hope;
use super::open::Open;
use super::progress::Control;
use super::workspace::{Package, Workspace};
use super::{Manifest, Refused, records};
use crate::store::Store;
use crate::store::manifests::MAX_SETS;

/// Manifests that are requested at once.
const MANIFESTS: usize = 64;
/// Packs that are downloaded at once. Large ones share the connection limit of the bucket.
const PACKS: usize = 64;
/// Entries in progress at once, including those that wait for their pack.
const AHEAD: usize = 256;
/// Crates that are listed at once.
const LISTINGS: usize = 32;
/// Most entries of one crate in a plan made from the lock file: one version has many features, profiles and compilers.
const PER_CRATE: usize = 64;
/// Most entries of one lookup key in a plan, including those that the store has. Half of what the store keeps: with
/// more, pulled and local entries would push each other out, and the next pull would fetch them again.
const PER_LOOKUP: usize = MAX_SETS / 2;

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
pub struct Plan {
    /// Where the entries come from.
    pub origin: Origin,
    /// The entries, in order and without duplicates.
    pub items: Vec<Item>,
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
    #[error("no Cargo.toml here or above: stand in a workspace, or name what to pull (--crate, --build, --all)")]
    NoWorkspace,
    /// The build record does not exist, or cannot be decoded.
    #[error("the remote has no build record {0:?} that can be read")]
    NoBuild(String),
}

/// Makes a plan. `workspace` is the one around the current directory, `shape` that of the last build there.
pub async fn plan(
    remote: &Arc<Open>,
    wanted: &Wanted,
    workspace: Option<&Workspace>,
    shape: Option<&str>,
) -> Result<Plan, PlanError> {
    match wanted {
        Wanted::All => {
            let items = list(remote, &remote.names.all_manifests()).await?;
            Ok(Plan { origin: Origin::All, items, packages: None })
        }
        Wanted::Crates(names) => {
            let names = names.iter().map(|name| name.replace('-', "_")).collect();
            let items = list_crates(remote, names, usize::MAX).await?;
            Ok(Plan { origin: Origin::Crates, items, packages: None })
        }
        Wanted::Build(name) => {
            let found = records::named(remote, workspace, name).await?;
            found.map(|found| of_records(&[found])).ok_or_else(|| PlanError::NoBuild(name.clone()))
        }
        Wanted::Workspace => {
            let workspace = workspace.ok_or(PlanError::NoWorkspace)?;
            let found = records::find_all(remote, workspace, shape).await?;
            if found.is_empty() { of_lock(remote, workspace).await } else { Ok(of_records(&found)) }
        }
    }
}

/// The entries of all records, without duplicates, each at the place where it is first named.
fn of_records(found: &[records::Found]) -> Plan {
    let mut seen = HashSet::new();
    let items = found.iter().flat_map(records::Found::items).filter(|item| seen.insert(item.key)).collect();
    Plan { origin: Origin::Builds(found.iter().map(|found| found.name.clone()).collect()), items, packages: None }
}

/// The entries of the packages in the lock file: those of crates with the name of their package, and of build scripts.
async fn of_lock(remote: &Arc<Open>, workspace: &Workspace) -> Result<Plan, PlanError> {
    let mut names: BTreeSet<String> = workspace.packages.iter().map(|package| package.name.replace('-', "_")).collect();
    names.insert("build_script_build".to_owned());
    let items = list_crates(remote, names.into_iter().collect(), PER_CRATE).await?;
    Ok(Plan { origin: Origin::Lock, items, packages: Some(workspace.packages.clone()) })
}

/// Lists the newest entries of each crate, at most `most` of one crate.
async fn list_crates(remote: &Arc<Open>, names: Vec<String>, most: usize) -> Result<Vec<Item>, RemoteError> {
    let mut names = names.into_iter().enumerate();
    let mut tasks = JoinSet::new();
    let mut found: Vec<(usize, Vec<Item>)> = Vec::new();
    loop {
        while tasks.len() < LISTINGS
            && let Some((at, name)) = names.next()
        {
            let remote = Arc::clone(remote);
            tasks.spawn(async move { (at, list(&remote, &remote.names.manifests_of(&name)).await) });
        }
        let Some(task) = tasks.join_next().await else { break };
        // Only dropping the set aborts its tasks, so this one has panicked.
        let (at, listed) = task.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        found.push((at, listed?.into_iter().take(most).collect()));
    }
    found.sort_by_key(|(at, _)| *at);
    Ok(found.into_iter().flat_map(|(_, items)| items).collect())
}

/// Lists the entries whose manifest names begin with `prefix`, newest first, at most [`PER_LOOKUP`] of one lookup key.
async fn list(remote: &Open, prefix: &str) -> Result<Vec<Item>, RemoteError> {
    let mut listing = remote.bucket.list(prefix);
    let mut found = Vec::new();
    while let Some(page) = listing.next_page().await? {
        found.extend(page.into_iter().filter_map(|listed| {
            let at = remote.names.parse_manifest(&listed.name)?;
            Some((Reverse(listed.modified), Item { crate_name: at.crate_part, lookup: at.lookup, key: at.key }))
        }));
    }
    found.sort();
    Ok(newest(found.into_iter().map(|(_, item)| item)))
}

/// The first [`PER_LOOKUP`] of `items` under each lookup key, without duplicates. Pure.
fn newest(items: impl Iterator<Item = Item>) -> Vec<Item> {
    let (mut seen, mut per_lookup) = (HashSet::new(), HashMap::<_, usize>::new());
    let is_kept = |item: &Item| {
        let kept = per_lookup.entry(item.lookup).or_default();
        let is_kept = *kept < PER_LOOKUP && seen.insert(item.key);
        *kept += usize::from(is_kept);
        is_kept
    };
    items.filter(is_kept).collect()
}

/// How a pull ended for one entry.
#[derive(Debug)]
pub enum Ended {
    /// The entry was requested, with this result.
    Fetched(Fetched),
    /// The entry would be fetched (dry run).
    Offered(Arc<Manifest>),
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
pub struct Report {
    /// Entries that were fetched.
    pub fetched: usize,
    /// Size of their packs in bytes.
    pub bytes: u64,
    /// Entries that the store already had.
    pub here: usize,
    /// Entries that the remote does not have, or not completely.
    pub absent: usize,
    /// Entries that would be fetched (dry run), in order.
    pub offered: Vec<Arc<Manifest>>,
    /// Entries that were refused, and why.
    pub refused: Vec<(Item, Refused)>,
    /// Entries that were skipped because the store was full.
    pub no_room: usize,
    /// Entries that were not requested because the pull ended early.
    pub not_tried: usize,
    /// Entries that failed, and why.
    pub failed: Vec<(Item, String)>,
    /// Whether the pull was cancelled.
    pub is_cancelled: bool,
}

impl Report {
    fn count(&mut self, item: Item, ended: Ended) {
        match ended {
            Ended::Fetched(Fetched::Imported { pack, .. }) => {
                self.fetched += 1;
                self.bytes += pack;
            }
            Ended::Fetched(Fetched::AlreadyHere) => self.here += 1,
            Ended::Fetched(Fetched::Absent) => self.absent += 1,
            Ended::Fetched(Fetched::Refused(refused)) => self.refused.push((item, refused)),
            Ended::Offered(manifest) => self.offered.push(manifest),
            Ended::OtherPackage => {}
            Ended::NoRoom => self.no_room += 1,
            Ended::NotTried | Ended::Failed(RemoteError::Cancelled { .. }) => self.not_tried += 1,
            Ended::Failed(error) => self.failed.push((item, error.to_string())),
        }
    }
}

/// A pull that is ready to run.
#[derive(Debug)]
pub struct Pull {
    /// Remote to pull from.
    pub remote: Arc<Open>,
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
struct Shared {
    pull: Pull,
    packages: Option<BTreeSet<Package>>,
    room: AtomicU64,
    is_full: AtomicBool,
    manifests: Turns,
    packs: Turns,
}

/// Requests of one kind: how many may run at once, and whether the remote denies them all.
struct Turns {
    turns: Semaphore,
    hope: Hope,
}

impl Turns {
    fn new(at_once: usize) -> Self {
        Self { turns: Semaphore::new(at_once), hope: Hope::default() }
    }

    fn heard<T>(&self, ended: &Result<T, RemoteError>) {
        match ended {
            Ok(_) => self.hope.succeeded(),
            Err(error) => self.hope.failed(error),
        }
    }
}

impl Pull {
    /// Fetches the planned entries. Calls `told` with the number of settled entries after each of them.
    pub async fn run(self, plan: Plan, told: impl Fn(usize)) -> Report {
        let shared = Arc::new(Shared {
            room: AtomicU64::new(self.room),
            packages: plan.packages,
            is_full: AtomicBool::new(false),
            manifests: Turns::new(MANIFESTS),
            packs: Turns::new(PACKS),
            pull: self,
        });
        let mut items = plan.items.into_iter().enumerate();
        let mut tasks = JoinSet::new();
        let mut ended = Vec::new();
        loop {
            while tasks.len() < AHEAD
                && let Some((at, item)) = items.next()
            {
                let shared = Arc::clone(&shared);
                tasks.spawn(async move {
                    let ended = shared.one(&item).await.unwrap_or_else(Ended::Failed);
                    (at, item, ended)
                });
            }
            match tasks.join_next().await {
                Some(Ok(one)) => ended.push(one),
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                None => break,
            }
            told(ended.len());
        }
        ended.sort_by_key(|(at, ..)| *at);
        let is_cancelled = shared.pull.control.cancel.is_cancelled();
        let mut report = Report { is_cancelled, ..Report::default() };
        for (_, item, ended) in ended {
            report.count(item, ended);
        }
        report
    }
}

impl Shared {
    async fn one(&self, item: &Item) -> Result<Ended, RemoteError> {
        let Pull { remote, store, control, .. } = &self.pull;
        let looked = {
            // The semaphores are never closed.
            let _turn = self.manifests.turns.acquire().await;
            if let Some(over) = self.is_over() {
                return Ok(over);
            }
            let look = fetch::look(remote, store, item, self.pull.is_dry);
            let Some(looked) = fetch::unless_cancelled(&control.cancel, look).await else { return Ok(Ended::NotTried) };
            if !matches!(looked, Ok(Looked::Settled(Fetched::AlreadyHere))) {
                self.manifests.heard(&looked);
            }
            looked?
        };
        let manifest = match looked {
            Looked::Settled(fetched) => return Ok(Ended::Fetched(fetched)),
            Looked::Offered(manifest) => manifest,
        };
        if !self.is_wanted(&manifest) {
            return Ok(Ended::OtherPackage);
        }
        if !self.reserve(&manifest) {
            return Ok(Ended::NoRoom);
        }
        if self.pull.is_dry {
            return Ok(Ended::Offered(manifest));
        }
        let _turn = self.packs.turns.acquire().await;
        if let Some(over) = self.is_over() {
            return Ok(over);
        }
        let brought = fetch::bring(remote, store, &manifest, control).await;
        self.packs.heard(&brought);
        brought.map(Ended::Fetched)
    }

    /// The result for entries that have not started, if the pull is over.
    fn is_over(&self) -> Option<Ended> {
        let is_lost = self.manifests.hope.is_lost() || self.packs.hope.is_lost();
        if is_lost || self.pull.control.cancel.is_cancelled() {
            return Some(Ended::NotTried);
        }
        self.is_full.load(Ordering::Relaxed).then_some(Ended::NoRoom)
    }

    fn is_wanted(&self, manifest: &Manifest) -> bool {
        let (name, version) = manifest.package.split_once(' ').unwrap_or_default();
        let package = Package { name: name.to_owned(), version: version.to_owned() };
        self.packages.as_ref().is_none_or(|packages| packages.contains(&package))
    }

    /// Takes the bytes of the entry from the remaining room. The pull ends at the first entry that does not fit: the
    /// later ones in build order are less useful.
    fn reserve(&self, manifest: &Manifest) -> bool {
        let bytes = manifest.meta.size.saturating_add(manifest.files.iter().map(|file| file.size).sum());
        let take = |room: u64| room.checked_sub(bytes);
        let is_taken = self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if !is_taken {
            self.is_full.store(true, Ordering::Relaxed);
        }
        is_taken
    }
}
