//! An S3 server whose bucket holds millions of further names, which are computed and stored nowhere.
//!
//! Real objects live in s3s-fs. A listing merges them with the computed names: manifests, packs and bundles of other
//! builds of the same crates, and records of other workspaces, all spelled as kache spells them, in the order of S3,
//! 1,000 to a page. So a listing of everything takes more than 10,000 pages, and needs no memory here. A computed name
//! has no object behind it: a request for it is answered with 404. The server has its own thread and its own runtime,
//! and stops when it is dropped.
#![allow(dead_code, reason = "a toolbox: each binary that includes it uses its part")]

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};

use kache::remote::names;
use s3s::auth::SimpleAuth;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
    CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput, GetObjectInput,
    GetObjectOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output, ListPartsInput,
    ListPartsOutput, Object, PutObjectInput, PutObjectOutput, UploadPartInput, UploadPartOutput,
};
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::sync::oneshot;

use super::s3_server::{BUCKET, WRITER, serve};

/// Names on a page of a listing, as in S3.
const PAGE: usize = 1000;
/// Crates of the computed names: `c0`, `c1` and so on. Entries made for tests and benches have the same names.
const CRATES: u64 = 10_000;
/// The letters of digests in object names, in the order in which S3 sorts them.
const LETTERS: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
/// The letters that may end a digest: its last two bits are spare.
const LAST_LETTERS: &[u8; 16] = b"AEIMQUYcgkosw048";

/// A sorted sequence of object names.
#[derive(Debug)]
pub(crate) struct ComputedNames {
    /// Sorted as object names are.
    crates: Vec<String>,
    manifests: u64,
}

impl ComputedNames {
    /// The names of a bucket with this many manifests, with a quarter as many packs, a twentieth as many bundles, and a
    /// thousandth as many records.
    pub(crate) fn of(manifests: u64) -> Self {
        let mut crates: Vec<String> = (0..CRATES).map(|n| format!("c{n}")).collect();
        crates.sort();
        Self { crates, manifests }
    }

    /// Sizes of the sections, in their order: records, bundles, manifests, packs.
    fn sections(&self) -> [u64; 4] {
        [self.manifests / 1000, self.manifests / 20, self.manifests, self.manifests / 4]
    }

    /// Number of names.
    pub(crate) fn len(&self) -> u64 {
        self.sections().iter().sum()
    }

    /// The name at this position in the order.
    pub(crate) fn name(&self, mut at: u64) -> String {
        let sections = self.sections();
        let mut section = 0;
        while at >= sections[section] {
            at -= sections[section];
            section += 1;
        }
        match section {
            0 => {
                let (shape, digest) = (names::shape_part("host", "debug"), &digest(at % 10, 10, at)[..16]);
                let prefix = names::workspace_prefix(&format!("w{:08}", at / 10));
                format!("{prefix}main.{shape}.{shape}.0123456789ab.none.unsigned.{digest}.record.zst")
            }
            1 => format!("{}{}.tar.zst", names::all_bundles(), digest(at, sections[1], at)),
            _ => {
                let (per_crate, count) = (sections[section].div_ceil(CRATES), self.crates.len());
                let (of, within) = (usize::try_from(at / per_crate).unwrap_or(count), at % per_crate);
                let (crate_name, first) = (&self.crates[of], digest(within, per_crate, at));
                let second = digest(0, 1, at + 1);
                match section {
                    2 => format!("{}{first}/{second}.unsigned", names::manifests_of(crate_name)),
                    _ => format!("{}{crate_name}/{first}.{second}.tar.zst", names::all_packs()),
                }
            }
        }
    }

    /// The position of the first name for which `is_reached` holds. It holds for all names after it, too.
    fn first(&self, is_reached: impl Fn(&str) -> bool) -> u64 {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match is_reached(&self.name(middle)) {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        low
    }

    /// The names below `prefix` that come after `after`, at most `most`.
    fn page(&self, prefix: &str, after: &str, most: usize) -> Vec<String> {
        let first = self.first(|name| name > after && name >= prefix);
        let names = (first..self.len()).map(|at| self.name(at));
        names.take_while(|name| name.starts_with(prefix)).take(most).collect()
    }
}

/// A digest as object names spell it, the `at`th of `count` in sorted order.
fn digest(at: u64, count: u64, seed: u64) -> String {
    let start = at * (64_u64.pow(5) / count.max(1));
    let letter = |value: u64| char::from(LETTERS[(value & 63) as usize]);
    let mut spelled: String = (0..5).rev().map(|digit| letter(start >> (6 * digit))).collect();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        state >> 58
    };
    spelled.extend((5..42).map(|_| letter(next())));
    spelled.push(char::from(LAST_LETTERS[(next() & 15) as usize]));
    spelled
}

/// What the server answered so far.
#[derive(Debug, Default)]
struct Listed {
    pages: AtomicU64,
    names: AtomicU64,
}

/// The file system of s3s, with further names in its listings.
struct Merged {
    real: FileSystem,
    computed: ComputedNames,
    listed: Arc<Listed>,
}

/// Passes these requests on to the file system. `async_trait` does not expand macros, so this makes the whole `impl`.
macro_rules! pass_on {
    ($($name:ident($input:ty) -> $output:ty;)*) => {
        #[async_trait::async_trait]
        impl S3 for Merged {
            $(async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                self.real.$name(request).await
            })*

            async fn list_objects_v2(
                &self,
                request: S3Request<ListObjectsV2Input>,
            ) -> S3Result<S3Response<ListObjectsV2Output>> {
                self.list(request).await
            }
        }
    };
}

pass_on! {
    get_object(GetObjectInput) -> GetObjectOutput;
    head_object(HeadObjectInput) -> HeadObjectOutput;
    put_object(PutObjectInput) -> PutObjectOutput;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput;
    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput;
    upload_part(UploadPartInput) -> UploadPartOutput;
    list_parts(ListPartsInput) -> ListPartsOutput;
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput;
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
}

impl Merged {
    /// One page: the first names of both sequences. The token of the next page is the last name of this one.
    async fn list(&self, mut request: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        if request.input.delimiter.is_some() {
            return Err(s3_error!(NotImplemented, "no delimiters"));
        }
        let token = request.input.continuation_token.take();
        let after = token.clone().max(request.input.start_after.clone()).unwrap_or_default();
        let prefix = request.input.prefix.clone().unwrap_or_default();
        request.input.start_after = Some(after.clone());
        let mut answer = self.real.list_objects_v2(request).await?;
        let page = &mut answer.output;
        let mut contents = page.contents.take().unwrap_or_default();
        let computed = self.computed.page(&prefix, &after, PAGE + 1);
        contents.extend(computed.into_iter().map(|name| Object {
            key: Some(name),
            size: Some(100_000),
            last_modified: Some((UNIX_EPOCH + Duration::from_secs(1_790_000_000)).into()),
            ..Object::default()
        }));
        contents.sort_by(|one, other| one.key.cmp(&other.key));
        let is_truncated = contents.len() > PAGE || page.is_truncated == Some(true);
        contents.truncate(PAGE);
        self.listed.pages.fetch_add(1, Ordering::Relaxed);
        self.listed.names.fetch_add(contents.len() as u64, Ordering::Relaxed);
        page.key_count = i32::try_from(contents.len()).ok();
        page.is_truncated = Some(is_truncated);
        page.continuation_token = token;
        page.next_continuation_token = contents.last().and_then(|last| last.key.clone()).filter(|_| is_truncated);
        page.contents = Some(contents);
        Ok(answer)
    }
}

/// A running server with one bucket, which stops when it is dropped.
pub(crate) struct SimulatedBucket {
    address: SocketAddr,
    root: tempfile::TempDir,
    listed: Arc<Listed>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SimulatedBucket {
    /// Starts a server whose bucket has no objects, and the computed names of [`ComputedNames::of`].
    pub(crate) fn start(manifests: u64) -> Self {
        let root = tempfile::Builder::new().prefix("kache-s3-").tempdir().expect("directory of the server");
        std::fs::create_dir(root.path().join(BUCKET)).expect("bucket");
        let listed = Arc::new(Listed::default());
        let real = FileSystem::new(root.path()).expect("file system of the server");
        let merged = Merged { real, computed: ComputedNames::of(manifests), listed: Arc::clone(&listed) };
        let mut builder = S3ServiceBuilder::new(merged);
        let mut auth = SimpleAuth::new();
        auth.register(WRITER.0.to_owned(), WRITER.1.into());
        builder.set_auth(auth);
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("address");
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || serve(listener, &service, stopped));
        Self { address, root, listed, stop: Some(stop), thread: Some(thread) }
    }

    /// Returns the address that the server listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns how many pages of listings the server has answered, and how many names they contained.
    pub(crate) fn listed(&self) -> (u64, u64) {
        (self.listed.pages.load(Ordering::Relaxed), self.listed.names.load(Ordering::Relaxed))
    }

    /// Counts the real objects below a directory such as `v2/bundles`.
    pub(crate) fn objects(&self, dir: &str) -> usize {
        fn count(dir: &std::path::Path) -> usize {
            let Ok(list) = std::fs::read_dir(dir) else { return 0 };
            let paths = list.map(|entry| entry.expect("entry").path());
            paths.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
        }
        count(&self.root.path().join(BUCKET).join(dir))
    }
}

impl Drop for SimulatedBucket {
    fn drop(&mut self) {
        let stop = self.stop.take().expect("dropped once");
        let _ = stop.send(());
        let ended = self.thread.take().expect("dropped once").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the server's thread panicked");
    }
}
