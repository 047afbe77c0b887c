//! Downloads: whatever the server and the proxy do, the downloaded file is right.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kache::model::Digest;
use kache::remote::{Download, Phase, RemoteError};
use tokio_util::sync::CancellationToken;

use crate::support::faults::{Action, Rule};
use crate::support::remote::{PART, ProxiedServer, declared, download_with, noise, run};

const NAME: &str = "v1/packs/x/object";

/// A server behind a proxy, with one object of `len` bytes.
fn proxied_with(len: usize) -> (ProxiedServer, Vec<u8>) {
    let proxied = ProxiedServer::new();
    let bytes = noise(len, 1);
    proxied.server.write(NAME, &bytes);
    (proxied, bytes)
}

/// Downloads an object under a rule for all GETs. Returns whether its bytes are right, and the number of requests.
fn fetch_with(len: usize, rule: Rule) -> (Result<bool, RemoteError>, usize) {
    let (proxied, bytes) = proxied_with(len);
    proxied.proxy.rule(rule);
    run(async {
        let bucket = proxied.bucket().await;
        let came = proxied.fetch(&bucket, &declared(NAME, &bytes)).await;
        (came.map(|came| came.as_ref() == Some(&bytes)), proxied.proxy.count("GET", ""))
    })
}

fn on_get() -> Rule {
    Rule::on("GET", "")
}

#[test]
fn a_small_object_takes_one_request() {
    for len in [0, 1, 2 * PART - 1] {
        let (proxied, bytes) = proxied_with(len);
        run(async {
            let bucket = proxied.bucket().await;
            assert_eq!(proxied.fetch(&bucket, &declared(NAME, &bytes)).await.unwrap(), Some(bytes));
        });
        let seen = proxied.proxy.seen();
        assert_eq!(seen.len(), 1, "{len}: no HEAD, no second GET");
        assert_eq!(seen[0].range, None);
        assert_eq!(proxied.phases(), [Phase::Pending, Phase::Downloading, Phase::Verifying, Phase::Completed]);
    }
}

#[test]
fn a_large_object_comes_in_parts_of_one_version() {
    let (proxied, bytes) = proxied_with(20 * PART + 5);
    proxied.proxy.set_latency(Duration::from_millis(20));
    run(async {
        let bucket = proxied.bucket().await;
        assert_eq!(proxied.fetch(&bucket, &declared(NAME, &bytes)).await.unwrap(), Some(bytes));
    });
    let seen = proxied.proxy.seen();
    assert_eq!(seen.len(), 21);
    assert!(seen.iter().all(|seen| seen.range.is_some()));
    assert!(seen[1..].iter().all(|seen| seen.if_match.is_some()), "the others are of the first one's version");
    assert!((2..=16).contains(&proxied.proxy.peak()), "{} at once", proxied.proxy.peak());
    assert_eq!(proxied.phases(), [Phase::Pending, Phase::Downloading, Phase::Verifying, Phase::Completed]);
    assert_eq!(proxied.reports().last().unwrap().done, 20 * PART as u64 + 5);
}

#[test]
fn connections_are_limited_over_all_transfers() {
    let (proxied, bytes) = proxied_with(8 * PART);
    proxied.proxy.set_latency(Duration::from_millis(20));
    run(async {
        let bucket = proxied.bucket_with(|tuning| tuning.connections = 3).await;
        let what = declared(NAME, &bytes);
        let at = |n: usize| proxied.dir.path().join(n.to_string());
        let control = proxied.control();
        let (to, others) = (at(0), at(1));
        let (one, other) = tokio::join!(
            download_with(&bucket, &what, &to, &control),
            download_with(&bucket, &what, &others, &control)
        );
        assert_eq!((one.unwrap(), other.unwrap()), (what.size, what.size));
        assert_eq!(std::fs::read(at(0)).unwrap(), bytes);
    });
    assert!((2..=3).contains(&proxied.proxy.peak()), "{} at once", proxied.proxy.peak());
}

#[test]
fn a_server_that_ignores_ranges_gives_the_right_bytes() {
    let all = fetch_with(6 * PART, on_get().with_header("range").then(Action::IgnoreRange));
    assert!(matches!(all, (Ok(true), 1)), "the first answer is taken as it is: {all:?}");
    let some = fetch_with(6 * PART, on_get().with_header("range").nth(3).then(Action::IgnoreRange));
    assert!(matches!(some, (Ok(true), _)), "{some:?}");
}

#[test]
fn a_server_that_lies_about_ranges_gives_the_right_bytes() {
    let lie = Action::With("content-range", format!("bytes 0-{}/{}", PART - 1, 6 * PART));
    for action in [lie, Action::Without("content-range"), Action::With("content-range", "bytes 7-9/*".to_owned())] {
        let rule = on_get().with_header("range").then(action.clone());
        assert!(matches!(fetch_with(6 * PART, rule), (Ok(true), _)), "{action:?}");
    }
}

#[test]
fn r01_wrong_bytes_are_refused() {
    for len in [PART, 6 * PART] {
        let (came, _) = fetch_with(len, on_get().then(Action::Flip(1000)));
        assert!(matches!(came, Err(RemoteError::Digest { .. })), "{came:?}");
    }
    let (came, requests) = fetch_with(6 * PART, on_get().nth(2).then(Action::Flip(1000)));
    assert!(matches!(came, Ok(true)), "one wrong part: once more in one stream");
    assert_eq!(requests, 7);
}

#[test]
fn r03_another_size_than_the_declared_one_is_refused() {
    for (len, said) in [(PART, PART + 1), (PART, PART - 1), (6 * PART, 6 * PART + 1), (6 * PART, 6 * PART - 1)] {
        for unannounced in [false, true] {
            let (proxied, bytes) = proxied_with(len);
            if unannounced {
                proxied.proxy.rule(on_get().then(Action::NoLength));
            }
            let what = Download { size: Some(said as u64), ..declared(NAME, &bytes) };
            let came = run(async { proxied.fetch(&proxied.bucket().await, &what).await });
            assert!(came.is_err(), "{len} {said} {unannounced}");
            let is_size = matches!(came, Err(RemoteError::Size { declared, .. }) if declared == said as u64);
            assert!(is_size || unannounced && said > len, "{len} {said} {unannounced}: {came:?}");
        }
    }
}

#[test]
fn a_length_that_is_not_announced_works() {
    let (proxied, bytes) = proxied_with(3 * PART);
    proxied.proxy.rule(on_get().then(Action::NoLength));
    run(async {
        let bucket = proxied.bucket().await;
        let digest = Some(Digest::of(&bytes));
        for what in [declared(NAME, &bytes), Download { size: None, ..declared(NAME, &bytes) }] {
            assert_eq!(proxied.fetch(&bucket, &what).await.unwrap().as_ref(), Some(&bytes));
        }
        let wrong = Download { digest: Some(Digest::of(b"other")), size: None, ..declared(NAME, &bytes) };
        assert!(digest != wrong.digest && proxied.fetch(&bucket, &wrong).await.is_err());
    });
}

#[test]
fn a_broken_stream_goes_on_from_the_bytes_on_disk() {
    let (proxied, bytes) = proxied_with(2 * PART - 1);
    proxied.proxy.rule(on_get().first(3).then(Action::CutAfter(100_000)));
    run(async {
        let bucket = proxied.bucket().await;
        assert_eq!(proxied.fetch(&bucket, &declared(NAME, &bytes)).await.unwrap(), Some(bytes));
    });
    let seen = proxied.proxy.seen();
    assert_eq!(seen.len(), 4);
    assert!(seen[1..].iter().all(|seen| seen.range.is_some() && seen.if_match.is_some()));
    let sent: u64 = seen.iter().map(|seen| seen.sent).sum();
    assert!(sent < 2 * PART as u64 + 100_000, "{sent} bytes: nothing was sent again");
}

#[test]
fn broken_parts_go_on_each_on_its_own() {
    let (proxied, bytes) = proxied_with(6 * PART);
    proxied.proxy.rule(on_get().every(2).then(Action::CutAfter(100_000)));
    run(async {
        let bucket = proxied.bucket().await;
        assert_eq!(proxied.fetch(&bucket, &declared(NAME, &bytes)).await.unwrap(), Some(bytes));
    });
    let sent: u64 = proxied.proxy.seen().iter().map(|seen| seen.sent).sum();
    assert!(proxied.proxy.seen().len() > 6);
    assert!(sent < 7 * PART as u64, "{sent} bytes");
}

#[test]
fn without_an_etag_the_time_of_writing_tells_versions() {
    for also in [false, true] {
        let (proxied, bytes) = proxied_with(2 * PART - 1);
        proxied.proxy.rule(on_get().then(Action::Without("etag")));
        if also {
            proxied.proxy.rule(on_get().then(Action::Without("last-modified")));
        }
        proxied.proxy.rule(on_get().first(2).then(Action::CutAfter(100_000)));
        // Without a digest, only versions show whether the pieces belong together.
        let what = Download { digest: None, ..declared(NAME, &bytes) };
        let came = run(async { proxied.fetch(&proxied.bucket().await, &what).await });
        assert_eq!(came.unwrap(), Some(bytes));
        let ranged = proxied.proxy.seen().iter().filter(|seen| seen.range.is_some()).count();
        assert_eq!(ranged, if also { 0 } else { 2 }, "of unknown version: from the start");
    }
}

#[test]
fn an_object_that_is_replaced_on_the_way_is_never_mixed() {
    for len in [2 * PART - 1, 6 * PART] {
        let proxied = Arc::new(ProxiedServer::new());
        let (old, new) = (noise(len, 1), noise(len, 2));
        proxied.server.write(NAME, &old);
        // The server here ignores a stale If-Match, as s3s-fs does.
        proxied.proxy.rule(on_get().first(1).then(Action::CutAfter(150_000)));
        let (writer, later) = (Arc::clone(&proxied), new.clone());
        let once = std::sync::Once::new();
        let control = proxied.control_with(move |progress| {
            if progress.done >= 70_000 {
                once.call_once(|| writer.server.write(NAME, &later));
            }
        });
        run(async {
            let bucket = proxied.bucket().await;
            let what = Download { digest: Some(Digest::of(&new)), ..declared(NAME, &new) };
            download_with(&bucket, &what, &proxied.to(), &control).await.unwrap();
        });
        assert!(std::fs::read(proxied.to()).unwrap() == new, "{len}");
    }
}

#[test]
fn a_condition_that_does_not_hold_starts_over_and_not_for_ever() {
    let (came, _) = fetch_with(6 * PART, on_get().nth(3).then(Action::Empty(412)));
    assert!(matches!(came, Ok(true)), "{came:?}");
    let (came, requests) = fetch_with(6 * PART, Rule::on("GET", "").with_header("if-match").then(Action::Empty(412)));
    assert!(matches!(came, Err(RemoteError::Changed { .. })), "{came:?}");
    assert!(requests <= 3 * 6, "{requests}");
}

#[test]
fn one_slow_part_is_asked_for_again() {
    let (proxied, bytes) = proxied_with(6 * PART);
    proxied.proxy.rule(on_get().with_header("range").nth(4).then(Action::Slow(50_000)));
    run(async {
        // Long enough for some of the part to arrive at its pace.
        let bucket = proxied.bucket_with(|tuning| tuning.slow_after = Duration::from_secs(3)).await;
        assert_eq!(proxied.fetch(&bucket, &declared(NAME, &bytes)).await.unwrap(), Some(bytes));
    });
    let seen = proxied.proxy.seen();
    assert_eq!(seen.len(), 7, "one part, once more");
    let slow = seen.iter().find(|seen| seen.is_faulty).unwrap().range.clone().unwrap();
    let end = slow.split_once('-').unwrap().1;
    assert!(seen[6].range.as_ref().unwrap().ends_with(end), "the same part");
    assert_ne!(seen[6].range, Some(slow), "from where it was");
}

#[test]
fn all_parts_being_slow_is_no_reason_to_ask_again() {
    let (proxied, bytes) = proxied_with(4 * PART);
    proxied.proxy.rule(on_get().then(Action::Slow(PART as u64 / 2)));
    run(async {
        let bucket = proxied.bucket().await;
        assert_eq!(proxied.fetch(&bucket, &declared(NAME, &bytes)).await.unwrap(), Some(bytes));
    });
    assert_eq!(proxied.proxy.seen().len(), 4);
}

#[test]
#[ignore = "slow"]
fn r09_a_server_that_fails_now_and_then_is_asked_again() {
    for len in [PART, 6 * PART] {
        for action in [
            Action::Error(503, "SlowDown", "please"),
            Action::Empty(500),
            Action::Close,
            Action::Garbage,
            Action::LoseAnswer,
            Action::Hang,
            Action::HangAfter(10_000),
        ] {
            let (came, requests) = fetch_with(len, on_get().first(2).then(action.clone()));
            assert!(matches!(came, Ok(true)), "{action:?}: {came:?}");
            assert!(requests >= 3, "{action:?}: {requests}");
        }
    }
}

#[test]
fn r09_a_server_that_always_fails_is_given_up() {
    for action in [Action::Error(503, "SlowDown", "please"), Action::Close, Action::CutAfter(10)] {
        let (came, requests) = fetch_with(PART, on_get().then(action.clone()));
        assert!(came.is_err(), "{action:?}");
        assert_eq!(requests, 4, "{action:?}");
    }
}

#[test]
fn r06_absence_is_no_error_and_a_denial_is_one() {
    for len in [PART, 6 * PART] {
        for action in [Action::Empty(404), Action::Error(404, "Whatever", "")] {
            let (proxied, bytes) = proxied_with(len);
            proxied.proxy.rule(on_get().then(action));
            run(async {
                let came = proxied.fetch(&proxied.bucket().await, &declared(NAME, &bytes)).await;
                assert!(came.unwrap().is_none());
            });
            assert_eq!(proxied.proxy.count("GET", ""), 1);
        }
        for action in [Action::Error(403, "AccessDenied", "no"), Action::Empty(403), Action::Empty(401)] {
            let (came, requests) = fetch_with(len, on_get().then(action));
            assert!(matches!(came, Err(RemoteError::Denied { .. })), "{came:?}");
            assert_eq!(requests, 1, "not asked again");
        }
    }
}

#[test]
fn cancelling_leaves_nothing_and_is_told_once() {
    for len in [2 * PART - 1, 6 * PART] {
        let (proxied, bytes) = proxied_with(len);
        proxied.proxy.rule(on_get().then(Action::HangAfter(150_000)));
        let cancel = CancellationToken::new();
        let by = cancel.clone();
        let control = proxied.control_of(cancel, move |progress| {
            if progress.done > 100_000 {
                by.cancel();
            }
        });
        let came = run(async {
            let bucket = proxied.bucket_with(|tuning| tuning.stall = Duration::from_secs(100)).await;
            download_with(&bucket, &declared(NAME, &bytes), &proxied.to(), &control).await
        });
        assert!(matches!(came, Err(RemoteError::Cancelled { .. })), "{came:?}");
        assert_eq!(std::fs::read_dir(proxied.dir.path()).unwrap().count(), 0, "no file, no directory");
        assert_eq!(proxied.phases(), [Phase::Pending, Phase::Downloading, Phase::Cancelled]);
        assert_eq!(proxied.reports().iter().filter(|progress| progress.phase.is_end()).count(), 1);
    }
}

#[test]
fn r09_a_transfer_ends_at_its_deadline_however_it_crawls() {
    let (proxied, bytes) = proxied_with(2 * PART - 1);
    proxied.proxy.rule(on_get().then(Action::Slow(10_000)));
    let control = proxied.control().until(Instant::now() + Duration::from_secs(1));
    let came =
        run(async { download_with(&proxied.bucket().await, &declared(NAME, &bytes), &proxied.to(), &control).await });
    assert!(matches!(came, Err(RemoteError::TimedOut { .. })), "{came:?}");
    assert_eq!(std::fs::read_dir(proxied.dir.path()).unwrap().count(), 0, "no file, no directory");
    assert_eq!(proxied.phases(), [Phase::Pending, Phase::Downloading, Phase::Failed]);
}

#[test]
fn what_stood_at_the_target_is_replaced_by_a_success_alone() {
    for len in [PART, 6 * PART] {
        let (proxied, bytes) = proxied_with(len);
        let old = noise(3 * PART, 9);
        std::fs::create_dir_all(proxied.to().parent().unwrap()).unwrap();
        std::fs::write(proxied.to(), &old).unwrap();
        run(async {
            let bucket = proxied.bucket().await;
            let download =
                async |what: &Download| download_with(&bucket, what, &proxied.to(), &proxied.control()).await;
            assert!(download(&declared("v1/none", b"x")).await.unwrap().is_none());
            let wrong = Download { digest: Some(Digest::of(b"other")), ..declared(NAME, &bytes) };
            assert!(matches!(download(&wrong).await, Err(RemoteError::Digest { .. })));
            assert!(std::fs::read(proxied.to()).unwrap() == old, "{len}");
            assert_eq!(download(&declared(NAME, &bytes)).await.unwrap(), Some(len as u64));
        });
        assert!(std::fs::read(proxied.to()).unwrap() == bytes, "{len}");
        assert_eq!(std::fs::read_dir(proxied.to().parent().unwrap()).unwrap().count(), 1, "no temp file is left");
    }
}
