//! Garbage collection: evicts sessions and offers beyond their share, then the least recently used entries, and removes
//! files that nothing refers to.
//!
//! Mark and sweep, under one lock against other collections and without a lock against builds: a reader that finds only
//! part of an entry sees a miss, and a blob that was written or linked a short while ago is kept, because its entry may
//! be about to be published.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::manifests::{self, ManifestRecord};
use super::survey::{self, BlobInfo, EntryInfo, Survey};
use super::{SizeLimit, Store, build_snapshots, calls, compiler_answers, eviction, files, layout, units};
use crate::fsx::clock::Time;
use crate::fsx::lock::FileLock;
use crate::fsx::{self, Publish, Stamp, sweep};
use crate::model::{BlobId, EntryKey};

/// The shortest time between two collections that builds start.
const MIN_INTERVAL: Duration = Duration::from_mins(10);
const MIN_INTERVAL_ON_FULL_DISK: Duration = Duration::from_secs(20);
/// How long a file that nothing refers to is kept after its last change.
const KEEP_UNREFERENCED: Duration = Duration::from_hours(1);
/// A collection of a store beyond its limit trims it to this share of the limit, so that the next one is not needed at
/// once.
const TARGET_PERCENT: u64 = 90;

/// The result of a collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Size of the store before, in bytes.
    pub before: u64,
    /// Size of the store after, in bytes.
    pub after: u64,
    /// Number of entries removed.
    pub entries: usize,
    /// Number of blobs removed.
    pub blobs: usize,
    /// The limit of the store in bytes.
    pub limit: u64,
    /// Size in bytes of the removed blobs that target directories still hold.
    pub still_linked: u64,
}

/// Returns whether a build should start a collection now. After `true`, it returns `false` for a while, so that only
/// one build does.
pub fn is_due(store: &Store, now: Time) -> bool {
    is_due_after(store, MIN_INTERVAL, now)
}

/// Like [`is_due`], for a build that cannot store its result because the disk is full. The answer may be `true` more
/// often.
pub fn is_due_on_full_disk(store: &Store, now: Time) -> bool {
    is_due_after(store, MIN_INTERVAL_ON_FULL_DISK, now)
}

fn is_due_after(store: &Store, interval: Duration, now: Time) -> bool {
    let path = store.layout().gc_stamp();
    let last = Stamp::of(&path).ok();
    let is_old = |last: &Stamp| elapsed(last.mtime, now) > interval;
    if last.as_ref().is_some_and(|last| !is_old(last)) {
        return false;
    }
    let noted = Publish::default().bytes(&path, b"").is_ok();
    // A store without a stamp is new.
    noted && last.is_some()
}

/// Trims the store to its limit. Returns `None` if another collection is running.
pub fn collect(store: &Store, limit: SizeLimit, now: Time) -> fsx::Result<Option<GcReport>> {
    let Some(_lock) = FileLock::try_acquire(&store.layout().gc_lock())? else { return Ok(None) };
    let mut survey = survey::survey(store)?;
    let max_size = limit.bytes(store.layout().cache_dir(), survey.total_bytes());
    let kept = eviction::trim(store, max_size, now)?;
    let trimmed = survey.evictable_bytes.saturating_sub(kept);
    survey.evictable_bytes = kept;
    let victims = least_used(&survey, max_size);
    let mut report = remove(store, &survey, &victims, now)?;
    report.before += trimmed;
    report.limit = max_size;
    report.after = report.after.saturating_sub(units::sweep(store, now)?);
    sweep_orphans(store, now)?;
    Ok(Some(report))
}

/// Selects the entries to remove, least recently used first, until the store fits. Removes nothing itself.
fn least_used(survey: &Survey, max_size: u64) -> HashSet<EntryKey> {
    let mut total = survey.total_bytes();
    let mut victims = HashSet::new();
    if total <= max_size {
        return victims;
    }
    let goal = max_size / 100 * TARGET_PERCENT;
    let sizes: HashMap<BlobId, u64> = survey.blobs.iter().map(|blob| (blob.id, blob.size)).collect();
    let mut users: HashMap<BlobId, usize> = HashMap::new();
    for blob in survey.entries.iter().flat_map(blobs_of) {
        *users.entry(blob).or_default() += 1;
    }
    // Blobs without an entry are removed in any case.
    total -= survey.blobs.iter().filter(|blob| !users.contains_key(&blob.id)).map(|blob| blob.size).sum::<u64>();
    let mut entries: Vec<&EntryInfo> = survey.entries.iter().collect();
    entries.sort_by_key(|entry| (entry.used, entry.key));
    for entry in entries {
        if total <= goal {
            break;
        }
        victims.insert(entry.key);
        total = total.saturating_sub(entry.bytes);
        for blob in blobs_of(entry) {
            let left = users.entry(blob).or_default();
            *left = left.saturating_sub(1);
            if *left == 0 {
                total = total.saturating_sub(sizes.get(&blob).copied().unwrap_or(0));
            }
        }
    }
    victims
}

/// Removes entries, then their records in the manifests, then the blobs that no other entry holds.
#[expect(clippy::implicit_hasher, reason = "every caller has the standard one")]
pub fn remove(store: &Store, survey: &Survey, victims: &HashSet<EntryKey>, now: Time) -> fsx::Result<GcReport> {
    let mut report = GcReport { before: survey.total_bytes(), entries: victims.len(), ..GcReport::default() };
    for key in victims {
        fsx::remove_file(&store.layout().entry(*key))?;
    }
    let damaged = survey.undecodable.iter().filter(|(_, changed)| elapsed(*changed, now) > KEEP_UNREFERENCED);
    for (path, _) in damaged {
        fsx::remove_file(path)?;
        report.entries += 1;
    }
    let living: HashSet<EntryKey> =
        survey.entries.iter().map(|entry| entry.key).filter(|key| !victims.contains(key)).collect();
    let manifest_bytes = prune_manifests(store, &living, now)?;
    let survivors = survey.entries.iter().filter(|entry| living.contains(&entry.key));
    let needed: HashSet<BlobId> = survivors.clone().flat_map(blobs_of).collect();
    let orphaned: HashSet<BlobId> =
        survey.entries.iter().filter(|entry| victims.contains(&entry.key)).flat_map(blobs_of).collect();
    report.after =
        manifest_bytes + survey.unit_bytes + survey.evictable_bytes + survivors.map(|entry| entry.bytes).sum::<u64>();
    for blob in &survey.blobs {
        if needed.contains(&blob.id) || (!orphaned.contains(&blob.id) && is_young(blob, now)) {
            report.after += blob.size;
            continue;
        }
        fsx::remove_file(&store.layout().blob(blob.id))?;
        report.blobs += 1;
        report.still_linked += if blob.has_other_links { blob.size } else { 0 };
    }
    Ok(report)
}

fn blobs_of(entry: &EntryInfo) -> impl Iterator<Item = BlobId> + Clone {
    entry.entry.outputs.iter().map(|output| output.blob)
}

fn is_young(blob: &BlobInfo, now: Time) -> bool {
    elapsed(blob.changed, now) < KEEP_UNREFERENCED
}

fn elapsed(from: Time, to: Time) -> Duration {
    let nanos = (to.as_nanos() - from.as_nanos()).max(0);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Removes records without an entry from the manifests, and manifests without records. Returns the size of the rest in
/// bytes. Skips young manifests: their entries may be younger than the survey.
fn prune_manifests(store: &Store, living: &HashSet<EntryKey>, now: Time) -> fsx::Result<u64> {
    let mut found = Vec::new();
    files::each_file(&store.layout().shards("manifests"), |path, stamp| found.push((path.to_owned(), *stamp)))?;
    let mut bytes = 0;
    for (path, stamp) in found {
        let Some(lookup) = files::digest_in_name(&path).map(crate::model::LookupKey) else { continue };
        let records: Vec<ManifestRecord> = store.manifest(lookup)?.records().collect();
        let kept: Vec<ManifestRecord> = records.iter().filter(|record| living.contains(&record.key)).cloned().collect();
        if kept.len() == records.len() && !kept.is_empty() || elapsed(stamp.mtime, now) < Duration::from_mins(1) {
            bytes += stamp.size;
        } else if kept.is_empty() {
            fsx::remove_file(&path)?;
        } else {
            bytes += Publish::default().bytes(&path, &manifests::encode(lookup, kept))?.size;
        }
    }
    Ok(bytes)
}

/// Removes files that killed processes left behind, blobs that were quarantined long ago, and old answers of compilers.
fn sweep_orphans(store: &Store, now: Time) -> fsx::Result<()> {
    let layout = store.layout();
    let mut dirs =
        vec![layout.cache_dir().to_owned(), layout.root().to_owned(), layout.compilers(), layout.compiler_answers()];
    for kind in ["blobs", "calls", "entries", "manifests", "snapshots", "units"] {
        // Files for a shard that did not exist.
        dirs.push(layout.root().join(kind));
        dirs.extend(layout.shards(kind));
    }
    for dir in dirs {
        sweep::sweep(&dir, now)?;
    }
    let mut old = Vec::new();
    files::each_file(&[layout.quarantine()], |path, stamp| {
        if elapsed(stamp.ctime, now) > KEEP_UNREFERENCED {
            old.push(path.to_owned());
        }
    })?;
    old.iter().try_for_each(|path| fsx::remove_file(path))?;
    compiler_answers::expire(layout, now)?;
    calls::sweep(store, now)?;
    build_snapshots::sweep(store, now)?;
    sweep_claims(layout, now)
}

/// Removes the claims of killed holders: acquiring and dropping such a lock removes its file.
fn sweep_claims(layout: &layout::Layout, now: Time) -> fsx::Result<()> {
    let mut old = Vec::new();
    files::each_file(&[layout.claims()], |path, stamp| {
        if elapsed(stamp.ctime, now) > KEEP_UNREFERENCED {
            old.push(path.to_owned());
        }
    })?;
    old.iter().try_for_each(|path| FileLock::try_acquire(path).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::clock;
    use crate::model::{ArtifactKind, DepInfo, Digest, Input, InputSet, LookupKey};
    use crate::store::{Entry, Output};

    /// Stores an entry `name` that was last used at `used`, with blobs of these contents.
    fn put(store: &Store, name: &str, used: i64, blobs: &[&[u8]]) -> EntryKey {
        let lookup = LookupKey(Digest::of(name.as_bytes()));
        let set = InputSet { inputs: vec![Input::DiagnosticWidth(None)] };
        let key = set.entry_key(lookup);
        let mut outputs = Vec::new();
        for bytes in blobs {
            let id = BlobId(Digest::of(bytes));
            Publish::default().bytes(&store.layout().blob(id), bytes).unwrap();
            outputs.push(Output {
                name: "x".into(),
                kind: ArtifactKind::Rmeta,
                blob: id,
                size: bytes.len() as u64,
                executable: false,
                read_only: false,
                mode: None,
                needs_glibc: None,
            });
        }
        let entry = Entry {
            crate_name: name.into(),
            package: String::new(),
            kind: "lib".into(),
            emit: "link".into(),
            outputs,
            tree: None,
            dep_info_name: "x.d".into(),
            dep_info: DepInfo { targets: vec![], files: vec![], env: vec![] },
            stdout: vec![],
            stderr: vec![],
            cost_ms: 0.0,
            created: 0,
            boot: String::new(),
            pulled: false,
            origin: None,
        };
        store.put_entry(key, &entry).unwrap();
        store.put_set(lookup, &set).unwrap();
        let path = store.layout().entry(key);
        clock::stamp(&fsx::open(&path).unwrap(), &path, Time { secs: used, nanos: 0 }).unwrap();
        key
    }

    fn later() -> Time {
        Time { secs: clock::now().secs + 10_000, nanos: 0 }
    }

    fn keys(store: &Store) -> HashSet<EntryKey> {
        survey::survey(store).unwrap().entries.iter().map(|entry| entry.key).collect()
    }

    #[test]
    fn i10_a_temp_file_for_a_shard_that_did_not_exist_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let blobs = store.layout().root().join("blobs");
        fsx::create_dir_all(&blobs).unwrap();
        // A killed process does not drop it.
        std::mem::forget(Publish::default().begin(&store.layout().blob(BlobId(Digest::of(b"x")))).unwrap());
        for (now, left) in [(clock::now(), 1), (later(), 0)] {
            sweep_orphans(&store, now).unwrap();
            assert_eq!(fsx::list(&blobs).unwrap().len(), left);
        }
    }

    #[test]
    fn the_least_recently_used_goes_first_and_shared_blobs_stay() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let (big, common) = (vec![1; 100_000], vec![2; 100_000]);
        let old = put(&store, "old", 100, &[&big, &common]);
        let new = put(&store, "new", 200, &[&common]);
        let report = collect(&store, SizeLimit::Bytes(150_000), later()).unwrap().unwrap();
        assert_eq!((report.entries, report.blobs), (1, 1));
        assert_eq!(keys(&store), HashSet::from([new]));
        assert!(store.entry(old).is_none());
        store.verify_blob(BlobId(Digest::of(&common))).unwrap();
        assert_eq!(report.after, survey::survey(&store).unwrap().total_bytes());
    }

    #[test]
    fn what_fits_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        put(&store, "a", 100, &[b"a"]);
        let report = collect(&store, SizeLimit::Bytes(1 << 20), later()).unwrap().unwrap();
        assert_eq!((report.entries, report.blobs, report.before), (0, 0, report.after));
    }

    #[test]
    fn i10_unreferenced_blobs_go_once_they_are_old() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let id = BlobId(Digest::of(b"stray"));
        Publish::default().bytes(&store.layout().blob(id), b"stray").unwrap();
        collect(&store, SizeLimit::Bytes(1 << 20), clock::now()).unwrap();
        store.verify_blob(id).unwrap();
        let report = collect(&store, SizeLimit::Bytes(1 << 20), later()).unwrap().unwrap();
        assert_eq!(report.blobs, 1);
    }

    #[test]
    fn manifests_lose_records_without_an_entry() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        put(&store, "a", 100, &[&[1; 1000]]);
        collect(&store, SizeLimit::Bytes(0), later()).unwrap();
        assert!(store.manifest(LookupKey(Digest::of(b"a"))).unwrap().is_empty());
        assert_eq!(survey::survey(&store).unwrap().total_bytes(), 0);
    }

    #[test]
    fn one_collection_at_a_time_and_not_too_often() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let lock = FileLock::try_acquire(&store.layout().gc_lock()).unwrap().unwrap();
        assert_eq!(collect(&store, SizeLimit::Bytes(0), clock::now()).unwrap(), None);
        drop(lock);
        assert!(!is_due(&store, clock::now()), "a new store is not collected");
        assert!(!is_due(&store, clock::now()));
        assert!(is_due(&store, later()));
    }
}
