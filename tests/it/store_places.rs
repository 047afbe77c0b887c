//! The place of the cache: another file system, a read-only or full one, somebody else's (hazards I14 to I16).

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{
    CANONICAL_MTIME_NS, KACHE, Project, RawOutput, Tmpfs, files_under, find_one, has_program, snapshot, stat,
};

const DEP: &str = "fn never_called() {}\npub fn value() -> u32 { 7 }\n";

/// Compiles the library. Its warning is the only message of rustc in these tests, and kache must not add another one.
fn call(project: &Project, through_kache: bool) -> RawOutput {
    let out = project.path("out");
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out).expect("out-dir");
    let args = [
        "--crate-name",
        "dep",
        "--edition=2024",
        "src/lib.rs",
        "--crate-type=lib",
        "--emit=dep-info,metadata,link",
        "--error-format=json",
        "--json=artifacts,diagnostic-rendered-ansi",
        "-Cextra-filename=-1",
        "--out-dir",
    ];
    project.rustc(through_kache, args).arg(out).output().expect("it starts").into()
}

/// Asserts that kache, set up in this odd way, does the same as rustc: same code, same messages, same file names.
#[track_caller]
pub(crate) fn as_rustc(project: &Project, what: &str) {
    let plain = call(project, false);
    let names = |files: std::collections::BTreeMap<PathBuf, Vec<u8>>| files.into_keys().collect::<Vec<_>>();
    let files = names(snapshot(&project.path("out")));
    for round in ["first", "second"] {
        assert_eq!(call(project, true), plain, "{what}, {round} call");
        assert_eq!(names(snapshot(&project.path("out"))), files, "{what}, {round} call");
    }
    assert_eq!((plain.code, files.len()), (0, 3));
    assert!(String::from_utf8_lossy(&plain.stderr).contains("never_called"), "control: rustc has something to say");
}

/// Builds with the cache on a separate file system: hits are copies, and both checkouts stay fresh.
fn elsewhere(one: &Project, what: &str) {
    one.build().misses(&["dep"]);
    let two = one.clone_to("two");
    let (run, said) = two.build_and_run();
    run.hits(&["dep"]);
    assert_eq!(said, "7");
    let hit = two.events().pop().filter(|event| event["outcome"] == "hit.local");
    let hit =
        hit.or_else(|| two.events().into_iter().rev().find(|event| event["outcome"] == "hit.local")).expect("a hit");
    assert_eq!((hit["hardlink_bytes"].as_u64(), hit["reflink_bytes"].as_u64()), (Some(0), Some(0)), "{what}");
    assert!(hit["copy_bytes"].as_u64() > Some(0), "{what}: {hit}");
    let rlib = stat(&find_one(&two.target_dir().join("debug/deps"), "libdep-", ".rlib"));
    assert_eq!(rlib.nlink, 1);
    for project in [one, &two] {
        project.assert_noop();
    }
    for blob in one.blobs() {
        assert_eq!((stat(&blob).mtime_ns, stat(&blob).nlink), (CANONICAL_MTIME_NS, 1), "{what}");
    }
    one.assert_store_whole();
    two.file("dep/src/lib.rs", "pub fn value() -> u32 { 8 }\n");
    assert_eq!(two.build_and_run().1, "8");
    two.file("dep/src/lib.rs", DEP);
    let (run, said) = two.build_and_run();
    run.hits(&["dep"]);
    assert_eq!(said, "7");
}

#[test]
fn i14_a_cache_on_another_file_system_copies() {
    let mut one = Project::app_over(DEP);
    let dir = one.sandbox_dir().join("elsewhere");
    if let Some(_tmpfs) = Tmpfs::mount(&dir, "size=64m") {
        one.set("KACHE_CACHE_DIR", dir.join("cache"));
        elsewhere(&one, "a cache on a tmpfs");
        one.without_cache_compiles(&["dep"]);
    }
}

#[test]
fn i14_a_target_directory_on_another_file_system_copies() {
    let mut one = Project::app_over(DEP);
    let dir = one.sandbox_dir().join("elsewhere");
    let Some(_tmpfs) = Tmpfs::mount(&dir, "size=256m") else { return };
    one.build().misses(&["dep"]);
    one.set("CARGO_TARGET_DIR", dir.join("target"));
    let (run, said) = one.build_and_run();
    run.hits(&["dep"]);
    assert_eq!(said, "7");
    let rlib = find_one(&dir.join("target/debug/deps"), "libdep-", ".rlib");
    assert_eq!(stat(&rlib).nlink, 1);
    one.assert_noop();
    fs::write(&rlib, "rewritten").expect("write");
    one.assert_store_whole();
    one.rebuild_hits(&["dep"]);
    one.without_cache_compiles(&["dep"]);
}

#[test]
fn i14_empty_files_are_never_linked() {
    let one = Project::app_over(DEP);
    one.check();
    let two = one.clone_to("two");
    two.check().hits(&["app", "dep"]);
    let empty: Vec<PathBuf> = one.blobs().into_iter().filter(|blob| stat(blob).size == 0).collect();
    assert_eq!(empty.len(), 1, "a checked binary has empty metadata");
    assert_eq!(stat(&empty[0]).nlink, 1);
    two.check().is_noop();
}

#[test]
fn i15_a_read_only_cache_serves_hits_and_fails_nothing() {
    let mut one = Project::app_over(DEP);
    let dir = one.sandbox_dir().join("elsewhere");
    let Some(tmpfs) = Tmpfs::mount(&dir, "size=64m") else { return };
    one.set("KACHE_CACHE_DIR", dir.join("cache")).set("KACHE_LOG", "trace");
    one.build().misses(&["dep"]);
    let filled = snapshot(&dir);
    tmpfs.remount("ro");
    let two = one.clone_to("two");
    let (run, said) = two.build_and_run();
    run.hits(&["dep"]);
    assert_eq!(said, "7");
    two.assert_noop();
    for file in files_under(&two.target_dir()) {
        assert_ne!(stat(&file).mode & 0o200, 0, "read-only: {}", file.display());
    }
    // A miss compiles every time.
    two.file("dep/src/lib.rs", "pub fn value() -> u32 { 8 }\n");
    for _ in 0..2 {
        let (run, said) = two.wipe().build_and_run();
        run.misses(&["dep"]);
        assert_eq!(said, "8");
    }
    assert!(snapshot(&dir) == filled, "something was written");
    tmpfs.remount("rw");
    two.rebuild_misses(&["dep"]);
    two.rebuild_hits(&["dep"]);
}

#[test]
fn i15_not_one_byte_about_a_read_only_cache() {
    let mut project = Project::lib(DEP);
    let dir = project.sandbox_dir().join("elsewhere");
    let Some(tmpfs) = Tmpfs::mount(&dir, "size=64m") else { return };
    tmpfs.remount("ro");
    project.set("KACHE_CACHE_DIR", dir.join("cache")).set("KACHE_LOG", "trace");
    as_rustc(&project, "an empty read-only cache");
    tmpfs.remount("rw");
    as_rustc(&project, "a writable one");
    tmpfs.remount("ro");
    as_rustc(&project, "a filled read-only one");
}

/// The space runs out at every point of storing an entry, one after the other.
#[test]
#[ignore = "slow"]
fn i16_a_full_cache_fails_no_build_and_stores_nothing_wrong() {
    let mut project = Project::lib(DEP);
    let dir = project.sandbox_dir().join("elsewhere");
    let Some(_tmpfs) = Tmpfs::mount(&dir, "size=1m") else { return };
    project.set("KACHE_CACHE_DIR", dir.join("cache"));
    let plain = call(&project, false);
    let mut outcomes = Vec::new();
    // One compile stores some 400 KiB in total, most of it the observer and the pages of the stamp memo that the
    // compile touches; the number of these pages depends on the paths.
    for free_kib in [0, 4, 12, 32, 64, 96, 120, 136, 144, 152, 160, 168, 176, 184, 192, 208, 240, 384, 768] {
        let _ = fs::remove_dir_all(dir.join("cache"));
        fill(&dir.join("ballast"), free_kib);
        assert_eq!(call(&project, true), plain, "{free_kib} KiB left");
        project.assert_store_whole();
        assert_eq!(project.temps(), Vec::<PathBuf>::new(), "{free_kib} KiB left");
        // With space again, the build is right and the store heals.
        fs::remove_file(dir.join("ballast")).expect("make room");
        let before = project.compiled("dep");
        assert_eq!(call(&project, true), plain, "after {free_kib} KiB left");
        outcomes.push(project.compiled("dep") - before);
        assert_eq!(call(&project, true), plain);
        assert_eq!(
            project.compiled("dep") - before,
            *outcomes.last().expect("one"),
            "never healed: {:?}",
            project.events()
        );
        project.assert_store_whole();
    }
    assert_eq!((outcomes.first(), outcomes.last()), (Some(&1), Some(&0)), "control: full, and not full: {outcomes:?}");
}

/// The space that is left on a nearly full disk is for the build.
#[test]
fn i16_a_nearly_full_disk_is_left_to_the_build() {
    let mut project = Project::app_over(DEP);
    let dir = project.sandbox_dir().join("elsewhere");
    let Some(_tmpfs) = Tmpfs::mount(&dir, "size=64m") else { return };
    project.set("KACHE_CACHE_DIR", dir.join("cache"));
    fill(&dir.join("ballast"), 1100);
    for _ in 0..2 {
        project.wipe().build().misses(&["dep"]);
        assert_eq!(project.last_outcome("dep").1, "disk-full");
    }
    assert_eq!((project.blobs(), project.entries()), (Vec::<PathBuf>::new(), Vec::new()));
    fs::remove_file(dir.join("ballast")).expect("make room");
    project.rebuild_misses(&["dep"]);
    project.rebuild_hits(&["dep"]);
}

/// When a disk has become full, kache collects at once and does not wait for the next regular collection.
#[test]
fn i16_a_disk_that_has_become_full_is_collected() {
    let mut project =
        Project::app_over("pub static BYTES: [u8; 9_000_000] = [7; 9_000_000];\npub fn value() -> u8 { BYTES[9] }\n");
    let dir = project.sandbox_dir().join("elsewhere");
    let Some(_tmpfs) = Tmpfs::mount(&dir, "size=64m") else { return };
    project.set("KACHE_CACHE_DIR", dir.join("cache"));
    project.build().misses(&["dep"]);
    let before = project.blobs().len();
    assert!(before > 0, "control: stored");
    fill(&dir.join("ballast"), 1100);
    // The first entry created the stamp of the last collection; make it old.
    filetime::set_file_mtime(dir.join("cache/v1/gc.stamp"), filetime::FileTime::from_unix_time(1_700_000_000, 0))
        .expect("old");
    project.file("dep/src/lib.rs", "pub fn value() -> u8 { 8 }\n");
    project.wipe().build().misses(&["dep"]);
    crate::support::wait_until("a collection", || project.blobs().len() < before);
}

/// Fills the file system of `ballast` until `free_kib` KiB are free.
fn fill(ballast: &Path, free_kib: usize) {
    let block = vec![1; 4096];
    let mut size = 0;
    let mut file = fs::File::create(ballast).expect("ballast");
    while std::io::Write::write_all(&mut file, &block).is_ok() {
        size += block.len() as u64;
    }
    file.set_len(size.saturating_sub(free_kib as u64 * 1024)).expect("free some");
}

/// The target directory is full when a hit is copied into it: no partial file remains, and rustc reports the error.
#[test]
fn i16_a_full_target_directory_is_rustcs_problem() {
    let project = Project::lib(DEP);
    let Some(_tmpfs) = Tmpfs::mount(&project.target_dir(), "size=1m") else { return };
    project.unit("dep", "src/lib.rs").warm();
    let command = project.unit("dep", "src/lib.rs").command();
    let ballast = project.target_dir().join("ballast");
    fill(&ballast, 4);
    project.hook("instead", "dep", "ls -A target/debug/deps > listing; exit 3\n");
    assert_eq!(project.finish(command).code, 3);
    assert_eq!(fs::read_to_string(project.path("listing")).expect("rustc ran"), "");
    assert_eq!(project.last_outcome("dep").0, "miss.restore-failed");
    fs::remove_file(ballast).expect("make room");
    project.unhook("instead", "dep").unit("dep", "src/lib.rs").hits();
}

/// The tables of the store are larger than any file that rustc writes here.
#[test]
fn i16_a_limit_on_file_sizes_fails_no_build() {
    let mut project = Project::lib(DEP);
    project.hook("before", "dep", "grep SigIgn /proc/$$/status > ignored\n");
    let limited = |project: &Project| -> (RawOutput, u64) {
        let unlimited = project.unit("dep", "src/lib.rs").command();
        let mut command = project.command("/bin/sh");
        command
            .args(["-c", "ulimit -f 400 && exec \"$@\"", "sh"])
            .arg(unlimited.get_program())
            .args(unlimited.get_args());
        let said = command.output().expect("sh starts").into();
        let line = fs::read_to_string(project.path("ignored")).expect("rustc ran");
        let mask = u64::from_str_radix(line.trim_start_matches("SigIgn:").trim(), 16).expect("a mask");
        // Signals from 32 on are libc's own; their state depends on how a process was started.
        (said, mask & 0x7fff_ffff)
    };
    let (ours, again) = (limited(&project), limited(&project));
    project.set("KACHE_DISABLED", "1");
    let plain = limited(&project);
    assert_eq!((plain.0.code, &ours, &again), (0, &plain, &plain));
    project.unset("KACHE_DISABLED").unit("dep", "src/lib.rs").run().must_succeed();
    project.unit("dep", "src/lib.rs").hits();
    project.assert_store_whole();
}

#[test]
fn i16_a_full_cache_under_cargo() {
    let mut project =
        Project::app_over("pub static BYTES: [u8; 400_000] = [7; 400_000];\npub fn value() -> u8 { BYTES[9] }\n");
    let dir = project.sandbox_dir().join("elsewhere");
    let Some(_tmpfs) = Tmpfs::mount(&dir, "size=300k") else { return };
    project.set("KACHE_CACHE_DIR", dir.join("cache"));
    for _ in 0..2 {
        let (run, said) = project.wipe().build_and_run();
        run.misses(&["dep"]);
        assert_eq!(said, "7");
        project.assert_noop();
    }
    let stored = project.last_outcome("dep").1;
    assert!(["store-failed", "disk-full"].contains(&stored.as_str()), "{stored}");
    project.assert_store_whole();
    assert_eq!(project.temps(), Vec::<PathBuf>::new());
}

#[test]
fn versions_live_side_by_side() {
    let project = Project::app_over(DEP);
    let foreign: Vec<(PathBuf, &str)> = ["v0/blobs/ab/x", "v2/entries/ab/x.json", "v2/stamps", "v10", "unknown/file"]
        .map(|name| (project.cache_dir().join(name), name))
        .to_vec();
    for (path, name) in &foreign {
        fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
        fs::write(path, name).expect("write");
    }
    project.warm(&["dep"]);
    let mut command = project.command(KACHE);
    command.arg("gc").env("KACHE_MAX_SIZE", "1B");
    project.finish(command).must_succeed();
    for (path, name) in &foreign {
        assert_eq!(fs::read_to_string(path).expect("left alone"), *name);
    }
    project.rebuild_hits(&[]);
    assert_eq!(project.app_output(), "7");
}

/// Runs `call` through kache without the capabilities by which root ignores permissions. Returns `None` if `setpriv` is
/// not installed.
fn bound(project: &Project) -> Option<RawOutput> {
    if !has_program("setpriv") {
        return None;
    }
    let _ = fs::remove_dir_all(project.path("out"));
    let rustc: OsString = project.env_value("RUSTC").expect("always set").to_owned();
    let mut command = project.command("setpriv");
    command.args(["--bounding-set=-dac_override,-dac_read_search,-fowner,-chown", "--inh-caps=-dac_override,-fowner"]);
    command.arg(KACHE).arg(rustc).args([
        "--crate-name",
        "dep",
        "--edition=2024",
        "src/lib.rs",
        "--crate-type=lib",
        "--emit=dep-info,metadata,link",
        "--error-format=json",
        "--json=artifacts,diagnostic-rendered-ansi",
        "-Cextra-filename=-1",
        "--out-dir",
    ]);
    command.arg(project.path("out"));
    fs::create_dir_all(project.path("out")).expect("out-dir");
    Some(command.output().expect("setpriv starts").into())
}

fn sh(script: &str, path: &Path) -> bool {
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", script, "sh"]).arg(path).output().expect("sh").status.success()
}

#[test]
fn a_cache_that_belongs_to_somebody_else_fails_nothing() {
    let project = Project::lib(DEP);
    let plain = call(&project, false);
    let Some(first) = bound(&project) else { return };
    assert_eq!(first, plain);
    if !sh("chown -R 65534:65534 \"$1\"", &project.cache_dir()) {
        crate::support::skip("chown is not allowed here");
        return;
    }
    let compiled = project.compiled("dep");
    for (mode, hits) in [("u=rwX,go=rX", true), ("u=rwX,go=", false), ("u=,go=", false), ("a=rX", true)] {
        assert!(sh(&format!("chmod -R {mode} \"$1\""), &project.cache_dir()));
        let before = project.compiled("dep");
        for _ in 0..2 {
            assert_eq!(bound(&project).expect("setpriv"), plain, "mode {mode}");
        }
        assert_eq!(project.compiled("dep") - before, if hits { 0 } else { 2 }, "mode {mode}: {:?}", project.events());
    }
    assert!(project.compiled("dep") > compiled);
    assert!(sh("chmod -R u=rwX,go=rX \"$1\"", &project.cache_dir()));
    project.assert_store_whole();
}
