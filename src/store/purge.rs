//! Empties the store while builds run.
//!
//! Manifests are removed first, so that nothing refers to the rest any more. Locks of running processes stay, as do
//! temp files that may still have a writer.

use std::path::Path;

use super::{Store, offers, sessions};
use crate::fsx::clock::{self, Time};
use crate::fsx::temp::PREFIX as TEMP_PREFIX;
use crate::fsx::{self, Stamp, sweep};

/// Counts of the removed files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Number of entries, those of runs of build scripts included.
    pub entries: usize,
    /// Number of blobs. A blob that another entry needs is not removed.
    pub blobs: usize,
    /// Size of all removed files in bytes.
    pub bytes: u64,
    /// Size in bytes of those that target directories still hold.
    pub still_linked: u64,
}

/// Removes all results, key traces, sessions, offers, damaged blobs and memos.
pub fn everything(store: &Store) -> fsx::Result<Purged> {
    let (layout, now) = (store.layout(), clock::now());
    let mut purged = Purged::default();
    empty_all(&mut purged, &layout.shards("manifests"), now)?;
    for kind in ["units", "calls", "snapshots"] {
        empty_all(&mut purged, &layout.shards(kind), now)?;
    }
    purged.entries = empty_all(&mut purged, &layout.shards("entries"), now)?;
    purged.blobs = empty_all(&mut purged, &layout.shards("blobs"), now)?;
    purged.bytes += sessions::remove_all(store)? + offers::remove_all(store)?;
    empty_all(&mut purged, &[layout.quarantine(), layout.compilers(), layout.compiler_answers()], now)?;
    fsx::remove_file(&layout.stamps())?;
    Ok(purged)
}

/// Removes the files directly in `dirs`, and returns how many there were, temp files not counted.
fn empty_all(purged: &mut Purged, dirs: &[impl AsRef<Path>], now: Time) -> fsx::Result<usize> {
    let mut removed = 0;
    for dir in dirs.iter().map(AsRef::as_ref) {
        for name in fsx::list(dir)? {
            let path = dir.join(&name);
            let Some(stamp) = fsx::optional(Stamp::of(&path))?.filter(|stamp| stamp.is_file) else { continue };
            let name = name.to_string_lossy();
            let is_temp = name.starts_with(TEMP_PREFIX);
            if is_temp && !sweep::is_orphan(&name, stamp.ctime, now) {
                continue;
            }
            fsx::remove_file(&path)?;
            removed += usize::from(!is_temp);
            purged.bytes += stamp.size;
            purged.still_linked += if stamp.nlink > 1 { stamp.size } else { 0 };
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::{Ladder, Publish};
    use crate::model::{BlobId, Digest};

    #[test]
    fn all_goes_but_what_a_writer_holds() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache"));
        let source = dir.path().join("source");
        Publish::default().bytes(&source, b"bytes").unwrap();
        let id = BlobId(Digest::of(b"bytes"));
        store.adopt_blob(&mut Ladder::default(), &source, fsx::Stamp::of(&source).unwrap(), id, false).unwrap();
        let blob = store.layout().blob(id);
        let writer = Publish::default().begin(&blob).unwrap();
        let purged = everything(&store).unwrap();
        assert_eq!((purged.entries, purged.blobs, purged.bytes), (0, 1, 5));
        assert!(!fsx::exists(&blob));
        writer.commit().unwrap();
        assert!(fsx::exists(&blob));
    }
}
