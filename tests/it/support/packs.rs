//! Packs made by hand: a sample entry, its pack in parts, each of which a test can damage, and a store to import it
//! into.

use std::path::PathBuf;

use kache::fsx::{Mtime, Publish, clock};
use kache::model::{ArtifactKind, BlobId, DepInfo, Digest, EntryKey, Input, InputSet, LookupKey, TokenString};
use kache::remote::format::pack::{self, ImportError, Imported, META};
use kache::remote::{FileRef, PackManifest, PackRef};
use kache::store::manifests::ManifestRecord;
use kache::store::{Entry, Message, Output, Store};
use tar::{EntryType, Header};
use tempfile::TempDir;

/// The outputs of the sample: name, bytes, and whether the file is executable.
pub(crate) const FILES: [(&str, &[u8], bool); 3] =
    [("liba.rlib", b"the rlib", false), ("liba.rmeta", b"", false), ("a-tool", &[7; 1500], true)];

/// Returns the lookup key of the sample.
pub(crate) fn lookup() -> LookupKey {
    LookupKey(Digest::of(b"l"))
}

/// Returns the inputs of the sample's compile.
pub(crate) fn inputs() -> Vec<Input> {
    vec![Input::Env("A".into(), None), Input::File(TokenString::literal("src/lib.rs"), Digest::of(b"lib"))]
}

/// Returns the entry key of the sample.
pub(crate) fn key() -> EntryKey {
    InputSet { inputs: inputs() }.entry_key(lookup())
}

/// Returns the entry of the sample.
pub(crate) fn entry() -> Entry {
    let output = |(name, bytes, executable): (&str, &[u8], bool)| Output {
        name: name.into(),
        kind: if executable { ArtifactKind::Linked } else { ArtifactKind::Rlib },
        blob: BlobId(Digest::of(bytes)),
        size: bytes.len() as u64,
        executable,
        read_only: false,
        mode: None,
        needs_glibc: None,
    };
    Entry {
        crate_name: "a".into(),
        package: "a 1.0.0".into(),
        kind: "lib".into(),
        emit: "link".into(),
        outputs: FILES.into_iter().map(output).collect(),
        tree: None,
        dep_info_name: "a.d".into(),
        dep_info: DepInfo { targets: vec![], files: vec![TokenString::literal("src/lib.rs")], env: vec![] },
        stdout: vec![],
        stderr: vec![Message::Raw("a warning".into()), Message::Artifact("liba.rlib".into())],
        cost_ms: 12.5,
        created: 1_700_000_000_000,
        boot: String::new(),
        pulled: false,
        origin: None,
    }
}

/// Returns the manifest record of the sample.
pub(crate) fn record() -> ManifestRecord {
    ManifestRecord { key: key(), inputs: inputs() }
}

/// A store in a temporary directory.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
}

impl Place {
    /// Creates an empty store.
    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache"));
        Self { dir, store }
    }

    /// Creates a store that contains the sample, as if it had been compiled there.
    pub(crate) fn with_sample() -> Self {
        let place = Self::empty();
        let blob = Publish { mtime: Mtime::At(clock::CANONICAL), ..Publish::default() };
        for (_, bytes, _) in FILES {
            blob.bytes(&place.store.layout().blob(BlobId(Digest::of(bytes))), bytes).unwrap();
        }
        place.store.put_entry(key(), &entry()).unwrap();
        place.store.put_set(lookup(), &InputSet { inputs: inputs() }).unwrap();
        place
    }

    /// Returns the directory of the store.
    pub(crate) fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }
}

/// One file of an archive. The header may be wrong about the bytes.
#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) header: Header,
    pub(crate) body: Vec<u8>,
    pub(crate) padding: u8,
}

impl Item {
    /// Spells a file as kache does. The format is repeated here, so that a change on one side fails a test.
    pub(crate) fn new(name: &str, body: &[u8], executable: bool) -> Self {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(EntryType::Regular);
        header.set_mode(if executable { 0o755 } else { 0o644 });
        header.set_size(body.len() as u64);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        Self { header, body: body.to_vec(), padding: 0 }
    }

    /// Changes the header and updates its checksum.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Header)) -> Self {
        change(&mut self.header);
        self.header.set_cksum();
        self
    }

    /// Changes the type of the file.
    pub(crate) fn of_type(self, letter: u8) -> Self {
        self.with(|header| header.as_old_mut().linkflag[0] = letter)
    }
}

/// The pack of the sample, in parts.
pub(crate) struct Parts {
    pub(crate) manifest: PackManifest,
    /// `meta.json` and the outputs.
    pub(crate) items: Vec<Item>,
    /// The bytes that end the archive.
    pub(crate) end: Vec<u8>,
    /// Compresses the archive.
    pub(crate) compress: fn(&[u8]) -> Vec<u8>,
    /// Damages the pack after the manifest was made.
    pub(crate) damage: fn(&mut Vec<u8>),
}

/// Compresses an archive with zstd at level 3.
pub(crate) fn compress(archive: &[u8]) -> Vec<u8> {
    zstd::encode_all(archive, 3).unwrap()
}

impl Parts {
    /// Creates the parts of an intact pack.
    pub(crate) fn new() -> Self {
        let entry = entry();
        let file = |name: &str, bytes: &[u8]| FileRef {
            name: name.into(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
        };
        let manifest = PackManifest {
            lookup: lookup(),
            key: key(),
            crate_name: entry.crate_name.clone(),
            package: entry.package.clone(),
            kind: entry.kind.clone(),
            emit: entry.emit.clone(),
            created: entry.created,
            cost_ms: entry.cost_ms,
            pack: PackRef { digest: Digest::of(b""), size: 0 },
            archive: PackRef { digest: Digest::of(b""), size: 0 },
            bundle: None,
            meta: file(META, b""),
            files: FILES.into_iter().map(|(name, bytes, _)| file(name, bytes)).collect(),
            inputs: inputs(),
        };
        let outputs = FILES.into_iter().map(|(name, bytes, executable)| Item::new(name, bytes, executable));
        let items = [Item::new(META, b"", false)].into_iter().chain(outputs).collect();
        let mut parts = Self { manifest, items, end: vec![0; 1024], compress, damage: |_| {} };
        parts.set_entry(|_| {});
        parts
    }

    /// Replaces the bytes of `meta.json`, and their digest and size in the manifest.
    pub(crate) fn set_meta(&mut self, bytes: &[u8]) {
        self.items[0] = Item::new(META, bytes, false);
        self.manifest.meta = FileRef { name: META.into(), digest: Digest::of(bytes), size: bytes.len() as u64 };
    }

    /// Changes the entry in `meta.json`, and its digest and size in the manifest.
    pub(crate) fn set_entry(&mut self, change: impl FnOnce(&mut Entry)) {
        let mut entry = Entry { created: 0, cost_ms: 0.0, ..entry() };
        change(&mut entry);
        self.set_meta(&serde_json::to_vec(&entry).unwrap());
    }

    /// Returns the archive, uncompressed.
    pub(crate) fn archive(&self) -> Vec<u8> {
        let mut archive = Vec::new();
        for item in &self.items {
            archive.extend(item.header.as_bytes());
            archive.extend(&item.body);
            archive.resize(archive.len().next_multiple_of(512), item.padding);
        }
        archive.extend(&self.end);
        archive
    }

    /// Returns the manifest and the pack that belongs to it.
    pub(crate) fn build(&self) -> (PackManifest, Vec<u8>) {
        let archive = self.archive();
        let mut pack = (self.compress)(&archive);
        let declared = |bytes: &[u8]| PackRef { digest: Digest::of(bytes), size: bytes.len() as u64 };
        let (of_pack, archive) = (declared(&pack), declared(&archive));
        (self.damage)(&mut pack);
        (PackManifest { pack: of_pack, archive, ..self.manifest.clone() }, pack)
    }

    /// Imports the pack into the store.
    pub(crate) fn import(&self, store: &Store) -> Result<Imported, ImportError> {
        let (manifest, pack) = self.build();
        pack::import(store, &manifest, &mut pack.as_slice())
    }
}
