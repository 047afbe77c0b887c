//! Evicts sessions and offers that are old, or beyond their share of the store's limit.

use std::time::Duration;

use super::evictable::Evictable;
use super::{Store, files, offers, sessions};
use crate::fsx::clock::Time;
use crate::fsx::{self, sweep};

/// The share of the store's limit that sessions and offers may take, in percent.
const SHARE_PERCENT: u64 = 25;

/// How long an unused session or offer is kept.
const KEEP_UNUSED: Duration = Duration::from_hours(14 * 24);

/// Returns all sessions and offers.
pub fn all(store: &Store) -> fsx::Result<Vec<Evictable>> {
    let mut all = sessions::all(store)?;
    all.extend(offers::all(store)?);
    Ok(all)
}

/// Keeps the most recently used sessions and offers that fit into their share of `max_size` (in bytes), and removes the
/// rest. Returns the size of those that are kept, in bytes.
pub fn trim(store: &Store, max_size: u64, now: Time) -> fsx::Result<u64> {
    let (all, limit) = (all(store)?, max_size / 100 * SHARE_PERCENT);
    let (kept, surplus) = select(all, limit, now);
    for item in surplus {
        // A compile may be putting files there just now. The next collection tries again.
        let _ = fsx::remove_dir_all(&item.place);
    }
    let mut forgotten = Vec::new();
    files::each_file(&store.layout().shards("sessions"), |note, stamp| {
        if now.secs - stamp.mtime.secs > keep_unused_secs() {
            forgotten.push(note.to_owned());
        }
    })?;
    forgotten.iter().try_for_each(|note| fsx::remove_file(note))?;
    for shard in store.layout().shards("sessions") {
        sweep::sweep(&shard, now)?;
    }
    offers::sweep(store, now)?;
    Ok(kept.iter().map(|item| item.bytes).sum())
}

/// Returns [`KEEP_UNUSED`] in seconds.
fn keep_unused_secs() -> i64 {
    i64::try_from(KEEP_UNUSED.as_secs()).unwrap_or(i64::MAX)
}

/// Splits sessions and offers into those to keep and those to remove. Removes nothing itself.
fn select(mut all: Vec<Evictable>, limit: u64, now: Time) -> (Vec<Evictable>, Vec<Evictable>) {
    all.sort_by_key(|item| std::cmp::Reverse(item.used));
    let mut total = 0_u64;
    all.into_iter().partition(|item| {
        let fits = total.saturating_add(item.bytes) <= limit && now.secs - item.used.secs < keep_unused_secs();
        total += if fits { item.bytes } else { 0 };
        fits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_stays_within_the_share() {
        let item = |name: &str, bytes, secs| Evictable { place: name.into(), bytes, used: Time { secs, nanos: 0 } };
        let now = Time { secs: 10_000_000, nanos: 0 };
        let all = vec![
            item("old", 10, 9_999_000),
            item("newest", 50, 9_999_999),
            item("large", 60, 9_999_998),
            item("forgotten", 1, 1_000),
        ];
        let (kept, surplus) = select(all, 100, now);
        let names = |items: &[Evictable]| items.iter().map(|item| item.place.display().to_string()).collect::<Vec<_>>();
        assert_eq!(
            (names(&kept), names(&surplus)),
            (vec!["newest".into(), "old".into()], vec!["large".to_owned(), "forgotten".into()])
        );
    }
}
