//! Fetches entries: queries the remote for the entries of a workspace, fetches those that misses request, and then
//! those that the build record of the workspace names.
//!
//! Bounded: at most [`MAX_PARALLEL_LOOKUPS`] lookup keys at a time, no more bytes of one record than the setup allows,
//! and a deadline for each lookup key.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fetch_plan::{FetchState, RemoteUnit};
use super::protocol::FetchRequest;
use super::shared::Agent;
use super::state::BuildSubject;
use crate::fsx;
use crate::model::{EntryId, EntryKey, LookupKey};
use crate::remote::operations::build_records::{self, NamedRecord};
use crate::remote::operations::fetch::{self, Fetched};
use crate::remote::{Control, Remote, RemoteError, Workspace};

/// How many lookup keys are fetched at once.
const MAX_PARALLEL_LOOKUPS: usize = 24;
/// How long the fetch of the entries of one lookup key may take.
const LOOKUP_DEADLINE: Duration = Duration::from_mins(2);
/// How long each query of the remote may take: the build record, the full listing, or the listing for one lookup key.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// How many pages of a listing are read. Build records name the other entries of a larger remote.
const MAX_LIST_PAGES: usize = 20;

/// Starts the tasks that fetch.
pub(super) fn start(agent: &Arc<Agent>) {
    for _ in 0..MAX_PARALLEL_LOOKUPS {
        tokio::spawn(fetch_loop(Arc::clone(agent)));
    }
}

async fn fetch_loop(agent: Arc<Agent>) {
    loop {
        let work = agent.work.notified();
        let next = {
            let mut state = agent.state();
            let is_usable = state.health.is_usable(state.now());
            if is_usable { state.plan.take_next() } else { None }
        };
        let Some((lookup, unit)) = next else {
            work.await;
            continue;
        };
        let state = match agent.open().await {
            Ok(open) => fetch_unit(&agent, &open, lookup, &unit).await,
            Err(error) => record_failure(&agent, error.to_string()),
        };
        agent.state().ended(lookup, state);
        agent.changed.notify_waiters();
    }
}

/// Fetches the entries under one lookup key.
async fn fetch_unit(agent: &Agent, open: &Arc<Remote>, lookup: LookupKey, unit: &RemoteUnit) -> FetchState {
    let control = Control::new(None, agent.end.clone(), Some(Instant::now() + LOOKUP_DEADLINE));
    let mut state = FetchState::Failed;
    for key in unit.keys.iter().take(fetch::MAX_ENTRIES_PER_LOOKUP) {
        let id = EntryId { crate_name: unit.crate_name.clone(), lookup, key: *key };
        match fetch::fetch_entry(open, &agent.setup.store, &id, &control).await {
            Ok(Fetched::Imported { pack, bytes }) => {
                tracing::debug!(crate_name = id.crate_name, pack, "fetched");
                state = FetchState::InStore;
                count_fetched(agent, pack, bytes);
            }
            // An entry that was already in the store did not prevent the miss, so it does not hold.
            Ok(Fetched::AlreadyHere | Fetched::Absent) => {}
            Ok(Fetched::Refused(refused)) => tracing::warn!(crate_name = id.crate_name, %refused, "refused"),
            Err(RemoteError::Cancelled { .. }) => return FetchState::OnRemote,
            Err(error) => return record_failure(agent, error.to_string()),
        }
    }
    state
}

/// Counts a fetched entry. A build record only claims its sizes, so a plan ends once the store has really grown by the
/// bytes that one agent may fetch.
fn count_fetched(agent: &Agent, pack: u64, bytes: u64) {
    let mut state = agent.state();
    state.counters.fetched += 1;
    state.counters.fetched_bytes += pack;
    state.counters.grown_bytes += bytes;
    state.health.succeeded();
    let grown = state.counters.grown_bytes;
    if grown > agent.setup.max_size / 2 {
        state.plan.clear_records();
        drop(state);
        tracing::warn!(grown, "the limit of fetched bytes is reached: only requested entries are fetched from now on");
    }
}

fn record_failure(agent: &Agent, error: String) -> FetchState {
    tracing::warn!(error, "cannot fetch");
    let mut state = agent.state();
    let now = state.now();
    state.health.failed(error, now);
    FetchState::Failed
}

/// Queries the remote for the subject: first the build record, which names the entries that the build will request,
/// then a listing of everything, which shows for which entries not to wait. They run in sequence because the listing is
/// long; until it is complete, misses are looked up one by one. Only a failed query for the record makes the remote
/// unusable.
pub(super) fn query_subject(agent: &Arc<Agent>, subject: BuildSubject) {
    let agent = Arc::clone(agent);
    tokio::spawn(async move {
        let failure = match tokio::time::timeout(QUERY_TIMEOUT, read_record(&agent, &subject)).await {
            Ok(Ok(open)) => {
                list_remote(&agent, &open).await;
                None
            }
            Ok(Err(error)) => Some(error),
            Err(_) => Some(format!("no answer within {} s", QUERY_TIMEOUT.as_secs())),
        };
        if let Some(error) = &failure {
            tracing::warn!(error, "cannot query the remote");
        }
        let mut state = agent.state();
        if let Some(error) = failure {
            let now = state.now();
            state.health.last_error = error;
            state.health.pause(now);
        }
        state.finish_answer(&subject);
        drop(state);
        agent.changed.notify_waiters();
    });
}

/// Lists the remote and adds its units to the plan. If that takes too long, the agent uses only its build records.
async fn list_remote(agent: &Agent, open: &Remote) {
    match tokio::time::timeout(QUERY_TIMEOUT, list_units(open, &open.names.all_manifests())).await {
        Ok(Ok(units)) => {
            let mut state = agent.state();
            for (lookup, unit) in units {
                state.plan.add_unit(lookup, unit);
            }
            drop(state);
            tracing::debug!("listed the remote");
        }
        Ok(Err(error)) => tracing::warn!(%error, "cannot list"),
        Err(_) => tracing::warn!("the listing takes too long"),
    }
}

/// Opens the remote and reads the build record, if there is one.
async fn read_record(agent: &Agent, subject: &BuildSubject) -> Result<Arc<Remote>, String> {
    let open = agent.open().await.map_err(|error| error.to_string())?;
    tracing::debug!("opened the remote");
    let found = find_record(&open, subject).await.map_err(|error| error.to_string())?;
    let Some(found) = found else { return Ok(open) };
    tracing::debug!(name = found.name, "a build record");
    let units = units_of(agent, &found);
    {
        let mut state = agent.state();
        for (lookup, unit) in units {
            state.plan.add_unit(lookup, unit);
        }
        state.set_record(subject, found.record.units.iter().map(|unit| unit.lookup).collect());
    }
    agent.changed.notify_waiters();
    agent.work.notify_waiters();
    Ok(open)
}

/// Looks up the lookup key of one miss, whose answer comes a round trip earlier than the record.
pub(super) fn look_up(agent: &Arc<Agent>, request: FetchRequest) {
    let agent = Arc::clone(agent);
    tokio::spawn(async move {
        let Ok(open) = agent.open().await else { return };
        let prefix = open.names.manifests_under(&request.crate_name, request.lookup);
        match tokio::time::timeout(QUERY_TIMEOUT, list_units(&open, &prefix)).await {
            Ok(Ok(mut units)) => {
                let unit = units.remove(&request.lookup);
                tracing::debug!(crate_name = request.crate_name, is_there = unit.is_some(), "looked up");
                agent.state().set_lookup_result(&request, unit);
            }
            // [`query_subject`] decides whether the remote can be used.
            Ok(Err(_)) | Err(_) => return,
        }
        agent.changed.notify_waiters();
        agent.work.notify_waiters();
    });
}

async fn find_record(open: &Remote, subject: &BuildSubject) -> Result<Option<NamedRecord>, RemoteError> {
    let Some(workspace) = subject.workspace.as_deref().and_then(|dir| Workspace::around(Path::new(dir))) else {
        return Ok(None);
    };
    let shape = Some(subject.shape.as_str()).filter(|shape| !shape.is_empty());
    match build_records::find(open, &workspace, shape).await?.into_iter().next() {
        // The first units of a cross build are for the host, so fall back to a record of any shape.
        None if shape.is_some() => Ok(build_records::find(open, &workspace, None).await?.into_iter().next()),
        found => Ok(found),
    }
}

/// The units of a record, up to the bytes that one record may fetch.
fn units_of(agent: &Agent, found: &NamedRecord) -> Vec<(LookupKey, RemoteUnit)> {
    let layout = agent.setup.store.layout();
    let (mut units, mut bytes) = (Vec::new(), 0_u64);
    for unit in &found.record.units {
        bytes = bytes.saturating_add(unit.bytes);
        if bytes > agent.setup.max_size / 2 {
            tracing::warn!("the build record names more than may be fetched");
            break;
        }
        let is_here = fsx::exists(&layout.entry(unit.key));
        units.push((
            unit.lookup,
            RemoteUnit {
                crate_name: unit.crate_name.clone(),
                keys: vec![unit.key],
                cost_ms: Some(unit.cost_ms),
                state: if is_here { FetchState::InStore } else { FetchState::OnRemote },
            },
        ));
    }
    units
}

/// The units under manifest names that begin with `prefix`, from at most [`MAX_LIST_PAGES`] pages.
async fn list_units(open: &Remote, prefix: &str) -> Result<HashMap<LookupKey, RemoteUnit>, RemoteError> {
    let mut listing = open.objects.list(prefix);
    let mut units: HashMap<LookupKey, Vec<(Option<std::time::SystemTime>, String, EntryKey)>> = HashMap::new();
    for _ in 0..MAX_LIST_PAGES {
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
