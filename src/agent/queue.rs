//! What is to go to the remote: one small file per entry, so that it outlives agent and machine.
//!
//! Version 1: a JSON object under the entry's key. Written by the wrapper after it stored, removed by the agent once the
//! entry is on the remote, or is gone from the store.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::fsx::{self, Publish, Stamp, clock::Time};
use crate::model::{Digest, EntryKey, LookupKey};
use crate::store::Layout;

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
    /// The queue below the layout's directory.
    pub fn of(layout: &Layout) -> Self {
        Self { dir: layout.remote().join("queue") }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_queued_outlives_the_queue() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let item = |name: &str| Item {
            crate_name: name.into(),
            lookup: LookupKey(Digest::of(name.as_bytes())),
            key: EntryKey(Digest::of(name.as_bytes())),
        };
        let queue = Queue::of(&layout);
        assert!(queue.is_empty());
        queue.add(&item("a")).unwrap();
        queue.add(&item("a")).unwrap();
        queue.add(&item("b")).unwrap();
        Publish::default().bytes(&queue.dir.join(Digest::of(b"torn").hex()), b"{").unwrap();
        let again = Queue::of(&layout);
        assert_eq!(again.items().unwrap().len(), 2);
        assert_eq!(again.len(), 2, "what is no item is gone");
        again.remove(item("a").key).unwrap();
        assert_eq!(again.items().unwrap(), [item("b")]);
    }
}
