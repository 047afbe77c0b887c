//! Plans which entries to pull: those of build records, of crates, or all.
//!
//! A plan lists entries in the order in which a build will need them.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::build_records::{self, FoundRecord, WorkspaceListing};
use super::checkout::Checkout;
use super::record_choice::Purpose;
use super::remote::Remote;
use super::remote_entry::{ManifestPlace, RemoteEntry};
use super::workspace::{Package, Workspace};
use crate::model::LookupKey;
use crate::remote::format::names::{self, ManifestName};
use crate::remote::s3::error::RemoteError;
use crate::remote::tasks::concurrently;
use crate::store::manifests::MAX_SETS;

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

/// The workspace around the current directory, and what the remote has of it.
#[derive(Debug)]
pub struct Place {
    /// The workspace.
    pub workspace: Workspace,
    /// Its checkout.
    pub checkout: Checkout,
    /// Its records and snapshots on the remote.
    pub listing: WorkspaceListing,
    /// What the last build there was for.
    pub purpose: Purpose,
}

/// A build record that a plan uses, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordOrigin {
    /// Its object name.
    pub object: String,
    /// The branch; empty if it is unknown.
    pub branch: String,
    /// The command; empty if it is unknown.
    pub command: String,
    /// The name or id of its signer.
    pub signer: String,
}

/// Where the entries of a plan come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Build records.
    Builds(Vec<RecordOrigin>),
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
    pub entries: Vec<RemoteEntry>,
    /// The entries to request in place of those that turn out to be refused or absent.
    pub spares: Spares,
    /// If set, only entries of these packages are fetched.
    pub packages: Option<BTreeSet<Package>>,
}

/// Entries that were not planned, because there were enough of their lookup key or because the same entry of another
/// signer was: by lookup key, in order. Anybody who can write may have put a newer object with a trusted signer in its
/// name beside them, and only reading it tells.
pub type Spares = HashMap<LookupKey, VecDeque<RemoteEntry>>;

/// Entries in a listing.
#[derive(Debug, Default)]
pub struct ListedEntries {
    /// Those to request, in order and without duplicates.
    pub entries: Vec<RemoteEntry>,
    /// The entries to request in place of those that are refused or absent.
    pub spares: Spares,
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

/// Makes a plan for these entries. `place` is the workspace around the current directory.
pub async fn plan(remote: &Arc<Remote>, wanted: &Wanted, place: Option<&Place>) -> Result<PullPlan, PlanError> {
    match wanted {
        Wanted::All => {
            let ListedEntries { entries, spares } = list(remote, &names::all_manifests()).await?;
            Ok(PullPlan { origin: Origin::All, entries, spares, packages: None })
        }
        Wanted::Crates(crates) => {
            let crates = crates.iter().map(|name| name.replace('-', "_")).collect();
            let ListedEntries { entries, spares } = list_crates(remote, crates, usize::MAX).await?;
            Ok(PullPlan { origin: Origin::Crates, entries, spares, packages: None })
        }
        Wanted::Build(name) => {
            let workspace = place.map(|place| place.checkout.workspace.as_str());
            let found = build_records::find_by_name(remote, workspace, name).await?;
            found.map(|found| plan_from_records(remote, &[found])).ok_or_else(|| PlanError::NoBuild(name.clone()))
        }
        Wanted::Workspace => {
            let Place { workspace, checkout, listing, purpose } = place.ok_or(PlanError::NoWorkspace)?;
            let found = build_records::find_all(remote, listing, checkout, purpose, build_records::MAX_RECORDS).await?;
            match found.is_empty() {
                true => plan_from_lock(remote, workspace).await,
                false => Ok(plan_from_records(remote, &found)),
            }
        }
    }
}

/// Plans the entries of all records, without duplicates, each at the place where it is first named.
fn plan_from_records(remote: &Remote, found: &[FoundRecord]) -> PullPlan {
    let mut seen = HashSet::new();
    let entries = found.iter().flat_map(|found| found.entries(remote)).filter(|entry| seen.insert(entry.id.key));
    let origin = found.iter().map(|found| RecordOrigin {
        object: found.object(),
        branch: found.record.branch.clone(),
        command: found.record.command.replace('\n', " "),
        signer: remote.layers[found.layer].trust.name_of(found.name.signer),
    });
    let (origin, entries) = (Origin::Builds(origin.collect()), entries.collect());
    PullPlan { origin, entries, spares: Spares::new(), packages: None }
}

/// Plans the entries of the packages in the lock file: of crates with the name of their package, and of build scripts.
async fn plan_from_lock(remote: &Arc<Remote>, workspace: &Workspace) -> Result<PullPlan, PlanError> {
    let mut names: BTreeSet<String> = workspace.packages.iter().map(|package| package.name.replace('-', "_")).collect();
    names.insert("build_script_build".to_owned());
    let ListedEntries { entries, spares } = list_crates(remote, names.into_iter().collect(), MAX_PER_CRATE).await?;
    Ok(PullPlan { origin: Origin::Lock, entries, spares, packages: Some(workspace.packages.clone()) })
}

/// Lists the newest entries of each crate, at most `limit` of one crate.
async fn list_crates(remote: &Arc<Remote>, crates: Vec<String>, limit: usize) -> Result<ListedEntries, RemoteError> {
    let list_crate = |(at, name): (usize, String)| {
        let remote = Arc::clone(remote);
        async move { (at, list(&remote, &names::manifests_of(&name)).await) }
    };
    let mut listings = concurrently(CONCURRENT_LISTINGS, crates.into_iter().enumerate(), list_crate);
    let mut found: Vec<(usize, ListedEntries)> = Vec::new();
    while let Some((at, listed)) = listings.next().await {
        found.push((at, listed?));
    }
    found.sort_by_key(|(at, _)| *at);
    let mut all = ListedEntries::default();
    for (_, ListedEntries { entries, spares }) in found {
        all.entries.extend(entries.into_iter().take(limit));
        all.spares.extend(spares);
    }
    Ok(all)
}

/// Lists the entries whose manifest names begin with `prefix`: those of trusted signers, newest first, at most
/// [`MAX_PER_LOOKUP`] of one lookup key, then those of others, which are refused without a request.
pub async fn list(remote: &Remote, prefix: &str) -> Result<ListedEntries, RemoteError> {
    let mut found = Vec::new();
    for (at, layer) in remote.layers.iter().enumerate() {
        let mut listing = layer.objects.list(prefix);
        while let Some(page) = listing.next_page().await? {
            found.extend(page.into_iter().filter_map(|listed| {
                let name = ManifestName::parse(&listed.name)?;
                Some((!layer.trust.may_trust(name.signer), Reverse(listed.modified), name, at))
            }));
        }
    }
    found.sort();
    Ok(newest(found.into_iter().map(|(is_refused, _, name, layer)| match is_refused {
        true => RemoteEntry::refused(layer, name),
        false => RemoteEntry::of_object(layer, name),
    })))
}

/// The first [`MAX_PER_LOOKUP`] of `entries` under each lookup key, without duplicates, and the others that may be
/// requested. Pure.
fn newest(entries: impl Iterator<Item = RemoteEntry>) -> ListedEntries {
    let (mut seen, mut per_lookup) = (HashSet::new(), HashMap::<_, usize>::new());
    let mut listed = ListedEntries::default();
    for entry in entries {
        let kept = per_lookup.entry(entry.id.lookup).or_default();
        if *kept < MAX_PER_LOOKUP && seen.insert(entry.id.key) {
            *kept += 1;
            listed.entries.push(entry);
        } else if !matches!(entry.manifest, ManifestPlace::Refused(_)) {
            listed.spares.entry(entry.id.lookup).or_default().push_back(entry);
        }
    }
    listed
}
