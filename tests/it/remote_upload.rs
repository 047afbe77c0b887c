//! Uploads: complete or not at all, and a killed one resumes where it was.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kache::config::Checksums;
use kache::remote::{Phase, RemoteError, Tuning, Upload, abort_old_uploads};
use tokio_util::sync::CancellationToken;

use crate::support::faults::{Action, Rule};
use crate::support::remote::{ProxiedServer, noise, run, settings, upload_with};

/// Size of a part in bytes: the server refuses smaller ones.
const PART: usize = 5 * 1024 * 1024;

fn numbers(tuning: &mut Tuning) {
    tuning.part_size = PART as u64;
    tuning.parts_from = 2 * PART as u64;
}

fn tuning() -> Tuning {
    let mut tuning = crate::support::remote::tuning();
    numbers(&mut tuning);
    tuning
}

const NAME: &str = "v1/packs/x/object";

/// Uploads and stops after `parts` parts.
fn interrupted(proxied: &ProxiedServer, what: &Upload, parts: u64) {
    let cancel = CancellationToken::new();
    let by = cancel.clone();
    let control = proxied.control_of(cancel, move |progress| {
        if progress.done >= parts * PART as u64 {
            by.cancel();
        }
    });
    run(async {
        // One part after the other, so that it is certain which ones the server has.
        let bucket = proxied
            .bucket_with(|tuning| {
                numbers(tuning);
                tuning.parallel_uploads = 1;
            })
            .await;
        let sent = upload_with(&bucket, what, &proxied.states(), &control).await;
        assert!(matches!(sent, Err(RemoteError::Cancelled { .. })), "{sent:?}");
    });
}

/// Uploads through the proxy.
fn upload(proxied: &ProxiedServer, what: &Upload) -> Result<(), RemoteError> {
    run(async { upload_with(&proxied.bucket_with(numbers).await, what, &proxied.states(), &proxied.control()).await })
}

fn part_requests(proxied: &ProxiedServer) -> usize {
    proxied.proxy.count("PUT", "partNumber=")
}

#[test]
fn a_small_file_takes_one_request() {
    let proxied = ProxiedServer::new();
    let bytes = noise(2 * PART - 1, 1);
    upload(&proxied, &proxied.file(NAME, &bytes)).unwrap();
    assert_eq!(proxied.server.read(NAME), Some(bytes));
    assert_eq!(proxied.proxy.seen().len(), 1);
    assert_eq!(proxied.phases(), [Phase::Pending, Phase::Uploading, Phase::Completed]);
    assert!(proxied.state().is_none());
}

#[test]
fn a_large_file_goes_in_parts_with_the_checksum_of_each() {
    for checksums in [Checksums::Crc32, Checksums::Off] {
        let proxied = ProxiedServer::new();
        let bytes = noise(5 * PART + 5, 1);
        let what = proxied.file(NAME, &bytes);
        proxied.proxy.set_latency(Duration::from_millis(20));
        // Marks the requests that carry a checksum; the server compares them.
        proxied
            .proxy
            .rule(Rule::on("PUT", "").with_header("x-amz-checksum-crc32").then(Action::Latency(Duration::ZERO)));
        proxied.proxy.rule(
            Rule::on("POST", "uploads").with_header("x-amz-checksum-algorithm").then(Action::Latency(Duration::ZERO)),
        );
        run(async {
            let mut settings = settings(Some(&proxied.proxy.endpoint()));
            settings.checksums = checksums;
            let bucket = proxied.bucket_of(&settings, tuning()).await;
            upload_with(&bucket, &what, &proxied.states(), &proxied.control()).await.unwrap();
        });
        assert_eq!(proxied.server.read(NAME), Some(bytes));
        let marked = proxied.proxy.seen().iter().filter(|seen| seen.is_faulty).count();
        assert_eq!(marked, if checksums == Checksums::Crc32 { 7 } else { 0 }, "{checksums:?}");
        assert_eq!(part_requests(&proxied), 6);
        assert!((2..=4).contains(&proxied.proxy.peak()), "{} at once", proxied.proxy.peak());
        assert_eq!(proxied.phases(), [Phase::Pending, Phase::Uploading, Phase::Verifying, Phase::Completed]);
        assert_eq!(proxied.reports().last().unwrap().done, what.size);
        assert!(proxied.state().is_none());
        assert_eq!(proxied.server.open_uploads(), 0);
    }
}

#[test]
fn an_interrupted_upload_publishes_nothing_and_goes_on_where_it_was() {
    let proxied = ProxiedServer::new();
    let bytes = noise(5 * PART, 1);
    let what = proxied.file(NAME, &bytes);
    interrupted(&proxied, &what, 3);
    assert!(proxied.server.objects().is_empty());
    assert_eq!(proxied.phases(), [Phase::Pending, Phase::Uploading, Phase::Cancelled]);
    let state = proxied.state().expect("its state is kept");
    assert_eq!(state["parts"].as_object().unwrap().len(), 3);
    proxied.proxy.forget();
    upload(&proxied, &what).unwrap();
    assert_eq!(proxied.server.read(NAME), Some(bytes));
    assert_eq!(part_requests(&proxied), 2, "the rest");
    assert_eq!(proxied.proxy.count("POST", "uploads="), 0, "no new upload");
    assert!(proxied.state().is_none());
    assert_eq!(proxied.server.open_uploads(), 0);
}

#[test]
fn another_file_starts_over_and_the_old_upload_is_aborted() {
    let proxied = ProxiedServer::new();
    interrupted(&proxied, &proxied.file(NAME, &noise(3 * PART, 1)), 2);
    assert_eq!(proxied.server.open_uploads(), 1);
    proxied.proxy.forget();
    let bytes = noise(3 * PART, 2);
    upload(&proxied, &proxied.file(NAME, &bytes)).unwrap();
    assert_eq!(proxied.server.read(NAME), Some(bytes));
    assert_eq!(part_requests(&proxied), 3);
    assert_eq!(proxied.proxy.count("DELETE", "uploadId="), 1);
    assert_eq!(proxied.server.open_uploads(), 0);
}

#[test]
#[ignore = "slow"]
fn an_upload_that_the_server_forgot_starts_over() {
    for action in [
        Action::Error(404, "NoSuchUpload", "gone"),
        Action::Empty(404),
        Action::Error(403, "AccessDenied", "gone"),
        Action::Error(500, "InternalError", "gone"),
    ] {
        for at_the_end in [false, true] {
            let proxied = ProxiedServer::new();
            let bytes = noise(2 * PART, 1);
            let what = proxied.file(NAME, &bytes);
            interrupted(&proxied, &what, 1);
            let id = proxied.state().unwrap()["upload"].as_str().unwrap().to_owned();
            let method = if at_the_end { "POST" } else { "PUT" };
            proxied.proxy.rule(Rule::on(method, id).then(action.clone()));
            let sent = upload(&proxied, &what);
            assert!(sent.is_ok(), "{action:?} {at_the_end}: {sent:?}");
            assert_eq!(proxied.server.read(NAME).as_ref(), Some(&bytes), "{action:?} {at_the_end}");
            assert!(proxied.state().is_none());
        }
    }
}

#[test]
fn a_damaged_state_is_none() {
    let proxied = ProxiedServer::new();
    let bytes = noise(2 * PART, 1);
    let what = proxied.file(NAME, &bytes);
    interrupted(&proxied, &what, 1);
    for entry in std::fs::read_dir(proxied.states()).unwrap() {
        std::fs::write(entry.unwrap().path(), b"{\"v\":1,").unwrap();
    }
    proxied.proxy.forget();
    upload(&proxied, &what).unwrap();
    assert_eq!(proxied.server.read(NAME), Some(bytes));
    assert_eq!(part_requests(&proxied), 2);
}

#[test]
fn a_part_that_fails_is_sent_again_and_wrong_bytes_are_noticed() {
    let proxied = ProxiedServer::new();
    let bytes = noise(4 * PART, 1);
    proxied.proxy.rule(Rule::on("PUT", "partNumber=").every(3).then(Action::Error(503, "SlowDown", "please")));
    proxied.proxy.rule(Rule::on("PUT", "partNumber=2&").first(1).then(Action::CloseUploadAfter(1000)));
    proxied.proxy.rule(Rule::on("PUT", "partNumber=4&").first(1).then(Action::LoseAnswer));
    upload(&proxied, &proxied.file(NAME, &bytes)).unwrap();
    assert_eq!(proxied.server.read(NAME), Some(bytes));
    assert!(part_requests(&proxied) >= 7);
}

#[test]
fn a_lost_last_answer_is_no_failure() {
    let proxied = ProxiedServer::new();
    let bytes = noise(2 * PART, 1);
    proxied.proxy.rule(Rule::on("POST", "uploadId=").first(1).then(Action::LoseAnswer));
    upload(&proxied, &proxied.file(NAME, &bytes)).unwrap();
    assert_eq!(proxied.server.read(NAME), Some(bytes));
}

#[test]
fn two_at_once_send_it_once() {
    let proxied = Arc::new(ProxiedServer::new());
    let bytes = noise(3 * PART, 1);
    let what = proxied.file(NAME, &bytes);
    proxied.proxy.set_latency(Duration::from_millis(30));
    run(async {
        let (one, other) = (proxied.bucket_with(numbers).await, proxied.bucket_with(numbers).await);
        let (control, states) = (proxied.control(), proxied.states());
        let (first, second) =
            tokio::join!(upload_with(&one, &what, &states, &control), upload_with(&other, &what, &states, &control));
        first.unwrap();
        second.unwrap();
    });
    assert_eq!(proxied.server.read(NAME), Some(bytes));
    assert_eq!(part_requests(&proxied), 3);
    let ends = proxied.reports().iter().filter(|progress| progress.phase == Phase::Completed).count();
    assert_eq!(ends, 2);
}

#[test]
fn who_waited_long_enough_goes_alone() {
    let proxied = ProxiedServer::new();
    let bytes = noise(2 * PART, 1);
    let what = proxied.file(NAME, &bytes);
    interrupted(&proxied, &what, 1);
    let name = std::fs::read_dir(proxied.states()).unwrap().next().unwrap().unwrap().path();
    let _held = kache::fsx::lock::FileLock::try_acquire(&name.with_extension("lock")).unwrap().unwrap();
    proxied.proxy.forget();
    run(async {
        let bucket = proxied
            .bucket_with(|tuning| {
                numbers(tuning);
                tuning.wait_for_other = Duration::from_millis(300);
            })
            .await;
        upload_with(&bucket, &what, &proxied.states(), &proxied.control()).await.unwrap();
    });
    assert_eq!(proxied.server.read(NAME), Some(bytes));
    assert_eq!(part_requests(&proxied), 2, "a separate upload");
    assert!(proxied.state().is_some(), "the holder's state is the holder's");
}

#[test]
fn uploads_that_nobody_will_finish_are_aborted_after_three_days() {
    let proxied = ProxiedServer::new();
    interrupted(&proxied, &proxied.file(NAME, &noise(2 * PART, 1)), 1);
    let day = Duration::from_hours(24);
    run(async {
        let bucket = proxied.bucket_with(numbers).await;
        let sweep =
            async |days| abort_old_uploads(&bucket, &proxied.states(), SystemTime::now() + days * day).await.unwrap();
        assert_eq!(sweep(2).await, 0);
        assert_eq!((proxied.server.open_uploads(), proxied.state().is_some()), (1, true));
        let mut other = settings(Some(&proxied.proxy.endpoint()));
        other.bucket = "another".to_owned();
        let other = proxied.bucket_of(&other, tuning()).await;
        assert_eq!(
            abort_old_uploads(&other, &proxied.states(), SystemTime::now() + 4 * day).await.unwrap(),
            0,
            "not its own"
        );
        assert_eq!(sweep(4).await, 1);
        assert_eq!((proxied.server.open_uploads(), proxied.state().is_some()), (0, false));
        assert_eq!(sweep(4).await, 0);
    });
}

#[test]
fn a_file_that_is_not_what_was_said_is_never_sent() {
    for len in [1000, 2 * PART + 1] {
        let proxied = ProxiedServer::new();
        let what = proxied.file(NAME, &noise(len, 1));
        for bytes in [noise(len, 2), noise(len + 1, 1), noise(len - 1, 1)] {
            std::fs::write(&what.path, bytes).unwrap();
            let sent = upload(&proxied, &what);
            assert!(matches!(sent, Err(RemoteError::Digest { .. })), "{sent:?}");
        }
        assert!(proxied.proxy.seen().is_empty() && proxied.server.objects().is_empty());
    }
}

#[test]
fn a_denial_is_an_error_at_once_and_keeps_the_state() {
    let proxied = ProxiedServer::new();
    let what = proxied.file(NAME, &noise(3 * PART, 1));
    proxied.server.set_frozen(true);
    let sent = upload(&proxied, &what);
    assert!(matches!(sent, Err(RemoteError::Denied { status: 403, .. })), "{sent:?}");
    assert_eq!(proxied.proxy.seen().len(), 1);
    assert_eq!(proxied.phases(), [Phase::Pending, Phase::Uploading, Phase::Failed]);
    proxied.server.set_frozen(false);
    proxied.proxy.rule(Rule::on("PUT", "partNumber=3&").then(Action::Error(403, "AccessDenied", "no")));
    assert!(matches!(upload(&proxied, &what), Err(RemoteError::Denied { .. })));
    assert!(proxied.state().is_some());
    proxied.proxy.heal();
    upload(&proxied, &what).unwrap();
    assert!(proxied.state().is_none());
}
