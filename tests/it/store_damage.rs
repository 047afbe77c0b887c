//! A store with missing, torn or wrong files (hazards I06, I07): rustc compiles or the hit is right, and the store
//! heals.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{CANONICAL_MTIME_NS, Project, Unit, find, name_of, stat, unsealed};

const SOURCE: &str = "fn never_called() {}\npub fn value() -> u32 { 7 }\n";

/// One unit, stored and hit, with its library and its messages.
struct Stored {
    project: Project,
    rlib: Vec<u8>,
    stderr: String,
}

impl Stored {
    fn new() -> Self {
        let project = Project::lib(SOURCE);
        project.unit("dep", "src/lib.rs").misses();
        let run = project.unit("dep", "src/lib.rs").hits();
        let rlib = fs::read(project.unit("dep", "src/lib.rs").rlib()).expect("rlib");
        Self { rlib, stderr: run.stderr, project }
    }

    fn unit(&self) -> Unit<'_> {
        self.project.unit("dep", "src/lib.rs")
    }

    /// Asserts that after some damage the call succeeds with the right bytes and messages and has `outcome`, and that
    /// the next call is a hit.
    #[track_caller]
    fn heals(&self, damage: &str, outcome: &str) {
        let run = self.unit().run().must_succeed();
        self.assert_right(damage, &run.stderr);
        assert_eq!(self.project.last_outcome("dep").0, outcome, "after: {damage}");
        assert_eq!(run.compiles().is_empty(), outcome == "hit.local", "after: {damage}");
        let again = self.unit().run().must_succeed();
        assert!(again.compiles().is_empty(), "never healed: {damage}");
        self.assert_right(damage, &again.stderr);
        self.project.assert_store_whole();
    }

    #[track_caller]
    fn assert_right(&self, damage: &str, stderr: &str) {
        let rlib = fs::read(self.unit().rlib()).expect("an rlib");
        assert!(rlib == self.rlib, "other bytes after: {damage}");
        assert_eq!(stderr, self.stderr, "other words after: {damage}");
    }

    fn v1(&self, name: &str) -> PathBuf {
        self.project.cache_dir().join("v1").join(name)
    }
}

/// Replaces the file by a new one with these bytes, like a torn write or a failing disk.
fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).expect("remove");
    fs::write(path, bytes).expect("write");
}

fn make_canonical(path: &Path) {
    let nanos = u32::try_from(CANONICAL_MTIME_NS % 1_000_000_000).expect("nanos");
    let secs = i64::try_from(CANONICAL_MTIME_NS / 1_000_000_000).expect("seconds");
    filetime::set_file_mtime(path, filetime::FileTime::from_unix_time(secs, nanos)).expect("mtime");
}

fn flip(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    bytes
}

#[test]
fn i06_a_missing_blob_is_a_miss() {
    let stored = Stored::new();
    for blob in stored.project.blobs() {
        fs::remove_file(&blob).expect("remove");
        stored.heals("a blob deleted", "miss.blob-gone");
    }
    fs::remove_dir_all(stored.v1("blobs")).expect("remove");
    stored.heals("all blobs deleted", "miss.blob-gone");
}

#[test]
fn i07_a_damaged_blob_goes_to_quarantine() {
    let stored = Stored::new();
    let mut damaged = 0;
    for blob in stored.project.blobs() {
        let bytes = fs::read(&blob).expect("a blob");
        replace(&blob, &bytes[..bytes.len() / 2]);
        make_canonical(&blob);
        stored.heals("a blob truncated, its time kept", "miss.blob-corrupt");
        replace(&blob, b"");
        stored.heals("a blob emptied", "miss.blob-corrupt");
        replace(&blob, &flip(&bytes));
        stored.heals("a blob's bit flipped", "miss.blob-corrupt");
        replace(&blob, &[&bytes[..], b"more"].concat());
        stored.heals("a blob grown", "miss.blob-corrupt");
        damaged += 1;
        assert_eq!(find(&stored.v1("quarantine"), "", "").len(), damaged, "one name per damaged blob");
        // Control: a changed time alone is not damage.
        replace(&blob, &bytes);
        stored.heals("a blob touched", "hit.local");
        assert_eq!(stat(&blob).mtime_ns, CANONICAL_MTIME_NS);
    }
}

#[test]
fn i07_a_blob_that_is_no_file_is_a_miss() {
    let stored = Stored::new();
    let blobs = stored.project.blobs();
    fs::remove_file(&blobs[0]).expect("remove");
    fs::create_dir(&blobs[0]).expect("a directory in a blob's place");
    let run = stored.unit().run().must_succeed();
    run.misses(&["dep"]);
    stored.assert_right("a directory in a blob's place", &run.stderr);
}

/// Entries written before a crash of the machine may refer to torn blobs, so kache reads the blobs back once.
#[test]
fn i06_blobs_written_before_a_reboot_are_read_back() {
    let stored = Stored::new();
    let entry = stored.project.entries().remove(0);
    let another_boot = || {
        let record = unsealed(&entry, &fs::read_to_string(&entry).expect("entry")).expect("sealed");
        let mut value: serde_json::Value = serde_json::from_slice(&record).expect("json");
        let now = value["boot"].as_str().expect("boot").to_owned();
        value["boot"] = "another".into();
        replace(&entry, &kache::store::sealed::seal(name_of(&entry), value.to_string().as_bytes()));
        now
    };
    let boot = another_boot();
    stored.heals("a reboot", "hit.local");
    let text = fs::read_to_string(&entry).expect("entry");
    assert!(boot.is_empty() || text.contains(&boot), "read back again on every hit: {text}");
    for blob in stored.project.blobs() {
        another_boot();
        let bytes = fs::read(&blob).expect("a blob");
        replace(&blob, &flip(&bytes));
        make_canonical(&blob);
        stored.heals("a blob torn by a crash, size and time as they were", "miss.blob-corrupt");
    }
}

#[test]
fn i06_a_missing_or_unreadable_entry_is_a_miss() {
    let stored = Stored::new();
    let entry = stored.project.entries().remove(0);
    let text = fs::read_to_string(&entry).expect("entry");
    fs::remove_file(&entry).expect("remove");
    stored.heals("the entry deleted", "miss.entry-gone");
    for (damage, bytes) in [
        ("the entry emptied", ""),
        ("the entry cut", &text[..text.len() / 2]),
        ("the entry garbage", "\u{0}\u{1}garbage"),
        ("the entry of another shape", "{}"),
        ("the entry null", "null"),
    ] {
        replace(&entry, bytes.as_bytes());
        stored.heals(damage, "miss.entry-gone");
    }
    let elsewhere = text.replace("libdep-", "../libdep-");
    assert_ne!(elsewhere, text);
    replace(&entry, elsewhere.as_bytes());
    stored.heals("an entry that leads out of the out-dir", "miss.entry-gone");
    assert!(find(&stored.project.target_dir().join("debug"), "libdep", ".rlib").len() == 1);
}

#[test]
fn i06_a_missing_or_unreadable_manifest_is_a_miss() {
    let stored = Stored::new();
    let manifest = stored.project.manifests().remove(0);
    let text = fs::read_to_string(&manifest).expect("manifest");
    fs::remove_file(&manifest).expect("remove");
    stored.heals("the manifest deleted", "miss.no-manifest");
    for (damage, bytes) in [
        ("the manifest emptied", ""),
        ("the manifest cut", &text[..text.len() / 2]),
        ("the manifest garbage", "\u{0}\u{1}garbage\n{\"key\":1}\n"),
    ] {
        replace(&manifest, bytes.as_bytes());
        stored.heals(damage, "miss.no-manifest");
    }
    replace(&manifest, b"\xff\xfe\n\n");
    stored.heals("the manifest no text", "miss.no-manifest");
    replace(&manifest, format!("{{torn\n{text}").as_bytes());
    let run = stored.unit().hits();
    stored.assert_right("a torn line before the right one", &run.stderr);
}

#[test]
fn i06_memos_may_be_lost_or_garbage() {
    let stored = Stored::new();
    let garbage: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let stamps = stored.v1("stamps");
    let size = fs::metadata(&stamps).expect("the table").len();
    for bytes in [&b""[..], b"short", &garbage] {
        replace(&stamps, bytes);
        stored.heals("the stamp table replaced", "hit.local");
    }
    let full: Vec<u8> = garbage.iter().copied().cycle().take(usize::try_from(size).expect("size")).collect();
    replace(&stamps, &full);
    stored.heals("the stamp table all garbage", "hit.local");
    fs::remove_file(&stamps).expect("remove");
    fs::create_dir(&stamps).expect("mkdir");
    stored.heals("a directory in the stamp table's place", "hit.local");
    for memo in find(&stored.v1("compilers"), "", "") {
        for bytes in [&b""[..], b"{}", b"garbage"] {
            replace(&memo, bytes);
            stored.heals("a compiler memo replaced", "hit.local");
        }
    }
    fs::remove_dir_all(stored.v1("compilers")).expect("remove");
    stored.heals("compiler memos deleted", "hit.local");
}

#[test]
fn i06_directories_of_the_cache_may_be_lost_or_be_files() {
    let stored = Stored::new();
    for name in ["v1/claims", "v1/quarantine", "events", "log", "CACHEDIR.TAG"] {
        let path = stored.project.cache_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        let _ = fs::remove_file(&path);
        let run = stored.unit().hits();
        stored.assert_right(name, &run.stderr);
        let _ = fs::remove_dir_all(&path);
        fs::write(&path, b"a file").expect("write");
        let run = stored.unit().hits();
        stored.assert_right(name, &run.stderr);
    }
    for name in ["v1/manifests", "v1/entries", "v1/blobs", "v1"] {
        let path = stored.project.cache_dir().join(name);
        fs::remove_dir_all(&path).expect("remove");
        fs::write(&path, b"a file").expect("write");
        let run = stored.unit().run().must_succeed();
        stored.assert_right(name, &run.stderr);
        run.misses(&["dep"]);
        fs::remove_file(&path).expect("remove");
        stored.unit().misses();
        let run = stored.unit().hits();
        stored.assert_right(name, &run.stderr);
    }
}

/// One byte of a record changes, but the record stays well-formed: another output's name, another digest, another
/// variable's value.
#[test]
fn i07_a_record_damaged_by_one_letter_is_a_miss() {
    let stored = Stored::new();
    for files in [stored.project.entries(), stored.project.manifests()] {
        for path in files {
            let bytes = fs::read(&path).expect("a record");
            for at in (66..bytes.len()).step_by(bytes.len() / 7).filter(|at| bytes[*at].is_ascii_lowercase()) {
                let mut damaged = bytes.clone();
                damaged[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
                replace(&path, &damaged);
                let run = stored.unit().run().must_succeed();
                stored.assert_right(&format!("{} damaged at {at}", path.display()), &run.stderr);
                replace(&path, &bytes);
            }
        }
    }
}
