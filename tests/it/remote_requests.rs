//! How many requests the commands make in a bucket with ten million manifests of others (`simulated_bucket.rs`), and
//! that they never list those. `benches/remote_cost.rs` measures larger workspaces.

use kache::config::Env;
use kache::remote::{Bucket, ManifestName, Tuning, WorkspaceObject};

use crate::support::Project;
use crate::support::entries::{self, Made, Size};
use crate::support::faults::FaultProxy;
use crate::support::recorded_build::{append_events, write_workspace};
use crate::support::remote::{run, settings};
use crate::support::s3_server::{S3Server, WRITER};
use crate::support::simulated_bucket::{ComputedNames, SimulatedBucket};

const MANIFESTS: u64 = 10_000_000;
const SMALL: Size = Size { bytes: 10_000, noise: 30 };
const ENTRIES: usize = 100;
const NEW: usize = 10;

/// Stores entries of the crates `c0`, `c1` and so on, as a build of the project's workspace.
fn build(project: &Project, count: usize, number: u64) -> Vec<Made> {
    let store = kache::store::Store::open(&project.cache_dir());
    let of = |n: usize| entries::make(&store, &format!("c{n}"), number * 1000 + n as u64, SMALL);
    let made: Vec<Made> = (0..count).map(of).collect();
    append_events(&project.cache_dir(), project.dir(), number, &made);
    made
}

/// The prefixes that were listed, as the requests spell them.
fn listed(proxy: &FaultProxy) -> Vec<String> {
    let lists = proxy.wait_for_all().seen_of("GET", "list-type=2");
    let prefix = |target: &str| target.split('&').find_map(|part| part.strip_prefix("prefix=")).map(str::to_owned);
    lists.iter().map(|seen| prefix(&seen.target).unwrap_or_default()).collect()
}

/// Runs kache, and returns the number of requests. The only listings are of the workspace: before the uploads, and
/// before the index of its records is written.
#[track_caller]
fn requests(project: &Project, proxy: &FaultProxy, args: &[&str], expected: &str) -> usize {
    proxy.wait_for_all().forget();
    let run = project.kache(args).must_succeed();
    assert!(run.stdout.contains(expected), "no {expected:?} in {}", run.stdout);
    let listed = listed(proxy);
    let is_of_workspace = |prefix: &String| prefix.starts_with("v2%2Fbuilds%2F");
    assert!((1..=2).contains(&listed.len()) && listed.iter().all(is_of_workspace), "only the workspace: {listed:?}");
    proxy.seen().len()
}

#[test]
fn requests_do_not_grow_with_the_bucket() {
    let bucket = SimulatedBucket::start(MANIFESTS);
    let proxy = FaultProxy::start(bucket.address());
    let mut one = Project::new();
    one.use_remote(&S3Server::variables(&proxy.endpoint(), WRITER));
    write_workspace(one.dir());
    let two = one.other_machine("two");
    build(&one, ENTRIES, 1);

    let first = requests(&one, &proxy, &["push"], &format!("pushed {ENTRIES} entries"));
    assert!((ENTRIES..=2 * ENTRIES + 10).contains(&first), "first push: {first}");
    let nothing_new = requests(&one, &proxy, &["push"], "pushed 0 entries");
    assert!((1..=3).contains(&nothing_new), "push with nothing new: {nothing_new}");
    let cold = requests(&two, &proxy, &["pull"], &format!("pulled {ENTRIES} entries"));
    assert!((3..=25).contains(&cold), "cold pull: {cold}, a fourth of a request for each entry");
    let warm = requests(&two, &proxy, &["pull"], "pulled 0 entries");
    assert!((1..=3).contains(&warm), "warm pull: {warm}");

    build(&one, NEW, 2);
    let few = requests(&one, &proxy, &["push"], &format!("pushed {NEW} entries"));
    assert!((NEW..=2 * NEW + 10).contains(&few), "push of {NEW} entries: {few}");
    let (pages, names) = bucket.listed();
    assert_eq!(pages, 7, "a page for each command, and for each index");
    assert!(names < 20, "{names}");

    proxy.forget();
    two.kache(&["pull", "--crate", "absent"]);
    assert_eq!(listed(&proxy), ["v2%2Fmanifests%2Fabsent%2F"], "control: a listing of manifests is seen");
}

/// Control: the bucket really has these names, and whoever lists them has to request page after page.
#[test]
fn the_names_of_the_simulated_bucket_are_those_of_kache() {
    let bucket = SimulatedBucket::start(MANIFESTS);
    let pages = |prefix: &str, most: usize| {
        run(async {
            let settings = settings(Some(&format!("http://{}", bucket.address())));
            let client = Bucket::connect_tuned(&settings, &Env::of::<&str, &str>([]), Tuning::default()).await;
            let mut listing = client.expect("a client").list(prefix);
            let mut pages = Vec::new();
            while pages.len() < most
                && let Some(page) = listing.next_page().await.expect("a page")
            {
                pages.push(page.into_iter().map(|object| object.name).collect::<Vec<_>>());
            }
            pages
        })
    };
    let of_crate = pages("v2/manifests/c5/", 10);
    assert_eq!(of_crate.iter().map(Vec::len).collect::<Vec<_>>(), [1000], "all of one crate");
    let all = pages("v2/manifests/", 12);
    assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [1000; 12], "and so on");
    let names: Vec<String> = all.concat();
    assert!(names.is_sorted_by(|one, other| one < other), "S3 sorts names");
    assert!(names.iter().chain(&of_crate[0]).all(|name| ManifestName::parse(name).is_some()), "{:?}", names.first());
    let records = pages("v2/builds/", 2).concat();
    assert!(records.iter().all(|name| WorkspaceObject::parse_any(name).is_some()), "{:?}", records.first());

    let computed = ComputedNames::of(MANIFESTS);
    assert!(computed.len() > MANIFESTS);
    let sample: Vec<String> = (0..10_000).map(|n| computed.name(n * (computed.len() / 10_000))).collect();
    assert!(sample.is_sorted_by(|one, other| one < other));
    for kind in ["v2/builds/", "v2/bundles/", "v2/manifests/", "v2/packs/"] {
        assert!(sample.iter().any(|name| name.starts_with(kind)), "{kind}");
    }
}
