//! The servers of the tests themselves: the S3 server behaves like one, and the proxy makes exactly the errors that it
//! is told to make.

use std::time::{Duration, Instant};

use crate::support::faults::{Action, FaultProxy, Lie, Rule};
use crate::support::s3_client::S3Client;
use crate::support::s3_server::{BUCKET, READER, S3Server, WRITER, plain};
use crate::support::{Project, wait_until};

fn setup() -> (S3Server, FaultProxy, S3Client) {
    let server = S3Server::start();
    let proxy = FaultProxy::start(server.address());
    let client = S3Client::new(&proxy.endpoint(), BUCKET, WRITER);
    (server, proxy, client)
}

/// Bytes that depend on their position.
fn bytes(length: usize) -> Vec<u8> {
    (0..=250_u8).cycle().take(length).collect()
}

#[test]
fn the_server_keeps_objects_and_checks_signatures() {
    let server = S3Server::start();
    let client = S3Client::new(&server.endpoint(), BUCKET, WRITER);
    client.put("a/b", b"one").unwrap();
    assert_eq!((client.get("a/b"), server.read("a/b")), (Ok(b"one".to_vec()), Some(b"one".to_vec())));
    server.write("a/c", b"by hand");
    server.write("a/b", b"another");
    assert_eq!((client.get("a/b"), client.get("a/c")), (Ok(b"another".to_vec()), Ok(b"by hand".to_vec())));
    assert_eq!(client.list("a/"), Ok(vec!["a/b".to_owned(), "a/c".to_owned()]));
    assert_eq!(server.objects(), ["a/b", "a/c"]);
    assert_eq!(client.get("none"), Err(404));

    let reader = S3Client::new(&server.endpoint(), BUCKET, READER);
    assert_eq!((reader.get("a/c").is_ok(), reader.put("a/d", b"")), (true, Err(403)));
    let stranger = S3Client::new(&server.endpoint(), BUCKET, (WRITER.0, "a wrong secret"));
    assert_eq!((stranger.get("a/c"), stranger.put("a/d", b"")), (Err(403), Err(403)));
    let unsigned = format!("GET /{BUCKET}/a/c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(plain(server.address(), &unsigned).starts_with("HTTP/1.1 403"));

    server.set_frozen(true);
    assert_eq!(client.put("a/d", b""), Err(403));
    server.set_frozen(false);
    assert_eq!((client.delete("a/b"), server.remove("a/c"), server.objects()), (Ok(()), true, Vec::new()));
}

#[test]
fn listings_come_in_pages() {
    let (server, proxy, client) = setup();
    for at in 0..5 {
        server.write(&format!("k/{at}"), b"x");
    }
    server.set_page_size(2);
    assert_eq!(client.list("k/").map(|names| names.len()), Ok(5));
    assert_eq!(proxy.count("GET", "prefix=k"), 3);
}

#[test]
fn a_proxy_without_rules_changes_nothing_and_sees_everything() {
    let (_server, proxy, client) = setup();
    let large = bytes(3_000_000);
    client.put("large", &large).unwrap();
    assert!(client.get("large") == Ok(large.clone()));
    assert_eq!(client.get_range("large", "bytes=10-19"), Ok(large[10..20].to_vec()));
    assert_eq!(client.get("none"), Err(404));
    let seen = proxy.seen();
    let statuses: Vec<_> = seen.iter().map(|seen| (seen.method.as_str(), seen.status)).collect();
    assert_eq!(statuses, [("PUT", Some(200)), ("GET", Some(200)), ("GET", Some(206)), ("GET", Some(404))]);
    assert!(seen[0].received >= 3_000_000, "{:?}", seen[0]);
    assert_eq!((seen[1].sent, seen[2].sent), (3_000_000, 10));
    assert_eq!(seen[2].range.as_deref(), Some("bytes=10-19"));
    assert_eq!((proxy.peak(), seen.iter().any(|seen| seen.is_faulty)), (1, false));
}

#[test]
fn answers_go_wrong_as_told() {
    let (server, proxy, client) = setup();
    let large = bytes(200_000);
    server.write("large", &large);
    let under = |action: Action| {
        proxy.heal().forget().rule(Rule::on("GET", "large").then(action));
        let got = client.get("large");
        let seen = proxy.wait_for_all().seen().pop().expect("seen");
        (got, seen.status, seen.sent)
    };
    let mut flipped = large.clone();
    flipped[70_000] = !flipped[70_000];
    assert!(under(Action::Flip(70_000)) == (Ok(flipped), Some(200), 200_000));
    assert!(under(Action::Truncate(1000)) == (Ok(large[..1000].to_vec()), Some(200), 1000));
    assert_eq!(under(Action::CutAfter(1000)), (Err(0), Some(200), 1000));
    assert!(under(Action::NoLength) == (Ok(large.clone()), Some(200), 200_000));
    assert!(under(Action::Without("etag")) == (Ok(large), Some(200), 200_000));
    assert_eq!(under(Action::Close), (Err(0), None, 0));
    assert_eq!(under(Action::LoseAnswer), (Err(0), None, 0));
    assert_eq!(under(Action::Garbage), (Err(0), None, 0));
    assert_eq!(under(Action::Empty(412)), (Err(412), Some(412), 0));
    assert_eq!(under(Action::Body(502, b"<html>".to_vec())), (Err(502), Some(502), 6));
    let (got, status, sent) = under(Action::Error(503, "SlowDown", "please"));
    assert!(got == Err(503) && status == Some(503) && sent > 100);
}

#[test]
fn rules_choose_their_requests() {
    let (server, proxy, client) = setup();
    server.write("one", b"1");
    server.write("two", b"2");
    let gets = |name: &str| (0..4).map(|_| client.get(name).is_ok()).collect::<Vec<_>>();
    proxy.rule(Rule::on("GET", "one").first(2).then(Action::Empty(500)));
    assert_eq!((gets("two"), gets("one")), (vec![true; 4], vec![false, false, true, true]));
    proxy.heal().rule(Rule::on("*", "one").nth(2).then(Action::Empty(500)));
    assert_eq!(gets("one"), [true, false, true, true]);
    proxy.heal().rule(Rule::on("*", "").every(2).then(Action::Empty(500)));
    assert_eq!(gets("one"), [true, false, true, false]);
    proxy.heal().rule(Rule::on("GET", "").with_header("range").then(Action::Empty(500)));
    assert_eq!((client.get("one").is_ok(), client.get_range("one", "bytes=0-0")), (true, Err(500)));
    proxy.heal().always(Action::Empty(500));
    assert_eq!((client.put("x", b""), server.read("x")), (Err(500), None));
}

#[test]
fn ranges_can_be_ignored() {
    let (server, proxy, client) = setup();
    server.write("one", b"0123456789");
    assert_eq!(client.get_range("one", "bytes=2-3"), Ok(b"23".to_vec()));
    proxy.always(Action::IgnoreRange);
    assert_eq!(client.get_range("one", "bytes=2-3"), Ok(b"0123456789".to_vec()));
    assert_eq!(proxy.seen().pop().expect("seen").status, Some(200));
}

#[test]
fn uploads_go_wrong_as_told() {
    let (server, proxy, client) = setup();
    let large = bytes(2_000_000);
    proxy.rule(Rule::on("PUT", "cut").then(Action::CloseUploadAfter(100_000)));
    proxy.rule(Rule::on("PUT", "lost").then(Action::LoseAnswer));
    assert_eq!((client.put("cut", &large), server.read("cut")), (Err(0), None));
    assert_eq!(client.put("lost", &large), Err(0));
    assert!(server.read("lost") == Some(large.clone()), "the server did what it was asked to");
    proxy.heal();
    assert_eq!(client.put("cut", &large), Ok(()));
}

#[test]
fn listings_lie() {
    let (server, proxy, client) = setup();
    server.write("k/1", b"x");
    let under = |lie: Lie| {
        proxy.heal().rule(Rule::on("GET", "list-type=2").then(Action::Listing(lie)));
        client.page("k/", None)
    };
    let one = vec!["k/1".to_owned()];
    assert_eq!(under(Lie::TruncatedWithoutToken), Ok((one.clone(), true, None)));
    let (_, is_truncated, token) = under(Lie::RepeatedToken).unwrap();
    assert!(is_truncated && token.is_some());
    let more = under(Lie::MoreKeys(vec!["../../etc/passwd".to_owned()])).unwrap();
    assert_eq!(more.0, ["k/1", "../../etc/passwd"]);
    assert!(under(Lie::NoXml).is_err());
    // The SDK accepts XML that ends in the middle as a whole page; only the smaller number of bytes reveals it.
    let _ = under(Lie::CutXml);
    let cut = proxy.seen().pop().expect("seen").sent;
    proxy.heal();
    assert_eq!(client.page("k/", None), Ok((one, false, None)));
    wait_until("the whole page", || cut < proxy.seen().pop().expect("seen").sent);
}

#[test]
fn the_line_is_as_slow_as_told() {
    let (server, proxy, client) = setup();
    server.write("large", &bytes(100_000));
    let took = || {
        let start = Instant::now();
        client.get("large").unwrap();
        start.elapsed()
    };
    // A sleep is never too short, so these are lower bounds and not timings.
    proxy.set_bandwidth(500_000);
    assert!(took() >= Duration::from_millis(190));
    proxy.set_bandwidth(0).set_latency(Duration::from_millis(150));
    assert!(took() >= Duration::from_millis(150));
    proxy.set_latency(Duration::ZERO).always(Action::Latency(Duration::from_millis(150)));
    assert!(took() >= Duration::from_millis(150));
    proxy.heal().always(Action::Slow(500_000));
    assert!(took() >= Duration::from_millis(190));
}

#[test]
fn a_server_that_hangs_gives_no_answer_until_it_ends() {
    let (server, proxy, client) = setup();
    server.write("one", b"0123456789");
    for (action, status, sent) in [(Action::Hang, None, 0), (Action::HangAfter(4), Some(200), 4)] {
        proxy.heal().forget().always(action);
        assert_eq!(client.get_within("one", Duration::from_millis(300)), None);
        let seen = proxy.seen().pop().expect("seen");
        assert_eq!((seen.status, seen.sent), (status, sent));
    }
    proxy.heal();
    assert!(client.get("one").is_ok());
}

#[test]
fn two_machines_share_nothing_but_the_files() {
    let server = S3Server::start();
    let mut one = Project::app_over("pub fn value() -> u32 { 7 }\n");
    one.use_remote(&S3Server::variables(&server.endpoint(), WRITER)).use_no_remote();
    let two = one.other_machine("two");
    one.warm(&["dep"]);
    assert_ne!(one.cache_dir(), two.cache_dir());
    two.build().misses(&["dep"]);
    two.rebuild_hits(&["dep"]);
}
