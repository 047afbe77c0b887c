//! Calls: how cargo asked for a compile or a run whose result was stored, so that kache can ask the same in another
//! checkout before cargo does.
//!
//! Version 1: one sealed JSON object, with tokens instead of local paths, filed under the lookup key of the call. A
//! lost or damaged call costs time only: cargo asks for that unit itself.

use serde::{Deserialize, Serialize};

use super::{Store, files, sealed};
use crate::fsx::clock::Time;
use crate::fsx::{self, Publish};
use crate::model::{Digest, LookupKey, TokenString};

/// How long a call is kept after its manifest is gone, in seconds: the manifest may be about to be written.
const KEEP_WITHOUT_MANIFEST_SECS: i64 = 3600;

/// One call from cargo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecord {
    /// The programs and their arguments: those after kache's own name.
    pub argv: Vec<TokenString>,
    /// The working directory.
    pub cwd: TokenString,
    /// The variables that cargo set for the call, or removed (`None`), compared with its own environment.
    pub variables: Vec<(String, Option<TokenString>)>,
    /// The manifests of a local package and of its workspace, from which cargo takes values of variables. They must
    /// have these digests.
    pub manifests: Vec<(TokenString, Digest)>,
}

impl Store {
    /// Returns the call with this lookup key.
    pub fn call(&self, lookup: LookupKey) -> Option<CallRecord> {
        let sealed = fsx::read(&self.layout().call(lookup)).ok()?;
        serde_json::from_slice(sealed::open(lookup.0, &sealed)?).ok()
    }

    /// Records a call whose result was stored under `lookup`.
    pub fn put_call(&self, lookup: LookupKey, call: &CallRecord) -> fsx::Result<()> {
        let sealed = sealed::seal(lookup.0, &serde_json::to_vec(call).unwrap_or_default());
        Publish::default().bytes(&self.layout().call(lookup), &sealed).map(|_| ())
    }
}

/// Removes the calls whose manifests are gone.
pub(super) fn sweep(store: &Store, now: Time) -> fsx::Result<()> {
    let mut gone = Vec::new();
    files::each_file(&store.layout().shards("calls"), |path, stamp| {
        let manifest = files::digest_in_name(path).map(|name| store.layout().manifest(LookupKey(name)));
        let is_old = now.secs - stamp.mtime.secs > KEEP_WITHOUT_MANIFEST_SECS;
        if is_old && manifest.is_some_and(|manifest| !fsx::exists(&manifest)) {
            gone.push(path.to_owned());
        }
    })?;
    gone.iter().try_for_each(|path| fsx::remove_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::clock;

    #[test]
    fn i07_a_damaged_call_reads_as_absent() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let [one, other] = ["one", "other"].map(|name| LookupKey(Digest::of(name.as_bytes())));
        let call = CallRecord {
            argv: vec![TokenString::literal("rustc"), TokenString::spelled("{workspace}/a.rs").unwrap()],
            cwd: TokenString::spelled("{workspace}").unwrap(),
            variables: vec![("OUT_DIR".into(), TokenString::spelled("{target}/x")), ("RUSTFLAGS".into(), None)],
            manifests: vec![(TokenString::spelled("{workspace}/Cargo.toml").unwrap(), Digest::of(b"[package]"))],
        };
        store.put_call(one, &call).unwrap();
        assert_eq!((store.call(one), store.call(other)), (Some(call), None));
        let bytes = fsx::read(&store.layout().call(one)).unwrap();
        Publish::default().bytes(&store.layout().call(other), &bytes).unwrap();
        assert_eq!(store.call(other), None, "filed under another key");
    }

    #[test]
    fn a_call_goes_with_its_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        let lookup = LookupKey(Digest::of(b"a"));
        let call =
            CallRecord { argv: Vec::new(), cwd: TokenString::default(), variables: Vec::new(), manifests: Vec::new() };
        store.put_call(lookup, &call).unwrap();
        let later = Time { secs: clock::now().secs + KEEP_WITHOUT_MANIFEST_SECS + 1, nanos: 0 };
        Publish::default().bytes(&store.layout().manifest(lookup), b"").unwrap();
        sweep(&store, later).unwrap();
        assert!(store.call(lookup).is_some());
        fsx::remove_file(&store.layout().manifest(lookup)).unwrap();
        sweep(&store, clock::now()).unwrap();
        assert!(store.call(lookup).is_some(), "too young");
        sweep(&store, later).unwrap();
        assert!(store.call(lookup).is_none());
    }
}
