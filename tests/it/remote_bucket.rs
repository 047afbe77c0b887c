//! Single requests: absence, errors and their messages, false listings, and the circuit breaker.

use std::time::{Duration, Instant};

use kache::config::{Env, Secret};
use kache::model::Digest;
use kache::remote::s3::retry::BreakerLimits;
use kache::remote::{Bucket, Download, RemoteError};

use crate::support::faults::{Action, Lie, Rule};
use crate::support::remote::{PART, ProxiedServer, download_with, noise, run, settings, tuning};
use crate::support::s3_server::{BUCKET, READER};

#[test]
fn objects_are_put_found_read_and_deleted() {
    let proxied = ProxiedServer::new();
    run(async {
        let bucket = proxied.bucket().await;
        assert_eq!(bucket.head("v1/a").await.unwrap(), None);
        assert_eq!(bucket.get("v1/a", 100).await.unwrap(), None);
        bucket.put("v1/a", b"hello".to_vec()).await.unwrap();
        let head = bucket.head("v1/a").await.unwrap().unwrap();
        assert_eq!((head.size, head.etag.is_some(), head.modified.is_some()), (5, true, true));
        assert_eq!(bucket.get("v1/a", 5).await.unwrap().unwrap(), b"hello");
        bucket.put("v1/a", b"other".to_vec()).await.unwrap();
        assert_eq!(bucket.get("v1/a", 5).await.unwrap().unwrap(), b"other", "the last one wins");
        bucket.delete("v1/a").await.unwrap();
        bucket.delete("v1/a").await.unwrap();
        assert_eq!(bucket.get("v1/a", 5).await.unwrap(), None);
    });
}

#[test]
fn r03_a_small_object_that_is_large_is_refused() {
    let proxied = ProxiedServer::new();
    proxied.server.write("v1/a", &noise(1001, 1));
    run(async {
        let bucket = proxied.bucket().await;
        assert_eq!(bucket.get("v1/a", 1001).await.unwrap().unwrap().len(), 1001);
        for unannounced in [false, true] {
            if unannounced {
                proxied.proxy.rule(Rule::on("GET", "").then(Action::NoLength));
            }
            let got = bucket.get("v1/a", 1000).await;
            assert!(matches!(got, Err(RemoteError::Size { declared: 1000, actual: 1001, .. })), "{got:?}");
        }
    });
}

#[test]
fn errors_say_status_code_message_and_what_was_tried() {
    let proxied = ProxiedServer::new();
    proxied.proxy.always(Action::Error(403, "InvalidAccessKeyId", "no such key here"));
    run(async {
        let bucket = proxied.bucket().await;
        let of_get = bucket.get("v1/a", 10).await.unwrap_err().to_string();
        let of_put = bucket.put("v1/b", b"x".to_vec()).await.unwrap_err().to_string();
        let of_list = bucket.list("v1/").all().await.unwrap_err().to_string();
        for (text, what) in [(of_get, "get v1/a"), (of_put, "put v1/b"), (of_list, "list v1/")] {
            for part in [what, BUCKET, "403", "InvalidAccessKeyId", "no such key here"] {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
        // The answer to HEAD does not have a body, only a status.
        let of_head = bucket.head("v1/a").await.unwrap_err();
        assert!(matches!(of_head, RemoteError::Denied { status: 403, .. }), "{of_head}");
    });
    assert_eq!(proxied.proxy.seen().len(), 4, "a denial is not asked again");
}

#[test]
fn r06_only_404_is_absence() {
    let proxied = ProxiedServer::new();
    run(async {
        let bucket = proxied.bucket().await;
        for absence in [Action::Empty(404), Action::Error(404, "NoSuchKey", ""), Action::Error(404, "NotFound", "")] {
            proxied.proxy.heal().always(absence);
            assert_eq!(bucket.head("v1/a").await.unwrap(), None);
            assert_eq!(bucket.get("v1/a", 10).await.unwrap(), None);
            bucket.delete("v1/a").await.unwrap();
            assert!(bucket.list("v1/").all().await.is_err(), "a listing is there, if empty");
            assert!(bucket.put("v1/a", Vec::new()).await.is_err());
        }
        for failure in [
            Action::Empty(400),
            Action::Empty(403),
            Action::Empty(500),
            Action::Body(301, b"moved".to_vec()),
            Action::Body(502, b"<html>bad gateway</html>".to_vec()),
            Action::Garbage,
            Action::Close,
            Action::Error(404, "NoSuchBucket", "no bucket"),
        ] {
            proxied.proxy.heal().always(failure.clone());
            assert!(bucket.get("v1/a", 10).await.is_err(), "{failure:?}");
            if failure != Action::Error(404, "NoSuchBucket", "no bucket") {
                assert!(bucket.head("v1/a").await.is_err(), "{failure:?}");
            }
        }
    });
}

#[test]
fn a_login_page_is_not_an_object() {
    let proxied = ProxiedServer::new();
    proxied.proxy.always(Action::Body(200, b"<html>please log in</html>".to_vec()));
    run(async {
        let bucket = proxied.bucket().await;
        assert!(bucket.list("v1/").all().await.map_or(true, |all| all.is_empty()));
    });
}

#[test]
fn listings_follow_pages() {
    let proxied = ProxiedServer::new();
    for n in 0..7 {
        proxied.server.write(&format!("v1/a/{n}"), b"xy");
    }
    proxied.server.write("v2/a", b"other");
    proxied.server.set_page_size(3);
    run(async {
        let bucket = proxied.bucket().await;
        let all = bucket.list("v1/").all().await.unwrap();
        assert_eq!(all.len(), 7);
        assert!(all.iter().all(|object| object.size == 2 && object.modified.is_some()));
        assert_eq!(proxied.proxy.seen().len(), 3);
        assert!(bucket.list("v3/").all().await.unwrap().is_empty());
    });
}

#[test]
fn r05_listings_that_lie_end() {
    let proxied = ProxiedServer::new();
    for n in 0..4 {
        proxied.server.write(&format!("v1/a/{n}"), b"xy");
    }
    let listed = |lie| {
        proxied.proxy.heal().forget().rule(Rule::on("GET", "list-type=2").then(Action::Listing(lie)));
        run(async { proxied.bucket().await.list("v1/").all().await })
    };
    assert_eq!(listed(Lie::TruncatedWithoutToken).unwrap().len(), 4);
    assert_eq!(proxied.proxy.seen().len(), 1);
    assert_eq!(listed(Lie::RepeatedToken).unwrap().len(), 4);
    assert!(proxied.proxy.seen().len() <= 2);
    let more = vec!["v2/x".to_owned(), "../../etc/passwd".to_owned(), "v1/a/1".to_owned(), "v1/b".to_owned()];
    let names: Vec<_> = listed(Lie::MoreKeys(more)).unwrap().into_iter().map(|object| object.name).collect();
    assert_eq!(names.iter().filter(|name| *name == "v1/a/1").count(), 1);
    assert!(names.iter().all(|name| name.starts_with("v1/")), "{names:?}");
    assert!(listed(Lie::CutXml).is_err());
    assert!(listed(Lie::NoXml).is_err());
}

#[test]
fn r09_repeated_failure_opens_the_breaker_until_the_server_is_well() {
    let proxied = ProxiedServer::new();
    proxied.server.write("v1/a", b"hello");
    proxied.proxy.always(Action::Error(503, "SlowDown", "please"));
    run(async {
        let bucket = proxied
            .bucket_with(|tuning| {
                let open = Duration::from_millis(1500);
                tuning.breaker = BreakerLimits { failures: 4, over: Duration::ZERO, open, open_at_most: 2 * open };
            })
            .await;
        let error = bucket.get("v1/a", 10).await.unwrap_err();
        assert!(matches!(error, RemoteError::Status { status: 503, .. }), "{error}");
        let asked = proxied.proxy.seen().len();
        assert_eq!(asked, 4);
        // Clones share the breaker.
        let error = bucket.clone().head("v1/a").await.unwrap_err();
        assert!(matches!(error, RemoteError::BreakerOpen { .. }), "{error}");
        assert_eq!(proxied.proxy.seen().len(), asked, "the server is left alone");
        proxied.proxy.heal();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(bucket.get("v1/a", 10).await.unwrap().unwrap(), b"hello");
        assert!(bucket.head("v1/a").await.unwrap().is_some());
    });
}

#[test]
fn r09_a_server_that_is_not_there_is_an_error_that_says_so() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    run(async {
        let bucket =
            Bucket::connect_tuned(&settings(Some(&endpoint)), &Env::of::<&str, &str>([]), tuning()).await.unwrap();
        let error = bucket.get("v1/a", 10).await.unwrap_err();
        assert!(matches!(error, RemoteError::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains("get v1/a"), "{error}");
    });
}

#[test]
fn r09_a_server_that_hangs_is_left() {
    let proxied = ProxiedServer::new();
    proxied.proxy.always(Action::Hang);
    let begun = Instant::now();
    run(async {
        let bucket = proxied.bucket_with(|tuning| tuning.answer = Duration::from_millis(200)).await;
        let error = bucket.get("v1/a", 10).await.unwrap_err();
        assert!(matches!(error, RemoteError::TimedOut { .. }), "{error:?}");
        assert!(bucket.put("v1/a", Vec::new()).await.is_err());
        assert!(bucket.list("").all().await.is_err());
    });
    assert!(begun.elapsed() < Duration::from_mins(1));
}

#[test]
fn requests_reuse_connections() {
    let proxied = ProxiedServer::new();
    run(async {
        let bucket = proxied.bucket().await;
        for n in 0..20 {
            bucket.put(&format!("v1/{n}"), b"x".to_vec()).await.unwrap();
            bucket.get(&format!("v1/{n}"), 10).await.unwrap();
        }
    });
    assert_eq!(proxied.proxy.seen().len(), 40);
    assert!(proxied.proxy.connections() <= 2, "{}", proxied.proxy.connections());
}

#[test]
fn who_may_only_read_reads() {
    let proxied = ProxiedServer::new();
    proxied.server.write("v1/a", b"hello");
    let mut settings = settings(Some(&proxied.proxy.endpoint()));
    settings.keys = Some((READER.0.to_owned(), Secret::new(READER.1)));
    run(async {
        let bucket = proxied.bucket_of(&settings, tuning()).await;
        assert_eq!(bucket.get("v1/a", 10).await.unwrap().unwrap(), b"hello");
        assert!(matches!(bucket.put("v1/b", Vec::new()).await, Err(RemoteError::Denied { .. })));
    });
}

/// Each byte arrives soon enough; all of them together would take forever.
#[test]
fn r09_a_body_that_drips_is_given_up() {
    let proxied = ProxiedServer::new();
    let bytes = noise(3 * PART, 1);
    for (name, len) in [("v1/small", 1000), ("v1/middle", PART), ("v1/large", 3 * PART)] {
        proxied.server.write(name, &bytes[..len]);
    }
    run(async {
        let bucket =
            proxied.bucket_with(|tuning| (tuning.answer, tuning.slowest) = (Duration::from_millis(500), 1 << 20)).await;
        let download = async |name: &str, len: usize| {
            let digest = Some(Digest::of(&bytes[..len]));
            let what = Download { name: name.into(), size: Some(len as u64), digest };
            let to = proxied.dir.path().join(len.to_string());
            download_with(&bucket, &what, &to, &proxied.control()).await.map(|_| ())
        };
        for drips in [false, true] {
            if drips {
                proxied.proxy.always(Action::Slow(10));
            }
            let most = Duration::from_secs(20);
            // They run at the same time, because each takes long, so each has its own path.
            let (small, middle, large) = tokio::join!(
                tokio::time::timeout(most, async { bucket.get("v1/small", 1000).await.map(|_| ()) }),
                tokio::time::timeout(most, download("v1/middle", PART)),
                tokio::time::timeout(most, download("v1/large", 3 * PART)),
            );
            let ends = [small, middle, large];
            for (n, end) in ends.iter().enumerate() {
                match end.as_ref().unwrap_or_else(|_| panic!("number {n} hangs")) {
                    Ok(()) => assert!(!drips, "{n}"),
                    Err(error) => assert!(drips && matches!(error, RemoteError::TimedOut { .. }), "{n}: {error}"),
                }
            }
        }
    });
}

/// The SDK holds a whole answer in memory before it parses it.
#[test]
fn r03_an_answer_without_end_is_not_held_in_memory() {
    let proxied = ProxiedServer::new();
    let listing = |filling: usize| {
        let head = "<ListBucketResult><Name>b</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated><!--";
        format!("{head}{}--></ListBucketResult>", "x".repeat(filling)).into_bytes()
    };
    run(async {
        let bucket = proxied.bucket().await;
        for (filling, is_read) in [(1 << 20, true), (20 << 20, false)] {
            proxied.proxy.heal().rule(Rule::on("GET", "").then(Action::Body(200, listing(filling))));
            let listed = bucket.list("v1/").all().await;
            assert_eq!(listed.is_ok(), is_read, "{:?}", listed.err());
            // An answer that is read piece by piece has a separate limit.
            assert_eq!(bucket.get("v1/a", 30 << 20).await.unwrap().unwrap().len(), listing(filling).len());
        }
    });
}
