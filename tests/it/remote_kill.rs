//! `kill -9` of pushes and pulls at random moments: the remote and the store stay whole, and the next run completes the
//! work. Large uploads resume where they were.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use kache::model::Digest;
use kache::store::Store;

use crate::support::entries::{self, Size};
use crate::support::faults::FaultProxy;
use crate::support::s3_server::{S3Server, WRITER};
use crate::support::{KACHE, Project, TEMP_PREFIX, objects, random, signal, wait_until};

const ROUNDS: u64 = 30;
const ENTRIES: u64 = 16;
/// Large enough for its pack to be uploaded in parts (from 16 MiB).
const LARGE: Size = Size { bytes: 18_000_000, noise: 98 };
const SMALL: Size = Size { bytes: 100_000, noise: 50 };

/// A store with entries to push, and the remote that gets them.
struct PushedStore {
    server: S3Server,
    one: Project,
    keys: Vec<entries::Made>,
}

fn pushed_store() -> PushedStore {
    let server = S3Server::start();
    let mut one = Project::new();
    one.use_remote(&S3Server::variables(&server.endpoint(), WRITER));
    let mut keys = entries::fill(&one.cache_dir(), ENTRIES, SMALL);
    let store = Store::open(&one.cache_dir());
    keys.push(entries::make(&store, "large", 1000, LARGE));
    PushedStore { server, one, keys }
}

/// Runs kache for the given time and kills it.
fn kill_after(project: &Project, args: &[&str], after: Duration) {
    let mut command = project.command(KACHE);
    let mut child = command.args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("kache starts");
    std::thread::sleep(after);
    child.kill().expect("kill");
    child.wait().expect("it was killed");
}

/// How long the command takes if nobody kills it, in milliseconds.
fn whole(project: &Project, args: &[&str]) -> u64 {
    let began = Instant::now();
    project.kache(args).must_succeed();
    u64::try_from(began.elapsed().as_millis()).expect("short").clamp(100, 10_000)
}

/// Numbers of entries and blobs of a machine, without the temps of killed processes.
fn stored_counts(project: &Project) -> (usize, usize) {
    let whole = |files: Vec<PathBuf>| {
        let is_temp = |path: &PathBuf| path.to_string_lossy().contains(TEMP_PREFIX);
        files.iter().filter(|path| !is_temp(path)).count()
    };
    (whole(project.entries()), whole(project.blobs()))
}

/// Asserts that every manifest on the server can be read, and that its pack has the bytes that it declares.
#[track_caller]
fn assert_remote_whole(server: &S3Server) {
    for (name, manifest) in objects::manifests(server) {
        let pack = objects::pack_of(server, &manifest).unwrap_or_else(|| panic!("{name} has no pack"));
        assert_eq!((pack.len() as u64, Digest::of(&pack)), (manifest.pack.size, manifest.pack.digest), "{name}");
    }
}

#[test]
#[ignore = "slow"]
fn kill_nine_of_pushes() {
    let mut rng = random::generator();
    let pushed = pushed_store();
    let whole = whole(&pushed.one, &["push"]);
    pushed.server.clear();
    let forget = || drop(std::fs::remove_dir_all(pushed.one.cache_dir().join("v1/remote/known")));
    forget();
    for round in 0..ROUNDS {
        kill_after(&pushed.one, &["push"], Duration::from_millis(rng.u64(..whole)));
        assert_remote_whole(&pushed.server);
        // Clears the server when it has everything, and every ten rounds, so that something is always left to upload.
        if pushed.server.objects_with("v2/manifests/").len() == pushed.keys.len() || round % 10 == 9 {
            pushed.one.kache(&["push"]).must_succeed();
            assert_eq!(pushed.server.objects_with("v2/manifests/").len(), pushed.keys.len());
            pushed.server.clear();
            forget();
        }
    }
    pushed.one.kache(&["push"]).must_succeed();
    assert_remote_whole(&pushed.server);
    // If kache was killed between the server's answer and the record of it, the upload stays open: the bucket's
    // lifecycle rules are for such uploads. kache resumed all others.
    assert!(pushed.server.open_uploads() <= 3, "{} uploads are left open for good", pushed.server.open_uploads());
    let two = pushed.one.other_machine("two");
    two.kache(&["pull", "--all"]).must_succeed();
    two.assert_store_whole();
    assert_eq!(stored_counts(&two), stored_counts(&pushed.one));
    pushed.one.assert_store_whole();
}

#[test]
#[ignore = "slow"]
fn kill_nine_of_pulls() {
    let mut rng = random::generator();
    let pushed = pushed_store();
    pushed.one.kache(&["push"]).must_succeed();
    let whole = whole(&pushed.one.other_machine("measure"), &["pull", "--all"]);
    let mut two = pushed.one.other_machine("two-0");
    for round in 0..ROUNDS {
        kill_after(&two, &["pull", "--all"], Duration::from_millis(rng.u64(..whole)));
        two.assert_store_whole();
        let store = Store::open(&two.cache_dir());
        for made in &pushed.keys {
            // Every entry that can be found is whole.
            if store.manifest(made.lookup).expect("a manifest").records().any(|record| record.key == made.key) {
                let entry = store.entry(made.key).expect("its entry");
                entry
                    .outputs
                    .iter()
                    .for_each(|output| drop(store.check_blob(output.blob, output.size).expect("a blob")));
            }
        }
        if stored_counts(&two).0 == pushed.keys.len() || round % 10 == 9 {
            two.kache(&["pull", "--all"]).must_succeed();
            assert_eq!(stored_counts(&two), stored_counts(&pushed.one));
            two = pushed.one.other_machine(&format!("two-{round}-next"));
        }
    }
    two.kache(&["pull", "--all"]).must_succeed();
    two.assert_store_whole();
    assert_eq!(stored_counts(&two), stored_counts(&pushed.one));
    assert_remote_whole(&pushed.server);
}

/// An entry of some 200 MB that does not compress, uploaded over a line of 100 MB/s and killed in the middle. The
/// second push continues the same upload, and repeats only the few parts whose answers were lost.
#[test]
#[ignore = "slow"]
fn an_interrupted_upload_of_200_mb_goes_on_where_it_was() {
    let server = S3Server::start();
    let proxy = FaultProxy::start(server.address());
    let mut one = Project::new();
    one.use_remote(&S3Server::variables(&proxy.endpoint(), WRITER));
    let size = Size { bytes: 185_000_000, noise: 100 };
    let made = entries::make(&Store::open(&one.cache_dir()), "large", 1, size);
    proxy.set_bandwidth(100_000_000);
    let mut command = one.command(KACHE);
    let mut child = command.arg("push").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("kache starts");
    let finished = || proxy.seen_of("PUT", "partNumber=").iter().filter(|seen| seen.status == Some(200)).count();
    // An unoptimised zstd takes a while for 200 MB.
    let deadline = Instant::now() + Duration::from_mins(10);
    while finished() < 10 {
        assert!(Instant::now() < deadline, "waited in vain for half of the parts");
        std::thread::sleep(Duration::from_millis(20));
    }
    signal("KILL", &child.id().to_string());
    child.wait().expect("it was killed");
    let before = proxy.seen_of("PUT", "partNumber=");
    assert_eq!(server.objects_with("v2/packs/"), Vec::<String>::new());
    proxy.forget();
    one.kache(&["push"]).must_succeed();
    let numbers = |seen: &[crate::support::faults::Seen]| -> std::collections::BTreeSet<String> {
        let number =
            |target: &str| target.split("partNumber=").nth(1).expect("a number").split('&').next().map(str::to_owned);
        seen.iter().filter(|seen| seen.status == Some(200)).filter_map(|seen| number(&seen.target)).collect()
    };
    let (first, second) = (numbers(&before), numbers(&proxy.seen_of("PUT", "partNumber=")));
    let again = first.intersection(&second).count();
    // A part whose answer arrived as the process died may not have been recorded.
    assert!(first.len() >= 10 && again <= 8, "first {first:?}, then {second:?}");
    assert_eq!(proxy.count("POST", "uploads"), 0, "no second upload was begun");
    assert_remote_whole(&server);
    assert_eq!((server.open_uploads(), server.parts()), (0, 0));
    let two = one.other_machine("two");
    two.kache(&["pull", "--all"]).must_succeed();
    two.assert_store_whole();
    assert!(Store::open(&two.cache_dir()).entry(made.key).is_some());
}

/// The server keeps the parts of an upload until the upload is completed or aborted, and they cost money.
#[test]
fn an_upload_that_nobody_comes_back_for_is_aborted() {
    let server = S3Server::start();
    let proxy = FaultProxy::start(server.address());
    let mut one = Project::new();
    one.use_remote(&S3Server::variables(&proxy.endpoint(), WRITER));
    entries::make(&Store::open(&one.cache_dir()), "large", 1, LARGE);
    proxy.set_bandwidth(10_000_000);
    let mut command = one.command(KACHE);
    let mut child = command.arg("push").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("kache starts");
    wait_until("a part", || server.parts() > 0);
    signal("KILL", &child.id().to_string());
    child.wait().expect("it was killed");
    proxy.set_bandwidth(0);
    std::fs::remove_dir_all(one.cache_dir().join("v1/entries")).expect("the entry goes");
    one.kache(&["push"]).must_succeed();
    assert_eq!(server.open_uploads(), 1, "it is young");
    let state = crate::support::find_one(&one.cache_dir().join("v1/remote/uploads"), "", ".json");
    let text = std::fs::read_to_string(&state).expect("the state");
    let (before, after) = text.split_once("\"begun\":").expect("its age");
    let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    std::fs::write(&state, format!("{before}\"begun\":1{rest}")).expect("make it old");
    one.kache(&["push"]).must_succeed();
    assert_eq!((server.open_uploads(), server.parts()), (0, 0));
}

/// Control: the check of the remote detects a pack with other bytes.
#[test]
#[should_panic(expected = "assertion")]
fn control_a_wrong_pack_is_seen() {
    let pushed = pushed_store();
    pushed.one.kache(&["push"]).must_succeed();
    let pack = pushed.server.objects_with("v2/bundles/").remove(0);
    let mut bytes = pushed.server.read(&pack).expect("a pack");
    bytes[100] ^= 1;
    pushed.server.write(&pack, &bytes);
    assert_remote_whole(&pushed.server);
}
