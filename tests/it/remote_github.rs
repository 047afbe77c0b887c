//! The cache of GitHub Actions as the remote, against a stand-in.

use kache::config::{GithubSettings, Secret};
use kache::model::Digest;
use kache::remote::objects::{ByteRange, GithubObjects, ObjectStore, index};
use kache::remote::{Control, Download, RemoteError, Upload};

use crate::remote_layers::Machines;
use crate::remote_push_pull::{SMALL, assert_reports};
use crate::support::entries;
use crate::support::github_cache::{GithubCache, TOKEN};
use crate::support::remote::{PART, declared, noise, run, tuning};
use crate::support::stores::{fetch, listed, no_variables, send, upload};

fn store_with(cache: &GithubCache, token: &str) -> ObjectStore {
    let settings = GithubSettings { url: cache.server.url(), token: Secret::new(token) };
    ObjectStore::Github(GithubObjects::tuned(&settings, &no_variables(), tuning()).expect("a client"))
}

fn store(cache: &GithubCache) -> ObjectStore {
    store_with(cache, TOKEN)
}

#[test]
fn one_job_pushes_and_another_one_pulls() {
    let cache = GithubCache::start();
    let mut machines = Machines::new();
    for (name, value) in cache.variables() {
        machines.one.set(name, &value);
        machines.two.set(name, value);
    }
    entries::fill(&machines.one.cache_dir(), 5, SMALL);
    assert_reports(&machines.one.kache(&["push"]).must_succeed(), "pushed 5 entries");
    assert_reports(&machines.one.kache(&["push"]).must_succeed(), "pushed 0 entries");
    let keys = cache.keys();
    let of = |part: &str| keys.iter().filter(|key| key.starts_with(part)).count();
    assert_eq!((of("kache/v2/bundles/"), of("kache/v2/manifests/")), (1, 5), "{keys:?}");
    // Control: without an index, the other job does not know what to ask for.
    assert_reports(&machines.two.kache(&["pull", "--all"]).must_succeed(), "pulled 0 entries");
    let names = keys.iter().filter_map(|key| key.strip_prefix("kache/"));
    let objects: Vec<_> =
        names.map(|name| kache::remote::ListedObject { name: name.to_owned(), size: 1, modified: None }).collect();
    run(store(&cache).put(&index::name("v2/manifests/"), index::encode("v2/manifests/", &objects))).unwrap();
    assert_reports(&machines.two.kache(&["pull", "--all"]).must_succeed(), "pulled 5 entries");
    machines.two.assert_store_whole();
}

#[test]
fn r08_the_token_is_needed_and_never_printed() {
    let cache = GithubCache::start();
    let mut machines = Machines::new();
    for (name, value) in cache.variables() {
        machines.one.set(name, value);
    }
    let doctor = machines.one.kache(&["doctor", "--remote"]).must_succeed();
    assert_reports(&doctor, "the token of the job");
    let again = machines.one.kache(&["doctor", "--remote"]).must_succeed();
    assert_eq!(cache.keys(), ["kache/v2/probe/doctor"], "a trial adds nothing to an earlier one");
    machines.one.set("ACTIONS_RUNTIME_TOKEN", "not-the-token");
    let denied = machines.one.kache(&["doctor", "--remote"]);
    assert_eq!(denied.code, 3, "{denied:?}");
    machines.one.unset("ACTIONS_RUNTIME_TOKEN");
    let without = machines.one.kache(&["doctor", "--remote"]);
    assert_reports(&without, "ACTIONS_RUNTIME_TOKEN is not set");
    for run in [doctor, again, denied] {
        let text = run.stdout + &run.stderr;
        assert!(!text.contains(TOKEN) && !text.contains("not-the-token") && !text.contains("sig="), "{text}");
    }
    let error = run(store_with(&cache, "hunter2").get("v1/x", 5)).unwrap_err();
    assert!(matches!(error, RemoteError::Denied { status: 401, .. }) && !error.to_string().contains("hunter2"));
    assert!(!format!("{:?}", store_with(&cache, "hunter2")).contains("hunter2"));
}

#[test]
fn objects_are_written_once_and_read() {
    let cache = GithubCache::start();
    let store = store(&cache);
    run(async {
        assert_eq!((store.get("v1/a", 9).await.unwrap(), store.head("v1/a").await.unwrap()), (None, None));
        store.put("v1/a", b"12345".to_vec()).await.unwrap();
        assert_eq!(store.get("v1/a", 5).await.unwrap().as_deref(), Some(&b"12345"[..]));
        assert!(matches!(store.get("v1/a", 4).await, Err(RemoteError::Size { declared: 4, actual: 5, .. })));
        let range = ByteRange { first: 1, length: 3 };
        assert_eq!(store.get_range("v1/a", range).await.unwrap().as_deref(), Some(&b"234"[..]));
        assert_eq!(store.head("v1/a").await.unwrap().map(|found| found.size), Some(5));
        store.put("v1/a", b"other".to_vec()).await.expect("an entry that exists counts as written");
        assert_eq!(store.get("v1/a", 5).await.unwrap().as_deref(), Some(&b"12345"[..]));
        store.delete("v1/a").await.unwrap();
        assert!(store.get("v1/a", 5).await.unwrap().is_some(), "the service deletes entries itself");
        // The service also finds keys that only begin with the requested one.
        store.put("v1/abc.tar", b"x".to_vec()).await.unwrap();
        assert_eq!(store.get("v1/ab", 5).await.unwrap(), None);
        for name in ["v1/a,b".to_owned(), "v1/".to_owned() + &"x".repeat(500), "../x".to_owned()] {
            assert!(store.put(&name, vec![1]).await.is_err() && store.get(&name, 5).await.is_err(), "{name}");
        }
    });
    assert_eq!(cache.keys(), ["kache/v1/a", "kache/v1/abc.tar"]);
}

#[test]
fn an_index_is_rewritten_and_the_newest_one_read() {
    let cache = GithubCache::start();
    let store = store(&cache);
    let object = |name: &str| kache::remote::ListedObject { name: name.to_owned(), size: 1, modified: None };
    run(async {
        assert_eq!(listed(&store, "v1/m/").await.unwrap(), [""; 0]);
        for names in [&["v1/m/a"][..], &["v1/m/a", "v1/m/b"], &["v1/m/c"]] {
            let objects: Vec<_> = names.iter().map(|name| object(name)).collect();
            store.put("v1/m/index.json", index::encode("v1/m/", &objects)).await.unwrap();
            assert_eq!(listed(&store, "v1/m/").await.unwrap(), names);
        }
        assert_eq!(listed(&store, "v1/").await.unwrap(), [""; 0]);
    });
    let keys = cache.keys();
    let is_timed = |key: &String| {
        let time = key.strip_prefix("kache/v1/m/index.json.").expect("the name");
        time.len() == 15 && time.bytes().all(|byte| byte.is_ascii_digit())
    };
    assert!(keys.len() == 3 && keys.iter().all(is_timed) && keys.is_sorted(), "{keys:?}");
}

#[test]
fn r06_large_files_go_in_blocks_and_wrong_bytes_are_refused() {
    let cache = GithubCache::start();
    let (store, dir, control) = (store(&cache), tempfile::tempdir().unwrap(), Control::default());
    let to = dir.path().join("to");
    run(async {
        for (name, size, blocks) in [("v1/empty", 0, 0), ("v1/small", 1000, 0), ("v1/large", 3 * PART + 17, 4)] {
            let bytes = noise(size, 5);
            let before = cache.server.seen().len();
            send(&store, &upload(dir.path(), name, &bytes), &control).await.unwrap();
            assert!(cache.read(&format!("kache/{name}")) == bytes, "{name}");
            let seen = cache.server.seen().split_off(before);
            let in_blocks = seen.iter().filter(|request| request.query.contains("comp=block&")).count();
            assert_eq!(in_blocks, blocks, "{name}");
            let fetched = fetch(&store, &declared(name, &bytes), &to, &control).await.unwrap();
            assert!(fetched.as_ref() == Some(&bytes), "{name}");
        }
        let large = declared("v1/large", &noise(3 * PART + 17, 5));
        let wrong = Download { digest: Some(Digest::of(b"x")), ..large };
        assert!(matches!(fetch(&store, &wrong, &to, &control).await, Err(RemoteError::Digest { .. })));
        let file = upload(dir.path(), "v1/changed", b"12345");
        let changed = Upload { digest: Digest::of(b"x"), ..file };
        assert!(matches!(send(&store, &changed, &control).await, Err(RemoteError::Digest { .. })));
    });
    assert!(!cache.keys().iter().any(|key| key.contains("changed")));
}

#[test]
fn r09_a_busy_service_is_asked_again_and_expired_urls_are_renewed() {
    let cache = GithubCache::start();
    let store = store(&cache);
    run(async {
        cache.refuse_calls(2);
        store.put("v1/a", b"12345".to_vec()).await.unwrap();
        assert_eq!(store.get("v1/a", 5).await.unwrap().as_deref(), Some(&b"12345"[..]));
        let calls = cache.server.count("POST", "GetCacheEntryDownloadURL");
        store.get("v1/a", 5).await.unwrap();
        assert_eq!(cache.server.count("POST", "GetCacheEntryDownloadURL"), calls, "the URL is used again");
        cache.expire();
        assert_eq!(store.get("v1/a", 5).await.unwrap().as_deref(), Some(&b"12345"[..]));
        assert_eq!(cache.server.count("POST", "GetCacheEntryDownloadURL"), calls + 1);
        cache.refuse_calls(1000);
        assert_eq!(store.get("v1/b", 5).await.unwrap_err().status(), Some(429));
    });
}
