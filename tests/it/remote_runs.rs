//! Work that a push or a pull skips: a dry run does not write, one denied object does not stop the others, and a pull
//! does not download the same entries again.

use kache::model::{Digest, LookupKey};
use kache::store::Store;
use kache::store::manifests::MAX_SETS;

use crate::remote_push_pull::{ALONE, SMALL, TwoMachines, assert_reports};
use crate::support::entries::{self, Size};
use crate::support::faults::{Action, Rule};
use crate::support::s3_server::{S3Server, WRITER};
use crate::support::{Project, files_under, snapshot};

#[test]
fn a_dry_pull_writes_nothing_into_the_cache_directory() {
    let (machines, _) = TwoMachines::pushed(6, SMALL);
    machines.server.write(&machines.server.objects_with("v2/manifests/c5/")[0], b"{}");
    let tree = || snapshot(&machines.two.cache_dir());
    // First without a cache directory, then with entries that are present or damaged.
    machines.two.kache(&["pull", "--all", "--dry-run"]).must_succeed();
    assert!(!machines.two.cache_dir().exists());
    entries::fill(&machines.two.cache_dir(), 3, SMALL);
    let damaged = machines.two.blobs().remove(0);
    std::fs::write(&damaged, vec![0; std::fs::read(&damaged).expect("a blob").len()]).expect("damage it");
    let before = tree();
    let run = machines.two.kache(&["pull", "--all", "--dry-run"]).must_succeed();
    assert_reports(&run, "would pull 2 entries");
    assert_reports(&run, "1 refused");
    assert_eq!(tree(), before);
    // Control: a real pull writes the journal, the mark of the refused entry, and the entries.
    let run = machines.two.kache(&["pull", "--all"]);
    run.ends(1);
    assert_reports(&run, "1 refused");
    let after = tree();
    assert_ne!(after, before);
    for written in ["events/transfers.jsonl", "v1/remote/doubts", "v1/quarantine"] {
        assert!(after.keys().any(|path| path.starts_with(written)), "{written}");
    }
}

const DENIED: Action = Action::Error(403, "AccessDenied", "not this one");
const TINY: Size = Size { bytes: 1000, noise: 30 };

/// Denies one object. Asserts that the others arrive, and that the run names the denied one and fails.
#[track_caller]
fn all_but_one(
    machines: &TwoMachines,
    project: &Project,
    verb: &[&str],
    (method, object): (&'static str, &str),
    what: &str,
) {
    machines.proxy.heal().rule(Rule::on(method, object).then(DENIED));
    let run = project.kache(verb);
    assert_eq!(run.code, 1, "{}\n{}", run.stdout, run.stderr);
    assert_reports(&run, what);
    assert_reports(&run, "1 failed");
    assert_reports(&run, &format!("error: {} ", object.split('/').nth(2).expect("a crate")));
    assert_reports(&run, "not this one");
    assert!(!run.stdout.contains("not tried"), "{}", run.stdout);
    machines.proxy.heal();
}

#[test]
fn r09_one_denied_object_stops_no_other() {
    // More entries than are transferred at once; the denied one comes early.
    let (machines, _) = TwoMachines::with(150, TINY);
    all_but_one(&machines, &machines.one, &["push"], ("PUT", "v2/manifests/c2/"), "pushed 149 entries");
    assert_reports(&machines.one.kache(&["push"]).must_succeed(), "pushed 1 entry");
    let two = machines.one.other_machine("two-of-them");
    all_but_one(&machines, &two, &["pull", "--all"], ("GET", "v2/manifests/c147/"), "pulled 149 entries");
    assert_reports(&two.kache(&["pull", "--all"]).must_succeed(), "pulled 1 entry");
    // If the remote does not answer whether it still has an entry, the push uploads it.
    age_known_entries(&two);
    machines.proxy.rule(Rule::on("GET", "v2/manifests/c2/").then(DENIED));
    assert_reports(&two.kache(&["push"]).must_succeed(), "pushed 1 entry");
    // Packs that are objects of their own.
    let (machines, _) = TwoMachines::with(4, ALONE);
    all_but_one(&machines, &machines.one, &["push"], ("PUT", "v2/packs/c2/"), "pushed 3 entries");
    assert_reports(&machines.one.kache(&["push"]).must_succeed(), "pushed 1 entry");
    all_but_one(&machines, &machines.two, &["pull", "--all"], ("GET", "v2/packs/c3/"), "pulled 3 entries");
}

/// Makes everything that a machine knows of the remote more than a week old.
fn age_known_entries(project: &Project) {
    let days = std::time::Duration::from_hours(8 * 24);
    let then = filetime::FileTime::from_system_time(std::time::SystemTime::now() - days);
    for path in files_under(&project.cache_dir().join("v1/remote/known")) {
        filetime::set_file_mtime(path, then).expect("an old file");
    }
}

#[test]
fn a_push_asks_for_nothing_that_it_knows() {
    let (machines, _) = TwoMachines::with(3, TINY);
    let requests = |run: &mut dyn FnMut()| {
        machines.proxy.forget();
        run();
        let count = |method: &'static str| machines.proxy.count(method, "");
        (count("PUT"), count("HEAD"), count("GET"))
    };
    let push = |machines: &TwoMachines| drop(machines.one.kache(&["push"]).must_succeed());
    assert_eq!(requests(&mut || push(&machines)), (1 + 3, 0, 0), "a bundle, and a manifest for each");
    entries::fill(&machines.one.cache_dir(), 40, TINY);
    assert_eq!(requests(&mut || push(&machines)), (1 + 37, 0, 0));
    assert_eq!(requests(&mut || push(&machines)), (0, 0, 0));
    age_known_entries(&machines.one);
    assert_eq!(requests(&mut || push(&machines)), (0, 0, 40), "after a week");
    assert_eq!(requests(&mut || push(&machines)), (0, 0, 0));
    // Pulled entries are known, too.
    machines.two.kache(&["pull", "--all"]).must_succeed();
    assert_eq!(requests(&mut || drop(machines.two.kache(&["push"]).must_succeed())), (0, 0, 0));
}

#[test]
fn a_bucket_that_was_emptied_is_filled_again() {
    let machines = TwoMachines::new();
    let mut one = Project::app_over("pub fn value() -> u32 { 1 }\n");
    one.build();
    one.use_remote(&S3Server::variables(&machines.proxy.endpoint(), WRITER));
    one.kache(&["push"]).must_succeed();
    let there = machines.objects("v2/manifests/");
    assert_reports(&one.kache(&["push"]).must_succeed(), "pushed 0 entries");
    machines.server.clear();
    one.kache(&["push"]).must_succeed();
    assert_eq!((machines.objects("v2/manifests/"), machines.objects(".record.zst")), (there, 1));
}

#[test]
fn r09_a_remote_that_denies_everything_is_not_asked_for_each_entry() {
    let (machines, _) = TwoMachines::pushed(200, TINY);
    let requests_when_denied = |method: &'static str, object: &'static str, project: &Project, verb: &[&str]| {
        machines.proxy.heal().rule(Rule::on(method, object).then(DENIED));
        machines.proxy.forget();
        let run = project.kache(verb);
        assert_eq!(run.code, 1, "{}\n{}", run.stdout, run.stderr);
        assert_reports(&run, "not this one");
        machines.proxy.count(method, object)
    };
    // As many requests as run at once, and a few more.
    let asked = [
        requests_when_denied("GET", "v2/manifests/c", &machines.two, &["pull", "--all"]),
        requests_when_denied("GET", "v2/bundles/", &machines.two, &["pull", "--all"]),
        requests_when_denied("PUT", "v2/manifests/c", &machines.one, &["push", "--all"]),
    ];
    assert!(asked.iter().all(|asked| (3..=100).contains(asked)), "{asked:?}");
    let listed = requests_when_denied("GET", "list-type=2", &machines.two, &["pull", "--all"]);
    assert_eq!((listed, machines.proxy.seen().len()), (1, 1));
}

#[test]
fn what_is_pulled_under_one_lookup_key_is_not_pulled_again() {
    let machines = TwoMachines::new();
    let lookup = LookupKey(Digest::of(b"one lookup key"));
    let make = |project: &Project, seeds: std::ops::Range<u64>| {
        let store = Store::open(&project.cache_dir());
        seeds.for_each(|seed| drop(entries::make_under(&store, lookup, "a", seed, TINY)));
    };
    // More input sets than a store keeps, from two machines.
    make(&machines.one, 0..10);
    machines.one.kache(&["push"]).must_succeed();
    make(&machines.two, 10..20);
    machines.two.kache(&["push"]).must_succeed();
    assert_eq!(machines.objects("v2/manifests/"), 20);
    for own in [0, 1, MAX_SETS as u64] {
        let three = machines.one.other_machine(&format!("three-{own}"));
        make(&three, 100..100 + own);
        assert_reports(&three.kache(&["pull", "--all"]).must_succeed(), "pulled 8 entries");
        let run = three.kache(&["pull", "--all"]).must_succeed();
        assert_reports(&run, "pulled 0 entries");
        assert_reports(&run, "8 already in the store");
        // Nor after a few compiles, whose sets come before the pulled ones and push out the oldest.
        make(&three, 200..204);
        assert_reports(&three.kache(&["pull", "--all"]).must_succeed(), "pulled 0 entries");
        let sets = Store::open(&three.cache_dir()).manifest(lookup).expect("a manifest").records().count();
        assert_eq!(sets, MAX_SETS.min(12 + usize::try_from(own).expect("small")));
    }
}
