//! Packs from one store to another, through the library: the entries that arrive, the state after a failure, and the
//! bytes of the formats themselves.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kache::fsx::{self, Stamp, clock};
use kache::model::{BlobId, Digest, InputSet};
use kache::remote::format::pack::{self, ImportError, PackError, PackOptions};
use kache::remote::{BuildRecord, BuildUnit, EmbeddedManifest, ManifestName, PackManifest, SignerId};
use kache::store::manifests::ManifestRecord;
use kache::store::{Entry, Store, Withheld};

use super::support::packs::{self, FILES, Parts, Place};
use super::support::{TEMP_PREFIX, files_under, snapshot};

fn pack(place: &Place, level: i32) -> Result<(PackManifest, Vec<u8>), PackError> {
    let to = place.dir.path().join("out/pack");
    let options = PackOptions { level, withheld: &Withheld::default() };
    let manifest = pack::write(&place.store, packs::lookup(), &packs::record(), options, &to)?;
    let bytes = fs::read(to).unwrap();
    assert_eq!((manifest.pack.digest, manifest.pack.size), (Digest::of(&bytes), bytes.len() as u64));
    Ok((manifest, bytes))
}

fn blob(place: &Place, at: usize) -> PathBuf {
    place.store.layout().blob(BlobId(Digest::of(FILES[at].1)))
}

fn records(store: &Store) -> Vec<ManifestRecord> {
    store.manifest(packs::lookup()).unwrap().records().collect()
}

#[test]
fn an_entry_arrives_as_it_was_sent() {
    let (here, there) = (Place::with_sample(), Place::empty());
    let (manifest, bytes) = pack(&here, 3).unwrap();
    let imported = pack::import(&there.store, &manifest, &mut bytes.as_slice()).unwrap();
    assert_eq!(imported.bytes, FILES.iter().map(|(_, bytes, _)| bytes.len() as u64).sum::<u64>());
    let entry = there.store.entry(packs::key()).unwrap();
    assert_eq!(entry, Entry { boot: fsx::boot_id(), pulled: true, ..packs::entry() });
    for output in &entry.outputs {
        let blob = there.store.check_blob(output.blob, output.size).unwrap();
        assert!(Stamp::of(&blob.path).unwrap().is_canonical(), "{}", output.name);
        assert_eq!(blob.mode, fsx::new_file_mode(false), "{}", output.name);
        there.store.verify_blob(output.blob).unwrap();
    }
    assert_eq!(records(&there.store), [packs::record()]);
    assert!(there.cache().join("CACHEDIR.TAG").is_file());
    assert_eq!(pack::import(&there.store, &manifest, &mut bytes.as_slice()).unwrap().bytes, 0, "once more");
    // The receiving store packs it into the same bytes.
    assert_eq!(pack(&there, 3).unwrap(), (manifest, bytes));
}

#[test]
fn r03_packs_of_every_level_can_be_read() {
    let here = Place::with_sample();
    for level in [-7, 0, 1, 19, 20, 22, 99] {
        let (manifest, bytes) = pack(&here, level).unwrap();
        let there = Place::empty();
        pack::import(&there.store, &manifest, &mut bytes.as_slice()).unwrap_or_else(|e| panic!("level {level}: {e}"));
    }
}

/// A source that returns a few bytes at a time, and an error at the end.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::Error::other("cut"));
        }
        let n = buffer.len().min(3);
        self.0.read(&mut buffer[..n])
    }
}

#[test]
fn r04_a_source_that_fails_leaves_nothing() {
    let (manifest, bytes) = Parts::new().build();
    let there = Place::empty();
    for end in [0, 1, 10, bytes.len() / 2, bytes.len() - 1, bytes.len()] {
        let failed = pack::import(&there.store, &manifest, &mut Slow(&bytes[..end]));
        assert!(matches!(failed, Err(ImportError::Read(_))), "cut at {end}: {failed:?}");
        assert!(snapshot(&there.cache()).is_empty(), "cut at {end}");
    }
    pack::import(&there.store, &manifest, &mut Slow(&bytes).chain(io::empty())).unwrap_err();
    let mut whole = Slow(&bytes).take(bytes.len() as u64);
    pack::import(&there.store, &manifest, &mut whole).unwrap();
}

#[test]
fn i06_blobs_that_are_there_are_read_back_and_not_written_again() {
    let there = Place::with_sample();
    let inode = |at| fs::metadata(blob(&there, at)).unwrap().ino();
    let (kept, torn) = (inode(0), inode(2));
    let path = blob(&there, 2);
    fs::write(&path, vec![0; 1500]).unwrap();
    clock::stamp(&fsx::open(&path).unwrap(), &path, clock::CANONICAL).unwrap();
    assert_eq!(Parts::new().import(&there.store).unwrap().bytes, 1500, "the torn one came again");
    assert_eq!(inode(0), kept);
    assert_ne!(inode(2), torn);
    there.store.verify_blob(BlobId(Digest::of(FILES[2].1))).unwrap();
}

/// Size in bytes of the file in [`a_large_file_passes_through`].
const LARGE: u64 = 160 << 20;
/// Bytes of memory that [`a_large_file_passes_through`] may take.
const MEMORY: u64 = 96 << 20;

/// Variable that makes [`a_large_file_passes_through`] a test: in the process of all tests, their memory would count.
const ALONE: &str = "KACHE_IT_ALONE";

/// Runs the test in a separate process, so that only its memory counts.
#[test]
#[ignore = "slow"]
fn r03_no_file_is_held_in_memory() {
    let myself = std::env::current_exe().unwrap();
    let child = "remote_packs::a_large_file_passes_through";
    let output =
        std::process::Command::new(myself).args(["--exact", child, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains(ALONE), "{said}");
}

#[test]
#[expect(clippy::print_stdout, reason = "tells the parent that the test ran")]
fn a_large_file_passes_through() {
    if std::env::var_os(ALONE).is_none() {
        return;
    }
    let (here, there) = (Place::with_sample(), Place::empty());
    let source = here.dir.path().join("large");
    fs::File::create(&source).unwrap().set_len(LARGE).unwrap();
    let digest = here.store.stamps().content(&source).unwrap().digest;
    clock::stamp(&fsx::open(&source).unwrap(), &source, clock::CANONICAL).unwrap();
    let mut entry = packs::entry();
    (entry.outputs[0].blob, entry.outputs[0].size) = (BlobId(digest), LARGE);
    let target = here.store.layout().blob(BlobId(digest));
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::rename(source, target).unwrap();
    here.store.put_entry(packs::key(), &entry).unwrap();
    let (manifest, bytes) = pack(&here, 3).unwrap();
    assert_eq!(pack::import(&there.store, &manifest, &mut bytes.as_slice()).unwrap().bytes, LARGE + 1500);
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok());
    assert!(peak.is_some_and(|kilobytes: u64| kilobytes * 1024 < MEMORY), "{peak:?} kB at most");
    println!("{ALONE}");
}

#[test]
fn r10_many_importers_at_once_leave_one_whole_entry() {
    let there = Place::empty();
    let cache = there.cache();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| Parts::new().import(&Store::open(&cache)).unwrap());
        }
    });
    assert_eq!(records(&there.store), [packs::record()]);
    for (_, bytes, _) in FILES {
        there.store.verify_blob(BlobId(Digest::of(bytes))).unwrap();
    }
    let temps = files_under(&cache).into_iter().filter(|path| path.to_string_lossy().contains(TEMP_PREFIX));
    assert_eq!(temps.count(), 0);
}

#[test]
fn a_held_claim_delays_the_record_and_does_not_prevent_it() {
    let there = Place::empty();
    let held = there.store.claim(packs::lookup(), Duration::ZERO);
    Parts::new().import(&there.store).unwrap();
    drop(held);
    assert_eq!(records(&there.store).len(), 1);
}

#[test]
fn what_is_already_recorded_stays_beside_what_comes() {
    let there = Place::empty();
    let other = InputSet { inputs: vec![] };
    there.store.put_set(packs::lookup(), &other).unwrap();
    Parts::new().import(&there.store).unwrap();
    let keys: Vec<_> = records(&there.store).into_iter().map(|record| record.key).collect();
    assert_eq!(keys, [packs::key(), other.entry_key(packs::lookup())]);
}

#[test]
fn r01_a_damaged_blob_is_not_packed() {
    for damage in [&b"the rlix"[..], b"the rlib and more", b"the"] {
        let here = Place::with_sample();
        fs::write(blob(&here, 0), damage).unwrap();
        assert!(matches!(pack(&here, 3), Err(PackError::BlobDamaged(_))), "{damage:?}");
        assert!(files_under(&here.dir.path().join("out")).is_empty(), "nothing is left of the pack");
        assert_eq!(files_under(&here.store.layout().quarantine()).len(), 1);
        assert!(matches!(pack(&here, 3), Err(PackError::BlobGone(_))));
    }
}

#[test]
fn what_others_would_refuse_is_not_packed() {
    let here = Place::with_sample();
    let mut entry = packs::entry();
    entry.outputs[0].name = "x".repeat(101);
    here.store.put_entry(packs::key(), &entry).unwrap();
    assert!(matches!(pack(&here, 3), Err(PackError::Unfit(_))));
    let record = ManifestRecord { inputs: vec![], ..packs::record() };
    let to = here.dir.path().join("pack");
    let options = PackOptions { level: 3, withheld: &Withheld::default() };
    let refused = pack::write(&here.store, packs::lookup(), &record, options, &to);
    assert!(matches!(refused, Err(PackError::Unfit(_))), "{refused:?}");
    fs::remove_file(here.store.layout().entry(packs::key())).unwrap();
    assert!(matches!(pack(&here, 3), Err(PackError::Gone)));
    assert!(!to.exists());
}

/// Two machines that compiled the same result may push it at the same time. The manifest of one is then next to the
/// pack of the other.
#[test]
fn r06_the_same_result_is_the_same_pack_whenever_and_however_fast_it_was_made() {
    let (one, other) = (Place::with_sample(), Place::with_sample());
    let later = Entry { created: 1_800_000_000_000, cost_ms: 99.5, ..packs::entry() };
    other.store.put_entry(packs::key(), &later).unwrap();
    let ((manifest, pack_of_one), (of_other, pack_of_other)) = (pack(&one, 3).unwrap(), pack(&other, 3).unwrap());
    assert!(pack_of_one == pack_of_other && manifest.pack == of_other.pack);
    assert_ne!((manifest.created, manifest.cost_ms), (of_other.created, of_other.cost_ms), "each says its own");
    let there = Place::empty();
    pack::import(&there.store, &of_other, &mut &*pack_of_one).unwrap();
    let entry = there.store.entry(packs::key()).unwrap();
    assert_eq!((entry.created, entry.cost_ms), (later.created, later.cost_ms));
}

/// The bytes of version 2, which are also the seeds of the fuzz targets. If this test fails, the format has changed and
/// needs another version, because other kaches would refuse the files that this one writes.
#[test]
fn the_formats_are_those_that_others_know() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let here = Place::with_sample();
    let (manifest, bytes) = pack(&here, 3).unwrap();
    let archive = zstd::decode_all(bytes.as_slice()).unwrap();
    assert_eq!(archive, Parts::new().archive(), "written down twice");
    // How well zstd compresses does not matter here.
    let pack = kache::remote::PackRef { digest: Digest::of(b"pack"), size: 4 };
    let manifest = PackManifest { pack, ..manifest };
    let body = serde_json::to_vec(&manifest).unwrap();
    let unit = |name: &str| BuildUnit {
        crate_name: name.into(),
        lookup: packs::lookup(),
        key: packs::key(),
        bytes: 1508,
        cost_ms: 12.5,
        manifest: EmbeddedManifest::new(&manifest.encode(None)),
    };
    let record = BuildRecord {
        workspace: "w".into(),
        branch: "main".into(),
        command: "build".into(),
        triple: "x86_64-unknown-linux-gnu".into(),
        profile: "dev".into(),
        lock: Digest::of(b"lock"),
        commit: Some("ab".repeat(20)),
        created: 1_700_000_000_000,
        units: vec![unit("serde"), unit("a")],
    };
    let of_record = record.name(SignerId::NONE).object("w");
    let object = ManifestName::new("a", packs::lookup(), packs::key(), SignerId::NONE).object();
    // How well zstd compresses does not matter for the record either.
    let record = zstd::decode_all(record.encode(None).as_slice()).unwrap();
    let stable: [(&str, &[u8], Vec<u8>); 7] = [
        ("pack/archive", b"t", archive.clone()),
        ("pack/headers", b"h", archive),
        ("manifest/body", b"b", body),
        ("manifest/manifest", b"m", manifest.encode(None)),
        ("manifest/record", b"r", record),
        ("manifest/name-of-manifest", b"n", object.into_bytes()),
        ("manifest/name-of-record", b"n", of_record.into_bytes()),
    ];
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("seeds");
    fsx::Publish::default().bytes(&fresh.join("pack/frame"), &[b"z", bytes.as_slice()].concat()).unwrap();
    let mut changed = Vec::new();
    for (name, kind, bytes) in stable {
        let seed = [kind, &bytes].concat();
        fsx::Publish::default().bytes(&fresh.join(name), &seed).unwrap();
        if fs::read(seeds.join(name)).unwrap_or_default() != seed {
            changed.push(name);
        }
    }
    assert!(changed.is_empty(), "{changed:?} have changed; their new bytes are in {}", fresh.display());
    // A pack that was once written can be read forever.
    let old = fs::read(seeds.join("pack/frame")).unwrap();
    let old = &old[1..];
    let reference = kache::remote::PackRef { digest: Digest::of(old), size: old.len() as u64 };
    let there = Place::empty();
    pack::import(&there.store, &PackManifest { pack: reference, ..manifest }, &mut &*old).unwrap();
}

#[test]
fn entries_of_earlier_versions_can_be_read() {
    let text = serde_json::to_string(&packs::entry()).unwrap();
    assert!(!text.contains("pulled"), "an older kache reads what was compiled here");
    assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), packs::entry());
    let pulled = serde_json::to_string(&Entry { pulled: true, ..packs::entry() }).unwrap();
    assert!(serde_json::from_str::<Entry>(&pulled).unwrap().pulled);
}
