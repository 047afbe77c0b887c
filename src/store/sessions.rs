//! rustc's incremental sessions, kept for checkouts that have none.
//!
//! A session is a directory of files that rustc never writes again: a new session gets new files, and hard links to those of
//! the old one that still hold (`rustc_incremental::persist::fs`). So the store keeps hard links, and hands out hard links. rustc
//! itself checks a session against its options and inputs; a wrong one costs time and nothing else. A file that was written in
//! place is another matter: a seal over sizes and times keeps such a session from being handed out.
//!
//! ```text
//! sessions/ab/<key>/<crate directory>/<session>/...    as below rustc's `-C incremental`
//! sessions/ab/<key>/seal                               digest of the names, sizes and times of the session's files
//! sessions/ab/<key>.plain                              the unit's paths do not bear rustc's alias (`rustc::alias`)
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Store;
use super::spare::Spare;
use super::survey;
use crate::fsx::clock::{self, Time};
use crate::fsx::tree::{self, Mode, NewTree};
use crate::fsx::{self, Stamp};
use crate::model::{Digest, SessionKey};

const SEAL: &str = "seal";

/// The one file of a session that rustc gives other names: it is the unit's metadata, too, to which cargo gives other times. No two
/// checkouts may share it.
const METADATA: &str = "metadata.rmeta";

/// How long a kept session stands for the newer ones of its unit.
const RENEWAL: Duration = Duration::from_mins(15);

/// The directory of a crate below `-C incremental`, and the newest finished session in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The crate's directory.
    pub crate_dir: PathBuf,
    /// The session's name in it.
    pub name: String,
}

impl Session {
    /// The newest finished session in a crate's directory. Names begin with the time of their start, in digits that sort.
    pub fn newest(crate_dir: &Path) -> Option<Self> {
        let names = fsx::list(crate_dir).ok()?.into_iter().filter_map(|name| name.into_string().ok());
        let name = names.filter(|name| is_finished(name)).max()?;
        Some(Self { crate_dir: crate_dir.to_owned(), name })
    }

    fn dir(&self) -> PathBuf {
        self.crate_dir.join(&self.name)
    }

    /// `s-<time>-<random>.lock` beside `s-<time>-<random>-<crate hash>`: rustc takes a session without it for one that nobody
    /// uses.
    fn lock(&self) -> Option<PathBuf> {
        Some(self.crate_dir.join(self.name.rsplit_once('-')?.0.to_owned() + ".lock"))
    }
}

fn is_finished(name: &str) -> bool {
    name.starts_with("s-") && name.split('-').count() == 4 && !name.ends_with("-working")
}

impl Store {
    /// Keeps a session, unless there is one of this unit that is not old. Best effort: on another file system there are none.
    pub fn keep_session(&self, key: SessionKey, session: &Session, now: Time) -> fsx::Result<()> {
        let place = self.layout.session(key);
        let is_young = |stamp: Stamp| stamp.mtime.secs + secs(RENEWAL) > now.secs;
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

    /// Puts a session of the unit below `incremental`, if one is kept and the unit was never compiled there. (A compile that was
    /// interrupted leaves a directory without a finished session, and is begun anew.)
    pub fn lend_session(&self, key: SessionKey, incremental: &Path) -> fsx::Result<Option<Session>> {
        let place = self.layout.session(key);
        let Some(expected) = fsx::read_if_exists(&place.join(SEAL))? else { return Ok(None) };
        let names = fsx::list(&place)?.into_iter().filter_map(|name| name.into_string().ok());
        let Some(crate_name) = names.filter(|name| name != SEAL).max() else { return Ok(None) };
        let Some(kept) = Session::newest(&place.join(&crate_name)) else { return Ok(None) };
        let lent = Session { crate_dir: incremental.join(crate_name), name: kept.name.clone() };
        if fsx::exists(&lent.crate_dir) {
            return Ok(Some(lent).filter(|lent| Session::newest(&lent.crate_dir).is_some()));
        }
        fsx::create_dir_all(&lent.crate_dir)?;
        let mut tree = NewTree::beside(&lent.dir(), 0)?;
        if seal(tree.links_of(".", &kept.dir(), METADATA)?).hex().as_bytes() != expected {
            drop(tree);
            fsx::remove_dir_all(&place)?;
            return Ok(None);
        }
        if let Some(lock) = lent.lock() {
            fsx::open_rw(&lock)?;
        }
        tree.commit(&lent.dir())?;
        // Its last use, for the collection. A store that is only read has none.
        let seal = place.join(SEAL);
        let _ = fsx::open(&seal).and_then(|file| clock::stamp_now(&file, &seal));
        Ok(Some(lent))
    }

    /// Whether the paths of this unit must not bear rustc's alias.
    pub fn is_plain(&self, key: SessionKey) -> bool {
        fsx::exists(&self.layout.plain_session(key))
    }

    /// Notes that they must not.
    pub fn note_plain(&self, key: SessionKey) -> fsx::Result<()> {
        fsx::Publish::default().bytes(&self.layout.plain_session(key), b"").map(|_| ())
    }
}

/// All kept sessions. What vanishes meanwhile is left out.
pub fn all(store: &Store) -> fsx::Result<Vec<Spare>> {
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
            kept.push(Spare { bytes: sizes.sum(), used: used.mtime, place });
        }
    }
    Ok(kept)
}

/// Removes all kept sessions, for `kache purge`. Returns the bytes of their files.
pub fn remove_all(store: &Store) -> fsx::Result<u64> {
    let mut bytes = 0;
    for session in all(store)? {
        fsx::remove_dir_all(&session.place)?;
        bytes += session.bytes;
    }
    let mut notes = Vec::new();
    survey::each_file(&store.layout().shards("sessions"), |path, _| notes.push(path.to_owned()))?;
    notes.iter().try_for_each(|path| fsx::remove_file(path))?;
    Ok(bytes)
}

fn seal(mut files: Vec<(String, Stamp)>) -> Digest {
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    let lines = files.iter().map(|(name, stamp)| {
        // A copy has a time of its own.
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

    /// A session of two files below `incremental`, and its unit's key.
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
        let lent = store.lend_session(key, &two).unwrap().unwrap();
        assert_eq!(lent, Session { crate_dir: two.join("a-1"), name: NAME.to_owned() });
        assert_eq!(fsx::read(&lent.dir().join("x.o")).unwrap(), b"object");
        assert_eq!(Stamp::of(&lent.dir().join("x.o")).unwrap().nlink, 2);
        assert!(fsx::exists(&lent.crate_dir.join("s-h1-0abc.lock")));
        // A unit that has one keeps it.
        fsx::remove_file(&lent.dir().join("x.o")).unwrap();
        store.lend_session(key, &two).unwrap().unwrap();
        assert!(!fsx::exists(&lent.dir().join("x.o")));
        assert_eq!(store.lend_session(SessionKey(Digest::of(b"b")), &two).unwrap(), None);
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
        assert_eq!(store.lend_session(key, &dir.path().join("two")).unwrap(), None);
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
            assert_eq!(store.lend_session(key, &two).unwrap().unwrap().name, expected);
        }
    }
}
