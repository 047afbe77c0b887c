//! Packs from a bucket that anybody can write to: kache imports or refuses them, but never panics, and a refused pack
//! does not leave files behind.
//!
//! The first byte selects the format of the rest: `z` the compressed bytes, `t` an archive that is compressed here, `h`
//! an archive whose headers get the right checksum first. The manifest is made to match, because whoever can write a
//! pack can also write its manifest.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use kache::model::{Digest, InputSet, LookupKey};
use kache::remote::format::pack::{META, import};
use kache::remote::{FileRef, PackManifest, PackRef};
use kache::store::{Entry, Store};
use libfuzzer_sys::fuzz_target;

const BLOCK: usize = 512;

/// Directory of the store. `.ci/fuzz` sets a directory in memory for temporary files, and removes it.
static DIR: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("kache-fuzz-{}", std::process::id())));

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    let (archive, pack) = match kind {
        b'z' => (zstd::bulk::decompress(rest, 1 << 20).unwrap_or_default(), rest.to_vec()),
        b't' => (rest.to_vec(), zstd::encode_all(rest, 1).unwrap()),
        b'h' => {
            let mut archive = rest.to_vec();
            mend_headers(&mut archive);
            let pack = zstd::encode_all(archive.as_slice(), 1).unwrap();
            (archive, pack)
        }
        _ => return,
    };
    let manifest = manifest(&archive, &pack);
    let store = Store::open(&DIR);
    match import(&store, &manifest, &mut pack.as_slice()) {
        Ok(_) => {
            assert!(store.entry(manifest.key).is_some_and(|entry| entry.pulled), "the entry can be read");
            fs::remove_dir_all(&*DIR).unwrap();
        }
        Err(_) => assert_eq!(files(&DIR), 0, "a refused pack leaves no file"),
    }
});

/// Walks the archive as a reader would, and sets the checksum of each header.
fn mend_headers(archive: &mut [u8]) {
    let mut at = 0;
    while let Some(block) = archive.get_mut(at..at + BLOCK) {
        if block.iter().all(|byte| *byte == 0) {
            return;
        }
        let mut header = tar::Header::from_byte_slice(block).clone();
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
        let Ok(size) = header.entry_size().map(|size| usize::try_from(size).unwrap_or(usize::MAX)) else { return };
        let Some(next) = size.checked_next_multiple_of(BLOCK).and_then(|size| size.checked_add(at + BLOCK)) else {
            return;
        };
        at = next;
    }
}

/// Returns a manifest that agrees with the first file of the archive.
fn manifest(archive: &[u8], pack: &[u8]) -> PackManifest {
    let size = archive.get(..BLOCK).and_then(|block| tar::Header::from_byte_slice(block).entry_size().ok());
    let meta = size
        .and_then(|size| archive.get(BLOCK..BLOCK.checked_add(usize::try_from(size).ok()?)?))
        .unwrap_or(b"{}");
    let entry: Option<Entry> = serde_json::from_slice(meta).ok();
    let text = |field: fn(&Entry) -> &String, other: &str| entry.as_ref().map_or(other.to_owned(), |e| field(e).clone());
    let outputs = entry.as_ref().map(|entry| entry.outputs.as_slice()).unwrap_or_default();
    let lookup = LookupKey(Digest::of(b"l"));
    PackManifest {
        lookup,
        key: InputSet::default().entry_key(lookup),
        crate_name: text(|e| &e.crate_name, "a"),
        package: text(|e| &e.package, "a 1.0.0"),
        kind: text(|e| &e.kind, "lib"),
        emit: text(|e| &e.emit, "link"),
        created: entry.as_ref().map_or(0, |entry| entry.created),
        cost_ms: entry.as_ref().map_or(0.0, |entry| entry.cost_ms),
        pack: PackRef { digest: Digest::of(pack), size: pack.len() as u64 },
        archive: PackRef { digest: Digest::of(archive), size: archive.len() as u64 },
        bundle: None,
        meta: FileRef { name: META.into(), digest: Digest::of(meta), size: meta.len() as u64 },
        files: outputs
            .iter()
            .map(|output| FileRef { name: output.name.clone(), digest: output.blob.0, size: output.size })
            .collect(),
        inputs: Vec::new(),
    }
}

fn files(dir: &Path) -> usize {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let count = |entry: fs::DirEntry| if entry.path().is_dir() { files(&entry.path()) } else { 1 };
    entries.filter_map(Result::ok).map(count).sum()
}
