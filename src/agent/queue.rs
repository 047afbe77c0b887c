//! What is to go to the remote: one small file per entry, so that it outlives agent and machine.
//!
//! Version 1: a JSON object under the entry's key, in a directory of the remote's own: what was compiled for one is nobody
//! else's. Written by the wrapper after it stored, removed by the agent once the entry is on the remote, or is gone from the
//! store, or after two weeks: a remote may never come back.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::Remote;
use crate::fsx::{self, Publish, Stamp, clock::Time, sweep};
use crate::model::{Digest, EntryKey, LookupKey};
use crate::store::Layout;

/// How long an entry waits: two weeks.
const KEPT_NS: i128 = 14 * 86_400 * 1_000_000_000;

/// An entry that is to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Crate name.
    #[serde(rename = "crate")]
    pub crate_name: String,
    /// The lookup key.
    pub lookup: LookupKey,
    /// The key.
    pub key: EntryKey,
}

/// The queue of a cache directory.
#[derive(Clone, Debug)]
pub struct Queue {
    dir: PathBuf,
}

impl Queue {
    /// The queue for the remote, below the layout's directory.
    pub fn of(layout: &Layout, remote: &Remote) -> Self {
        Self { dir: all(layout).join(remote.destination()) }
    }

    /// Adds an entry. Its key is its name: twice is once.
    pub fn add(&self, item: &Item) -> fsx::Result<()> {
        let bytes = serde_json::to_vec(item).unwrap_or_default();
        Publish::default().bytes(&self.dir.join(item.key.0.hex()), &bytes).map(|_| ())
    }

    /// Takes an entry out.
    pub fn remove(&self, key: EntryKey) -> fsx::Result<()> {
        fsx::remove_file(&self.dir.join(key.0.hex()))
    }

    /// All entries, oldest first. Files that are none are removed.
    pub fn items(&self) -> fsx::Result<Vec<Item>> {
        let mut found: Vec<(Time, Item)> = Vec::new();
        for name in fsx::list(&self.dir)? {
            let path = self.dir.join(&name);
            let Some(key) = name.to_str().and_then(|name| name.parse::<Digest>().ok()) else { continue };
            let item = fsx::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Item>(&bytes).ok());
            match (item.filter(|item| item.key.0 == key), Stamp::of(&path)) {
                (Some(item), Ok(stamp)) => found.push((stamp.mtime, item)),
                _ => fsx::remove_file(&path)?,
            }
        }
        found.sort_by_key(|(time, _)| time.as_nanos());
        Ok(found.into_iter().map(|(_, item)| item).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        fsx::list(&self.dir).map_or(0, |names| names.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The queues for all remotes.
fn all(layout: &Layout) -> PathBuf {
    layout.remote().join("queue")
}

/// Takes out of all queues what has waited too long, and what killed processes left. Best effort: `kache push` finds the rest.
pub fn sweep(layout: &Layout, now: Time) {
    for queue in fsx::list(&all(layout)).unwrap_or_default() {
        let dir = all(layout).join(queue);
        let _ = sweep::sweep(&dir, now);
        for name in fsx::list(&dir).unwrap_or_default() {
            let path = dir.join(&name);
            let is_item = name.to_str().is_some_and(|name| name.parse::<Digest>().is_ok());
            if is_item && Stamp::of(&path).is_ok_and(|stamp| now.as_nanos() - stamp.mtime.as_nanos() > KEPT_NS) {
                let _ = fsx::remove_file(&path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Env};

    fn remote(bucket: &str) -> Remote {
        let vars = Env::of([("HOME", "/nowhere"), ("KACHE_S3_BUCKET", bucket)]);
        Remote::load(&vars, &Config::load(&vars).unwrap()).unwrap().unwrap()
    }

    #[test]
    fn what_has_waited_too_long_goes() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let (now, digest) = (fsx::clock::now(), Digest::of(b"a"));
        let item = Item { crate_name: "a".into(), lookup: LookupKey(digest), key: EntryKey(digest) };
        let (one, other) = (Queue::of(&layout, &remote("one")), Queue::of(&layout, &remote("other")));
        one.add(&item).unwrap();
        assert!(other.is_empty() && one.len() == 1);
        other.add(&item).unwrap();
        sweep(&layout, Time { secs: now.secs + 13 * 86_400, ..now });
        assert_eq!((one.len(), other.len()), (1, 1));
        sweep(&layout, Time { secs: now.secs + 15 * 86_400, ..now });
        assert_eq!((one.len(), other.len()), (0, 0));
    }

    #[test]
    fn what_is_queued_outlives_the_queue() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let item = |name: &str| Item {
            crate_name: name.into(),
            lookup: LookupKey(Digest::of(name.as_bytes())),
            key: EntryKey(Digest::of(name.as_bytes())),
        };
        let queue = Queue::of(&layout, &remote("b"));
        assert!(queue.is_empty());
        queue.add(&item("a")).unwrap();
        queue.add(&item("a")).unwrap();
        queue.add(&item("b")).unwrap();
        Publish::default().bytes(&queue.dir.join(Digest::of(b"torn").hex()), b"{").unwrap();
        let again = Queue::of(&layout, &remote("b"));
        assert_eq!(again.items().unwrap().len(), 2);
        assert_eq!(again.len(), 2, "what is no item is gone");
        again.remove(item("a").key).unwrap();
        assert_eq!(again.items().unwrap(), [item("b")]);
    }
}
