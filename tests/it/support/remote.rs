//! A bucket to move objects in and out of: a server, a proxy that gets things wrong in front of it, and a client of kache's.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kache::config::{Checksums, Env, Remote, Secret};
use kache::model::Digest;
use kache::remote::retry::{Backoff, Limits};
use kache::remote::{Bucket, Cancel, Control, Download, Phase, RemoteError, Step, Tuning, Upload};

use super::faults::FaultProxy;
use super::s3_server::{BUCKET, S3Server, WRITER};

/// Bytes of a part in these tests.
pub(crate) const PART: usize = 256 * 1024;

/// Small numbers, so that every way is walked in little time.
pub(crate) fn tuning() -> Tuning {
    Tuning {
        connect: Duration::from_secs(5),
        answer: Duration::from_secs(5),
        stall: Duration::from_secs(2),
        backoff: Backoff { base: Duration::from_millis(10), cap: Duration::from_millis(50), attempts: 4 },
        // No test but those of the breaker opens it.
        breaker: Limits {
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

/// Settings of a remote at `endpoint`.
pub(crate) fn settings(endpoint: Option<&str>) -> Remote {
    Remote {
        bucket: BUCKET.to_owned(),
        region: None,
        endpoint: endpoint.map(str::to_owned),
        prefix: String::new(),
        profile: None,
        keys: Some((WRITER.0.to_owned(), Secret::new(WRITER.1))),
        read_only: false,
        level: 3,
        checksums: Checksums::Crc32,
        signing_key: None,
        trusted_keys: Vec::new(),
        agent_idle: Duration::from_mins(1),
    }
}

/// Runs `work` to its end, or panics when it does not come.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let timed = async { tokio::time::timeout(Duration::from_mins(2), work).await };
    runtime.block_on(timed).expect("it hangs")
}

/// Bytes that look like nothing in particular; others for each `seed`.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A server, a proxy, and a place for files.
pub(crate) struct Line {
    pub(crate) server: S3Server,
    pub(crate) proxy: FaultProxy,
    pub(crate) dir: tempfile::TempDir,
    steps: Arc<Mutex<Vec<Step>>>,
}

impl Line {
    pub(crate) fn new() -> Self {
        let server = S3Server::start();
        let proxy = FaultProxy::start(server.address());
        Self { server, proxy, dir: tempfile::tempdir().unwrap(), steps: Arc::default() }
    }

    /// A client that goes through the proxy.
    pub(crate) async fn bucket(&self) -> Bucket {
        self.bucket_with(|_| {}).await
    }

    /// The same with other numbers.
    pub(crate) async fn bucket_with(&self, change: impl FnOnce(&mut Tuning)) -> Bucket {
        let mut tuning = tuning();
        change(&mut tuning);
        self.bucket_of(&settings(Some(&self.proxy.endpoint())), tuning).await
    }

    /// The same with other settings.
    pub(crate) async fn bucket_of(&self, settings: &Remote, tuning: Tuning) -> Bucket {
        Bucket::connect_tuned(settings, &Env::of::<&str, &str>([]), tuning).await.unwrap()
    }

    /// Where downloads go.
    pub(crate) fn to(&self) -> PathBuf {
        self.dir.path().join("inbox/object")
    }

    /// Where states of uploads go.
    pub(crate) fn states(&self) -> PathBuf {
        self.dir.path().join("states")
    }

    /// The one state of an upload that is kept; `None`: none.
    pub(crate) fn state(&self) -> Option<serde_json::Value> {
        let list = std::fs::read_dir(self.states()).ok()?;
        let path =
            list.map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some_and(|end| end == "json"))?;
        Some(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
    }

    /// A file to upload, and what to say of it.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> Upload {
        let path = self.dir.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        Upload {
            name: name.to_owned(),
            label: String::new(),
            path,
            size: bytes.len() as u64,
            digest: Digest::of(bytes),
        }
    }

    /// A control that writes down all steps.
    pub(crate) fn control(&self) -> Control {
        self.control_with(|_| {})
    }

    /// The same, and something more to do at each step.
    pub(crate) fn control_with(&self, more: impl Fn(&Step) + Send + Sync + 'static) -> Control {
        self.control_of(Cancel::default(), more)
    }

    /// The same, stopped by `cancel`.
    pub(crate) fn control_of(&self, cancel: Cancel, more: impl Fn(&Step) + Send + Sync + 'static) -> Control {
        let steps = Arc::clone(&self.steps);
        let callback = move |step: &Step| {
            steps.lock().unwrap().push(step.clone());
            more(step);
        };
        Control::new(Some(Arc::new(callback)), cancel, None)
    }

    /// All steps so far.
    pub(crate) fn steps(&self) -> Vec<Step> {
        self.steps.lock().unwrap().clone()
    }

    /// The phases of all steps so far, without repetitions.
    pub(crate) fn phases(&self) -> Vec<Phase> {
        let mut phases: Vec<_> = self.steps().iter().map(|step| step.phase).collect();
        phases.dedup();
        phases
    }

    /// Downloads `what`: the bytes, `None` if there are none.
    pub(crate) async fn fetch(&self, bucket: &Bucket, what: &Download) -> Result<Option<Vec<u8>>, RemoteError> {
        let size = bucket.download(what, &self.to(), &self.control()).await;
        let bytes = std::fs::read(self.to()).ok();
        match size {
            Ok(Some(size)) => assert_eq!(bytes.as_ref().map(|bytes| bytes.len() as u64), Some(size)),
            _ => assert!(bytes.is_none(), "a file is left behind"),
        }
        size.map(|_| bytes)
    }
}

/// A declared object.
pub(crate) fn declared(name: &str, bytes: &[u8]) -> Download {
    let digest = Some(Digest::of(bytes));
    Download { name: name.to_owned(), label: String::new(), size: Some(bytes.len() as u64), digest }
}
