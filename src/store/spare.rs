//! What the store holds besides results: sessions and offers. They are links to files of target directories, so that they cost
//! room only once those are gone, and they go first.

use std::path::PathBuf;
use std::time::Duration;

use super::{Store, offers, sessions, survey};
use crate::fsx::clock::Time;
use crate::fsx::{self, sweep};

/// The share of the store's limit that they may take, in percent.
const SHARE_PERCENT: u64 = 25;

/// How long one lasts that nobody uses.
const LIFETIME: Duration = Duration::from_hours(14 * 24);

/// A session or an offer.
#[derive(Debug)]
pub struct Spare {
    /// Its directory.
    pub place: PathBuf,
    /// Bytes of its files, which target directories may hold, too.
    pub bytes: u64,
    /// When it was made or used last.
    pub used: Time,
}

/// All sessions and offers.
pub fn all(store: &Store) -> fsx::Result<Vec<Spare>> {
    let mut all = sessions::all(store)?;
    all.extend(offers::all(store)?);
    Ok(all)
}

/// Removes those that were not used for longest until the rest takes no more than its share of `max_size`, in bytes. Gives
/// the bytes of the rest.
pub fn trim(store: &Store, max_size: u64, now: Time) -> fsx::Result<u64> {
    let (all, limit) = (all(store)?, max_size / 100 * SHARE_PERCENT);
    let (kept, surplus) = select(all, limit, now);
    for spare in surplus {
        // One that cannot be removed, since a compile is just putting files there, is for the next collection.
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

/// [`LIFETIME`] in seconds.
fn lifetime() -> i64 {
    i64::try_from(LIFETIME.as_secs()).unwrap_or(i64::MAX)
}

/// Splits into those that stay and those to remove. Pure.
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
