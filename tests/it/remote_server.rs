//! The remote with a server that somebody else has started: `.ci/moto` starts one and sets `KACHE_IT_S3_*`. Without
//! these variables the tests are skipped, with a message.
//!
//! Any server will do (moto, Garage, MinIO, AWS): each test has its own prefix in a bucket, which the test creates
//! unless `KACHE_IT_S3_BUCKET` names one.

use std::env::var;
use std::net::ToSocketAddrs as _;

use crate::remote_push_pull::assert_reports;
use crate::support::faults::FaultProxy;
use crate::support::remote::noise;
use crate::support::s3_client::S3Client;
use crate::support::{Project, Run, skip};

/// A server behind a proxy that records the requests.
struct Server {
    proxy: FaultProxy,
    client: S3Client,
    region: String,
    bucket: String,
    keys: (String, String),
    prefix: String,
}

impl Server {
    /// The server that the environment names, with no objects below the prefix of this test. Skips and returns `None`
    /// if the environment does not name one.
    fn of(test: &str) -> Option<Self> {
        let Ok(endpoint) = var("KACHE_IT_S3_ENDPOINT") else {
            skip("KACHE_IT_S3_ENDPOINT is not set; .ci/moto starts a server and sets it");
            return None;
        };
        let variable = |name: &str| var(name).unwrap_or_else(|_| panic!("{name} is not set, but the endpoint is"));
        let keys = (variable("KACHE_IT_S3_ACCESS_KEY"), variable("KACHE_IT_S3_SECRET_KEY"));
        let address = endpoint.strip_prefix("http://").expect("plain HTTP");
        let address = address.trim_end_matches('/').to_socket_addrs().expect("an address").next().expect("one");
        let proxy = FaultProxy::start(address);
        let prefix = format!("{test}-{}", std::process::id());
        let named = var("KACHE_IT_S3_BUCKET").ok();
        let bucket = named.clone().unwrap_or_else(|| format!("kache-{}", prefix.replace('_', "-")));
        let region = var("KACHE_IT_S3_REGION").unwrap_or_else(|_| "us-east-1".to_owned());
        let client = S3Client::in_region(&region, &proxy.endpoint(), &bucket, (&keys.0, &keys.1));
        if named.is_none() {
            client.create_bucket().expect("a new bucket");
        }
        Some(Self { proxy, client, region, bucket, keys, prefix })
    }

    /// The variables that a project needs to use the server.
    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("KACHE_S3_BUCKET", self.bucket.clone()),
            ("KACHE_S3_ENDPOINT", self.proxy.endpoint()),
            ("KACHE_S3_REGION", self.region.clone()),
            ("KACHE_S3_ACCESS_KEY", self.keys.0.clone()),
            ("KACHE_S3_SECRET_KEY", self.keys.1.clone()),
            ("KACHE_S3_PREFIX", self.prefix.clone()),
        ]
    }

    fn objects(&self, part: &str) -> Vec<String> {
        let all = self.client.list(&format!("{}/", self.prefix)).expect("a listing");
        all.into_iter().filter(|name| name.contains(part)).collect()
    }
}

/// Builds without the remote, so that only `push` and `pull` use it.
fn build(project: &Project) -> Run {
    let mut command = project.command(crate::support::real_cargo());
    command.arg("build").env_remove("KACHE_S3_BUCKET");
    project.finish(command).must_succeed()
}

fn app(server: &Server) -> Project {
    let mut project = Project::app_over("pub fn value() -> u32 { 7 }\n");
    project.use_remote(&server.variables());
    project
}

#[test]
fn what_one_machine_pushes_another_pulls() {
    let Some(server) = Server::of("push_pull") else { return };
    let one = app(&server);
    let two = one.other_machine("two");
    build(&one).misses(&["dep", "app"]);
    one.kache(&["push"]).must_succeed();
    assert_eq!(server.objects("/manifests/").len(), 2, "{:?}", server.objects(""));
    assert_eq!(server.objects(".record.zst").len(), 1);
    two.kache(&["pull"]).must_succeed();
    build(&two).hits(&["dep", "app"]);
    assert_eq!(two.app_output(), "7");
    // A second push and pull do not transfer packs.
    server.proxy.forget();
    one.kache(&["push"]).must_succeed();
    two.kache(&["pull"]).must_succeed();
    assert_eq!((server.proxy.count("PUT", "/packs/"), server.proxy.count("GET", "/packs/")), (0, 0));
}

#[test]
fn large_packs_go_in_parts_and_come_in_ranges() {
    let Some(server) = Server::of("large") else { return };
    let mut one = Project::lib("pub static NOISE: &[u8] = include_bytes!(\"noise\");\n");
    one.file("src/noise", noise(20 << 20, 1));
    one.use_remote(&server.variables());
    let two = one.other_machine("two");
    build(&one).misses(&["dep"]);
    one.kache(&["push"]).must_succeed();
    let parts = server.proxy.seen_of("PUT", "partNumber=");
    assert!(parts.len() >= 3 && server.proxy.count("POST", "uploads") >= 1, "{:?}", server.proxy.seen());
    two.kache(&["pull"]).must_succeed();
    let ranges = server.proxy.seen_of("GET", "/packs/");
    assert!(ranges.len() >= 3, "{ranges:?}");
    for range in &ranges {
        assert_eq!(range.status, Some(206), "{range:?}");
        assert!(range.range.is_some(), "{range:?}");
    }
    assert!(ranges.iter().filter(|range| range.if_match.is_some()).count() + 1 >= ranges.len(), "{ranges:?}");
    build(&two).hits(&["dep"]);
}

#[test]
fn only_trusted_signatures_count() {
    let Some(server) = Server::of("signed") else { return };
    let mut one = app(&server);
    let mut two = one.other_machine("two");
    let (secret, public) = key_pair(&one);
    let (_, stranger) = key_pair(&one);
    build(&one).misses(&["dep"]);
    one.set("KACHE_SIGNING_KEY", &secret);
    one.kache(&["push"]).must_succeed();
    two.set("KACHE_TRUSTED_KEYS", &stranger);
    let run = two.kache(&["pull"]);
    assert_eq!(two.entries(), Vec::<std::path::PathBuf>::new());
    assert_reports(&run, "ignored 1 build record of signers that are not trusted here");
    two.set("KACHE_TRUSTED_KEYS", &public);
    two.kache(&["pull"]).must_succeed();
    build(&two).hits(&["dep", "app"]);
}

#[test]
fn r08_a_wrong_secret_is_a_403_and_exits_non_zero() {
    let Some(server) = Server::of("denied") else { return };
    let mut project = app(&server);
    build(&project).misses(&["dep"]);
    project.set("KACHE_S3_SECRET_KEY", "not-the-secret");
    for (args, code) in [(&["push"][..], 1), (&["pull"], 1), (&["doctor", "--remote"], 3)] {
        server.proxy.forget();
        let run = project.kache(args);
        let denied = server.proxy.seen().iter().any(|request| request.status == Some(403));
        assert!(run.code == code && denied, "{args:?}: {run:?}");
        // The status is a fact that people search for, in whatever sentence.
        let text = run.stdout + &run.stderr;
        assert!(text.contains("403") && !text.contains("not-the-secret"), "{args:?}: {text}");
    }
    assert_eq!(server.objects(""), Vec::<String>::new());
}

#[test]
fn doctor_tries_everything() {
    let Some(server) = Server::of("doctor") else { return };
    app(&server).kache(&["doctor", "--remote"]).must_succeed();
    for method in ["PUT", "GET", "DELETE"] {
        let probes = server.proxy.seen_of(method, "/v2/probe/");
        assert!(probes.len() == 1 && probes[0].status.is_some_and(|status| status < 300), "{method}: {probes:?}");
    }
    assert_eq!(server.objects(""), Vec::<String>::new());
}

/// The secret and the public half of a new key pair.
fn key_pair(project: &Project) -> (String, String) {
    let run = project.kache(&["keygen"]).must_succeed();
    let text = format!("{}\n{}", run.stdout, run.stderr);
    let word = |prefix: &str| {
        let fits = |word: &&str| word.starts_with(prefix);
        text.split(|c: char| c.is_whitespace() || "\"'=,[]".contains(c)).find(fits).expect("a key").to_owned()
    };
    (word("kache-sk1:"), word("kache-pk1:"))
}
