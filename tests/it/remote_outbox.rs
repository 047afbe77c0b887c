//! The outbox: kache uploads a packed entry only if the store still has the same result, and does not sign results that
//! somebody else made. After somebody asked to stop, it does not pack anything more.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kache::config::{Env, Secret};
use kache::model::EntryId;
use kache::remote::{Control, Remote, SigningKey, UploadError, UploadSource, Uploaded, upload_entry};
use kache::store::{Entry, Store};
use tokio_util::sync::CancellationToken;

use crate::support::entries::{self, Made, Size};
use crate::support::faults::{Action, FaultProxy, Rule};
use crate::support::remote::{remote_of, run, settings};
use crate::support::s3_server::{S3Server, WRITER};
use crate::support::{KACHE, Project, objects, signal, wait_until};

const SMALL: Size = Size { bytes: 20_000, noise: 30 };

fn id(made: &Made) -> EntryId {
    EntryId { crate_name: made.crate_name.clone(), lookup: made.lookup, key: made.key }
}

/// A push that failed leaves its packs. By the next push, the entry may have been stored again with other bytes.
#[test]
fn r06_what_lies_packed_is_sent_only_if_the_store_still_says_so() {
    let server = S3Server::start();
    let proxy = FaultProxy::start(server.address());
    let mut one = Project::new();
    one.use_remote(&S3Server::variables(&proxy.endpoint(), WRITER));
    let store = Store::open(&one.cache_dir());
    let (same, changed) = (entries::make(&store, "same", 1, SMALL), entries::make(&store, "changed", 2, SMALL));
    proxy.rule(Rule::on("PUT", "/bundles/").then(Action::Error(400, "InvalidRequest", "no")));
    one.kache(&["push"]).must_fail();
    let packed = || std::fs::read_dir(one.cache_dir().join("v1/remote/outbox")).expect("an outbox").count();
    assert!(packed() >= 4, "packs and their notes stay: {}", packed());
    let other = store.entry(entries::make(&store, "other", 3, SMALL).key).expect("an entry").outputs;
    let entry = store.entry(changed.key).expect("an entry");
    let mut outputs = entry.outputs.clone();
    (outputs[0].blob, outputs[0].size) = (other[0].blob, other[0].size);
    store.put_entry(changed.key, &Entry { outputs: outputs.clone(), ..entry }).expect("it is made anew");
    proxy.heal();
    one.kache(&["push"]).must_succeed();
    assert_eq!(objects::manifest_of(&server, changed.key).files[0].digest, outputs[0].blob.0, "what the store has");
    assert_eq!(objects::manifest_of(&server, same.key).files.len(), 2);
    let two = one.other_machine("two");
    two.kache(&["pull", "--all"]).must_succeed();
    assert_eq!(Store::open(&two.cache_dir()).entry(changed.key).expect("it came").outputs, outputs);
}

/// A remote and a store for one test.
struct RemoteAndStore {
    server: S3Server,
    store: Arc<Store>,
    _dir: tempfile::TempDir,
}

impl RemoteAndStore {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self { server: S3Server::start(), store: Arc::new(Store::open(&dir.path().join("cache"))), _dir: dir }
    }

    fn source(&self) -> UploadSource {
        UploadSource { store: Arc::clone(&self.store), withheld: Arc::default() }
    }

    async fn open(&self, signing_key: Option<Secret>) -> Arc<Remote> {
        let place = kache::config::PlaceSettings::S3(settings(Some(&self.server.endpoint())));
        let settings = kache::config::RemoteSettings { signing_key, ..remote_of([place]) };
        Arc::new(Remote::connect(&settings, &Env::of::<&str, &str>([])).await.expect("it opens"))
    }
}

/// The agent uploads an entry that was queued when it was compiled; by then the store may have it from somebody else.
#[test]
fn r07_what_was_queued_and_then_pulled_is_not_signed() {
    let setup = RemoteAndStore::new();
    let made = entries::make(&setup.store, "a", 1, SMALL);
    let entry = setup.store.entry(made.key).expect("an entry");
    setup.store.put_entry(made.key, &Entry { pulled: true, ..entry.clone() }).expect("as if it came from elsewhere");
    let (_, secret) = SigningKey::generate().expect("a key");
    run(async {
        let remote = setup.open(Some(Secret::new(secret))).await;
        let sent = upload_entry(&remote, &setup.source(), &id(&made), &Control::default()).await.expect("no error");
        assert_eq!((sent, setup.server.objects()), (Uploaded::Pulled, Vec::<String>::new()));
        // Controls: without a signing key the entry is uploaded, and an entry that was compiled here is signed.
        let unsigned = setup.open(None).await;
        assert!(matches!(
            upload_entry(&unsigned, &setup.source(), &id(&made), &Control::default()).await,
            Ok(Uploaded::Written(_))
        ));
        setup.store.put_entry(made.key, &entry).expect("compiled here");
        assert!(matches!(
            upload_entry(&remote, &setup.source(), &id(&made), &Control::default()).await,
            Ok(Uploaded::Written(_))
        ));
    });
}

/// Packing takes a core for seconds. Entries that still wait for a core are not packed after Ctrl-C.
#[test]
fn nothing_is_packed_once_somebody_asked_to_stop() {
    let setup = RemoteAndStore::new();
    let made = entries::make(&setup.store, "a", 1, SMALL);
    run(async {
        let remote = setup.open(None).await;
        let cores = u32::try_from(remote.cores.available_permits()).expect("few");
        let busy = remote.cores.acquire_many(cores).await.expect("never closed");
        let cancel = CancellationToken::new();
        let control = Control::new(None, cancel.clone(), None);
        let (wanted, source, stop) = (id(&made), setup.source(), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            cancel.cancel();
        });
        let uploading = tokio::time::timeout(Duration::from_secs(5), upload_entry(&remote, &source, &wanted, &control));
        let (ended, ()) = tokio::join!(uploading, stop);
        assert!(matches!(ended.expect("it waits for a core"), Err(UploadError::Remote(_))));
        drop(busy);
        // Control: with a free core, the entry is uploaded.
        assert!(upload_entry(&remote, &source, &wanted, &Control::default()).await.is_ok());
    });
}

/// Starts kache and stops it by Ctrl-C once `so_far` holds. Returns the exit code; `None` if kache is still running
/// five seconds later, or if a signal ended it.
fn stopped(project: &Project, args: &[&str], so_far: impl Fn() -> bool) -> Option<i32> {
    let mut command = project.command(KACHE);
    let mut child = command.args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("kache starts");
    wait_until("the phase", so_far);
    signal("INT", &child.id().to_string());
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        if let Some(status) = child.try_wait().expect("a child") {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("kill");
    child.wait().expect("it was killed");
    None
}

#[test]
fn ctrl_c_ends_what_waits_for_credentials() {
    let server = S3Server::start();
    let mut one = Project::new();
    one.use_remote(&S3Server::variables(&server.endpoint(), WRITER));
    let asked = one.path("asked");
    one.file("slow.sh", format!("touch {}\nexec sleep 20\n", asked.display()));
    one.file("config", format!("[profile slow]\ncredential_process = sh {}\n", one.path("slow.sh").display()));
    one.set("AWS_CONFIG_FILE", one.path("config")).set("KACHE_S3_PROFILE", "slow");
    one.unset("KACHE_S3_ACCESS_KEY").unset("KACHE_S3_SECRET_KEY");
    for verb in [&["push"][..], &["pull", "--all"]] {
        let _ = std::fs::remove_file(&asked);
        assert_eq!(stopped(&one, verb, || asked.exists()), Some(130), "{verb:?}");
    }
}

#[test]
fn ctrl_c_ends_what_writes_the_build_record() {
    let server = S3Server::start();
    let proxy = FaultProxy::start(server.address());
    let mut one = Project::app_over("pub fn value() -> u32 { 1 }\n");
    one.build();
    one.use_remote(&S3Server::variables(&proxy.endpoint(), WRITER));
    proxy.rule(Rule::on("PUT", ".record.zst").then(Action::Hang));
    assert_eq!(stopped(&one, &["push"], || proxy.count("PUT", ".record.zst") > 0), Some(130));
    proxy.heal();
    one.kache(&["push"]).must_succeed();
    assert_eq!(server.objects_with(".record.zst").len(), 1);
}

/// At zstd level 19, packing this entry takes much longer than anybody waits after Ctrl-C.
#[test]
fn ctrl_c_ends_what_packs_a_large_entry() {
    let server = S3Server::start();
    let mut one = Project::new();
    one.use_remote(&S3Server::variables(&server.endpoint(), WRITER));
    entries::make(&Store::open(&one.cache_dir()), "large", 1, Size { bytes: 40_000_000, noise: 50 });
    one.set("KACHE_REMOTE_LEVEL", "19");
    let outbox = one.cache_dir().join("v1/remote/outbox");
    let is_packing = || std::fs::read_dir(&outbox).is_ok_and(|files| files.count() > 1);
    assert_eq!(stopped(&one, &["push"], is_packing), Some(130));
}
