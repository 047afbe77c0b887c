//! Two requests of one process for the same pack: one downloads it, and the other joins.

use std::sync::Arc;

use kache::config::{Env, PlaceSettings};
use kache::model::EntryId;
use kache::remote::operations::fetch::{BundleUse, ManifestLookup};
use kache::remote::operations::remote_entry::{LocatedManifest, RemoteEntry};
use kache::remote::{Control, Fetched, Fetcher, Remote, RemoteError};
use kache::store::Store;
use tokio_util::sync::CancellationToken;

use crate::support::Project;
use crate::support::entries::{self, Made, Size};
use crate::support::faults::{Action, Rule};
use crate::support::remote::{ProxiedServer, remote_of, run, settings};
use crate::support::s3_server::{S3Server, WRITER};

/// Packs that stay in memory, and packs that are downloaded to a file.
const SIZES: [Size; 2] = [Size { bytes: 800_000, noise: 99 }, Size { bytes: 3_000_000, noise: 99 }];

/// A remote with two entries, and an empty store.
struct Fixture {
    proxied: ProxiedServer,
    store: Arc<Store>,
    keys: Vec<Made>,
    _pushed: Project,
}

type Pack = (Arc<Remote>, Arc<LocatedManifest>);

impl Fixture {
    fn new(size: Size) -> Self {
        let proxied = ProxiedServer::new();
        let mut pushed = Project::new();
        pushed.use_remote(&S3Server::variables(&proxied.server.endpoint(), WRITER));
        let keys = entries::fill(&pushed.cache_dir(), 2, size);
        pushed.kache(&["push"]).must_succeed();
        let store = Arc::new(Store::open(&proxied.dir.path().join("cache")));
        Self { proxied, store, keys, _pushed: pushed }
    }

    async fn remote(&self) -> Arc<Remote> {
        let settings = remote_of([PlaceSettings::S3(settings(Some(&self.proxied.proxy.endpoint())))]);
        Arc::new(Remote::connect(&settings, &Env::of::<&str, &str>([])).await.unwrap())
    }

    /// The nth entry, ready for its pack to be fetched.
    async fn pack(&self, remote: &Arc<Remote>, nth: usize) -> Pack {
        let Made { crate_name, lookup, key } = self.keys[nth].clone();
        let id = EntryId { crate_name, lookup, key };
        let entry = RemoteEntry::of_object(0, remote.own_manifest(&id));
        match Fetcher::new(remote, &self.store, false).find_manifest(&entry).await.unwrap() {
            ManifestLookup::Found(manifest) => (Arc::clone(remote), manifest),
            ManifestLookup::Settled(settled) => panic!("{settled:?}"),
        }
    }

    async fn fetch(&self, (remote, manifest): &Pack, control: &Control) -> Result<Fetched, RemoteError> {
        let fetcher = Fetcher::new(remote, &self.store, false);
        Box::pin(fetcher.fetch_pack(manifest, BundleUse::Whole, control)).await
    }

    /// Packs that were requested, and entries that the store has.
    fn counts(&self) -> (usize, usize) {
        let stored = self.keys.iter().filter(|made| self.store.entry(made.key).is_some());
        (self.proxied.proxy.count("GET", "packs/"), stored.count())
    }
}

fn is_imported(fetched: &Result<Fetched, RemoteError>, downloaded: bool) -> bool {
    matches!(fetched, Ok(Fetched::Imported { pack, bytes }) if (*pack > 0, *bytes > 0) == (downloaded, downloaded))
}

#[test]
fn a_second_request_for_a_running_download_joins_it() {
    for size in SIZES {
        let fixture = Fixture::new(size);
        run(async {
            let remote = fixture.remote().await;
            let (pack, control) = (fixture.pack(&remote, 0).await, Control::default());
            let (first, second) = tokio::join!(fixture.fetch(&pack, &control), fixture.fetch(&pack, &control));
            assert!(is_imported(&first, true) && is_imported(&second, false), "{first:?} {second:?}");
        });
        assert_eq!(fixture.counts(), (1, 1));
    }
}

#[test]
fn requests_for_two_packs_or_for_two_stores_do_not_join() {
    let fixture = Fixture::new(SIZES[0]);
    run(async {
        let (remote, control) = (fixture.remote().await, Control::default());
        let (one, other) = (fixture.pack(&remote, 0).await, fixture.pack(&remote, 1).await);
        let (first, second) = tokio::join!(fixture.fetch(&one, &control), fixture.fetch(&other, &control));
        assert!(is_imported(&first, true) && is_imported(&second, true), "{first:?} {second:?}");
    });
    assert_eq!(fixture.counts(), (2, 2));
    let mut fixture = Fixture::new(SIZES[0]);
    let other = Arc::new(Store::open(&fixture.proxied.dir.path().join("other")));
    run(async {
        let remote = fixture.remote().await;
        let (pack, control) = (fixture.pack(&remote, 0).await, Control::default());
        let fetcher = Fetcher::new(&pack.0, &other, false);
        let into_other = Box::pin(fetcher.fetch_pack(&pack.1, BundleUse::Whole, &control));
        let (first, second) = tokio::join!(fixture.fetch(&pack, &control), into_other);
        assert!(is_imported(&first, true) && is_imported(&second, true), "{first:?} {second:?}");
    });
    assert_eq!(fixture.counts(), (2, 1));
    fixture.store = other;
    assert_eq!(fixture.counts(), (2, 1));
}

#[test]
fn after_a_cancelled_request_the_other_one_downloads() {
    for size in SIZES {
        let fixture = Fixture::new(size);
        fixture.proxied.proxy.rule(Rule::on("GET", "packs/").first(1).then(Action::HangAfter(200_000)));
        let (cancel, joined) = (CancellationToken::new(), CancellationToken::new());
        let (by, joined_by) = (cancel.clone(), joined.clone());
        let control = fixture.proxied.control_of(cancel, move |progress| {
            if progress.done > 0 {
                joined_by.cancel();
            }
        });
        run(async {
            let remote = fixture.remote().await;
            let pack = fixture.pack(&remote, 0).await;
            // The third stops waiting while the first is running. Then the first is cancelled.
            let stopping = async {
                let stopped = fixture.fetch(&pack, &Control::new(None, joined, None)).await;
                assert_eq!(fixture.counts(), (1, 0));
                by.cancel();
                stopped
            };
            let going_on = Control::default();
            let (first, second, third) =
                tokio::join!(fixture.fetch(&pack, &control), fixture.fetch(&pack, &going_on), stopping);
            assert!(matches!(first, Err(RemoteError::Cancelled { .. })), "{first:?}");
            assert!(is_imported(&second, true), "{second:?}");
            assert!(matches!(third, Err(RemoteError::Cancelled { .. })), "{third:?}");
        });
        assert_eq!(fixture.counts(), (2, 1));
    }
}

#[test]
fn a_failure_of_the_download_is_that_of_all_who_wait() {
    let fixture = Fixture::new(SIZES[0]);
    fixture.proxied.proxy.rule(Rule::on("GET", "packs/").then(Action::Empty(403)));
    run(async {
        let remote = fixture.remote().await;
        let (pack, control) = (fixture.pack(&remote, 0).await, Control::default());
        let (first, second) = tokio::join!(fixture.fetch(&pack, &control), fixture.fetch(&pack, &control));
        for fetched in [first, second] {
            assert!(matches!(fetched, Err(RemoteError::Denied { .. })), "{fetched:?}");
        }
        assert_eq!(fixture.counts(), (1, 0));
        assert!(fixture.fetch(&pack, &control).await.is_err());
    });
    assert_eq!(fixture.counts(), (2, 0), "a later request begins anew");
}
