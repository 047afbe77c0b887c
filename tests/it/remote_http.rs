//! A web server as the remote: any server for a directory serves, and kache only reads.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kache::model::Digest;
use kache::remote::objects::{ByteRange, ObjectStore};
use kache::remote::s3::retry::BreakerLimits;
use kache::remote::{Control, Download, RemoteError};

use crate::remote_layers::{Machines, dir_table};
use crate::remote_push_pull::{ALONE, assert_reports};
use crate::support::entries;
use crate::support::remote::{PART, declared, noise, run};
use crate::support::stores::{fetch, http, http_with, listed, send, upload, write_index};
use crate::support::web_server::{Response, WebServer, file_of};

#[test]
fn a_mirror_of_a_directory_is_pulled_from_and_never_written() {
    let mut machines = Machines::new();
    let shared = machines.dir("shared");
    machines.configure(&dir_table(&shared));
    entries::fill(&machines.one.cache_dir(), 5, ALONE);
    machines.one.kache(&["push"]).must_succeed();
    let mirror = WebServer::of_dir(machines.dir("").as_path());
    machines.configure(&format!("[cache.remote]\ntype = \"http\"\nurl = \"{}/shared/\"\n", mirror.url()));
    // Without an index, nothing is listed.
    assert_reports(&machines.two.kache(&["pull", "--all"]).must_succeed(), "pulled 0 entries");
    run(write_index(&shared, "v2/manifests/"));
    assert_reports(&machines.two.kache(&["pull", "--all"]).must_succeed(), "pulled 5 entries");
    machines.two.assert_store_whole();
    let push = machines.two.kache(&["push"]);
    assert_eq!(push.code, 1);
    assert_reports(&push, "read-only");
    let doctor = machines.two.kache(&["doctor", "--remote"]).must_succeed();
    assert_reports(&doctor, "5 entries in the index");
    assert_reports(&doctor, "whoever can write to the web server");
    assert!(mirror.seen().iter().all(|request| matches!(request.method.as_str(), "GET" | "HEAD")));
    // A pack that was damaged there is refused here.
    let pack = crate::support::files_under(&shared.join("v2/packs/c1")).remove(0);
    fs::write(&pack, noise(fs::read(&pack).unwrap().len(), 1)).unwrap();
    let pulled = machines.one.other_machine("three").kache(&["pull", "--all"]);
    assert_reports(&pulled, "pulled 4 entries");
    assert_reports(&pulled, "1 refused");
}

/// A server with the object `v1/object` of these bytes, and a store below its path `/kache`.
fn published(bytes: &[u8]) -> (tempfile::TempDir, WebServer, ObjectStore) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("kache/v1")).unwrap();
    fs::write(dir.path().join("kache/v1/object"), bytes).unwrap();
    let server = WebServer::of_dir(dir.path());
    let store = http(&format!("{}/kache", server.url()));
    (dir, server, store)
}

#[test]
fn objects_ranges_and_metadata_are_read() {
    let (dir, _server, store) = published(b"12345");
    run(async {
        assert_eq!(store.get("v1/object", 5).await.unwrap().as_deref(), Some(&b"12345"[..]));
        assert!(matches!(store.get("v1/object", 4).await, Err(RemoteError::Size { declared: 4, actual: 5, .. })));
        assert_eq!(store.get("v1/absent", 5).await.unwrap(), None);
        let range = ByteRange { first: 1, length: 3 };
        assert_eq!(store.get_range("v1/object", range).await.unwrap().as_deref(), Some(&b"234"[..]));
        assert_eq!(store.head("v1/object").await.unwrap().map(|found| found.size), Some(5));
        assert_eq!(store.head("v1/absent").await.unwrap(), None);
        for name in ["../kache/v1/object", "v1/object?x", "v1/%6fbject", "/v1/object"] {
            assert!(store.get(name, 9).await.is_err(), "{name}");
        }
        let file = upload(dir.path(), "v1/new", b"x");
        for error in [
            store.put("v1/new", vec![1]).await.unwrap_err(),
            store.delete("v1/object").await.unwrap_err(),
            send(&store, &file, &Control::default()).await.unwrap_err(),
        ] {
            assert!(error.to_string().contains("is read-only"), "{error}");
        }
    });
    assert_eq!(fs::read(dir.path().join("kache/v1/object")).unwrap(), b"12345");
}

#[test]
fn a_server_that_ignores_ranges_costs_time_only() {
    let bytes = noise(3 * PART + 17, 3);
    let (dir, ranged, store) = published(&bytes);
    let root = dir.path().to_owned();
    let plain = WebServer::start(move |request| {
        let mut request = request.clone();
        request.headers.remove("range");
        file_of(&root, &request)
    });
    let (to, control) = (dir.path().join("to"), Control::default());
    run(async {
        let object = declared("v1/object", &bytes);
        assert!(fetch(&store, &object, &to, &control).await.unwrap().as_ref() == Some(&bytes));
        assert!(ranged.seen().iter().filter(|request| request.headers.contains_key("range")).count() >= 4, "in parts");
        let store = http(&format!("{}/kache", plain.url()));
        assert!(fetch(&store, &object, &to, &control).await.unwrap().as_ref() == Some(&bytes));
        let range = ByteRange { first: 1000, length: 50 };
        assert_eq!(store.get_range("v1/object", range).await.unwrap().as_deref(), Some(&bytes[1000..1050]));
        let wrong = Download { digest: Some(Digest::of(b"x")), ..object.clone() };
        assert!(matches!(fetch(&store, &wrong, &to, &control).await, Err(RemoteError::Digest { .. })));
        let short = Download { size: Some(9), ..object };
        assert!(matches!(fetch(&store, &short, &to, &control).await, Err(RemoteError::Size { .. })));
    });
}

#[test]
fn r09_a_broken_answer_is_resumed_and_a_failing_server_asked_again() {
    let bytes = noise(PART + 5, 4);
    let (dir, _server, _) = published(&bytes);
    let (root, answers) = (dir.path().to_owned(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&answers);
    let flaky = WebServer::start(move |request| match count.fetch_add(1, Ordering::Relaxed) % 3 {
        0 => Response::new(503, "busy").with("retry-after", "0"),
        1 => file_of(&root, request).cut(),
        _ => file_of(&root, request),
    });
    let store = http(&format!("{}/kache", flaky.url()));
    run(async {
        let object = declared("v1/object", &bytes);
        let fetched = fetch(&store, &object, &dir.path().join("to"), &Control::default()).await.unwrap();
        assert!(fetched.as_ref() == Some(&bytes));
        assert!(flaky.seen().iter().any(|request| request.headers.contains_key("if-match")), "resumed");
        assert!(answers.load(Ordering::Relaxed) > 2);
    });
    let broken = WebServer::start(|_| Response::new(500, ""));
    let store = http_with(&broken.url(), |tuning| {
        tuning.breaker = BreakerLimits {
            failures: 2,
            over: Duration::ZERO,
            open: Duration::from_mins(10),
            open_at_most: Duration::from_mins(10),
        };
    });
    run(async {
        assert!(store.get("v1/object", 5).await.is_err());
        let requests = broken.seen().len();
        assert!(matches!(store.get("v1/object", 5).await, Err(RemoteError::BreakerOpen { .. })));
        assert_eq!(broken.seen().len(), requests);
    });
}

#[test]
fn statuses_decide_between_absence_denial_and_failure() {
    let server = WebServer::start(|request| {
        let status = request.path.trim_matches('/').parse().expect("a status");
        Response::new(status, r#"{"code":"some_code","msg":"some message"}"#)
    });
    let store = http(&server.url());
    run(async {
        assert_eq!(store.get("404", 99).await.unwrap(), None);
        assert_eq!(store.head("410").await.unwrap(), None);
        for status in ["401", "403"] {
            assert!(matches!(store.get(status, 99).await, Err(RemoteError::Denied { .. })), "{status}");
        }
        let error = store.get("418", 99).await.unwrap_err().to_string();
        assert!(error.contains("get 418 in http://127.0.0.1") && error.contains("some_code: some message"), "{error}");
        assert!(store.get("200", 99).await.unwrap().is_some(), "control");
    });
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let (dir, target, _) = published(b"12345");
    let to = target.url();
    let server = WebServer::start(move |request| match request.path.as_str() {
        "/v1/object" => Response::new(302, "").with("location", "/moved/here"),
        "/moved/here" => Response::new(307, "").with("location", format!("{to}/kache/v1/object")),
        "/odd" => Response::new(301, "").with("location", "file:///etc/passwd"),
        "/none" => Response::new(301, ""),
        other => Response::new(308, "").with("location", other),
    });
    let store = http(&server.url());
    run(async {
        assert_eq!(store.get("v1/object", 5).await.unwrap().as_deref(), Some(&b"12345"[..]));
        assert_eq!(store.head("v1/object").await.unwrap().map(|found| found.size), Some(5));
        let object = declared("v1/object", b"12345");
        let fetched = fetch(&store, &object, &dir.path().join("to"), &Control::default()).await.unwrap();
        assert_eq!(fetched.as_deref(), Some(&b"12345"[..]));
        let circle = store.get("v1/circle", 5).await.unwrap_err().to_string();
        assert!(circle.contains("more than 5 redirects"), "{circle}");
        assert_eq!(server.count("GET", "circle"), 6);
        for name in ["odd", "none"] {
            assert!(store.get(name, 5).await.is_err(), "{name}");
        }
    });
}

#[test]
fn r05_an_index_lists_and_a_bad_one_is_an_error() {
    let (dir, server, store) = published(b"1");
    let index = dir.path().join("kache/v1/index.json");
    run(async {
        assert_eq!(listed(&store, "v1/").await.unwrap(), [""; 0], "no index");
        write_index(&dir.path().join("kache"), "v1/").await;
        assert_eq!(listed(&store, "v1/").await.unwrap(), ["v1/object"]);
        assert_eq!(listed(&store, "v1/ob").await.unwrap(), ["v1/object"]);
        assert_eq!(listed(&store, "v1/x").await.unwrap(), [""; 0]);
        for bad in ["<html>", r#"{"v":9,"objects":[]}"#] {
            fs::write(&index, bad).unwrap();
            assert!(matches!(listed(&store, "v1/").await, Err(RemoteError::InvalidAnswer { .. })), "{bad}");
        }
        fs::write(&index, vec![b' '; 17 << 20]).unwrap();
        assert!(matches!(listed(&store, "v1/").await, Err(RemoteError::Size { .. })));
    });
    assert!(server.count("GET", "/kache/v1/index.json") >= 6);
}

#[test]
fn a_proxy_from_the_environment_is_used() {
    let (_dir, server, _) = published(b"12345");
    let vars =
        |no_proxy: &str| kache::config::Env::of([("http_proxy", server.url()), ("no_proxy", no_proxy.to_owned())]);
    let store = |vars| {
        let tuning = crate::support::remote::tuning();
        let objects = kache::remote::objects::HttpObjects::tuned("http://mirror.invalid/kache", &vars, tuning);
        ObjectStore::Http(objects.unwrap())
    };
    run(async {
        assert_eq!(store(vars("")).get("v1/object", 5).await.unwrap().as_deref(), Some(&b"12345"[..]));
        assert!(store(vars("mirror.invalid")).get("v1/object", 5).await.is_err(), "control: the host does not exist");
    });
}
