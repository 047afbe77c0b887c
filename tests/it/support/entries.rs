//! Entries made without a compiler, for tests and benches that need many or large ones.
#![allow(dead_code, reason = "a toolbox: each binary that includes it uses its part")]

use std::path::Path;

use kache::fsx::{Mtime, Publish, clock};
use kache::model::{ArtifactKind, BlobId, DepInfo, Digest, EntryKey, Input, InputSet, LookupKey};
use kache::store::{Entry, Output, Store};

/// An entry that was stored.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) crate_name: String,
    pub(crate) lookup: LookupKey,
    pub(crate) key: EntryKey,
}

/// The size of the outputs of an entry, and how well they compress.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Size of the `.rlib` in bytes. The `.rmeta` has a tenth of it.
    pub(crate) bytes: usize,
    /// Percentage that cannot be compressed. The rest is compressible text.
    pub(crate) noise: usize,
}

/// Returns bytes of this size. The same seed gives the same bytes.
pub(crate) fn bytes(seed: u64, size: Size) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut out = Vec::with_capacity(size.bytes + 1000);
    let words = ["core::option::Option", "alloc::vec::Vec<T>", "impl Trait for", "unwrap_or_default", "0123456789"];
    while out.len() < size.bytes {
        if rng.usize(..100) < size.noise {
            (0..125).for_each(|_| out.extend(rng.u64(..).to_le_bytes()));
        } else {
            while out.len() % 1000 < 975 {
                out.extend(rng.choice(words).expect("a word").as_bytes());
            }
            out.resize(out.len().next_multiple_of(1000), b' ');
        }
    }
    out.truncate(size.bytes);
    out
}

/// Stores an entry of the crate `name`. The same seed makes the same key and the same outputs.
pub(crate) fn make(store: &Store, name: &str, seed: u64, size: Size) -> Made {
    let lookup = LookupKey(Digest::of(format!("lookup {name} {seed}").as_bytes()));
    make_under(store, lookup, name, seed, size)
}

/// Like [`make`], but with outputs of another content, as another compiler or an attacker makes them.
pub(crate) fn make_version(store: &Store, name: &str, seed: u64, version: u64, size: Size) -> Made {
    let lookup = LookupKey(Digest::of(format!("lookup {name} {seed}").as_bytes()));
    make_from(store, lookup, name, (seed, seed ^ version << 32), size)
}

/// Like [`make`], under this lookup key, which may have several entries.
pub(crate) fn make_under(store: &Store, lookup: LookupKey, name: &str, seed: u64, size: Size) -> Made {
    make_from(store, lookup, name, (seed, seed), size)
}

fn make_from(store: &Store, lookup: LookupKey, name: &str, (seed, content): (u64, u64), size: Size) -> Made {
    let set = InputSet { inputs: vec![Input::DiagnosticWidth(Some(seed.to_string()))] };
    let key = set.entry_key(lookup);
    let output = |file: &str, kind, bytes: &[u8]| {
        let blob = BlobId(Digest::of(bytes));
        let publish = Publish { mtime: Mtime::At(clock::CANONICAL), ..Publish::default() };
        publish.bytes(&store.layout().blob(blob), bytes).expect("blob");
        Output {
            name: file.to_owned(),
            kind,
            blob,
            size: bytes.len() as u64,
            executable: false,
            read_only: false,
            mode: None,
            needs_glibc: None,
        }
    };
    let rlib = output(&format!("lib{name}-{seed:016x}.rlib"), ArtifactKind::Rlib, &bytes(content, size));
    let rmeta = bytes(!content, Size { bytes: size.bytes / 10, ..size });
    let rmeta = output(&format!("lib{name}-{seed:016x}.rmeta"), ArtifactKind::Rmeta, &rmeta);
    let entry = Entry {
        crate_name: name.to_owned(),
        package: format!("{name} 1.0.0"),
        kind: "lib".to_owned(),
        emit: "link".to_owned(),
        outputs: vec![rlib, rmeta],
        tree: None,
        dep_info_name: format!("{name}-{seed:016x}.d"),
        dep_info: DepInfo { targets: vec![], files: vec![], env: vec![] },
        stdout: vec![],
        stderr: vec![],
        cost_ms: 100.0,
        created: clock::now().as_millis(),
        boot: kache::fsx::boot_id(),
        pulled: false,
        origin: None,
    };
    store.put_entry(key, &entry).expect("entry");
    store.put_set(lookup, &set).expect("manifest");
    Made { crate_name: name.to_owned(), lookup, key }
}

/// Stores `count` entries, of the crates `c0`, `c1` and so on.
pub(crate) fn fill(cache: &Path, count: u64, size: Size) -> Vec<Made> {
    let store = Store::open(cache);
    (0..count).map(|n| make(&store, &format!("c{n}"), n, size)).collect()
}
