//! The upload queue: one small file per entry, so that it survives the agent and a restart of the machine.
//!
//! Version 1: an [`EntryId`] as JSON in a file named after the entry key, in a directory for each remote: an entry that
//! was compiled for one remote is never uploaded to another. The wrapper writes the file after it has stored the entry.
//! The agent removes it once the entry is on the remote, is gone from the store or must not be uploaded, or after two
//! weeks, because a remote may never come back.

use std::path::PathBuf;

use crate::config::RemoteSettings;
use crate::fsx::{self, Publish, Stamp, clock::Time, sweep};
use crate::model::{Digest, EntryId, EntryKey};
use crate::store::Layout;

/// How long an entry stays in the queue, in nanoseconds: two weeks.
const MAX_AGE_NS: i128 = 14 * 86_400 * 1_000_000_000;

/// The upload queue for one remote.
#[derive(Clone, Debug)]
pub struct Queue {
    dir: PathBuf,
}

impl Queue {
    /// The queue for `remote` in this cache directory.
    pub fn of(layout: &Layout, remote: &RemoteSettings) -> Self {
        Self { dir: all_queues(layout).join(remote.destination()) }
    }

    /// Adds an entry. Its key is the file name, so adding it twice has no effect.
    pub fn add(&self, id: &EntryId) -> fsx::Result<()> {
        let bytes = serde_json::to_vec(id).unwrap_or_default();
        Publish::default().bytes(&self.dir.join(id.key.0.hex()), &bytes).map(|_| ())
    }

    /// Removes an entry. It is not an error if it is not in the queue.
    pub fn remove(&self, key: EntryKey) -> fsx::Result<()> {
        fsx::remove_file(&self.dir.join(key.0.hex()))
    }

    /// All entries, oldest first. Removes files that are named like an entry but do not hold one.
    pub fn entries(&self) -> fsx::Result<Vec<EntryId>> {
        let mut found: Vec<(Time, EntryId)> = Vec::new();
        for name in fsx::list(&self.dir)? {
            let path = self.dir.join(&name);
            let Some(key) = name.to_str().and_then(|name| name.parse::<Digest>().ok()) else { continue };
            let id = fsx::read(&path).ok().and_then(|bytes| serde_json::from_slice::<EntryId>(&bytes).ok());
            match (id.filter(|id| id.key.0 == key), Stamp::of(&path)) {
                (Some(id), Ok(stamp)) => found.push((stamp.mtime, id)),
                _ => fsx::remove_file(&path)?,
            }
        }
        found.sort_by_key(|(time, _)| time.as_nanos());
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }

    /// Number of files in the queue, including files that are being written.
    pub fn len(&self) -> usize {
        fsx::list(&self.dir).map_or(0, |names| names.len())
    }

    /// Whether the queue is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The directory of the queues for all remotes.
fn all_queues(layout: &Layout) -> PathBuf {
    layout.remote().join("queue")
}

/// Removes entries that have waited too long, and files that killed processes left, from all queues. Best effort:
/// `kache push` finds the rest.
pub fn sweep(layout: &Layout, now: Time) {
    for queue in fsx::list(&all_queues(layout)).unwrap_or_default() {
        let dir = all_queues(layout).join(queue);
        let _ = sweep::sweep(&dir, now);
        for name in fsx::list(&dir).unwrap_or_default() {
            let path = dir.join(&name);
            let is_entry = name.to_str().is_some_and(|name| name.parse::<Digest>().is_ok());
            if is_entry && Stamp::of(&path).is_ok_and(|stamp| now.as_nanos() - stamp.mtime.as_nanos() > MAX_AGE_NS) {
                let _ = fsx::remove_file(&path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Env};
    use crate::model::LookupKey;

    fn remote(bucket: &str) -> RemoteSettings {
        let vars = Env::of([("HOME", "/nowhere"), ("KACHE_S3_BUCKET", bucket)]);
        RemoteSettings::load(&vars, &Config::load(&vars).unwrap()).unwrap().unwrap()
    }

    #[test]
    fn an_entry_that_has_waited_too_long_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let (now, digest) = (fsx::clock::now(), Digest::of(b"a"));
        let id = EntryId { crate_name: "a".into(), lookup: LookupKey(digest), key: EntryKey(digest) };
        let (one, other) = (Queue::of(&layout, &remote("one")), Queue::of(&layout, &remote("other")));
        one.add(&id).unwrap();
        assert!(other.is_empty() && one.len() == 1);
        other.add(&id).unwrap();
        sweep(&layout, Time { secs: now.secs + 13 * 86_400, ..now });
        assert_eq!((one.len(), other.len()), (1, 1));
        sweep(&layout, Time { secs: now.secs + 15 * 86_400, ..now });
        assert_eq!((one.len(), other.len()), (0, 0));
    }

    #[test]
    fn the_entries_outlive_the_queue() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let id = |name: &str| EntryId {
            crate_name: name.into(),
            lookup: LookupKey(Digest::of(name.as_bytes())),
            key: EntryKey(Digest::of(name.as_bytes())),
        };
        let queue = Queue::of(&layout, &remote("b"));
        assert!(queue.is_empty());
        queue.add(&id("a")).unwrap();
        queue.add(&id("a")).unwrap();
        queue.add(&id("b")).unwrap();
        Publish::default().bytes(&queue.dir.join(Digest::of(b"torn").hex()), b"{").unwrap();
        let again = Queue::of(&layout, &remote("b"));
        assert_eq!(again.entries().unwrap().len(), 2);
        assert_eq!(again.len(), 2, "a file that holds no entry is removed");
        again.remove(id("a").key).unwrap();
        assert_eq!(again.entries().unwrap(), [id("b")]);
    }
}
