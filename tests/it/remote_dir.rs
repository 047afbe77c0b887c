//! A directory as the remote: what is written and read, and what kache refuses to do there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use kache::model::Digest;
use kache::remote::objects::ByteRange;
use kache::remote::{Control, Download, Phase, RemoteError};
use tokio_util::sync::CancellationToken;

use crate::remote_layers::{Machines, dir_table};
use crate::remote_push_pull::{ALONE, SMALL, assert_reports};
use crate::support::entries;
use crate::support::files_under;
use crate::support::remote::{declared, noise, run};
use crate::support::stores::{dir, fetch, listed, send, upload};

#[test]
fn what_one_machine_pushes_into_a_directory_another_one_pulls() {
    let mut machines = Machines::new();
    let shared = machines.dir("shared");
    machines.configure(&dir_table(&shared));
    entries::fill(&machines.one.cache_dir(), 5, ALONE);
    assert_reports(&machines.one.kache(&["push"]).must_succeed(), "pushed 5 entries");
    assert_reports(&machines.one.kache(&["push"]).must_succeed(), "pushed 0 entries");
    assert_reports(&machines.two.kache(&["pull", "--all"]).must_succeed(), "pulled 5 entries");
    machines.two.assert_store_whole();
    let temps = files_under(&shared).iter().filter(|path| path.to_string_lossy().contains(".kache-tmp-")).count();
    assert_eq!((files_under(&shared).len(), temps), (10, 0));
    // A damaged pack is refused, and the next push replaces it.
    let pack = files_under(&shared.join("v2/packs/c3")).remove(0);
    fs::write(&pack, noise(fs::read(&pack).unwrap().len(), 1)).unwrap();
    let three = machines.one.other_machine("three");
    let pulled = three.kache(&["pull", "--all"]);
    assert_reports(&pulled, "pulled 4 entries");
    assert_reports(&pulled, "1 refused");
    // Control: another directory has nothing.
    let other = machines.dir("other");
    machines.configure(&dir_table(&other));
    let four = machines.one.other_machine("four");
    assert_reports(&four.kache(&["pull", "--all"]).must_succeed(), "pulled 0 entries");
}

#[test]
fn r12_a_directory_that_is_not_mounted_is_never_created() {
    let mut machines = Machines::new();
    let shared = machines.dir("shared");
    fs::remove_dir(&shared).unwrap();
    machines.configure(&dir_table(&shared));
    entries::fill(&machines.one.cache_dir(), 1, SMALL);
    for args in [&["push"][..], &["pull", "--all"], &["doctor", "--remote"]] {
        let run = machines.one.kache(args);
        assert_ne!(run.code, 0, "{args:?}");
        assert_reports(&run, "the directory does not exist");
        assert!(!shared.exists(), "{args:?}");
    }
    fs::create_dir(&shared).unwrap();
    assert_reports(&machines.one.kache(&["push"]).must_succeed(), "pushed 1 entry");
    machines.one.kache(&["doctor", "--remote"]).must_succeed();
}

#[test]
fn objects_are_files_below_the_root() {
    let temp = tempfile::tempdir().unwrap();
    let store = dir(temp.path());
    run(async {
        assert_eq!(store.get("v1/a/b", 10).await.unwrap(), None);
        assert_eq!(store.head("v1/a/b").await.unwrap(), None);
        store.put("v1/a/b", b"12345".to_vec()).await.unwrap();
        assert_eq!(fs::read(temp.path().join("v1/a/b")).unwrap(), b"12345");
        assert_eq!(store.get("v1/a/b", 5).await.unwrap().as_deref(), Some(&b"12345"[..]));
        let limit = store.get("v1/a/b", 4).await.unwrap_err();
        assert!(matches!(limit, RemoteError::Size { declared: 4, actual: 5, .. }), "{limit}");
        let range = |first, length| store.get_range("v1/a/b", ByteRange { first, length });
        assert_eq!(range(1, 3).await.unwrap().as_deref(), Some(&b"234"[..]));
        assert!(matches!(range(3, 3).await, Err(RemoteError::Size { declared: 3, actual: 2, .. })));
        let head = store.head("v1/a/b").await.unwrap().unwrap();
        let age = SystemTime::now().duration_since(head.modified.unwrap()).unwrap_or_default();
        assert!(head.size == 5 && age < Duration::from_mins(5), "{head:?}");
        store.put("v1/a/b", b"other".to_vec()).await.unwrap();
        assert_eq!(store.get("v1/a/b", 5).await.unwrap().as_deref(), Some(&b"other"[..]), "replaced");
        assert_eq!(store.get("v1/a", 5).await.unwrap(), None, "a directory is not an object");
        store.delete("v1/a/b").await.unwrap();
        store.delete("v1/a/b").await.unwrap();
        assert_eq!(store.head("v1/a/b").await.unwrap(), None);
    });
}

#[test]
fn r05_listings_are_sorted_and_leave_out_what_is_no_object() {
    let temp = tempfile::tempdir().unwrap();
    let store = dir(temp.path());
    run(async {
        assert_eq!(listed(&store, "v1/").await.unwrap(), [""; 0]);
        let mut names: Vec<String> = (0..1500).map(|number| format!("v1/m/{:02}/{number}", number % 17)).collect();
        names.sort();
        for name in names.iter().map(String::as_str).chain(["v1/other", "v1/m-too", "v2/m/00/1"]) {
            let path = temp.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        fs::write(temp.path().join("v1/m/.kache-tmp-1"), "half of an object").unwrap();
        symlink(temp.path().join("v1/other"), temp.path().join("v1/m/link")).unwrap();
        symlink("/etc", temp.path().join("v1/m/out")).unwrap();
        assert_eq!(listed(&store, "v1/m/").await.unwrap(), names);
        let mut pages = store.list("v1/m/");
        assert_eq!(pages.next_page().await.unwrap().unwrap().len(), 1000);
        assert_eq!(
            listed(&store, "v1/m/03/1").await.unwrap().len(),
            names.iter().filter(|n| n.contains("/03/1")).count()
        );
        assert_eq!(listed(&store, "v1/m").await.unwrap().len(), 1501, "a prefix is not a directory");
        let first = store.list("v1/m/").all().await.unwrap().remove(0);
        assert!(first.size == first.name.len() as u64 && first.modified.is_some(), "{first:?}");
        for odd in ["../", "v1/../../", "/etc/", "v1//"] {
            assert_eq!(listed(&store, odd).await.unwrap(), [""; 0], "{odd}");
        }
    });
}

#[test]
fn r05_nothing_leads_out_of_the_root() {
    let temp = tempfile::tempdir().unwrap();
    let (root, outside) = (temp.path().join("root"), temp.path().join("outside"));
    for path in [&root, &outside] {
        fs::create_dir(path).unwrap();
    }
    fs::write(outside.join("secret"), "x").unwrap();
    fs::create_dir(root.join("inside")).unwrap();
    symlink(&outside, root.join("out")).unwrap();
    symlink(outside.join("secret"), root.join("secret")).unwrap();
    symlink("inside", root.join("in")).unwrap();
    let store = dir(&root);
    run(async {
        for name in ["../outside/secret", "/etc/passwd", "a/../../outside/secret", "a//b", "", "a/"] {
            assert!(store.get(name, 10).await.is_err(), "{name}");
            assert!(store.put(name, b"y".to_vec()).await.is_err() && store.delete(name).await.is_err(), "{name}");
        }
        for name in ["out/secret", "out/new", "out/new/deep", "secret"] {
            let error = store.get(name, 10).await.unwrap_err().to_string();
            assert!(error.contains("leads out"), "{error}");
            assert!(store.put(name, b"y".to_vec()).await.is_err() && store.delete(name).await.is_err(), "{name}");
        }
        store.put("in/object", b"y".to_vec()).await.expect("control: a link within the root");
        assert!(store.get("inside/object", 10).await.unwrap().is_some());
    });
    assert_eq!(files_under(&outside).len(), 1);
}

fn of(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_default()
}

#[test]
fn r06_transfers_check_bytes_and_leave_no_halves() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("root");
    fs::create_dir(&root).unwrap();
    let (store, to, control) = (dir(&root), temp.path().join("inbox/object"), Control::default());
    let bytes = noise(3_000_000, 7);
    run(async {
        let absent = declared("v1/pack", &bytes);
        assert_eq!(fetch(&store, &absent, &to, &control).await.unwrap(), None);
        let file = upload(temp.path(), "v1/pack", &bytes);
        send(&store, &file, &control).await.unwrap();
        assert_eq!(of(&root.join("v1/pack")), bytes);
        assert_eq!(fetch(&store, &absent, &to, &control).await.unwrap().as_ref(), Some(&bytes));
        let wrong_size = Download { size: Some(5), ..absent.clone() };
        assert!(matches!(fetch(&store, &wrong_size, &to, &control).await, Err(RemoteError::Size { .. })));
        let wrong_digest = Download { digest: Some(Digest::of(b"x")), ..absent.clone() };
        assert!(matches!(fetch(&store, &wrong_digest, &to, &control).await, Err(RemoteError::Digest { .. })));
        // A file that has changed since it was described is not uploaded.
        fs::write(&file.path, noise(3_000_000, 8)).unwrap();
        let changed = kache::remote::Upload { name: "v1/changed".into(), ..file.clone() };
        assert!(matches!(send(&store, &changed, &control).await, Err(RemoteError::Digest { .. })));
        assert_eq!(files_under(&root), [root.join("v1/pack")]);
    });
}

#[test]
fn r09_a_cancelled_transfer_ends_and_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("root");
    fs::create_dir(&root).unwrap();
    let (store, to) = (dir(&root), temp.path().join("object"));
    let bytes = noise(20_000_000, 9);
    run(async {
        let file = upload(temp.path(), "v1/pack", &bytes);
        // The first report of bytes cancels the transfer.
        let cancel = CancellationToken::new();
        let on_bytes = cancel.clone();
        let report = move |progress: &kache::remote::TransferProgress| {
            if progress.done > 0 && progress.phase == Phase::Uploading {
                on_bytes.cancel();
            }
        };
        let control = Control::new(Some(std::sync::Arc::new(report)), cancel, None);
        assert!(matches!(send(&store, &file, &control).await, Err(RemoteError::Cancelled { .. })));
        let late = Control::default().until(std::time::Instant::now());
        assert!(matches!(send(&store, &file, &late).await, Err(RemoteError::TimedOut { .. })));
        assert_eq!(listed(&store, "v1/").await.unwrap(), [""; 0]);
        send(&store, &file, &Control::default()).await.expect("control");
        let stopped = fetch(&store, &declared("v1/pack", &bytes), &to, &control).await;
        assert!(matches!(stopped, Err(RemoteError::Cancelled { .. })) && !to.exists());
    });
}
