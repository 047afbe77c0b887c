//! Fetches entries: queries the remote for the entries of a workspace, fetches those that misses request, and then
//! those that the build record of the workspace names.
//!
//! Bounded: at most [`MAX_PARALLEL_LOOKUPS`] lookup keys at a time, no more bytes of one record than the setup allows,
//! and a deadline for each lookup key.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::failure::{Failure, Work};
use super::fetch_plan::{FetchState, RemoteUnit};
use super::protocol::FetchRequest;
use super::shared::Agent;
use super::state::BuildSubject;
use crate::fsx;
use crate::model::LookupKey;
use crate::remote::operations::build_records::{self, FoundRecord};
use crate::remote::operations::fetch::{self, BundleUse};
use crate::remote::operations::pull_plan::{self, ListedEntries, Place};
use crate::remote::operations::record_choice::Purpose;
use crate::remote::operations::remote_entry::ManifestPlace;
use crate::remote::{Checkout, Control, Fetched, Fetcher, Remote, RemoteError, Workspace, names};

/// How many lookup keys are fetched at once.
const MAX_PARALLEL_LOOKUPS: usize = 24;
/// How long the fetch of the entries of one lookup key may take.
const LOOKUP_DEADLINE: Duration = Duration::from_mins(2);
/// How many records are read for a build that the best one does not cover.
const MAX_RECORDS: usize = 4;
/// How long each query of the remote may take: for the build record, or for one lookup key.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

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
            Err(error) => record_failure(&agent, &error.into()),
        };
        agent.state().ended(lookup, state);
        agent.changed.notify_waiters();
    }
}

/// Fetches the entries under one lookup key.
async fn fetch_unit(agent: &Agent, open: &Arc<Remote>, lookup: LookupKey, unit: &RemoteUnit) -> FetchState {
    let control = Control::new(None, agent.end.clone(), Some(Instant::now() + LOOKUP_DEADLINE));
    let fetcher = Fetcher::new(open, &agent.setup.store, false);
    let (mut state, mut useful) = (FetchState::Useless, 0);
    for entry in unit.entries.iter().filter(|entry| entry.id.lookup == lookup) {
        if useful == fetch::MAX_ENTRIES_PER_LOOKUP {
            break;
        }
        // The build will probably request the other units of a record, too, and so other packs of the same bundle.
        let uses = match entry.manifest {
            ManifestPlace::Here(_) => BundleUse::Whole,
            _ => BundleUse::OnlyThis,
        };
        let crate_name = &entry.id.crate_name;
        let fetched = fetcher.fetch(entry, uses, &control).await;
        // Anybody may have written what is refused, so it takes the place of nothing.
        useful += usize::from(!matches!(fetched, Ok(Fetched::Absent | Fetched::Refused(_))));
        match fetched {
            Ok(Fetched::Imported { pack, bytes }) => {
                tracing::debug!(crate_name, pack, "fetched");
                state = FetchState::InStore;
                count_fetched(agent, pack, bytes);
            }
            // An entry that was already in the store did not prevent the miss, so it does not hold.
            Ok(Fetched::AlreadyHere | Fetched::Absent) => {}
            Ok(Fetched::Refused(refused)) => tracing::warn!(crate_name, %refused, "refused"),
            Err(RemoteError::Cancelled { .. }) => return FetchState::OnRemote,
            Err(error) => return record_failure(agent, &error.into()),
        }
    }
    state
}

/// Counts a fetched entry. A build record only claims its sizes, so a plan ends once the store has really grown by the
/// bytes that one agent may fetch.
fn count_fetched(agent: &Agent, pack: u64, bytes: u64) {
    agent.forget_failure(Work::Fetch);
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

fn record_failure(agent: &Agent, failure: &Failure) -> FetchState {
    tracing::warn!(error = failure.message, "cannot fetch");
    let is_paused = {
        let mut state = agent.state();
        let now = state.now();
        state.health.failed(failure.message.clone(), now);
        !state.health.is_usable(now)
    };
    agent.keep_failure(Work::Fetch, failure, is_paused);
    FetchState::Failed
}

/// Queries the remote for the subject: reads the build record that fits it best. Misses that it does not name are
/// looked up by name. Only a failed query makes the remote unusable.
pub(super) fn query_subject(agent: &Arc<Agent>, subject: BuildSubject) {
    let agent = Arc::clone(agent);
    tokio::spawn(async move {
        let failure = match tokio::time::timeout(QUERY_TIMEOUT, read_record(&agent, &subject)).await {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure),
            Err(_) => Some(no_answer()),
        };
        if let Some(failure) = &failure {
            tracing::warn!(error = failure.message, "cannot query the remote");
            agent.keep_failure(Work::Query, failure, true);
        }
        let mut state = agent.state();
        if let Some(failure) = failure {
            let now = state.now();
            state.health.last_error = failure.message;
            state.health.pause(now);
        }
        state.finish_answer(&subject);
        drop(state);
        agent.changed.notify_waiters();
    });
}

fn no_answer() -> Failure {
    Failure::timed_out(format!("no answer within {} s", QUERY_TIMEOUT.as_secs()))
}

/// Reads the best build record, if there is one.
async fn read_record(agent: &Agent, subject: &BuildSubject) -> Result<(), Failure> {
    let open = agent.open().await?;
    tracing::debug!("opened the remote");
    let Some(place) = place_of(agent, &open, subject).await? else { return Ok(()) };
    let mut found = build_records::find(&open, &place.listing, &place.checkout, &place.purpose).await?;
    if found.is_none() {
        // The first units of a cross build are for the host, so fall back to a record of any shape.
        found = build_records::find(&open, &place.listing, &place.checkout, &Purpose::default()).await?;
    }
    agent.forget_failure(Work::Query);
    if let Some(found) = found {
        add_record(agent, &open, subject, &found);
    }
    Ok(())
}

/// Reads the records of other commands for the same commit or lock file: a miss is not in the best one.
pub(super) fn read_others(agent: &Arc<Agent>, subject: BuildSubject) {
    let agent = Arc::clone(agent);
    tokio::spawn(async move {
        let read = async {
            let open = agent.open().await.ok()?;
            let place = place_of(&agent, &open, &subject).await.ok()??;
            let Place { listing, checkout, purpose, .. } = &place;
            let others = build_records::find_all(&open, listing, checkout, purpose, MAX_RECORDS).await.ok()?;
            others.iter().skip(1).for_each(|found| add_record(&agent, &open, &subject, found));
            Some(())
        };
        let _ = tokio::time::timeout(QUERY_TIMEOUT, read).await;
    });
}

fn add_record(agent: &Agent, open: &Remote, subject: &BuildSubject, found: &FoundRecord) {
    tracing::debug!(name = found.object(), "a build record");
    let units = units_of(agent, open, found);
    {
        let mut state = agent.state();
        for (lookup, unit) in units {
            state.plan.add_unit(lookup, unit);
        }
        state.add_record(subject, found.record.units.iter().map(|unit| unit.lookup).collect());
    }
    agent.changed.notify_waiters();
    agent.work.notify_waiters();
}

/// The workspace of a subject, and what the remote has of it.
async fn place_of(agent: &Agent, open: &Remote, subject: &BuildSubject) -> Result<Option<Place>, RemoteError> {
    let Some(dir) = subject.workspace.clone() else { return Ok(None) };
    let vars = agent.setup.env.clone();
    let found = tokio::task::spawn_blocking(move || {
        let workspace = Workspace::around(Path::new(&dir))?;
        let checkout = Checkout::of(&workspace, &vars);
        Some((workspace, checkout))
    });
    let Some((workspace, checkout)) = found.await.ok().flatten() else { return Ok(None) };
    let listing = build_records::list(open, &checkout.workspace).await?;
    Ok(Some(Place { workspace, checkout, listing, purpose: Purpose::of_shape(&subject.shape) }))
}

/// Looks up the lookup key of one miss by name.
pub(super) fn look_up(agent: &Arc<Agent>, request: FetchRequest) {
    let agent = Arc::clone(agent);
    tokio::spawn(async move {
        let found = async {
            let open = agent.open().await?;
            Ok(list_unit(&open, &request.crate_name, request.lookup).await?)
        };
        // [`query_subject`] decides whether the remote can be used.
        let found = tokio::time::timeout(QUERY_TIMEOUT, found).await.unwrap_or_else(|_| Err(no_answer()));
        match &found {
            Ok(_) => agent.forget_failure(Work::Query),
            Err(failure) => {
                let is_paused = {
                    let state = agent.state();
                    !state.health.is_usable(state.now())
                };
                agent.keep_failure(Work::Query, failure, is_paused);
            }
        }
        tracing::debug!(crate_name = request.crate_name, is_there = matches!(found, Ok(Some(_))), "looked up");
        agent.state().set_lookup_result(&request, found.map_err(drop));
        agent.changed.notify_waiters();
        agent.work.notify_waiters();
    });
}

/// The units of a record, up to the bytes that one record may fetch.
fn units_of(agent: &Agent, open: &Remote, found: &FoundRecord) -> Vec<(LookupKey, RemoteUnit)> {
    let layout = agent.setup.store.layout();
    let (mut units, mut bytes) = (Vec::new(), 0_u64);
    for (unit, entry) in found.record.units.iter().zip(found.entries(open)) {
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
                entries: vec![entry],
                cost_ms: Some(unit.cost_ms),
                state: if is_here { FetchState::InStore } else { FetchState::OnRemote },
            },
        ));
    }
    units
}

/// The entries of the remote under one lookup key, the newest first.
async fn list_unit(open: &Remote, crate_name: &str, lookup: LookupKey) -> Result<Option<RemoteUnit>, RemoteError> {
    let ListedEntries { mut entries, mut spares } =
        pull_plan::list(open, &names::manifests_under(crate_name, lookup)).await?;
    entries.extend(spares.remove(&lookup).unwrap_or_default());
    entries.retain(|entry| !matches!(entry.manifest, ManifestPlace::Refused(_)));
    let unit = RemoteUnit { crate_name: crate_name.to_owned(), entries, cost_ms: None, state: FetchState::OnRemote };
    Ok((!unit.entries.is_empty()).then_some(unit))
}
