//! The fixture of transfer tests: a server, a fault proxy in front of it, and kache's bucket client.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kache::config::remote::DEFAULT_PART_SIZE;
use kache::config::{Checksums, Env, LayerSettings, PlaceSettings, RemoteSettings, S3Settings, Secret};
use kache::fsx::FinishedFile;
use kache::model::Digest;
use kache::remote::s3::retry::{Backoff, BreakerLimits};
use kache::remote::{
    Bucket, Control, Download, Phase, RemoteError, TransferProgress, Tuning, Upload, download_file, upload_file,
};
use tokio_util::sync::CancellationToken;

use super::faults::FaultProxy;
use super::s3_server::{BUCKET, S3Server, WRITER};

/// Size of a part in these tests, in bytes.
pub(crate) const PART: usize = 256 * 1024;

/// Returns small limits, so that tests reach every path quickly.
pub(crate) fn tuning() -> Tuning {
    Tuning {
        connect: Duration::from_secs(5),
        answer: Duration::from_secs(5),
        stall: Duration::from_secs(2),
        backoff: Backoff { base: Duration::from_millis(10), cap: Duration::from_millis(50), attempts: 4 },
        // Only the tests of the breaker, which set other limits, open it.
        breaker: BreakerLimits {
            failures: 1_000_000,
            over: Duration::ZERO,
            open: Duration::ZERO,
            open_at_most: Duration::ZERO,
        },
        parts_from: 2 * PART as u64,
        part_size: PART as u64,
        slow_after: Duration::from_secs(1),
        ..Tuning::default()
    }
}

/// Returns the settings of the bucket at `endpoint`.
pub(crate) fn settings(endpoint: Option<&str>) -> S3Settings {
    S3Settings {
        bucket: BUCKET.to_owned(),
        region: None,
        endpoint: endpoint.map(str::to_owned),
        prefix: String::new(),
        profile: None,
        keys: Some((WRITER.0.to_owned(), Secret::new(WRITER.1))),
        checksums: Checksums::Crc32,
    }
}

/// Returns the settings of a remote with these layers, which trusts anyone.
pub(crate) fn remote_of(places: impl IntoIterator<Item = PlaceSettings>) -> RemoteSettings {
    let layer = |place| LayerSettings { place, read_only: false, trusted_keys: Vec::new() };
    RemoteSettings {
        layers: places.into_iter().map(layer).collect(),
        read_only: false,
        level: 3,
        connections: Tuning::default().connections,
        part_size: DEFAULT_PART_SIZE,
        signing_key: None,
        agent_idle: Duration::from_mins(1),
    }
}

/// Runs `work` to its end. Panics if that takes longer than two minutes.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let timed = async { tokio::time::timeout(Duration::from_mins(2), work).await };
    runtime.block_on(timed).expect("it hangs")
}

/// Returns pseudo-random bytes, which are different for each `seed`.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A server, a proxy in front of it, and a directory for files. Records the reports of transfers.
pub(crate) struct ProxiedServer {
    pub(crate) server: S3Server,
    pub(crate) proxy: FaultProxy,
    pub(crate) dir: tempfile::TempDir,
    reports: Arc<Mutex<Vec<TransferProgress>>>,
}

impl ProxiedServer {
    pub(crate) fn new() -> Self {
        let server = S3Server::start();
        let proxy = FaultProxy::start(server.address());
        Self { server, proxy, dir: tempfile::tempdir().unwrap(), reports: Arc::default() }
    }

    /// Returns a client that goes through the proxy.
    pub(crate) async fn bucket(&self) -> Bucket {
        self.bucket_with(|_| {}).await
    }

    /// Like [`Self::bucket`], with changes to [`tuning`].
    pub(crate) async fn bucket_with(&self, change: impl FnOnce(&mut Tuning)) -> Bucket {
        let mut tuning = tuning();
        change(&mut tuning);
        self.bucket_of(&settings(Some(&self.proxy.endpoint())), tuning).await
    }

    /// Like [`Self::bucket`], with other settings and another tuning.
    pub(crate) async fn bucket_of(&self, settings: &S3Settings, tuning: Tuning) -> Bucket {
        Bucket::connect_tuned(settings, &Env::of::<&str, &str>([]), tuning).await.unwrap()
    }

    /// Returns the path that downloads are written to.
    pub(crate) fn to(&self) -> PathBuf {
        self.dir.path().join("inbox/object")
    }

    /// Returns the directory for the states of uploads.
    pub(crate) fn states(&self) -> PathBuf {
        self.dir.path().join("states")
    }

    /// Reads the only state of an upload; `None`: there is none.
    pub(crate) fn state(&self) -> Option<serde_json::Value> {
        let list = std::fs::read_dir(self.states()).ok()?;
        let path =
            list.map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some_and(|end| end == "json"))?;
        Some(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
    }

    /// Writes a file, and describes its upload.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> Upload {
        let path = self.dir.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        Upload { name: name.to_owned(), path, size: bytes.len() as u64, digest: Digest::of(bytes) }
    }

    /// Returns a control that records all reports.
    pub(crate) fn control(&self) -> Control {
        self.control_with(|_| {})
    }

    /// Like [`Self::control`], and calls `more` at each report.
    pub(crate) fn control_with(&self, more: impl Fn(&TransferProgress) + Send + Sync + 'static) -> Control {
        self.control_of(CancellationToken::new(), more)
    }

    /// Like [`Self::control_with`], and `cancel` stops the transfer.
    pub(crate) fn control_of(
        &self,
        cancel: CancellationToken,
        more: impl Fn(&TransferProgress) + Send + Sync + 'static,
    ) -> Control {
        let reports = Arc::clone(&self.reports);
        let callback = move |progress: &TransferProgress| {
            reports.lock().unwrap().push(progress.clone());
            more(progress);
        };
        Control::new(Some(Arc::new(callback)), cancel, None)
    }

    /// Returns all reports so far.
    pub(crate) fn reports(&self) -> Vec<TransferProgress> {
        self.reports.lock().unwrap().clone()
    }

    /// Returns the phases of all reports so far, without repetitions.
    pub(crate) fn phases(&self) -> Vec<Phase> {
        let mut phases: Vec<_> = self.reports().iter().map(|progress| progress.phase).collect();
        phases.dedup();
        phases
    }

    /// Downloads `what`. Returns its bytes; `None`: the object does not exist. Asserts that a file remains only after a
    /// success.
    pub(crate) async fn fetch(&self, bucket: &Bucket, what: &Download) -> Result<Option<Vec<u8>>, RemoteError> {
        let _ = std::fs::remove_file(self.to());
        let size = download_with(bucket, what, &self.to(), &self.control()).await;
        let bytes = std::fs::read(self.to()).ok();
        match size {
            Ok(Some(size)) => assert_eq!(bytes.as_ref().map(|bytes| bytes.len() as u64), Some(size)),
            _ => assert!(bytes.is_none(), "a file is left behind"),
        }
        size.map(|_| bytes)
    }
}

/// Describes the download of an object whose size and digest are declared.
pub(crate) fn declared(name: &str, bytes: &[u8]) -> Download {
    let digest = Some(Digest::of(bytes));
    Download { name: name.to_owned(), size: Some(bytes.len() as u64), digest }
}

/// Downloads an object into `to`, as a transfer of `control`.
pub(crate) async fn download_with(
    bucket: &Bucket,
    object: &Download,
    to: &Path,
    control: &Control,
) -> Result<Option<u64>, RemoteError> {
    let transfer = control.begin(&object.name, object.size);
    let committed = |file: FinishedFile| file.commit().map(|published| published.size);
    let result = match download_file(bucket, object, to, &transfer).await {
        Ok(Some(file)) => committed(file).map(Some).map_err(RemoteError::from),
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    };
    transfer.end(&result);
    result
}

/// Uploads a file, as a transfer of `control`.
pub(crate) async fn upload_with(
    bucket: &Bucket,
    upload: &Upload,
    states: &Path,
    control: &Control,
) -> Result<(), RemoteError> {
    let transfer = control.begin(&upload.name, Some(upload.size));
    let result = upload_file(bucket, upload, states, &transfer).await;
    transfer.end(&result);
    result
}
