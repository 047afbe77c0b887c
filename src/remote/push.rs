//! Uploads many entries: selecting them, and pushing them.
//!
//! Packs are written on all cores while others are being uploaded. An entry that fails does not stop the others, unless
//! the remote denies everything ([`super::hope`]). An entry that came from the remote is an entry like any other (it is
//! not uploaded again because the remote does not lack it), but it is never signed here.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::error::RemoteError;
use super::fetch::Item;
use super::hope::Hope;
use super::open::Open;
use super::progress::Control;
use super::send::{self, SendError, Sent};
use crate::fsx;
use crate::model::EntryKey;
use crate::store::{Entry, Store, survey};

/// Entries that are packed or uploaded at once; the outbox holds at most this many packs.
const AT_ONCE: usize = 32;
/// Tasks at once, including those that wait for their turn.
const AHEAD: usize = 128;

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
    /// Identifies the entry.
    pub item: Item,
    /// Package name and version.
    pub package: String,
    /// When the entry was made, in milliseconds since 1970.
    pub created: i64,
    /// Size of the outputs in bytes.
    pub bytes: u64,
}

impl Filter {
    /// Whether the filter selects an entry.
    pub fn takes(&self, entry: &Entry) -> bool {
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
    let mut lookups = survey::lookups(store)?;
    let mut found: Vec<Candidate> = entries
        .into_iter()
        .filter(|info| filter.takes(&info.entry))
        .filter_map(|info| {
            let entry = info.entry;
            Some(Candidate {
                item: Item { crate_name: entry.crate_name, lookup: lookups.remove(&info.key)?, key: info.key },
                package: entry.package,
                created: entry.created,
                bytes: entry.outputs.iter().map(|output| output.size).sum(),
            })
        })
        .collect();
    found.sort_by_key(|candidate| (candidate.created, candidate.item.key));
    Ok(found)
}

/// Result of a push.
#[derive(Debug, Default)]
pub struct Report {
    /// Entries that were uploaded.
    pub sent: usize,
    /// Size of their packs in bytes.
    pub bytes: u64,
    /// Entries that another process uploaded meanwhile.
    pub there: usize,
    /// Entries that the store no longer has completely, or that a pack cannot hold.
    pub gone: Vec<Item>,
    /// Entries whose inputs contain a value that looks secret.
    pub secret: Vec<Item>,
    /// Entries that were not uploaded because the push ended early, or because they were pulled and would be signed
    /// here.
    pub not_tried: Vec<Item>,
    /// Entries that failed, and why.
    pub failed: Vec<(Item, String)>,
    /// Whether the push was cancelled.
    pub is_cancelled: bool,
}

impl Report {
    /// Whether this entry was not uploaded, so that the remote may lack it.
    pub fn lacks(&self, key: EntryKey) -> bool {
        let mut others =
            self.gone.iter().chain(&self.secret).chain(&self.not_tried).chain(self.failed.iter().map(|(item, _)| item));
        others.any(|other| other.key == key)
    }

    fn count(&mut self, item: Item, ended: Result<Option<Sent>, SendError>) {
        match ended {
            Ok(Some(Sent::Sent(bytes))) => {
                self.sent += 1;
                self.bytes += bytes;
            }
            Ok(Some(Sent::AlreadyThere)) => self.there += 1,
            Ok(Some(Sent::Gone)) => self.gone.push(item),
            Ok(Some(Sent::Secret)) => self.secret.push(item),
            Ok(None | Some(Sent::Foreign)) | Err(SendError::Remote(RemoteError::Cancelled { .. })) => {
                self.not_tried.push(item);
            }
            Err(error) => self.failed.push((item, error.to_string())),
        }
    }
}

/// Pushes all `items`. Calls `told` with the number of settled entries after each of them.
pub async fn run(
    remote: &Arc<Open>,
    store: &Arc<Store>,
    items: Vec<Item>,
    control: &Control,
    told: impl Fn(usize),
) -> Report {
    let (turns, hope) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(Hope::default()));
    let mut items = items.into_iter();
    let mut tasks = JoinSet::new();
    let (mut report, mut settled) = (Report::default(), 0);
    loop {
        while tasks.len() < AHEAD
            && let Some(item) = items.next()
        {
            let (remote, store, control) = (Arc::clone(remote), Arc::clone(store), control.clone());
            let (turns, hope) = (Arc::clone(&turns), Arc::clone(&hope));
            tasks.spawn(async move {
                // The semaphore is never closed.
                let _turn = turns.acquire().await;
                let is_over = control.cancel.is_cancelled() || hope.is_lost();
                let ended = match is_over {
                    true => Ok(None),
                    false => send::send(&remote, &store, &item, &control).await.map(Some),
                };
                match &ended {
                    Ok(Some(Sent::Sent(_) | Sent::AlreadyThere)) => hope.succeeded(),
                    Err(SendError::Remote(error)) => hope.failed(error),
                    _ => {}
                }
                (item, ended)
            });
        }
        match tasks.join_next().await {
            Some(Ok((item, ended))) => report.count(item, ended),
            // Tasks are not aborted, so this one has panicked.
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            None => break,
        }
        settled += 1;
        told(settled);
    }
    report.is_cancelled = control.cancel.is_cancelled();
    report
}
