//! Many entries from the remote: what to ask for, and asking for it.
//!
//! A plan lists entries in the order in which a build will want them. Manifests are asked for ahead of packs, packs come many
//! at once, and what came is unpacked on all cores while the rest is on its way. A pull ends where the store would pass its
//! size, and where the remote refuses us outright; everything else is told entry by entry and stops nothing.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::error::RemoteError;
use super::fetch::{self, FetchError, Fetched, Item, Looked};
use super::open::{Open, is_hopeless};
use super::progress::Control;
use super::workspace::{Package, Workspace};
use super::{Manifest, Refused, records};
use crate::store::Store;

/// Manifests that are asked for at once.
const MANIFESTS: usize = 64;
/// Packs that are on their way at once. Large ones share the bucket's limit of connections.
const PACKS: usize = 64;
/// Entries that are looked at ahead of the packs.
const AHEAD: usize = 256;
/// Crates that are listed at once.
const LISTINGS: usize = 32;
/// How many entries of one crate the lock file stands for: one version comes with many features, profiles and compilers.
const PER_CRATE: usize = 64;

/// What somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// What builds of the workspace used, else what its lock file names.
    Workspace,
    /// What this build record names.
    Build(String),
    /// All entries of these crates.
    Crates(Vec<String>),
    /// Everything.
    All,
}

/// Where a plan comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Build records, by their objects' names.
    Builds(Vec<String>),
    /// The crates in `Cargo.lock`: there is no build record.
    Lock,
    /// The names that were given.
    Crates,
    /// Everything there is.
    All,
}

/// What to ask for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where it comes from.
    pub origin: Origin,
    /// The entries, in order, each once.
    pub items: Vec<Item>,
    /// Bring only entries of these packages, if there are any.
    pub packages: Option<BTreeSet<Package>>,
}

/// There is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The network's fault, or the server's.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// Neither in nor above the current directory is a `Cargo.toml`.
    #[error("no Cargo.toml here or above: stand in a workspace, or name what to pull (--crate, --build, --all)")]
    NoWorkspace,
    /// There is no such record, or it cannot be read.
    #[error("the remote has no build record {0:?} that can be read")]
    NoBuild(String),
}

/// Makes a plan for somebody who stands in `workspace` and has last built this `shape` there.
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

/// The entries of all records, each where it is named first.
fn of_records(found: &[records::Found]) -> Plan {
    let mut seen = HashSet::new();
    let items = found.iter().flat_map(records::Found::items).filter(|item| seen.insert(item.key)).collect();
    Plan { origin: Origin::Builds(found.iter().map(|found| found.name.clone()).collect()), items, packages: None }
}

/// The entries of the packages in the lock file, as far as crates are called like their packages, and build scripts.
async fn of_lock(remote: &Arc<Open>, workspace: &Workspace) -> Result<Plan, PlanError> {
    let mut names: BTreeSet<String> = workspace.packages.iter().map(|package| package.name.replace('-', "_")).collect();
    names.insert("build_script_build".to_owned());
    let items = list_crates(remote, names.into_iter().collect(), PER_CRATE).await?;
    Ok(Plan { origin: Origin::Lock, items, packages: Some(workspace.packages.clone()) })
}

/// The newest entries of each crate, at most `most` of one.
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
        // No task is aborted but with this set, so it can only have panicked.
        let (at, listed) = task.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        found.push((at, listed?.into_iter().take(most).collect()));
    }
    found.sort_by_key(|(at, _)| *at);
    Ok(found.into_iter().flat_map(|(_, items)| items).collect())
}

/// The entries whose manifests' names begin so, newest first.
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
    let mut seen = HashSet::new();
    Ok(found.into_iter().map(|(_, item)| item).filter(|item| seen.insert(item.key)).collect())
}

/// What became of one entry.
#[derive(Debug)]
pub enum Ended {
    /// It was asked for.
    Fetched(Fetched),
    /// It would be brought (dry run).
    Offered(Arc<Manifest>),
    /// Of a package that the lock file does not name.
    OtherPackage,
    /// The store would have become too large.
    NoRoom,
    /// Not asked for: the pull was over before.
    NotTried,
    /// An error.
    Failed(FetchError),
}

/// What became of a pull.
#[derive(Debug, Default)]
pub struct Report {
    /// Entries that came.
    pub fetched: usize,
    /// Bytes of their packs.
    pub bytes: u64,
    /// Entries that were here.
    pub here: usize,
    /// Entries that the remote does not have, or not whole.
    pub absent: usize,
    /// Entries that would come (dry run), in order.
    pub offered: Vec<Arc<Manifest>>,
    /// Entries that were not believed.
    pub refused: Vec<(Item, Refused)>,
    /// Entries for which there was no room.
    pub no_room: usize,
    /// Entries that were not asked for any more.
    pub not_tried: usize,
    /// Entries that failed, and why.
    pub failed: Vec<(Item, String)>,
    /// Whether somebody asked to stop.
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
            Ended::NotTried | Ended::Failed(FetchError::Remote(RemoteError::Cancelled { .. })) => self.not_tried += 1,
            Ended::Failed(error) => self.failed.push((item, error.to_string())),
        }
    }
}

/// A pull under way.
#[derive(Debug)]
pub struct Pull {
    /// Where from.
    pub remote: Arc<Open>,
    /// Where to.
    pub store: Arc<Store>,
    /// Who is told, and when to stop.
    pub control: Control,
    /// Bytes that the store may gain.
    pub room: u64,
    /// Whether packs are left where they are, and nothing is written here.
    pub is_dry: bool,
}

/// What the tasks of a pull share.
struct Shared {
    pull: Pull,
    packages: Option<BTreeSet<Package>>,
    room: AtomicU64,
    is_full: AtomicBool,
    is_hopeless: AtomicBool,
    manifests: Semaphore,
    packs: Semaphore,
}

impl Pull {
    /// Brings what is planned. `told` hears how many entries are settled.
    pub async fn run(self, plan: Plan, told: impl Fn(usize)) -> Report {
        let shared = Arc::new(Shared {
            room: AtomicU64::new(self.room),
            packages: plan.packages,
            is_full: AtomicBool::new(false),
            is_hopeless: AtomicBool::new(false),
            manifests: Semaphore::new(MANIFESTS),
            packs: Semaphore::new(PACKS),
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
                    (at, item, shared.judged(ended))
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
    async fn one(&self, item: &Item) -> Result<Ended, FetchError> {
        let Pull { remote, store, control, .. } = &self.pull;
        let looked = {
            // The semaphores are never closed.
            let _turn = self.manifests.acquire().await;
            if let Some(over) = self.is_over() {
                return Ok(over);
            }
            let look = fetch::look(remote, store, item, self.pull.is_dry);
            let Some(looked) = fetch::unless_cancelled(&control.cancel, look).await else { return Ok(Ended::NotTried) };
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
        let _turn = self.packs.acquire().await;
        match self.is_over() {
            Some(over) => Ok(over),
            None => fetch::bring(remote, store, &manifest, control).await.map(Ended::Fetched),
        }
    }

    /// What becomes of whatever has not begun.
    fn is_over(&self) -> Option<Ended> {
        let is_stopped = self.pull.control.cancel.is_cancelled() || self.is_hopeless.load(Ordering::Relaxed);
        if is_stopped {
            return Some(Ended::NotTried);
        }
        self.is_full.load(Ordering::Relaxed).then_some(Ended::NoRoom)
    }

    fn is_wanted(&self, manifest: &Manifest) -> bool {
        let (name, version) = manifest.package.split_once(' ').unwrap_or_default();
        let package = Package { name: name.to_owned(), version: version.to_owned() };
        self.packages.as_ref().is_none_or(|packages| packages.contains(&package))
    }

    /// Takes the entry's bytes from the room that is left. The first that does not fit is the last that is looked at: what
    /// follows it in build order is of less use.
    fn reserve(&self, manifest: &Manifest) -> bool {
        let bytes = manifest.meta.size.saturating_add(manifest.files.iter().map(|file| file.size).sum());
        let take = |room: u64| room.checked_sub(bytes);
        let is_taken = self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if !is_taken {
            self.is_full.store(true, Ordering::Relaxed);
        }
        is_taken
    }

    /// Passes it on, and ends the pull if whatever follows would fare no better.
    fn judged(&self, ended: Ended) -> Ended {
        if let Ended::Failed(FetchError::Remote(error)) = &ended
            && is_hopeless(error)
        {
            self.is_hopeless.store(true, Ordering::Relaxed);
        }
        ended
    }
}
