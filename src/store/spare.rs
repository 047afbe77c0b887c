//! Sessions and offers, which the store holds besides results. They are links to files of target directories, so they
//! take up space only once those files are gone, and they are evicted first.

use std::path::PathBuf;
use std::time::Duration;

use super::{Store, offers, sessions, survey};
use crate::fsx::clock::Time;
use crate::fsx::{self, sweep};

/// The share of the store's limit that sessions and offers may take, in percent.
const SHARE_PERCENT: u64 = 25;

/// How long an unused session or offer is kept.
const LIFETIME: Duration = Duration::from_hours(14 * 24);

/// A session or an offer in the store.
#[derive(Debug)]
pub struct Spare {
    /// The directory with its files.
    pub place: PathBuf,
    /// Size of its files in bytes. Target directories may hold the same files.
    pub bytes: u64,
    /// When it was made or last used.
    pub used: Time,
}

/// Returns all sessions and offers.
pub fn all(store: &Store) -> fsx::Result<Vec<Spare>> {
    let mut all = sessions::all(store)?;
    all.extend(offers::all(store)?);
    Ok(all)
}

/// Keeps the most recently used sessions and offers that fit into their share of `max_size` (in bytes), and removes the
/// rest. Returns the size of those that are kept, in bytes.
pub fn trim(store: &Store, max_size: u64, now: Time) -> fsx::Result<u64> {
    let (all, limit) = (all(store)?, max_size / 100 * SHARE_PERCENT);
    let (kept, surplus) = select(all, limit, now);
    for spare in surplus {
        // A compile may be putting files there just now. The next collection tries again.
        let _ = fsx::remove_dir_all(&spare.place);
    }
    let mut forgotten = Vec::new();
    survey::each_file(&store.layout().shards("sessions"), |note, stamp| {
        if now.secs - stamp.mtime.secs > lifetime() {
            forgotten.push(note.to_owned());
        }
    })?;
    forgotten.iter().try_for_each(|note| fsx::remove_file(note))?;
    for shard in store.layout().shards("sessions") {
        sweep::sweep(&shard, now)?;
    }
    offers::sweep(store, now)?;
    Ok(kept.iter().map(|spare| spare.bytes).sum())
}

/// Returns [`LIFETIME`] in seconds.
fn lifetime() -> i64 {
    i64::try_from(LIFETIME.as_secs()).unwrap_or(i64::MAX)
}

/// Splits sessions and offers into those to keep and those to remove. Removes nothing itself.
fn select(mut all: Vec<Spare>, limit: u64, now: Time) -> (Vec<Spare>, Vec<Spare>) {
    all.sort_by_key(|spare| std::cmp::Reverse(spare.used));
    let mut total = 0_u64;
    all.into_iter().partition(|spare| {
        let fits = total.saturating_add(spare.bytes) <= limit && now.secs - spare.used.secs < lifetime();
        total += if fits { spare.bytes } else { 0 };
        fits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_stays_within_the_share() {
        let spare = |name: &str, bytes, secs| Spare { place: name.into(), bytes, used: Time { secs, nanos: 0 } };
        let now = Time { secs: 10_000_000, nanos: 0 };
        let all = vec![
            spare("old", 10, 9_999_000),
            spare("newest", 50, 9_999_999),
            spare("large", 60, 9_999_998),
            spare("forgotten", 1, 1_000),
        ];
        let (kept, surplus) = select(all, 100, now);
        let names = |spares: &[Spare]| spares.iter().map(|spare| spare.place.display().to_string()).collect::<Vec<_>>();
        assert_eq!(
            (names(&kept), names(&surplus)),
            (vec!["newest".into(), "old".into()], vec!["large".to_owned(), "forgotten".into()])
        );
    }
}
