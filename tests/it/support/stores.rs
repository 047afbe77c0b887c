//! What tests of all kinds of object stores need: short limits, transfers, and the index objects of a directory.

use std::path::{Path, PathBuf};

use kache::config::Env;
use kache::fsx::FinishedFile;
use kache::model::Digest;
use kache::remote::objects::{DirObjects, HttpObjects, ObjectStore, index};
use kache::remote::{Control, Download, RemoteError, Tuning, Upload};

use super::remote::tuning;

/// Returns an environment without variables.
pub(crate) fn no_variables() -> Env {
    Env::of::<&str, &str>([])
}

/// Returns the objects in a directory.
pub(crate) fn dir(root: &Path) -> ObjectStore {
    ObjectStore::Dir(DirObjects::new(root))
}

/// Returns the objects below a URL, with short limits.
pub(crate) fn http(url: &str) -> ObjectStore {
    http_with(url, |_| {})
}

/// Like [`http`], with changes to the limits.
pub(crate) fn http_with(url: &str, change: impl FnOnce(&mut Tuning)) -> ObjectStore {
    let mut tuning = tuning();
    change(&mut tuning);
    ObjectStore::Http(HttpObjects::tuned(url, &no_variables(), tuning).expect("a client"))
}

/// Writes a file below `dir`, and describes its upload.
pub(crate) fn upload(dir: &Path, name: &str, bytes: &[u8]) -> Upload {
    let path = dir.join("file-to-upload");
    std::fs::write(&path, bytes).expect("write");
    Upload { name: name.to_owned(), path, size: bytes.len() as u64, digest: Digest::of(bytes) }
}

/// Uploads a file.
pub(crate) async fn send(store: &ObjectStore, upload: &Upload, control: &Control) -> Result<(), RemoteError> {
    let transfer = control.begin(&upload.name, Some(upload.size));
    let states: PathBuf = upload.path.with_file_name("states");
    let sent = Box::pin(store.upload_file(upload, &states, &transfer)).await;
    transfer.end(&sent);
    sent
}

/// Downloads an object into memory and into the file `to`, which must give the same.
pub(crate) async fn fetch(
    store: &ObjectStore,
    object: &Download,
    to: &Path,
    control: &Control,
) -> Result<Option<Vec<u8>>, RemoteError> {
    let transfer = control.begin(&object.name, object.size);
    let _ = std::fs::remove_file(to);
    let downloaded = store.download_file(object, to, &transfer).await;
    let size = downloaded.and_then(|file| Ok(file.map(FinishedFile::commit).transpose()?.map(|file| file.size)));
    transfer.end(&size);
    let file = std::fs::read(to).ok();
    assert_eq!(size.as_ref().ok().copied().flatten(), file.as_ref().map(|bytes| bytes.len() as u64), "{size:?}");
    let transfer = control.begin(&object.name, object.size);
    let bytes = store.download_bytes(object, &transfer).await;
    transfer.end(&bytes);
    size?;
    let bytes = bytes?;
    assert!(bytes == file, "a file and memory differ");
    Ok(bytes)
}

/// Writes the index of a prefix into a directory.
pub(crate) async fn write_index(root: &Path, prefix: &str) {
    let store = dir(root);
    let objects = store.list(prefix).all().await.expect("a listing");
    store.put(&index::name(prefix), index::encode(prefix, &objects)).await.expect("an index");
}

/// Returns the names of all objects whose names begin with `prefix`.
pub(crate) async fn listed(store: &ObjectStore, prefix: &str) -> Result<Vec<String>, RemoteError> {
    Ok(store.list(prefix).all().await?.into_iter().map(|object| object.name).collect())
}
