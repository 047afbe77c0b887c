//! A remote of several layers: each is read, and the first one that may be written is.

use std::path::{Path, PathBuf};

use kache::config::{DirSettings, HttpSettings, PlaceSettings};
use kache::remote::{Remote, SigningKey, Trust};

use crate::remote_push_pull::{SMALL, assert_reports};
use crate::support::entries;
use crate::support::github_cache::GithubCache;
use crate::support::remote::{remote_of, run};
use crate::support::s3_server::{BUCKET, S3Server, WRITER};
use crate::support::stores::no_variables;
use crate::support::web_server::WebServer;
use crate::support::{Project, files_under};

/// Two machines without any workspace, and directories that both can use.
pub(crate) struct Machines {
    pub(crate) one: Project,
    pub(crate) two: Project,
    root: tempfile::TempDir,
}

impl Machines {
    pub(crate) fn new() -> Self {
        let one = Project::new();
        let two = one.other_machine("two");
        Self { one, two, root: tempfile::tempdir().expect("a directory") }
    }

    /// Creates a shared directory.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let path = self.root.path().join(name);
        std::fs::create_dir_all(&path).expect("a shared directory");
        path
    }

    /// Gives both machines this settings file.
    pub(crate) fn configure(&mut self, toml: &str) {
        let path = self.root.path().join("config.toml");
        std::fs::write(&path, toml).expect("the settings");
        self.one.set("KACHE_CONFIG", &path);
        self.two.set("KACHE_CONFIG", &path);
    }
}

/// The table of a remote in this directory.
pub(crate) fn dir_table(path: &Path) -> String {
    format!("[[cache.remote]]\ntype = \"dir\"\npath = \"{}\"\n", path.display())
}

#[test]
fn every_layer_is_connected_and_the_first_writable_one_is_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        PlaceSettings::Dir(DirSettings { path })
    };
    let server = WebServer::of_dir(dir.path());
    let mirror = PlaceSettings::Http(HttpSettings { url: format!("{}/first", server.url()) });
    let mut settings = remote_of([mirror, place("second"), place("third")]);
    settings.layers[0].read_only = true;
    let public = SigningKey::generate().unwrap().0.public().to_string();
    settings.layers[1].trusted_keys = vec![public];
    place("first");
    std::fs::write(dir.path().join("first/object"), "from the first").unwrap();
    run(async {
        let remote = Remote::connect(&settings, &no_variables()).await.unwrap();
        let writer = remote.writer().expect("a writer");
        assert_eq!(writer.place, format!("directory {}", dir.path().join("second").display()));
        writer.objects.put("new", b"from the second".to_vec()).await.unwrap();
        let mut found = Vec::new();
        for layer in &remote.layers {
            found.push((layer.objects.get("object", 99).await.unwrap(), layer.objects.get("new", 99).await.unwrap()));
        }
        let (object, new) = (Some(b"from the first".to_vec()), Some(b"from the second".to_vec()));
        assert_eq!(found, [(object, None), (None, new), (None, None)]);
        let trusted: Vec<bool> = remote.layers.iter().map(|layer| layer.trust == Trust::Anyone).collect();
        assert_eq!(trusted, [true, false, true]);
        settings.read_only = true;
        assert!(Remote::connect(&settings, &no_variables()).await.unwrap().writer().is_none());
    });
    assert_eq!(files_under(&dir.path().join("second")), [dir.path().join("second/new")]);
}

#[test]
fn doctor_shows_and_tries_each_layer() {
    let server = S3Server::start();
    let mut machines = Machines::new();
    let (shared, other) = (machines.dir("shared"), machines.dir("other"));
    let mirror = WebServer::of_dir(&shared);
    let bucket = format!(
        "[[cache.remote]]\nbucket = \"{BUCKET}\"\nendpoint = \"{}\"\nregion = \"us-east-1\"\nread_only = true\n",
        server.endpoint()
    );
    let http = format!("[[cache.remote]]\ntype = \"http\"\nurl = \"{}\"\n", mirror.url());
    machines.configure(&[bucket, http, dir_table(&shared), dir_table(&other)].concat());
    let one = &mut machines.one;
    one.set("KACHE_S3_ACCESS_KEY", WRITER.0).set("KACHE_S3_SECRET_KEY", WRITER.1);
    let doctor = one.kache(&["doctor", "--remote"]).must_succeed();
    let lines = |what: &str| {
        let fits = |line: &&str| line.starts_with("  ") && line.split_whitespace().nth(1) == Some(what);
        doctor.stdout.lines().filter(fits).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines("remote").len(), 8, "each layer, twice: {doctor:?}");
    let writing = lines("writing");
    let is_written: Vec<bool> = writing.iter().map(|line| line.contains("yes: ")).collect();
    assert_eq!(is_written, [false, false, true, false], "{writing:?}");
    assert_eq!((lines("credentials").len(), lines("trusted").len(), lines("signing").len()), (1, 4, 1));
    assert_eq!((lines("list").len(), lines("put").len(), lines("delete").len()), (4, 1, 1), "{doctor:?}");
    assert!(!doctor.stdout.contains(WRITER.1) && server.objects().is_empty() && files_under(&other).is_empty());
    // A layer that does not work is a problem.
    drop(mirror);
    assert_eq!(machines.one.kache(&["doctor", "--remote"]).code, 3);
}

#[test]
fn without_a_layer_that_may_be_written_nothing_is() {
    let mut machines = Machines::new();
    let shared = machines.dir("shared");
    machines.configure(&format!("{}read_only = true\n", dir_table(&shared)));
    entries::fill(&machines.one.cache_dir(), 2, SMALL);
    let push = machines.one.kache(&["push"]);
    assert_eq!((push.code, files_under(&shared).len()), (1, 0), "{push:?}");
    assert_reports(&push, "read-only");
    machines.configure(&dir_table(&shared));
    assert_reports(&machines.one.kache(&["push"]).must_succeed(), "pushed 2 entries");
}

/// A workspace that is built on the first machine, and its checkout on the second one.
fn workspaces(machines: &mut Machines) {
    machines.one = Project::app_over("pub fn value() -> u32 { 1 }\n");
    machines.two = machines.one.other_machine("two");
    machines.one.build().misses(&["app", "dep"]);
}

/// Builds without a remote, so that no agent starts.
fn builds_from_the_store(machine: &mut Project) {
    let config = machine.env_value("KACHE_CONFIG").expect("the settings").to_owned();
    machine.unset("KACHE_CONFIG").build().hits(&["app", "dep"]);
    machine.set("KACHE_CONFIG", config);
}

#[test]
fn a_pull_request_reads_the_layer_of_main_and_writes_its_own() {
    let mut machines = Machines::new();
    workspaces(&mut machines);
    let (main, pull_request) = (machines.dir("main"), machines.dir("pull-request"));
    machines.configure(&dir_table(&main));
    machines.one.kache(&["push"]).must_succeed();
    let of_main = files_under(&main);
    // The pull request changes one of two crates.
    machines.configure(&format!("{}read_only = true\n{}", dir_table(&main), dir_table(&pull_request)));
    machines.two.file("dep/src/lib.rs", "pub fn value() -> u32 { 2 }\n");
    assert_reports(&machines.two.kache(&["pull"]).must_succeed(), "pulled 2 entries");
    machines.two.cargo(&["build"]);
    assert_reports(&machines.two.kache(&["push"]).must_succeed(), "pushed 2 entries");
    assert_eq!(files_under(&main), of_main, "main is not written");
    let count =
        |part: &str| files_under(&pull_request).iter().filter(|path| path.to_string_lossy().contains(part)).count();
    assert_eq!((count("/manifests/"), count(".record.zst")), (2, 1), "only what it compiled itself");
    // Another job of the pull request gets all of it, and one of main nothing of it.
    let mut three = machines.two.other_machine("three");
    assert_reports(&three.kache(&["pull"]).must_succeed(), "pulled 4 entries");
    builds_from_the_store(&mut three);
    machines.configure(&dir_table(&main));
    let four = machines.two.other_machine("four");
    four.kache(&["pull"]).must_succeed();
    four.build().misses(&["app", "dep"]);
}

#[test]
fn a_workspace_is_pulled_from_a_mirror_that_cannot_list() {
    let mut machines = Machines::new();
    workspaces(&mut machines);
    let shared = machines.dir("shared");
    machines.configure(&dir_table(&shared));
    machines.one.kache(&["push"]).must_succeed();
    let mirror = WebServer::of_dir(machines.dir("").as_path());
    machines.configure(&format!("[cache.remote]\ntype = \"http\"\nurl = \"{}/shared/\"\n", mirror.url()));
    let run = machines.two.kache(&["pull"]).must_succeed();
    assert_reports(&run, "build record v2/builds/");
    assert_reports(&run, "pulled 2 entries");
    builds_from_the_store(&mut machines.two);
    // Control: without the index, nobody knows what is there.
    let index = files_under(&shared).into_iter().find(|path| path.ends_with("index.json")).expect("an index");
    std::fs::remove_file(index).expect("it goes");
    let mut three = machines.two.other_machine("three");
    three.set("KACHE_CONFIG", machines.two.env_value("KACHE_CONFIG").expect("set"));
    assert_reports(&three.kache(&["pull"]).must_succeed(), "no build record");
}

#[test]
fn a_workspace_is_pulled_from_the_cache_of_a_service_that_cannot_list() {
    let cache = GithubCache::start();
    let mut machines = Machines::new();
    workspaces(&mut machines);
    for (name, value) in cache.variables() {
        machines.one.set(name, &value);
        machines.two.set(name, value);
    }
    machines.one.kache(&["push"]).must_succeed();
    assert_reports(&machines.two.kache(&["pull"]).must_succeed(), "pulled 2 entries");
    // A second push replaces the list.
    machines.two.file("dep/src/lib.rs", "pub fn value() -> u32 { 2 }\n");
    machines.two.set("KACHE_REMOTE_READONLY", "1").build();
    machines.two.unset("KACHE_REMOTE_READONLY").kache(&["push"]).must_succeed();
    let mut three = machines.two.other_machine("three");
    assert_reports(&three.kache(&["pull"]).must_succeed(), "pulled 4 entries");
    for (name, _) in cache.variables() {
        three.unset(name);
    }
    three.build().hits(&["app", "dep"]);
}

#[test]
fn r08_where_signatures_are_required_a_remote_without_keys_is_not_used() {
    let mut machines = Machines::new();
    let shared = machines.dir("shared");
    let required = format!("{}require_signatures = true\n", dir_table(&shared));
    machines.configure(&required);
    entries::fill(&machines.one.cache_dir(), 2, SMALL);
    let push = machines.one.kache(&["push"]);
    assert_eq!(push.code, 1);
    assert_reports(&push, "require_signatures");
    let (key, secret) = SigningKey::generate().unwrap();
    machines.one.set("KACHE_SIGNING_KEY", &secret);
    assert_reports(&machines.one.kache(&["push"]).must_succeed(), "pushed 2 entries");
    machines.two.set("KACHE_TRUSTED_KEYS", key.public().to_string());
    assert_reports(&machines.two.kache(&["pull", "--all"]).must_succeed(), "pulled 2 entries");
    machines.two.unset("KACHE_TRUSTED_KEYS");
    assert_eq!(machines.two.kache(&["pull", "--all"]).code, 1);
}
