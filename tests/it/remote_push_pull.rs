//! `kache push` and `kache pull` against a server in the test process: which entries they transfer, and which they do
//! not.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};

use kache::model::{Digest, EntryKey};
use kache::remote::{BuildRecord, SignerId, SigningKey, Trust, WorkspaceObject};
use kache::store::Store;

use crate::support::entries::{self, Made, Size};
use crate::support::faults::{Action, FaultProxy, Lie, Rule};
use crate::support::s3_server::{READER, S3Server, WRITER};
use crate::support::{KACHE, Project, Run, manifest, objects, signal, wait_until};

pub(crate) const SMALL: Size = Size { bytes: 20_000, noise: 30 };
/// The pack of such an entry is too large for a bundle.
pub(crate) const ALONE: Size = Size { bytes: 900_000, noise: 80 };

/// Two machines without any workspace, and a remote.
pub(crate) struct TwoMachines {
    pub(crate) server: S3Server,
    pub(crate) proxy: FaultProxy,
    pub(crate) one: Project,
    pub(crate) two: Project,
}

impl TwoMachines {
    pub(crate) fn new() -> Self {
        let server = S3Server::start();
        let proxy = FaultProxy::start(server.address());
        let mut one = Project::new();
        one.use_remote(&S3Server::variables(&proxy.endpoint(), WRITER));
        let two = one.other_machine("two");
        Self { server, proxy, one, two }
    }

    /// Two machines, of which the first has `count` entries.
    pub(crate) fn with(count: u64, size: Size) -> (Self, Vec<Made>) {
        let machines = Self::new();
        let made = entries::fill(&machines.one.cache_dir(), count, size);
        (machines, made)
    }

    /// Two machines, with `count` entries on the remote and on the first machine.
    pub(crate) fn pushed(count: u64, size: Size) -> (Self, Vec<Made>) {
        let (machines, made) = Self::with(count, size);
        machines.one.kache(&["push"]).must_succeed();
        (machines, made)
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
            let entry = store.entry(made.key).unwrap_or_else(|| panic!("{} has no entry", made.crate_name));
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

/// Asserts that the command printed `what`.
#[track_caller]
pub(crate) fn assert_reports(run: &Run, what: &str) {
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
    let (machines, made) = TwoMachines::with(20, SMALL);
    assert_reports(&machines.one.kache(&["push"]).must_succeed(), "pushed 20 entries");
    assert_eq!((machines.objects("v2/bundles/"), machines.objects("v2/manifests/")), (1, 20));
    assert_eq!(machines.objects("v2/packs/"), 0, "all are small");
    assert_reports(&machines.two.kache(&["pull", "--all"]).must_succeed(), "pulled 20 entries");
    assert_same(&machines.one, &machines.two, &made);
    machines.proxy.forget();
    assert_reports(&machines.one.kache(&["push"]).must_succeed(), "pushed 0 entries, 0 B");
    assert_reports(&machines.two.kache(&["push"]).must_succeed(), "pushed 0 entries, 0 B");
    assert_eq!(machines.proxy.count("PUT", ""), 0);
    let run = machines.two.kache(&["pull", "--all"]).must_succeed();
    assert_reports(&run, "pulled 0 entries");
    assert_reports(&run, "20 already in the store");
    assert_eq!(machines.proxy.count("GET", "v2/bundles/"), 0);
    assert_tidy(&machines.one);
    assert_tidy(&machines.two);
}

#[test]
fn r08_a_machine_that_signs_builds_only_on_what_it_trusts() {
    let (mut machines, _) = TwoMachines::pushed(3, SMALL);
    let (_, secret) = SigningKey::generate().expect("a key");
    machines.two.set("KACHE_SIGNING_KEY", &secret);
    let run = machines.two.kache(&["pull", "--all"]).must_succeed();
    assert_reports(&run, "pulled 0 entries");
    assert_reports(&run, "3 refused");
    assert_reports(&machines.two.kache(&["doctor"]), "only entries that this machine's key signed");
    // Controls: what it has signed itself, and any entry without the key.
    machines.one.set("KACHE_SIGNING_KEY", &secret).kache(&["push", "--all"]).must_succeed();
    assert_reports(&machines.two.kache(&["pull", "--all"]).must_succeed(), "pulled 3 entries");
    let mut three = machines.one.other_machine("three");
    three.unset("KACHE_SIGNING_KEY");
    assert_reports(&three.kache(&["pull", "--all"]).must_succeed(), "pulled 3 entries");
}

/// Two machines that pack the same entry with other settings write other bytes. Whichever manifest is the last one, its
/// pack is there.
#[test]
fn r06_another_compression_level_does_not_spoil_a_pack() {
    let (machines, _) = TwoMachines::pushed(3, ALONE);
    let manifests = machines.server.objects_with("v2/manifests/");
    let first: Vec<Vec<u8>> = manifests.iter().map(|name| machines.server.read(name).expect("a manifest")).collect();
    machines.one.kache_with("KACHE_REMOTE_LEVEL", "19", &["push", "--all"]).must_succeed();
    assert!(machines.objects("v2/packs/") > 3, "the bytes differ");
    assert_reports(&machines.two.kache(&["pull", "--all"]).must_succeed(), "pulled 3 entries");
    // The first writer came last.
    manifests.iter().zip(&first).for_each(|(name, bytes)| machines.server.write(name, bytes));
    assert_reports(&machines.one.other_machine("three").kache(&["pull", "--all"]).must_succeed(), "pulled 3 entries");
}

#[test]
fn a_dry_run_says_what_and_does_nothing() {
    let (machines, made) = TwoMachines::with(5, SMALL);
    let run = machines.one.kache(&["push", "--dry-run"]).must_succeed();
    assert_reports(&run, "would push 5 entries");
    for made in &made {
        assert_reports(&run, &made.key.0.short());
    }
    assert!(machines.server.objects().is_empty());
    machines.one.kache(&["push"]).must_succeed();
    machines.proxy.forget();
    let run = machines.two.kache(&["pull", "--all", "--dry-run"]).must_succeed();
    assert_reports(&run, "would pull 5 entries");
    for made in &made {
        assert_reports(&run, &made.key.0.short());
    }
    assert_eq!(machines.proxy.count("GET", "v2/packs/"), 0);
    assert!(machines.two.entries().is_empty() && machines.two.blobs().is_empty());
}

#[test]
fn crates_and_ages_narrow_it_down() {
    let (machines, made) = TwoMachines::with(6, SMALL);
    assert_reports(&machines.one.kache(&["push", "--crate", "c1", "--crate", "c4"]).must_succeed(), "pushed 2 entries");
    let manifests = |name: &str| machines.objects(&format!("v2/manifests/{name}"));
    assert_eq!((manifests("c1/"), manifests("c4/"), manifests("")), (1, 1, 2));
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_reports(&machines.one.kache(&["push", "--since", "10ms"]).must_succeed(), "pushed 0 entries");
    assert_reports(&machines.one.kache(&["push", "--since", "1h"]).must_succeed(), "pushed 4 entries");
    assert_reports(
        &machines.two.kache(&["pull", "--crate", "c3", "--crate", "no-such"]).must_succeed(),
        "pulled 1 entry",
    );
    assert_same(&machines.one, &machines.two, &made[3..4]);
    assert_eq!(machines.two.entries().len(), 1);
}

fn spawn(project: &Project, args: &[&str]) -> Child {
    let mut command = project.command(KACHE);
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("kache starts")
}

#[test]
fn r10_two_at_once_are_as_good_as_one() {
    let (machines, made) = TwoMachines::with(40, SMALL);
    let pushes = [spawn(&machines.one, &["push"]), spawn(&machines.one, &["push"])];
    for push in pushes {
        let output = push.wait_with_output().expect("push");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let manifests = objects::manifests(&machines.server);
    assert_eq!(manifests.len(), 40);
    assert!(manifests.iter().all(|(_, manifest)| objects::pack_of(&machines.server, manifest).is_some()));
    for pull in [spawn(&machines.two, &["pull", "--all"]), spawn(&machines.two, &["pull", "--all"])] {
        let output = pull.wait_with_output().expect("pull");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_same(&machines.one, &machines.two, &made);
    assert_tidy(&machines.one);
    assert_tidy(&machines.two);
}

#[test]
fn r04_what_cannot_be_believed_is_absent_and_mended_by_the_next_push() {
    let (machines, made) = TwoMachines::pushed(6, ALONE);
    let manifests = machines.server.objects_with("v2/manifests/");
    let packs = machines.server.objects_with("v2/packs/");
    machines.server.write(&manifests[0], b"{}");
    let good = machines.server.read(&packs[1]).expect("a pack");
    machines.server.write(&packs[1], &[&good[..good.len() / 2], &vec![0; good.len() - good.len() / 2]].concat());
    machines.server.write(&packs[2], &good);
    machines.server.remove(&packs[3]);
    let run = machines.two.kache(&["pull", "--all"]);
    run.ends(1);
    assert_reports(&run, "pulled 2 entries");
    assert_reports(&run, "3 refused");
    assert_reports(&run, "1 absent");
    machines.two.assert_store_whole();
    assert_eq!(machines.two.entries().len(), 2);
    // The second machine makes the entries itself, and uploads those that were refused or absent.
    entries::fill(&machines.two.cache_dir(), 6, ALONE);
    assert_reports(&machines.two.kache(&["push"]).must_succeed(), "pushed 4 entries");
    let three = machines.one.other_machine("three");
    assert_reports(&three.kache(&["pull", "--all"]).must_succeed(), "pulled 6 entries");
    assert_same(&machines.one, &three, &made);
}

#[test]
fn all_sends_what_is_there_too() {
    let (machines, made) = TwoMachines::pushed(4, SMALL);
    machines.server.objects_with("v2/bundles/").iter().for_each(|pack| assert!(machines.server.remove(pack)));
    assert_reports(&machines.one.kache(&["push"]).must_succeed(), "pushed 0 entries");
    assert_reports(&machines.one.kache(&["push", "--all"]).must_succeed(), "pushed 4 entries");
    machines.two.kache(&["pull", "--all"]).must_succeed();
    assert_same(&machines.one, &machines.two, &made);
}

#[test]
#[ignore = "slow"]
fn r09_failures_are_told_and_not_swallowed() {
    let (mut machines, made) = TwoMachines::with(6, ALONE);
    machines.proxy.rule(Rule::on("PUT", "v2/packs/c2/").then(Action::Error(500, "InternalError", "the disk is full")));
    let run = machines.one.kache(&["push"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert_reports(&run, "pushed 5 entries");
    assert_reports(&run, "1 failed");
    assert_reports(&run, "error: c2");
    assert_reports(&run, "500");
    assert_eq!(machines.objects("v2/manifests/c2/"), 0, "no manifest without its pack");
    machines.proxy.heal();
    assert_reports(&machines.one.kache(&["push"]).must_succeed(), "pushed 1 entry");
    machines.proxy.rule(Rule::on("GET", "v2/packs/c3/").then(Action::Error(500, "InternalError", "bad day")));
    let run = machines.two.kache(&["pull", "--all"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert_reports(&run, "pulled 5 entries");
    assert_reports(&run, "error: c3");
    machines.proxy.heal();
    assert_reports(&machines.two.kache(&["pull", "--all"]).must_succeed(), "pulled 1 entry");
    assert_same(&machines.one, &machines.two, &made);
    // A machine that may only read, but is not configured as read-only.
    entries::fill(&machines.two.cache_dir(), 9, ALONE);
    machines.two.use_remote(&S3Server::variables(&machines.proxy.endpoint(), READER));
    let run = machines.two.kache(&["push"]);
    assert_eq!(run.code, 1);
    assert_reports(&run, "403");
    machines.proxy.always(Action::Close);
    assert_eq!((machines.two.kache(&["push"]).code, machines.two.kache(&["pull", "--all"]).code), (1, 1));
}

#[test]
fn a_read_only_remote_is_never_written() {
    let (mut machines, made) = TwoMachines::pushed(2, SMALL);
    entries::fill(&machines.two.cache_dir(), 4, SMALL);
    machines.two.set("KACHE_REMOTE_READONLY", "1");
    machines.proxy.forget();
    let run = machines.two.kache(&["push"]);
    assert_eq!(run.code, 1);
    assert_reports(&run, "KACHE_REMOTE_READONLY");
    assert!(machines.proxy.seen().is_empty());
    machines.one.set("KACHE_REMOTE_READONLY", "1");
    let three = machines.one.other_machine("three");
    three.kache(&["pull", "--all"]).must_succeed();
    assert_same(&machines.one, &three, &made);
}

#[test]
fn without_a_remote_it_says_how_to_set_one() {
    let project = Project::new();
    for verb in ["push", "pull"] {
        let run = project.kache(&[verb]);
        assert_eq!(run.code, 1);
        assert_reports(&run, "KACHE_S3_BUCKET");
        assert_reports(&run, "KACHE_S3_ENDPOINT");
    }
}

#[test]
fn a_crate_that_the_remote_does_not_have_is_called_that() {
    let (machines, made) = TwoMachines::pushed(1, SMALL);
    assert_reports(
        &machines.two.kache(&["pull", "--crate", "no_such_crate"]).must_succeed(),
        "the remote does not contain entries of these crates",
    );
    let run = machines.two.kache(&["pull", "--crate", &made[0].crate_name]).must_succeed();
    assert!(!run.stderr.contains("does not contain entries"), "{run:?}");
}

#[test]
fn r05_listings_that_lie_end_and_lose_nothing() {
    let (machines, made) = TwoMachines::pushed(20, SMALL);
    let foreign = vec!["v2/manifests/../../x/y.json".to_owned(), "v2/manifests/c/short/name.json".to_owned()];
    for lie in [Lie::TruncatedWithoutToken, Lie::RepeatedToken, Lie::MoreKeys(foreign)] {
        let three = machines
            .one
            .other_machine(&format!("{lie:?}").chars().filter(char::is_ascii_alphabetic).collect::<String>()[..8]);
        machines.proxy.heal().rule(Rule::on("GET", "list-type=2").then(Action::Listing(lie)));
        three.kache(&["pull", "--all"]).must_succeed();
        assert_same(&machines.one, &three, &made);
        assert_reports(&machines.one.kache(&["push"]).must_succeed(), "pushed 0 entries");
    }
    // Listed but absent.
    let manifest = machines.server.objects_with("v2/manifests/c7/").remove(0);
    machines.server.remove(&manifest);
    machines.proxy.heal().rule(Rule::on("GET", "list-type=2").then(Action::Listing(Lie::MoreKeys(vec![manifest]))));
    let four = machines.one.other_machine("four");
    let run = four.kache(&["pull", "--all"]).must_succeed();
    assert_reports(&run, "pulled 19 entries");
    assert_reports(&run, "1 absent");
}

#[test]
fn r12_a_pull_stops_where_the_store_is_full() {
    let size = Size { bytes: 1_000_000, noise: 5 };
    let (mut machines, _) = TwoMachines::pushed(8, size);
    machines.two.set("KACHE_MAX_SIZE", "4MiB");
    let run = machines.two.kache(&["pull", "--all"]);
    run.ends(1);
    assert_reports(&run, "pulled 3 entries");
    assert_reports(&run, "5 entries not pulled");
    machines.two.assert_store_whole();
    assert_eq!(machines.two.entries().len(), 3);
    let run = machines.two.kache(&["pull", "--all"]);
    run.ends(1);
    assert_reports(&run, "would exceed its limit");
    assert!(machines.two.entries().len() < 8);
}

#[test]
fn ctrl_c_ends_it_well_and_the_next_run_completes_it() {
    let (machines, made) = TwoMachines::with(12, ALONE);
    machines.proxy.set_bandwidth(1_000_000);
    let interrupt = |project: &Project, verb: &[&str], method: &'static str| {
        machines.proxy.forget();
        let child = spawn(project, verb);
        wait_until("a transfer", || machines.proxy.count(method, "v2/packs/") > 2);
        signal("INT", &child.id().to_string());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted"));
    };
    interrupt(&machines.one, &["push"], "PUT");
    let (packs, manifests) = (machines.objects("v2/packs/"), machines.objects("v2/manifests/"));
    assert!(manifests < 12 && manifests <= packs, "{packs} {manifests}");
    machines.proxy.set_bandwidth(0);
    machines.one.kache(&["push"]).must_succeed();
    machines.proxy.set_bandwidth(1_000_000);
    interrupt(&machines.two, &["pull", "--all"], "GET");
    machines.two.assert_store_whole();
    assert!(machines.two.entries().len() < 12);
    assert!(crate::support::files_under(&machines.two.cache_dir().join("v1/remote/inbox")).is_empty());
    machines.proxy.set_bandwidth(0);
    machines.two.kache(&["pull", "--all"]).must_succeed();
    assert_same(&machines.one, &machines.two, &made);
    assert_tidy(&machines.one);
}

/// Two machines, a workspace that was built on the first machine, and its checkout on the second.
fn workspace() -> (TwoMachines, Project, Project) {
    let machines = TwoMachines::new();
    let mut one = Project::app_over("pub fn value() -> u32 { inner::value() + 1 }\n");
    one.file("dep/Cargo.toml", manifest("dep", "[dependencies]\ninner = { path = \"../inner\" }\n"));
    one.file("inner/Cargo.toml", manifest("inner", ""));
    one.file("inner/build.rs", "fn main() { println!(\"cargo::rustc-cfg=six\"); }\n");
    one.file("inner/src/lib.rs", "#[cfg(six)]\npub fn value() -> u32 { 6 }\n");
    one.build().misses(&["app", "dep", "inner", "build_script_build"]);
    let two = one.other_machine("two");
    one.use_remote(&S3Server::variables(&machines.proxy.endpoint(), WRITER));
    (machines, one, two)
}

/// Runs `kache pull` on the second machine, and then removes the remote from its settings, so that no agent can help
/// its builds.
fn pull(machines: &TwoMachines, two: &mut Project, args: &[&str]) -> Run {
    two.use_remote(&S3Server::variables(&machines.proxy.endpoint(), WRITER));
    let run = two.kache(&[&["pull"], args].concat());
    two.use_no_remote();
    run
}

#[test]
fn two_machines_build_push_pull_build() {
    let (machines, one, mut two) = workspace();
    let run = one.kache(&["push"]).must_succeed();
    assert_reports(&run, "pushed 5 entries");
    assert_reports(&run, "build record v2/builds/app_");
    let run = pull(&machines, &mut two, &[]).must_succeed();
    assert_reports(&run, "build record v2/builds/app_");
    assert_reports(&run, "pulled 5 entries");
    let (run, said) = two.build_and_run();
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
    let (machines, one, mut two) = workspace();
    one.kache(&["push"]).must_succeed();
    let record = machines.server.objects_with(".record.zst").remove(0);
    let short = record.rsplit('/').next().expect("a name").to_owned();
    for name in [record.as_str(), short.as_str(), short.trim_end_matches(".record.zst")] {
        assert_reports(
            &pull(&machines, &mut two, &["--dry-run", "--build", name]).must_succeed(),
            "would pull 5 entries",
        );
    }
    let run = pull(&machines, &mut two, &["--build", "host-debug-nothing"]);
    assert_eq!(run.code, 1);
    assert_reports(&run, "host-debug-nothing");
    assert!(machines.server.remove(&record));
    let foreign = entries::fill(&one.cache_dir(), 3, SMALL);
    one.kache(&["push"]).must_succeed();
    machines.server.objects_with(".record.zst").iter().for_each(|name| assert!(machines.server.remove(name)));
    let run = pull(&machines, &mut two, &[]).must_succeed();
    assert_reports(&run, "using the packages in Cargo.lock");
    assert_reports(&run, "pulled 5 entries");
    assert_eq!(two.build().compiles(), Vec::<&str>::new());
    assert_eq!(foreign.len(), 3);
}

#[test]
fn the_record_of_the_same_lock_file_is_taken() {
    let (machines, one, mut two) = workspace();
    one.kache(&["push"]).must_succeed();
    let old = machines.server.objects_with(".record.zst");
    one.file(
        "dep/Cargo.toml",
        manifest("dep", "[dependencies]\ninner = { path = \"../inner\" }\n").replace("0.1.0", "0.2.0"),
    );
    one.build();
    one.kache(&["push"]).must_succeed();
    assert_eq!(machines.server.objects_with(".record.zst").len(), 2);
    assert_reports(&pull(&machines, &mut two, &[]).must_succeed(), &format!("build record {}", old[0]));
    assert_eq!(two.build().compiles(), Vec::<&str>::new());
}

#[test]
fn a_record_tells_of_all_that_was_built_before_the_push() {
    let (machines, one, mut two) = workspace();
    one.cargo(&["check"]);
    one.cargo(&["build", "--release"]);
    let run = one.kache(&["push"]).must_succeed();
    assert_eq!(machines.server.objects_with(".record.zst").len(), 2, "{}", run.stdout);
    pull(&machines, &mut two, &[]).must_succeed();
    assert_eq!(two.build().compiles(), Vec::<&str>::new());
    assert_eq!(two.cargo(&["check"]).compiles(), Vec::<&str>::new());
    assert_eq!(two.cargo(&["build", "--release"]).compiles(), Vec::<&str>::new());
}

#[test]
fn r11_a_record_that_lies_costs_requests_and_nothing_else() {
    let (machines, one, mut two) = workspace();
    one.kache(&["push"]).must_succeed();
    let record = machines.server.objects_with(".record.zst").remove(0);
    let Some((part, WorkspaceObject::Record(name))) = WorkspaceObject::parse_any(&record) else { panic!("{record}") };
    let bytes = machines.server.read(&record).expect("a record");
    let mut lie = BuildRecord::decode(&bytes, &name, &Trust::Anyone).expect("it can be read");
    // Names the first entry by another key, which does not exist.
    lie.units[0].key = EntryKey(Digest::of(b"no such entry"));
    lie.units[0].manifest = None;
    machines.server.remove(&record);
    let lying = lie.name(SignerId::NONE).object(&lie.workspace);
    assert!(lying.contains(part));
    machines.server.write(&lying, &lie.encode(None));
    let run = pull(&machines, &mut two, &[]).must_succeed();
    assert_reports(&run, "pulled 4 entries");
    assert_reports(&run, "1 absent");
    machines.server.write(&lying, b"garbage");
    assert_reports(&pull(&machines, &mut two, &[]).must_succeed(), "using the packages in Cargo.lock");
    assert_eq!(two.build().compiles(), Vec::<&str>::new());
}

#[test]
fn r07_what_somebody_else_sent_is_never_signed_here() {
    let (machines, made) = TwoMachines::pushed(3, SMALL);
    let mut two = machines.two;
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
    assert_eq!(other.objects_with("/manifests/").len(), 1 + made.len(), "its own one is there, signed");
}
