//! rustc's incremental sessions, kept for checkouts that have none.
//!
//! rustc never writes to a file of a session again: a new session gets new files, and hard links to the files of the
//! old one that are still valid (`rustc_incremental::persist::fs`). So the store keeps hard links, and hands out hard
//! links. rustc checks a session against its options and inputs; a wrong session only costs time. A file that was
//! written in place is more serious: a seal over sizes and times keeps kache from handing out such a session.
//!
//! ```text
//! sessions/ab/<key>/<crate directory>/<session>/...    as below rustc's `-C incremental`
//! sessions/ab/<key>/seal                               digest of the names, sizes and times of the session's files
//! sessions/ab/<key>.plain                              the paths must not contain rustc's alias (`rustc::alias`)
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::evictable::Evictable;
use super::{Store, files};
use crate::fsx::clock::{self, Time};
use crate::fsx::tree::{self, Mode, NewTree};
use crate::fsx::{self, Stamp};
use crate::model::{Digest, SessionKey};

const SEAL: &str = "seal";

/// The one file of a session that rustc also links under other names: it is the unit's metadata, too, and cargo sets
/// its times. Two checkouts must not share it.
const METADATA: &str = "metadata.rmeta";

/// A kept session must be this old before a newer one of its unit replaces it.
const MIN_AGE_TO_REPLACE: Duration = Duration::from_mins(15);

/// The directory of a crate below `-C incremental`, and the newest finished session in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The directory of the crate below `-C incremental`.
    pub crate_dir: PathBuf,
    /// Name of the session's directory in `crate_dir`.
    pub name: String,
}

impl Session {
    /// Returns the newest finished session in the directory of a crate. The names begin with the start time, in digits
    /// that sort.
    pub fn newest(crate_dir: &Path) -> Option<Self> {
        let names = fsx::list(crate_dir).ok()?.into_iter().filter_map(|name| name.into_string().ok());
        let name = names.filter(|name| is_finished(name)).max()?;
        Some(Self { crate_dir: crate_dir.to_owned(), name })
    }

    fn dir(&self) -> PathBuf {
        self.crate_dir.join(&self.name)
    }

    /// Returns `s-<time>-<random>.lock` beside `s-<time>-<random>-<crate hash>`: rustc considers a session without this
    /// file unused.
    fn lock(&self) -> Option<PathBuf> {
        Some(self.crate_dir.join(self.name.rsplit_once('-')?.0.to_owned() + ".lock"))
    }
}

fn is_finished(name: &str) -> bool {
    name.starts_with("s-") && name.split('-').count() == 4 && !name.ends_with("-working")
}

impl Store {
    /// Keeps a session, unless the store has a recent one of this unit. Best effort: it fails if the store is on
    /// another file system.
    pub fn keep_session(&self, key: SessionKey, session: &Session, now: Time) -> fsx::Result<()> {
        let place = self.layout.session(key);
        let is_young = |stamp: Stamp| stamp.mtime.secs + secs(MIN_AGE_TO_REPLACE) > now.secs;
        if Stamp::of(&place.join(SEAL)).is_ok_and(is_young) {
            return Ok(());
        }
        let Some(crate_name) = session.crate_dir.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
        if let Some(parent) = place.parent() {
            fsx::create_dir_all(parent)?;
        }
        let mut kept = NewTree::beside(&place, 0)?;
        let files = kept.links_of(&format!("{crate_name}/{}", session.name), &session.dir(), METADATA)?;
        kept.bytes(SEAL, seal(files).hex().as_bytes(), Mode::Umask(0o666))?;
        kept.commit(&place)
    }

    /// Puts the kept session of the unit below `incremental`, if there is one and the unit was never compiled there. If
    /// the unit was compiled there, returns its directory if that has a finished session. (An interrupted compile
    /// leaves a directory without one, and rustc starts from scratch.)
    pub fn link_session(&self, key: SessionKey, incremental: &Path) -> fsx::Result<Option<Session>> {
        let place = self.layout.session(key);
        let Some(expected) = fsx::read_if_exists(&place.join(SEAL))? else { return Ok(None) };
        let names = fsx::list(&place)?.into_iter().filter_map(|name| name.into_string().ok());
        let Some(crate_name) = names.filter(|name| name != SEAL).max() else { return Ok(None) };
        let Some(kept) = Session::newest(&place.join(&crate_name)) else { return Ok(None) };
        let linked = Session { crate_dir: incremental.join(crate_name), name: kept.name.clone() };
        if fsx::exists(&linked.crate_dir) {
            return Ok(Some(linked).filter(|linked| Session::newest(&linked.crate_dir).is_some()));
        }
        fsx::create_dir_all(&linked.crate_dir)?;
        let mut tree = NewTree::beside(&linked.dir(), 0)?;
        if seal(tree.links_of(".", &kept.dir(), METADATA)?).hex().as_bytes() != expected {
            drop(tree);
            fsx::remove_dir_all(&place)?;
            return Ok(None);
        }
        if let Some(lock) = linked.lock() {
            fsx::open_rw(&lock)?;
        }
        tree.commit(&linked.dir())?;
        // Record the last use, for garbage collection. A read-only store does not record it.
        let seal = place.join(SEAL);
        let _ = fsx::open(&seal).and_then(|file| clock::stamp_now(&file, &seal));
        Ok(Some(linked))
    }

    /// Returns whether the paths of this unit must not contain rustc's alias.
    pub fn forbids_alias(&self, key: SessionKey) -> bool {
        fsx::exists(&self.layout.no_alias_marker(key))
    }

    /// Records that the paths of this unit must not contain rustc's alias.
    pub fn forbid_alias(&self, key: SessionKey) -> fsx::Result<()> {
        fsx::Publish::default().bytes(&self.layout.no_alias_marker(key), b"").map(|_| ())
    }
}

/// Returns all kept sessions. Skips those that vanish meanwhile.
pub fn all(store: &Store) -> fsx::Result<Vec<Evictable>> {
    let mut kept = Vec::new();
    for shard in store.layout().shards("sessions") {
        for name in fsx::list(&shard)? {
            let place = shard.join(name);
            let Ok(used) = Stamp::of(&place.join(SEAL)) else { continue };
            let nodes = tree::walk(&place).unwrap_or_default();
            let sizes = nodes.iter().filter_map(|(_, node)| match node {
                tree::Node::File(stamp) => Some(stamp.size),
                _ => None,
            });
            kept.push(Evictable { bytes: sizes.sum(), used: used.mtime, place });
        }
    }
    Ok(kept)
}

/// Removes all kept sessions, for `kache purge`. Returns the size of their files in bytes.
pub fn remove_all(store: &Store) -> fsx::Result<u64> {
    let mut bytes = 0;
    for session in all(store)? {
        fsx::remove_dir_all(&session.place)?;
        bytes += session.bytes;
    }
    let mut notes = Vec::new();
    files::each_file(&store.layout().shards("sessions"), |path, _| notes.push(path.to_owned()))?;
    notes.iter().try_for_each(|path| fsx::remove_file(path))?;
    Ok(bytes)
}

fn seal(mut files: Vec<(String, Stamp)>) -> Digest {
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    let lines = files.iter().map(|(name, stamp)| {
        // A copy has its own mtime.
        let written = if name == METADATA { Time { secs: 0, nanos: 0 } } else { stamp.mtime };
        format!("{}:{name} {} {}.{}\n", name.len(), stamp.size, written.secs, written.nanos)
    });
    Digest::of(lines.collect::<String>().as_bytes())
}

fn secs(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::Publish;

    const NAME: &str = "s-h1-0abc-9xyz";

    /// Makes a session of two files below `incremental`, and returns it with the key of its unit.
    fn made(incremental: &Path) -> (SessionKey, Session) {
        let session = Session { crate_dir: incremental.join("a-1"), name: NAME.to_owned() };
        for (name, bytes) in [("dep-graph.bin", "graph"), ("x.o", "object")] {
            Publish::default().bytes(&session.dir().join(name), bytes.as_bytes()).unwrap();
        }
        Publish::default().bytes(&session.crate_dir.join("s-h2-0abc-working/x"), b"half").unwrap();
        (SessionKey(Digest::of(b"a")), session)
    }

    fn later(by: i64) -> Time {
        Time { secs: clock::now().secs + by, nanos: 0 }
    }

    #[test]
    fn a_session_comes_back_by_links_where_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache"));
        let (key, session) = made(&dir.path().join("one"));
        assert_eq!(Session::newest(&session.crate_dir), Some(session.clone()));
        store.keep_session(key, &session, clock::now()).unwrap();
        fsx::remove_dir_all(&dir.path().join("one")).unwrap();
        let two = dir.path().join("two");
        let linked = store.link_session(key, &two).unwrap().unwrap();
        assert_eq!(linked, Session { crate_dir: two.join("a-1"), name: NAME.to_owned() });
        assert_eq!(fsx::read(&linked.dir().join("x.o")).unwrap(), b"object");
        assert_eq!(Stamp::of(&linked.dir().join("x.o")).unwrap().nlink, 2);
        assert!(fsx::exists(&linked.crate_dir.join("s-h1-0abc.lock")));
        // A unit that has a session keeps it.
        fsx::remove_file(&linked.dir().join("x.o")).unwrap();
        store.link_session(key, &two).unwrap().unwrap();
        assert!(!fsx::exists(&linked.dir().join("x.o")));
        assert_eq!(store.link_session(SessionKey(Digest::of(b"b")), &two).unwrap(), None);
    }

    #[test]
    fn a_session_that_was_written_in_place_is_not_handed_out() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache"));
        let (key, session) = made(&dir.path().join("one"));
        store.keep_session(key, &session, clock::now()).unwrap();
        let file = fsx::open_rw(&session.dir().join("x.o")).unwrap();
        std::io::Write::write_all(&mut &file, b"other").unwrap();
        clock::stamp(&file, &session.dir(), later(9)).unwrap();
        assert_eq!(store.link_session(key, &dir.path().join("two")).unwrap(), None);
        assert_eq!(Session::newest(&dir.path().join("two/a-1")), None);
        assert!(all(&store).unwrap().is_empty());
    }

    #[test]
    fn a_newer_session_takes_the_place_of_an_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache"));
        let (key, session) = made(&dir.path().join("one"));
        store.keep_session(key, &session, clock::now()).unwrap();
        let newer = Session { name: "s-h3-0abc-9xyz".into(), ..session };
        Publish::default().bytes(&newer.dir().join("x.o"), b"newer").unwrap();
        for (now, expected) in [(later(60), NAME), (later(3600), "s-h3-0abc-9xyz")] {
            store.keep_session(key, &newer, now).unwrap();
            let two = dir.path().join(expected);
            assert_eq!(store.link_session(key, &two).unwrap().unwrap().name, expected);
        }
    }
}
