//! Fetches entries: asks the remote what it has for a workspace, fetches the entries that misses want, and then those
//! that the build record of the workspace names.
//!
//! Bounded: at most [`AT_ONCE`] lookup keys at a time, no more bytes of one record than the setup allows, and a
//! deadline for each lookup key.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fetch_plan::{FetchState, RemoteUnit};
use super::protocol::FetchRequest;
use super::server::Agent;
use super::state::Subject;
use crate::fsx;
use crate::model::{EntryKey, LookupKey};
use crate::remote::fetch::{self, FetchError, Fetched, Item};
use crate::remote::open::Open;
use crate::remote::progress::Control;
use crate::remote::records::{self, Found};
use crate::remote::{RemoteError, Workspace};

/// How many lookup keys are fetched at once.
const AT_ONCE: usize = 24;
/// How long the entries of one lookup key may take.
const ENTRY: Duration = Duration::from_mins(2);
/// How long each answer of the remote may take: the build record, the full listing, or the listing for one lookup key.
const TELLING: Duration = Duration::from_secs(10);
/// How many pages a listing reads, at most. Build records name the other entries of a larger remote.
const PAGES: usize = 20;

/// Starts the tasks that fetch.
pub(super) fn start(agent: &Arc<Agent>) {
    for _ in 0..AT_ONCE {
        tokio::spawn(bring_for_ever(Arc::clone(agent)));
    }
}

async fn bring_for_ever(agent: Arc<Agent>) {
    loop {
        let work = agent.work.notified();
        let next = {
            let mut knowledge = agent.knowledge();
            let is_usable = knowledge.health.is_usable(knowledge.now());
            if is_usable { knowledge.plan.take_next() } else { None }
        };
        let Some((lookup, unit)) = next else {
            work.await;
            continue;
        };
        let state = match agent.open().await {
            Ok(open) => bring(&agent, &open, lookup, &unit).await,
            Err(error) => failed(&agent, error.to_string()),
        };
        agent.knowledge().ended(lookup, state);
        agent.changed.notify_waiters();
    }
}

/// Fetches the entries under one lookup key.
async fn bring(agent: &Agent, open: &Arc<Open>, lookup: LookupKey, unit: &RemoteUnit) -> FetchState {
    let control = Control::new(None, agent.end.clone(), Some(Instant::now() + ENTRY));
    let mut state = FetchState::Failed;
    for key in unit.keys.iter().take(fetch::MOST_OF_A_LOOKUP) {
        let item = Item { crate_name: unit.crate_name.clone(), lookup, key: *key };
        match fetch::fetch(open, &agent.setup.store, &item, &control).await {
            Ok(Fetched::Imported { pack, bytes }) => {
                tracing::debug!(crate_name = item.crate_name, pack, "brought");
                state = FetchState::InStore;
                count(agent, pack, bytes);
            }
            // An entry that was already in the store did not prevent the miss, so it does not hold.
            Ok(Fetched::AlreadyHere | Fetched::Absent) => {}
            Ok(Fetched::Refused(refused)) => tracing::warn!(crate_name = item.crate_name, %refused, "refused"),
            Err(FetchError::Remote(RemoteError::Cancelled { .. })) => return FetchState::OnRemote,
            Err(error) => return failed(agent, error.to_string()),
        }
    }
    state
}

/// Counts a fetched entry. A build record only claims its sizes, so a plan ends once the store has really grown by the
/// bytes that one agent may fetch.
fn count(agent: &Agent, pack: u64, bytes: u64) {
    let grown = {
        let mut counts = agent.counts();
        counts.fetched += 1;
        counts.fetched_bytes += pack;
        counts.grown_bytes += bytes;
        counts.grown_bytes
    };
    let mut knowledge = agent.knowledge();
    knowledge.health.well();
    if grown > agent.setup.max_size / 2 {
        tracing::warn!(grown, "enough was brought: only what is asked for comes from now on");
        knowledge.plan.clear_records();
    }
}

fn failed(agent: &Agent, words: String) -> FetchState {
    tracing::warn!(error = words, "cannot bring");
    let mut knowledge = agent.knowledge();
    let now = knowledge.now();
    knowledge.health.failed(words, now);
    FetchState::Failed
}

/// Asks the remote what it has for the subject: first the build record, which names the entries that the build will
/// want, then a listing of everything, which shows what is not worth waiting for. They run in sequence because the
/// listing is long; until it is complete, misses are looked up one by one. Only a failed question for the record makes
/// the remote unusable.
pub(super) fn ask(agent: &Arc<Agent>, subject: Subject) {
    let agent = Arc::clone(agent);
    tokio::spawn(async move {
        let words = match tokio::time::timeout(TELLING, tell_record(&agent, &subject)).await {
            Ok(Ok(open)) => {
                tell_all(&agent, &open).await;
                None
            }
            Ok(Err(words)) => Some(words),
            Err(_) => Some(format!("no answer within {} s", TELLING.as_secs())),
        };
        let mut knowledge = agent.knowledge();
        if let Some(words) = words {
            tracing::warn!(error = words, "the remote does not tell what it has");
            let now = knowledge.now();
            knowledge.health.words = words;
            knowledge.health.unusable(now);
        }
        knowledge.has_told(&subject);
        drop(knowledge);
        agent.changed.notify_waiters();
    });
}

/// Lists the remote and adds what it has to the plan. If that takes too long, the agent uses only its build records.
async fn tell_all(agent: &Agent, open: &Open) {
    match tokio::time::timeout(TELLING, list(open, &open.names.all_manifests())).await {
        Ok(Ok(units)) => {
            let mut knowledge = agent.knowledge();
            for (lookup, unit) in units {
                knowledge.plan.add_unit(lookup, unit);
            }
            tracing::debug!("the remote has told");
        }
        Ok(Err(error)) => tracing::warn!(%error, "cannot list"),
        Err(_) => tracing::warn!("the list takes too long"),
    }
}

/// Opens the remote and reads the build record, if there is one.
async fn tell_record(agent: &Agent, subject: &Subject) -> Result<Arc<Open>, String> {
    let open = agent.open().await.map_err(|error| error.to_string())?;
    tracing::debug!("opened the remote");
    let found = record(&open, subject).await.map_err(|error| error.to_string())?;
    let Some(found) = found else { return Ok(open) };
    tracing::debug!(name = found.name, "a build record");
    {
        let mut knowledge = agent.knowledge();
        learn_record(agent, &mut knowledge, &found);
        knowledge.has_record(subject, found.record.units.iter().map(|unit| unit.lookup).collect());
    }
    agent.changed.notify_waiters();
    agent.work.notify_waiters();
    Ok(open)
}

/// Looks up the lookup key of one miss, whose answer comes a round trip earlier than the record.
pub(super) fn look(agent: &Arc<Agent>, want: FetchRequest) {
    let agent = Arc::clone(agent);
    tokio::spawn(async move {
        let Ok(open) = agent.open().await else { return };
        let prefix = open.names.manifests_under(&want.crate_name, want.lookup);
        match tokio::time::timeout(TELLING, list(&open, &prefix)).await {
            Ok(Ok(mut units)) => {
                let unit = units.remove(&want.lookup);
                tracing::debug!(want.crate_name, is_there = unit.is_some(), "looked");
                agent.knowledge().has_looked(&want, unit);
            }
            // [`ask`] decides whether the remote can be used.
            Ok(Err(_)) | Err(_) => return,
        }
        agent.changed.notify_waiters();
        agent.work.notify_waiters();
    });
}

async fn record(open: &Open, subject: &Subject) -> Result<Option<Found>, RemoteError> {
    let Some(workspace) = subject.workspace.as_deref().and_then(|dir| Workspace::around(Path::new(dir))) else {
        return Ok(None);
    };
    let shape = Some(subject.shape.as_str()).filter(|shape| !shape.is_empty());
    match records::find(open, &workspace, shape).await?.into_iter().next() {
        // The first units of a cross build are for the host, so fall back to a record of any shape.
        None if shape.is_some() => Ok(records::find(open, &workspace, None).await?.into_iter().next()),
        found => Ok(found),
    }
}

/// Adds the entries of a record to the plan, up to the bytes that one record may fetch.
fn learn_record(agent: &Agent, knowledge: &mut super::state::Knowledge, found: &Found) {
    let layout = agent.setup.store.layout();
    let mut bytes = 0_u64;
    for unit in &found.record.units {
        bytes = bytes.saturating_add(unit.bytes);
        if bytes > agent.setup.max_size / 2 {
            tracing::warn!("the build record names more than may be brought");
            break;
        }
        let is_here = fsx::exists(&layout.entry(unit.key));
        knowledge.plan.add_unit(
            unit.lookup,
            RemoteUnit {
                crate_name: unit.crate_name.clone(),
                keys: vec![unit.key],
                cost_ms: Some(unit.cost_ms),
                state: if is_here { FetchState::InStore } else { FetchState::OnRemote },
            },
        );
    }
}

/// The units under manifest names that begin with `prefix`, from at most [`PAGES`] pages.
async fn list(open: &Open, prefix: &str) -> Result<HashMap<LookupKey, RemoteUnit>, RemoteError> {
    let mut listing = open.bucket.list(prefix);
    let mut units: HashMap<LookupKey, Vec<(Option<std::time::SystemTime>, String, EntryKey)>> = HashMap::new();
    for _ in 0..PAGES {
        let Some(page) = listing.next_page().await? else { break };
        for listed in page {
            if let Some(located) = open.names.parse_manifest(&listed.name) {
                let entry = (listed.modified, located.crate_part, located.key);
                units.entry(located.lookup).or_default().push(entry);
            }
        }
    }
    let unit = |mut entries: Vec<(Option<std::time::SystemTime>, String, EntryKey)>| {
        entries.sort_unstable_by(|a, b| b.cmp(a));
        let crate_name = entries.first().map(|entry| entry.1.clone()).unwrap_or_default();
        let keys = entries.into_iter().map(|entry| entry.2).collect();
        RemoteUnit { crate_name, keys, cost_ms: None, state: FetchState::OnRemote }
    };
    Ok(units.into_iter().map(|(lookup, entries)| (lookup, unit(entries))).collect())
}
