//! `kache push` and `kache pull` against a server in the test process: which entries they transfer, and which they do
//! not.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};

use kache::store::Store;

use crate::support::entries::{self, Made, Size};
use crate::support::faults::{Action, FaultProxy, Lie, Rule};
use crate::support::s3_server::{READER, S3Server, WRITER};
use crate::support::{KACHE, Project, Run, manifest, signal, wait_until};

pub(crate) const SMALL: Size = Size { bytes: 20_000, noise: 30 };

/// Two machines without any workspace, and a remote.
pub(crate) struct Bed {
    pub(crate) server: S3Server,
    pub(crate) proxy: FaultProxy,
    pub(crate) one: Project,
    pub(crate) two: Project,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let server = S3Server::start();
        let proxy = FaultProxy::start(server.address());
        let mut one = Project::new();
        one.use_remote(&S3Server::variables(&proxy.endpoint(), WRITER));
        let two = one.other_machine("two");
        Self { server, proxy, one, two }
    }

    /// A bed whose first machine has `count` entries.
    pub(crate) fn with(count: u64, size: Size) -> (Self, Vec<Made>) {
        let bed = Self::new();
        let made = entries::fill(&bed.one.cache_dir(), count, size);
        (bed, made)
    }

    /// A bed with `count` entries on the remote and on the first machine.
    pub(crate) fn pushed(count: u64, size: Size) -> (Self, Vec<Made>) {
        let (bed, made) = Self::with(count, size);
        bed.one.kache(&["push"]).must_succeed();
        (bed, made)
    }

    pub(crate) fn objects(&self, kind: &str) -> usize {
        self.server.objects_with(kind).len()
    }
}

/// Asserts that the other machine has the same entries, records and blobs as the first one.
#[track_caller]
fn assert_same(from: &Project, to: &Project, made: &[Made]) {
    let (from, to_store) = (Store::open(&from.cache_dir()), Store::open(&to.cache_dir()));
    for made in made {
        let entry = |store: &Store| {
            let entry = store.entry(made.key).unwrap_or_else(|| panic!("no entry of {}", made.crate_name));
            kache::store::Entry { boot: String::new(), pulled: false, created: 0, ..entry }
        };
        assert_eq!(entry(&from), entry(&to_store));
        let records = |store: &Store| store.manifest(made.lookup).unwrap().records().collect::<Vec<_>>();
        assert_eq!(records(&from), records(&to_store));
        for output in entry(&to_store).outputs {
            to_store.check_blob(output.blob, output.size).expect("a blob");
        }
    }
    to.assert_store_whole();
}

#[track_caller]
pub(crate) fn says(run: &Run, what: &str) {
    assert!(run.stdout.contains(what) || run.stderr.contains(what), "no {what:?} in\n{}\n{}", run.stdout, run.stderr);
}

/// Asserts that transfers have not left any files on the machine.
#[track_caller]
fn assert_tidy(project: &Project) {
    let left: Vec<_> = ["inbox", "outbox"]
        .iter()
        .flat_map(|dir| crate::support::files_under(&project.cache_dir().join("v1/remote").join(dir)))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_is_pushed_can_be_pulled_and_nothing_twice() {
    let (bed, made) = Bed::with(20, SMALL);
    says(&bed.one.kache(&["push"]).must_succeed(), "pushed 20 entries");
    assert_eq!((bed.objects("v1/packs/"), bed.objects("v1/manifests/")), (20, 20));
    says(&bed.two.kache(&["pull", "--all"]).must_succeed(), "pulled 20 entries");
    assert_same(&bed.one, &bed.two, &made);
    bed.proxy.forget();
    says(&bed.one.kache(&["push"]).must_succeed(), "pushed 0 entries, 0 B");
    says(&bed.two.kache(&["push"]).must_succeed(), "pushed 0 entries, 0 B");
    assert_eq!(bed.proxy.count("PUT", ""), 0);
    let run = bed.two.kache(&["pull", "--all"]).must_succeed();
    says(&run, "pulled 0 entries");
    says(&run, "20 already in the store");
    assert_eq!(bed.proxy.count("GET", "v1/packs/"), 0);
    assert_tidy(&bed.one);
    assert_tidy(&bed.two);
}

#[test]
fn few_are_asked_for_and_many_are_listed() {
    let (bed, _) = Bed::with(3, SMALL);
    bed.one.kache(&["push"]).must_succeed();
    assert_eq!((bed.proxy.count("HEAD", ""), bed.proxy.count("GET", "list-type=2")), (3, 0));
    entries::fill(&bed.one.cache_dir(), 40, SMALL);
    bed.proxy.forget();
    says(&bed.one.kache(&["push"]).must_succeed(), "pushed 37 entries");
    assert_eq!((bed.proxy.count("HEAD", ""), bed.proxy.count("GET", "list-type=2")), (0, 1));
    // A bucket with far more entries than this machine: kache gives up the listing.
    bed.server.set_page_size(1);
    bed.server.remove(&bed.server.objects_with("v1/manifests/c9/")[0]);
    bed.proxy.forget();
    says(&bed.one.kache(&["push"]).must_succeed(), "pushed 1 entry");
    let (heads, pages) = (bed.proxy.count("HEAD", ""), bed.proxy.count("GET", "list-type=2"));
    assert!(heads + pages <= 41 && heads > 0, "{heads} {pages}");
}

#[test]
fn a_dry_run_says_what_and_does_nothing() {
    let (bed, made) = Bed::with(5, SMALL);
    let run = bed.one.kache(&["push", "--dry-run"]).must_succeed();
    says(&run, "would push 5 entries");
    for made in &made {
        says(&run, &made.key.0.short());
    }
    assert!(bed.server.objects().is_empty());
    bed.one.kache(&["push"]).must_succeed();
    bed.proxy.forget();
    let run = bed.two.kache(&["pull", "--all", "--dry-run"]).must_succeed();
    says(&run, "would pull 5 entries");
    for made in &made {
        says(&run, &made.key.0.short());
    }
    assert_eq!(bed.proxy.count("GET", "v1/packs/"), 0);
    assert!(bed.two.entries().is_empty() && bed.two.blobs().is_empty());
}

#[test]
fn crates_and_ages_narrow_it_down() {
    let (bed, made) = Bed::with(6, SMALL);
    says(&bed.one.kache(&["push", "--crate", "c1", "--crate", "c4"]).must_succeed(), "pushed 2 entries");
    assert_eq!((bed.objects("v1/packs/c1/"), bed.objects("v1/packs/c4/"), bed.objects("v1/packs/")), (1, 1, 2));
    std::thread::sleep(std::time::Duration::from_millis(20));
    says(&bed.one.kache(&["push", "--since", "10ms"]).must_succeed(), "pushed 0 entries");
    says(&bed.one.kache(&["push", "--since", "1h"]).must_succeed(), "pushed 4 entries");
    says(&bed.two.kache(&["pull", "--crate", "c3", "--crate", "no-such"]).must_succeed(), "pulled 1 entry");
    assert_same(&bed.one, &bed.two, &made[3..4]);
    assert_eq!(bed.two.entries().len(), 1);
}

fn spawn(project: &Project, args: &[&str]) -> Child {
    let mut command = project.command(KACHE);
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("kache starts")
}

#[test]
fn r10_two_at_once_are_as_good_as_one() {
    let (bed, made) = Bed::with(40, SMALL);
    let pushes = [spawn(&bed.one, &["push"]), spawn(&bed.one, &["push"])];
    let mut packs = BTreeSet::new();
    for push in pushes {
        let output = push.wait_with_output().expect("push");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    packs.extend(bed.server.objects_with("v1/packs/"));
    assert_eq!((packs.len(), bed.objects("v1/manifests/")), (40, 40));
    for pull in [spawn(&bed.two, &["pull", "--all"]), spawn(&bed.two, &["pull", "--all"])] {
        let output = pull.wait_with_output().expect("pull");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_same(&bed.one, &bed.two, &made);
    assert_tidy(&bed.one);
    assert_tidy(&bed.two);
}

#[test]
fn r04_what_cannot_be_believed_is_absent_and_mended_by_the_next_push() {
    let (bed, made) = Bed::pushed(6, SMALL);
    let manifests = bed.server.objects_with("v1/manifests/");
    let packs = bed.server.objects_with("v1/packs/");
    bed.server.write(&manifests[0], b"{}");
    let good = bed.server.read(&packs[1]).expect("a pack");
    bed.server.write(&packs[1], &[&good[..good.len() / 2], &vec![0; good.len() - good.len() / 2]].concat());
    bed.server.write(&packs[2], &good);
    bed.server.remove(&packs[3]);
    let run = bed.two.kache(&["pull", "--all"]).must_succeed();
    says(&run, "pulled 2 entries");
    says(&run, "3 refused");
    says(&run, "1 absent");
    bed.two.assert_store_whole();
    assert_eq!(bed.two.entries().len(), 2);
    // The second machine makes the entries itself, and uploads those that were refused or absent.
    entries::fill(&bed.two.cache_dir(), 6, SMALL);
    says(&bed.two.kache(&["push"]).must_succeed(), "pushed 4 entries");
    let three = bed.one.other_machine("three");
    says(&three.kache(&["pull", "--all"]).must_succeed(), "pulled 6 entries");
    assert_same(&bed.one, &three, &made);
}

#[test]
fn all_sends_what_is_there_too() {
    let (bed, made) = Bed::pushed(4, SMALL);
    bed.server.objects_with("v1/packs/").iter().for_each(|pack| assert!(bed.server.remove(pack)));
    says(&bed.one.kache(&["push"]).must_succeed(), "pushed 0 entries");
    says(&bed.one.kache(&["push", "--all"]).must_succeed(), "pushed 4 entries");
    bed.two.kache(&["pull", "--all"]).must_succeed();
    assert_same(&bed.one, &bed.two, &made);
}

#[test]
fn r09_failures_are_told_and_not_swallowed() {
    let (mut bed, made) = Bed::with(6, SMALL);
    bed.proxy.rule(Rule::on("PUT", "v1/packs/c2/").then(Action::Error(500, "InternalError", "the disk is full")));
    let run = bed.one.kache(&["push"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    says(&run, "pushed 5 entries");
    says(&run, "1 failed");
    says(&run, "error: c2");
    says(&run, "500");
    assert_eq!(bed.objects("v1/manifests/c2/"), 0, "no manifest without its pack");
    bed.proxy.heal();
    says(&bed.one.kache(&["push"]).must_succeed(), "pushed 1 entry");
    bed.proxy.rule(Rule::on("GET", "v1/packs/c3/").then(Action::Error(500, "InternalError", "bad day")));
    let run = bed.two.kache(&["pull", "--all"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    says(&run, "pulled 5 entries");
    says(&run, "error: c3");
    bed.proxy.heal();
    says(&bed.two.kache(&["pull", "--all"]).must_succeed(), "pulled 1 entry");
    assert_same(&bed.one, &bed.two, &made);
    // A machine that may only read, but is not configured as read-only.
    entries::fill(&bed.two.cache_dir(), 9, SMALL);
    bed.two.use_remote(&S3Server::variables(&bed.proxy.endpoint(), READER));
    let run = bed.two.kache(&["push"]);
    assert_eq!(run.code, 1);
    says(&run, "403");
    bed.proxy.always(Action::Close);
    assert_eq!((bed.two.kache(&["push"]).code, bed.two.kache(&["pull", "--all"]).code), (1, 1));
}

#[test]
fn a_read_only_remote_is_never_written() {
    let (mut bed, made) = Bed::pushed(2, SMALL);
    entries::fill(&bed.two.cache_dir(), 4, SMALL);
    bed.two.set("KACHE_REMOTE_READONLY", "1");
    bed.proxy.forget();
    let run = bed.two.kache(&["push"]);
    assert_eq!(run.code, 1);
    says(&run, "KACHE_REMOTE_READONLY");
    assert!(bed.proxy.seen().is_empty());
    bed.one.set("KACHE_REMOTE_READONLY", "1");
    let three = bed.one.other_machine("three");
    three.kache(&["pull", "--all"]).must_succeed();
    assert_same(&bed.one, &three, &made);
}

#[test]
fn without_a_remote_it_says_how_to_set_one() {
    let project = Project::new();
    for verb in ["push", "pull"] {
        let run = project.kache(&[verb]);
        assert_eq!(run.code, 1);
        says(&run, "KACHE_S3_BUCKET");
        says(&run, "KACHE_S3_ENDPOINT");
    }
}

#[test]
fn a_crate_that_the_remote_does_not_have_is_called_that() {
    let (bed, made) = Bed::pushed(1, SMALL);
    says(
        &bed.two.kache(&["pull", "--crate", "no_such_crate"]).must_succeed(),
        "the remote has no entries of these crates",
    );
    let run = bed.two.kache(&["pull", "--crate", &made[0].crate_name]).must_succeed();
    assert!(!run.stderr.contains("no entries of these crates"), "{run:?}");
}

#[test]
fn r05_listings_that_lie_end_and_lose_nothing() {
    let (bed, made) = Bed::pushed(20, SMALL);
    let foreign = vec!["v1/manifests/../../x/y.json".to_owned(), "v1/manifests/c/short/name.json".to_owned()];
    for lie in [Lie::TruncatedWithoutToken, Lie::RepeatedToken, Lie::MoreKeys(foreign)] {
        let three = bed
            .one
            .other_machine(&format!("{lie:?}").chars().filter(char::is_ascii_alphabetic).collect::<String>()[..8]);
        bed.proxy.heal().rule(Rule::on("GET", "list-type=2").then(Action::Listing(lie)));
        three.kache(&["pull", "--all"]).must_succeed();
        assert_same(&bed.one, &three, &made);
        says(&bed.one.kache(&["push"]).must_succeed(), "pushed 0 entries");
    }
    // Listed but absent: this push skips the entry, without any other effect.
    let manifest = bed.server.objects_with("v1/manifests/c7/").remove(0);
    bed.server.remove(&manifest);
    bed.proxy.heal().rule(Rule::on("GET", "list-type=2").then(Action::Listing(Lie::MoreKeys(vec![manifest]))));
    says(&bed.one.kache(&["push"]).must_succeed(), "pushed 0 entries");
    bed.proxy.heal();
    says(&bed.one.kache(&["push"]).must_succeed(), "pushed 1 entry");
}

#[test]
fn r12_a_pull_stops_where_the_store_is_full() {
    let size = Size { bytes: 1_000_000, noise: 5 };
    let (mut bed, _) = Bed::pushed(8, size);
    bed.two.set("KACHE_MAX_SIZE", "4MiB");
    let run = bed.two.kache(&["pull", "--all"]).must_succeed();
    says(&run, "pulled 3 entries");
    says(&run, "skipped 5 entries");
    bed.two.assert_store_whole();
    assert_eq!(bed.two.entries().len(), 3);
    let run = bed.two.kache(&["pull", "--all"]).must_succeed();
    says(&run, "would exceed its limit");
    assert!(bed.two.entries().len() < 8);
}

#[test]
fn ctrl_c_ends_it_well_and_the_next_run_completes_it() {
    let size = Size { bytes: 400_000, noise: 80 };
    let (bed, made) = Bed::with(12, size);
    bed.proxy.set_bandwidth(1_000_000);
    let interrupt = |project: &Project, verb: &[&str], method: &'static str| {
        bed.proxy.forget();
        let child = spawn(project, verb);
        wait_until("a transfer", || bed.proxy.count(method, "v1/packs/") > 2);
        signal("INT", &child.id().to_string());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted"));
    };
    interrupt(&bed.one, &["push"], "PUT");
    let (packs, manifests) = (bed.objects("v1/packs/"), bed.objects("v1/manifests/"));
    assert!(manifests < 12 && manifests <= packs, "{packs} {manifests}");
    bed.proxy.set_bandwidth(0);
    bed.one.kache(&["push"]).must_succeed();
    bed.proxy.set_bandwidth(1_000_000);
    interrupt(&bed.two, &["pull", "--all"], "GET");
    bed.two.assert_store_whole();
    assert!(bed.two.entries().len() < 12);
    assert!(crate::support::files_under(&bed.two.cache_dir().join("v1/remote/inbox")).is_empty());
    bed.proxy.set_bandwidth(0);
    bed.two.kache(&["pull", "--all"]).must_succeed();
    assert_same(&bed.one, &bed.two, &made);
    assert_tidy(&bed.one);
}

/// A bed, a workspace that was built on the first machine, and its checkout on the second.
fn workspace() -> (Bed, Project, Project) {
    let bed = Bed::new();
    let mut one = Project::app_over("pub fn value() -> u32 { inner::value() + 1 }\n");
    one.file("dep/Cargo.toml", manifest("dep", "[dependencies]\ninner = { path = \"../inner\" }\n"));
    one.file("inner/Cargo.toml", manifest("inner", ""));
    one.file("inner/build.rs", "fn main() { println!(\"cargo::rustc-cfg=six\"); }\n");
    one.file("inner/src/lib.rs", "#[cfg(six)]\npub fn value() -> u32 { 6 }\n");
    one.build().misses(&["app", "dep", "inner", "build_script_build"]);
    let two = one.other_machine("two");
    one.use_remote(&S3Server::variables(&bed.proxy.endpoint(), WRITER));
    (bed, one, two)
}

/// Runs `kache pull` on the second machine, and then removes the remote from its settings, so that no agent can help
/// its builds.
fn pull(bed: &Bed, two: &mut Project, args: &[&str]) -> Run {
    two.use_remote(&S3Server::variables(&bed.proxy.endpoint(), WRITER));
    let run = two.kache(&[&["pull"], args].concat());
    two.use_no_remote();
    run
}

#[test]
fn two_machines_build_push_pull_build() {
    let (bed, one, mut two) = workspace();
    let run = one.kache(&["push"]).must_succeed();
    says(&run, "pushed 5 entries");
    says(&run, "build record v1/builds/app/");
    let run = pull(&bed, &mut two, &[]).must_succeed();
    says(&run, "build record v1/builds/app/");
    says(&run, "pulled 5 entries");
    let (run, said) = two.build_and_say();
    assert_eq!((run.compiles(), said.as_str()), (Vec::new(), "7"), "0 rustc runs");
    two.assert_noop();
    let outcomes: BTreeSet<String> = two.events().iter().map(|event| event["outcome"].to_string()).collect();
    assert!(outcomes.iter().all(|outcome| outcome.starts_with("\"hit.")), "{outcomes:?}");
}

#[test]
fn control_without_a_pull_the_other_machine_compiles() {
    let (_bed, one, two) = workspace();
    one.kache(&["push"]).must_succeed();
    two.build().misses(&["app", "dep", "inner", "build_script_build"]);
}

#[test]
fn a_record_can_be_named_and_without_any_the_lock_file_counts() {
    let (bed, one, mut two) = workspace();
    one.kache(&["push"]).must_succeed();
    let record = bed.server.objects_with("v1/builds/").remove(0);
    let short = record.rsplit('/').next().expect("a name").to_owned();
    for name in [record.as_str(), short.as_str(), short.trim_end_matches(".json")] {
        says(&pull(&bed, &mut two, &["--dry-run", "--build", name]).must_succeed(), "would pull 5 entries");
    }
    let run = pull(&bed, &mut two, &["--build", "host-debug-nothing"]);
    assert_eq!(run.code, 1);
    says(&run, "host-debug-nothing");
    assert!(bed.server.remove(&record));
    let foreign = entries::fill(&one.cache_dir(), 3, SMALL);
    one.kache(&["push"]).must_succeed();
    bed.server.objects_with("v1/builds/").iter().for_each(|name| assert!(bed.server.remove(name)));
    let run = pull(&bed, &mut two, &[]).must_succeed();
    says(&run, "using the packages in Cargo.lock");
    says(&run, "pulled 5 entries");
    assert_eq!(two.build().compiles(), Vec::<&str>::new());
    assert_eq!(foreign.len(), 3);
}

#[test]
fn the_record_of_the_same_lock_file_is_taken() {
    let (bed, one, mut two) = workspace();
    one.kache(&["push"]).must_succeed();
    let old = bed.server.objects_with("v1/builds/");
    one.file(
        "dep/Cargo.toml",
        manifest("dep", "[dependencies]\ninner = { path = \"../inner\" }\n").replace("0.1.0", "0.2.0"),
    );
    one.build();
    one.kache(&["push"]).must_succeed();
    assert_eq!(bed.server.objects_with("v1/builds/").len(), 2);
    says(&pull(&bed, &mut two, &[]).must_succeed(), &format!("build record {}", old[0]));
    assert_eq!(two.build().compiles(), Vec::<&str>::new());
}

#[test]
fn a_record_tells_of_all_that_was_built_before_the_push() {
    let (bed, one, mut two) = workspace();
    one.cargo(&["check"]);
    one.cargo(&["build", "--release"]);
    let run = one.kache(&["push"]).must_succeed();
    assert_eq!(bed.server.objects_with("v1/builds/").len(), 2, "{}", run.stdout);
    pull(&bed, &mut two, &[]).must_succeed();
    assert_eq!(two.build().compiles(), Vec::<&str>::new());
    assert_eq!(two.cargo(&["check"]).compiles(), Vec::<&str>::new());
    assert_eq!(two.cargo(&["build", "--release"]).compiles(), Vec::<&str>::new());
}

#[test]
fn r11_a_record_that_lies_costs_requests_and_nothing_else() {
    let (bed, one, mut two) = workspace();
    one.kache(&["push"]).must_succeed();
    let record = bed.server.objects_with("v1/builds/").remove(0);
    let text = String::from_utf8(bed.server.read(&record).expect("a record")).expect("text");
    // Names the first entry by another key, which does not exist.
    let key = text.split("\"key\":\"").nth(1).expect("a key")[..64].to_owned();
    bed.server.write(&record, text.replace(&key, &"0123456789abcdef".repeat(4)).as_bytes());
    let run = pull(&bed, &mut two, &[]).must_succeed();
    says(&run, "pulled 4 entries");
    says(&run, "1 absent");
    bed.server.write(&record, b"garbage");
    says(&pull(&bed, &mut two, &[]).must_succeed(), "using the packages in Cargo.lock");
    assert_eq!(two.build().compiles(), Vec::<&str>::new());
}

#[test]
fn r07_what_somebody_else_sent_is_never_signed_here() {
    let (bed, made) = Bed::pushed(3, SMALL);
    let mut two = bed.two;
    two.kache(&["pull", "--all"]).must_succeed();
    let other = S3Server::start();
    two.use_remote(&S3Server::variables(&other.endpoint(), WRITER));
    let store = Store::open(&two.cache_dir());
    entries::make(&store, "own", 9, SMALL);
    let keys = two.kache(&["keygen"]).must_succeed();
    let secret = keys.stdout.split_whitespace().find_map(|word| word.strip_prefix("KACHE_SIGNING_KEY="));
    two.set("KACHE_SIGNING_KEY", secret.expect("a key"));
    two.kache(&["push", "--all"]).must_succeed();
    let sent = other.objects_with("/manifests/");
    assert!(sent.len() == 1 && sent[0].contains("/own/"), "{sent:?}");
    // Control: unsigned entries are pushed, whoever made them.
    two.unset("KACHE_SIGNING_KEY");
    two.kache(&["push"]).must_succeed();
    assert_eq!(other.objects_with("/manifests/").len(), 1 + made.len());
}
