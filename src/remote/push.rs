//! Many entries to the remote: which there are, and sending them.
//!
//! Packs are written on all cores while others are on their way. One that fails stops no other, unless the remote refuses all
//! ([`super::hope`]). What came from the remote is an entry like any other (it is not sent again because it is not lacking there), but it is
//! never signed here.

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

/// Entries that are packed or on their way at once: as many packs lie in the outbox at most.
const AT_ONCE: usize = 32;
/// Tasks that wait for their turn.
const AHEAD: usize = 128;

/// Which entries are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Made at this time or later, milliseconds since 1970.
    pub since: Option<i64>,
    /// Of one of these crates or packages; empty: of any.
    pub crates: Vec<String>,
    /// Only what was compiled on this machine. Who signs answers for what he signs: not for what somebody else has sent.
    pub own: bool,
}

/// An entry of the store that could be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The entry.
    pub item: Item,
    /// Package name and version.
    pub package: String,
    /// When it was made, milliseconds since 1970.
    pub created: i64,
    /// Bytes of its outputs.
    pub bytes: u64,
}

impl Filter {
    /// Whether an entry is meant.
    pub fn takes(&self, entry: &Entry) -> bool {
        let package = entry.package.split(' ').next().unwrap_or_default();
        let is_called = |name: &String| entry.crate_name == name.replace('-', "_") || package == name;
        (!self.own || !entry.pulled)
            && self.since.is_none_or(|since| entry.created >= since)
            && (self.crates.is_empty() || self.crates.iter().any(is_called))
    }
}

/// The entries of the store that `filter` takes, oldest first: what others are built on comes before them.
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

/// What became of a push.
#[derive(Debug, Default)]
pub struct Report {
    /// Entries that went.
    pub sent: usize,
    /// Bytes of their packs.
    pub bytes: u64,
    /// Entries that somebody else sent meanwhile.
    pub there: usize,
    /// Entries that were not whole in the store any more.
    pub gone: Vec<Item>,
    /// Entries that tell a variable's value that looks secret.
    pub secret: Vec<Item>,
    /// Entries that were not sent any more.
    pub not_tried: Vec<Item>,
    /// Entries that failed, and why.
    pub failed: Vec<(Item, String)>,
    /// Whether somebody asked to stop.
    pub is_cancelled: bool,
}

impl Report {
    /// Whether the remote is not known to have this entry now.
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

/// Sends all these entries. `told` hears how many are settled.
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
                // Never closed.
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
            // No task is aborted, so it can only have panicked.
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            None => break,
        }
        settled += 1;
        told(settled);
    }
    report.is_cancelled = control.cancel.is_cancelled();
    report
}
