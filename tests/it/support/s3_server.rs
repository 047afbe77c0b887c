//! An S3 server for a single test: s3s-fs on a free port of this machine, with one bucket and its files in a temporary
//! directory.
//!
//! It checks signatures, checksums and parts as S3 does. It has its own thread and its own runtime, so that tests do
//! not need one, and stops when the value is dropped. Its access hook adds features that s3s-fs lacks (a page size,
//! keys that may only read). It does not depend on kache: benches include this file, too.
#![allow(dead_code, reason = "a toolbox: each binary that includes it uses its part")]

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread::JoinHandle;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::dto::{GetObjectInput, ListObjectsV2Input};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Request, S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::sync::oneshot;

/// Name of the only bucket.
pub(crate) const BUCKET: &str = "kache-bucket";

/// Access key and secret of a user who may read and write.
pub(crate) const WRITER: (&str, &str) = ("AKIAWRITER", "the-secret-of-the-writer");

/// Access key and secret of a user who may only list and read. The server answers other requests of this user with 403.
pub(crate) const READER: (&str, &str) = ("AKIAREADER", "the-secret-of-the-reader");

/// Header in which the fault proxy names a header that the server is to ignore. The proxy cannot remove a header from a
/// signed request.
const OVERLOOK: &str = "x-test-overlook";

/// Settings that a test can change while the server runs.
#[derive(Default)]
struct Switches {
    page_size: AtomicI32,
    frozen: AtomicBool,
}

struct Access(Arc<Switches>);

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(credentials) = context.credentials() else {
            return Err(s3_error!(AccessDenied, "Signature is required"));
        };
        let is_reader = credentials.access_key == READER.0 || self.0.frozen.load(Ordering::Relaxed);
        if is_reader && !matches!(context.method().as_str(), "GET" | "HEAD") {
            return Err(s3_error!(AccessDenied, "You may only read"));
        }
        Ok(())
    }

    async fn get_object(&self, request: &mut S3Request<GetObjectInput>) -> S3Result<()> {
        let overlooked = |name: &str| {
            let told = request.headers.get_all(OVERLOOK);
            told.iter().any(|value| value.as_bytes() == name.as_bytes())
        };
        if overlooked("range") {
            request.input.range = None;
        }
        Ok(())
    }

    async fn list_objects_v2(&self, request: &mut S3Request<ListObjectsV2Input>) -> S3Result<()> {
        let size = self.0.page_size.load(Ordering::Relaxed);
        if size > 0 {
            request.input.max_keys = Some(size);
        }
        Ok(())
    }
}

/// A running server, which stops when it is dropped.
pub(crate) struct S3Server {
    address: SocketAddr,
    root: tempfile::TempDir,
    switches: Arc<Switches>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl S3Server {
    /// Starts a server with an empty [`BUCKET`].
    pub(crate) fn start() -> Self {
        let root = tempfile::Builder::new().prefix("kache-s3-").tempdir().expect("directory of the server");
        fs::create_dir(root.path().join(BUCKET)).expect("bucket");
        let switches = Arc::new(Switches::default());
        let service = service(root.path(), Arc::clone(&switches));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("address");
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || serve(listener, &service, stopped));
        Self { address, root, switches, stop: Some(stop), thread: Some(thread) }
    }

    /// Returns the address that the server listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns a value for `KACHE_S3_ENDPOINT`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Limits the pages of listings to this many keys (0: as many as the client requests).
    pub(crate) fn set_page_size(&self, keys: i32) {
        self.switches.page_size.store(keys, Ordering::Relaxed);
    }

    /// Denies all writes (403), or allows them again.
    pub(crate) fn set_frozen(&self, frozen: bool) {
        self.switches.frozen.store(frozen, Ordering::Relaxed);
    }

    /// Returns the settings of a remote on this server, reached through `endpoint`.
    pub(crate) fn variables(endpoint: &str, (access, secret): (&str, &str)) -> Vec<(&'static str, String)> {
        vec![
            ("KACHE_S3_BUCKET", BUCKET.to_owned()),
            ("KACHE_S3_ENDPOINT", endpoint.to_owned()),
            ("KACHE_S3_REGION", "us-east-1".to_owned()),
            ("KACHE_S3_ACCESS_KEY", access.to_owned()),
            ("KACHE_S3_SECRET_KEY", secret.to_owned()),
        ]
    }

    /// Returns the names of all objects, sorted, read from the server's disk.
    pub(crate) fn objects(&self) -> Vec<String> {
        let bucket = self.bucket();
        let mut names = Vec::new();
        let mut open = vec![bucket.clone()];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(&dir).expect("list the bucket") {
                let path = entry.expect("entry").path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    names.push(path.strip_prefix(&bucket).expect("below").to_str().expect("text").to_owned());
                }
            }
        }
        names.sort();
        names
    }

    /// Returns the names of all objects that contain `part`.
    pub(crate) fn objects_with(&self, part: &str) -> Vec<String> {
        self.objects().into_iter().filter(|name| name.contains(part)).collect()
    }

    /// Returns the bytes of an object; `None`: it does not exist.
    pub(crate) fn read(&self, name: &str) -> Option<Vec<u8>> {
        match fs::read(self.bucket().join(name)) {
            Ok(bytes) => Some(bytes),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
            Err(error) => panic!("read {name}: {error}"),
        }
    }

    /// Writes an object as if somebody had uploaded it, and removes the metadata that the server has stored for an
    /// older one.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.bucket().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("parents");
        fs::write(path, bytes).expect("write the object");
        self.forget(name);
    }

    /// Makes the last write of an object look as if it had been at this time.
    pub(crate) fn set_modified(&self, name: &str, time: std::time::SystemTime) {
        let file = fs::File::options().write(true).open(self.bucket().join(name)).expect("the object");
        file.set_modified(time).expect("its time");
    }

    /// Removes an object. Returns whether it existed.
    pub(crate) fn remove(&self, name: &str) -> bool {
        self.forget(name);
        fs::remove_file(self.bucket().join(name)).is_ok()
    }

    /// Removes all objects.
    pub(crate) fn clear(&self) {
        for name in self.objects() {
            self.remove(&name);
        }
    }

    /// Counts the multipart uploads that were begun, but neither completed nor aborted.
    pub(crate) fn open_uploads(&self) -> usize {
        let list = fs::read_dir(self.root.path()).expect("list the root");
        let names = list.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(".upload-")).count()
    }

    /// Counts the parts of multipart uploads on the server.
    pub(crate) fn parts(&self) -> usize {
        let list = fs::read_dir(self.root.path()).expect("list the root");
        let names = list.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(".upload_id-")).count()
    }

    fn bucket(&self) -> PathBuf {
        self.root.path().join(BUCKET)
    }

    /// Removes the checksums and the ETag that s3s-fs stores beside an object.
    fn forget(&self, name: &str) {
        let side = format!(".bucket-{}.object-{}", base64url(BUCKET), base64url(name));
        for tail in ["internal", "metadata"] {
            let _ = fs::remove_file(self.root.path().join(format!("{side}.{tail}.json")));
        }
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let stop = self.stop.take().expect("dropped once");
        let _ = stop.send(());
        let ended = self.thread.take().expect("dropped once").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the server's thread panicked");
    }
}

/// Sends raw bytes to a server, and returns everything that it answers until it closes the connection.
pub(crate) fn plain(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.write_all(request.as_bytes()).expect("send");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

fn service(root: &Path, switches: Arc<Switches>) -> S3Service {
    let mut builder = S3ServiceBuilder::new(FileSystem::new(root).expect("file system of the server"));
    let mut auth = SimpleAuth::new();
    for (access, secret) in [WRITER, READER] {
        auth.register(access.to_owned(), secret.into());
    }
    builder.set_auth(auth);
    builder.set_access(Access(switches));
    builder.build()
}

/// Serves requests until it is stopped, or its stopper is dropped.
pub(crate) fn serve(listener: TcpListener, service: &S3Service, mut stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    runtime.block_on(async move {
        listener.set_nonblocking(true).expect("non-blocking");
        let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => accepted.expect("accept").0,
                _ = &mut stopped => break,
            };
            let _ = stream.set_nodelay(true);
            let service = service.clone();
            tokio::spawn(async move {
                let builder = Builder::new(TokioExecutor::new());
                // Ignores errors: a client may leave at any time.
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    // This closes the connections that are still open.
    runtime.shutdown_background();
}

/// Returns unpadded base64 with the letters that s3s-fs uses in file names.
fn base64url(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut spelled = String::new();
    for three in text.as_bytes().chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for letter in 0..=three.len() {
            spelled.push(char::from(LETTERS[(bits >> (18 - 6 * letter) & 63) as usize]));
        }
    }
    spelled
}
