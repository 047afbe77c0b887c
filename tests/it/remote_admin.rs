//! `kache remote`: what the remote holds, what is deleted there and what is not, policies, and revoked keys.

use std::time::{Duration, SystemTime};

use kache::remote::SigningKey;

use crate::remote_push_pull::{ALONE, SMALL, assert_reports};
use crate::support::faults::FaultProxy;
use crate::support::s3_server::{BUCKET, READER, S3Server, WRITER};
use crate::support::{KACHE, Project, Run, entries, objects};

const DAY: Duration = Duration::from_hours(24);

/// A server, and a machine that built a workspace.
fn built() -> (S3Server, Project) {
    let server = S3Server::start();
    let mut one = Project::app_over("pub fn value() -> u32 { 1 }\n");
    one.build();
    one.use_remote(&S3Server::variables(&server.endpoint(), WRITER));
    (server, one)
}

/// Makes all objects whose names contain `part` older.
fn age(server: &S3Server, part: &str, days: u32) {
    let names = server.objects_with(part);
    assert!(!names.is_empty(), "nothing is called {part}");
    for name in &names {
        server.set_modified(name, SystemTime::now() - DAY * days);
    }
}

fn gc(machine: &Project, args: &[&str]) -> Run {
    machine.kache(&[&["remote", "gc", "--older-than", "30d"], args].concat()).must_succeed()
}

#[test]
fn what_no_record_refers_to_is_deleted_once_it_is_old() {
    let (server, one) = built();
    entries::fill(&one.cache_dir(), 5, SMALL);
    entries::make(&kache::store::Store::open(&one.cache_dir()), "alone", 9, ALONE);
    one.kache(&["push"]).must_succeed();
    let manifests = || server.objects_with("v2/manifests/").len();
    assert_eq!(manifests(), 8);
    assert_reports(&gc(&one, &[]), "deleted 0 objects");
    assert_eq!(manifests(), 8, "all are young");
    age(&server, "v2/manifests/", 40);
    age(&server, "v2/packs/", 40);
    age(&server, "v2/bundles/", 40);
    let before = server.objects();
    let dry = gc(&one, &["--dry-run"]);
    assert_reports(&dry, "would delete");
    assert_eq!(server.objects(), before);
    gc(&one, &[]);
    assert_eq!(manifests(), 2, "those of the record: {:?}", server.objects());
    for (_, manifest) in objects::manifests(&server) {
        assert!(objects::pack_of(&server, &manifest).is_some(), "{} has its pack", manifest.crate_name);
    }
    assert!(server.objects_with("/alone/").is_empty());
    let two = one.other_machine("two");
    assert_reports(&two.kache(&["pull"]).must_succeed(), "pulled 2 entries");
    // Without a record, these go, too.
    age(&server, ".record.zst", 40);
    assert_reports(&gc(&one, &["--keep-branch", "main"]), "0 build records kept");
    assert_eq!((manifests(), server.objects_with("v2/bundles/").len()), (0, 0));
    assert_eq!(server.objects_with("v2/packs/").len(), 0);
}

#[test]
fn the_newest_records_of_a_kept_branch_keep_their_entries() {
    let (server, mut one) = built();
    one.set("GITHUB_REF_NAME", "main").kache(&["push"]).must_succeed();
    one.set("GITHUB_REF_NAME", "feature").kache(&["push"]).must_succeed();
    for part in [".record.zst", "v2/manifests/", "v2/packs/", "v2/bundles/"] {
        if !server.objects_with(part).is_empty() {
            age(&server, part, 90);
        }
    }
    assert_reports(&gc(&one, &["--keep-branch", "main"]), "1 build record kept");
    assert_eq!(server.objects_with("/main.").len(), 1, "{:?}", server.objects());
    assert_eq!((server.objects_with("/feature.").len(), server.objects_with("v2/manifests/").len()), (0, 2));
    let two = one.other_machine("two");
    assert_reports(&two.kache(&["pull"]).must_succeed(), "pulled 2 entries");
}

#[test]
fn a_record_that_comes_meanwhile_keeps_its_entries() {
    let (server, one) = built();
    one.kache(&["push"]).must_succeed();
    let record = server.objects_with(".record.zst").remove(0);
    let bytes = server.read(&record).expect("a record");
    for part in ["v2/manifests/", "v2/packs/", "v2/bundles/"] {
        if !server.objects_with(part).is_empty() {
            age(&server, part, 90);
        }
    }
    server.remove(&record);
    // The record appears while the manifests are listed.
    let proxy = FaultProxy::start(server.address());
    let mut admin = one.other_machine("admin");
    admin.use_remote(&S3Server::variables(&proxy.endpoint(), WRITER));
    proxy.set_latency(Duration::from_millis(300));
    let ended = std::thread::scope(|scope| {
        let collecting = scope.spawn(|| gc(&admin, &[]));
        crate::support::wait_until("the listing", || proxy.count("GET", "manifests") > 0);
        server.write(&record, &bytes);
        collecting.join().expect("gc")
    });
    assert_reports(&ended, "deleted 0 objects");
    assert_eq!(server.objects_with("v2/manifests/").len(), 2);
    // Control: without the record they go.
    proxy.set_latency(Duration::ZERO);
    server.remove(&record);
    gc(&admin, &[]);
    assert_eq!(server.objects_with("v2/manifests/").len(), 0);
}

#[test]
fn the_pack_of_a_manifest_that_was_replaced_stays() {
    let (server, one) = built();
    one.kache(&["push"]).must_succeed();
    // Another machine that packs otherwise, and has no records: it replaces the manifests, and the record keeps the
    // old.
    let before = server.objects_with("v2/packs/");
    let mut two = one.other_machine("two");
    two.kache(&["pull"]).must_succeed();
    std::fs::remove_dir_all(two.cache_dir().join("v1/remote/known")).expect("nothing known");
    two.set("KACHE_REMOTE_LEVEL", "9");
    let mut command = two.command(KACHE);
    command.current_dir(two.cache_dir()).arg("push");
    two.finish(command).must_succeed();
    assert_ne!(server.objects_with("v2/packs/"), before, "control: packed again");
    for part in ["v2/manifests/", "v2/packs/"] {
        age(&server, part, 90);
    }
    gc(&one, &[]);
    for (_, manifest) in objects::manifests(&server) {
        assert!(objects::pack_of(&server, &manifest).is_some(), "{} has its pack", manifest.crate_name);
    }
    assert_reports(&one.other_machine("three").kache(&["pull", "--all"]).must_succeed(), "pulled 2 entries");
}

#[test]
fn too_young_an_age_and_denials_are_errors() {
    let (server, mut one) = built();
    one.kache(&["push"]).must_succeed();
    let run = one.kache(&["remote", "gc", "--older-than", "1d"]);
    assert_eq!(run.code, 1);
    assert_reports(&run, "at least 8d");
    age(&server, ".record.zst", 40);
    one.use_remote(&S3Server::variables(&server.endpoint(), READER));
    let run = one.kache(&["remote", "gc", "--older-than", "30d"]);
    assert_eq!(run.code, 1);
    assert_reports(&run, "denied");
    one.set("KACHE_REMOTE_READONLY", "1");
    assert_reports(&one.kache(&["remote", "gc"]), "read-only");
}

#[test]
fn stats_count_each_kind_and_workspace() {
    let (_server, one) = built();
    entries::fill(&one.cache_dir(), 3, ALONE);
    one.kache(&["push"]).must_succeed();
    let run = one.kache(&["remote", "stats", "--json"]).must_succeed();
    let layers: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!((&layers[0]["manifests"]["objects"], &layers[0]["workspaces"][0]["records"]), (&5.into(), &1.into()));
    let packs = layers[0]["packs"]["objects"].as_u64().expect("a number");
    assert!(packs >= 3 && layers[0]["packs"]["bytes"].as_u64() > Some(900_000), "{layers}");
    let run = one.kache(&["remote", "stats"]).must_succeed();
    assert_reports(&run, "manifests");
    assert_reports(&run, "app_");
}

#[test]
fn policies_are_limited_to_the_bucket_and_the_prefix() {
    let mut one = Project::new();
    one.use_remote(&S3Server::variables("http://127.0.0.1:9", WRITER));
    one.set("KACHE_S3_PREFIX", "team/x");
    let of = |what: &str| -> serde_json::Value {
        serde_json::from_str(&one.kache(&["remote", "policy", what]).must_succeed().stdout).expect("JSON")
    };
    let actions = |what: &str| of(what)["Statement"].to_string();
    for what in ["reader", "writer", "admin"] {
        let text = actions(what);
        assert!(text.contains(&format!("arn:aws:s3:::{BUCKET}/team/x/v2/")) && !text.contains("s3:*"), "{text}");
        assert_eq!(text.contains("s3:PutObject"), what != "reader");
        assert_eq!(text.contains("team/x/v2/builds/*"), what == "writer", "{text}");
    }
    assert!(of("lifecycle")["Rules"][0].to_string().contains("AbortIncompleteMultipartUpload"));
    assert_ne!(Project::new().kache(&["remote", "policy", "reader"]).code, 0, "there is no bucket");
}

#[test]
fn a_revoked_key_is_trusted_nowhere() {
    let (server, mut one) = built();
    let ((ours, ours_secret), (stolen, stolen_secret)) =
        (SigningKey::generate().expect("a key"), SigningKey::generate().expect("a key"));
    let trusted = format!("ci={},old={}", ours.public(), stolen.public());
    one.set("KACHE_TRUSTED_KEYS", &trusted).set("KACHE_SIGNING_KEY", &stolen_secret).kache(&["push"]).must_succeed();
    let mut two = one.other_machine("two");
    two.unset("KACHE_SIGNING_KEY");
    let run = two.kache(&["pull"]).must_succeed();
    assert_reports(&run, "pulled 2 entries");
    assert_reports(&run, "signed by old");
    let mut admin = one.other_machine("admin");
    admin.set("KACHE_SIGNING_KEY", &ours_secret);
    let run = admin.kache(&["remote", "revoke", &stolen.public().to_string()]).must_succeed();
    assert_reports(&run, "1 key revoked");
    let mut three = one.other_machine("three");
    three.unset("KACHE_SIGNING_KEY");
    assert_reports(&three.kache(&["pull", "--all"]).must_succeed(), "2 refused");
    // A list of a key that is not trusted says nothing.
    let (_, outsider) = SigningKey::generate().expect("a key");
    admin.set("KACHE_SIGNING_KEY", &outsider).set("KACHE_TRUSTED_KEYS", "");
    admin.unset("KACHE_TRUSTED_KEYS");
    admin.kache(&["remote", "revoke", &ours.public().to_string()]).must_succeed();
    one.set("KACHE_SIGNING_KEY", &ours_secret).kache(&["push", "--all"]).must_succeed();
    assert_reports(&three.kache(&["pull", "--all"]).must_succeed(), "pulled 2 entries");
    assert_eq!(server.objects_with("v2/revoked/").len(), 3, "two lists and their index");
    assert_ne!(admin.kache(&["remote", "revoke", "nonsense"]).code, 0);
}
