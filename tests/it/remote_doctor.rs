//! `kache doctor --remote`: the requests that it tries, and its reports of failures.

use std::fs;
use std::time::Duration;

use crate::support::faults::{Action, FaultProxy, Rule};
use crate::support::s3_server::{READER, S3Server, WRITER};
use crate::support::{Project, Run};

struct Setup {
    server: S3Server,
    proxy: FaultProxy,
    project: Project,
}

impl Setup {
    fn new(keys: (&str, &str)) -> Self {
        let server = S3Server::start();
        let proxy = FaultProxy::start(server.address());
        let mut project = Project::new();
        project.use_remote(&S3Server::variables(&proxy.endpoint(), keys)).set("KACHE_S3_PREFIX", "team/x");
        Self { server, proxy, project }
    }

    fn doctor(&self) -> Run {
        self.proxy.forget();
        self.project.kache(&["doctor", "--remote"])
    }

    /// The line about `what`, with each run of spaces folded into one.
    #[track_caller]
    fn line(run: &Run, what: &str) -> String {
        let fold = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let found = run.stdout.lines().map(fold).find(|line| line.split(' ').nth(1) == Some(what));
        found.unwrap_or_else(|| panic!("no line about {what}: {run:?}"))
    }
}

#[test]
fn all_four_are_tried_and_nothing_is_left() {
    let setup = Setup::new(WRITER);
    let run = setup.doctor().must_succeed();
    for (what, said) in
        [("list", "0 entries"), ("put", "team/x/v1/probe/"), ("get", "as written"), ("delete", "deleted")]
    {
        let line = Setup::line(&run, what);
        assert!(line.starts_with("ok ") && line.contains(said), "{line}");
    }
    assert!(run.stdout.ends_with("\nThe remote works: build, or run `kache pull` first.\n"), "{}", run.stdout);
    assert_eq!((setup.server.objects(), run.stdout.contains(WRITER.1)), (Vec::new(), false));
    assert_eq!(setup.proxy.count("PUT", "/team/x/v1/probe/"), 1);
    assert_eq!(setup.proxy.count("DELETE", "/team/x/v1/probe/"), 1);
}

#[test]
fn a_key_that_may_only_read_is_told_so_and_read_only_writes_nothing() {
    let mut setup = Setup::new(READER);
    let run = setup.doctor();
    let line = Setup::line(&run, "put");
    assert_eq!(run.code, 3, "{run:?}");
    assert!(line.starts_with("fail ") && line.contains("403") && line.contains("KACHE_REMOTE_READONLY=1"), "{line}");
    setup.project.set("KACHE_REMOTE_READONLY", "1");
    let run = setup.doctor().must_succeed();
    assert!(Setup::line(&run, "put,").contains("skipped"), "{run:?}");
    assert_eq!((setup.proxy.count("PUT", ""), setup.proxy.count("DELETE", "")), (0, 0));
    assert!(setup.proxy.count("GET", "") >= 2, "{:?}", setup.proxy.seen());
}

#[test]
fn r08_a_wrong_secret_is_called_that_and_not_shown() {
    let setup = Setup::new((WRITER.0, "not-the-secret"));
    let run = setup.doctor();
    let line = Setup::line(&run, "list");
    assert_eq!(run.code, 3);
    assert!(line.starts_with("fail ") && line.contains("403 SignatureDoesNotMatch"), "{line}");
    assert!(line.contains("secret key does not belong"), "{line}");
    assert!(!run.stdout.contains("not-the-secret") && !run.stderr.contains("not-the-secret"), "{run:?}");
    let run = setup.project.kache(&["pull", "--all"]);
    assert!(run.code == 1 && run.stderr.contains(" The secret key does not belong"), "{run:?}");
    assert!(!run.stderr.contains("..") && !run.stderr.contains("not-the-secret"), "{run:?}");
}

#[test]
fn a_server_that_is_not_there_or_never_answers_is_no_wait_without_end() {
    let mut setup = Setup::new(WRITER);
    setup.project.set("KACHE_S3_ENDPOINT", "http://127.0.0.1:9");
    let run = setup.doctor();
    assert!(run.code == 3 && Setup::line(&run, "list").contains("cannot reach"), "{run:?}");
    setup.project.set("KACHE_S3_ENDPOINT", setup.proxy.endpoint());
    setup.proxy.always(Action::Hang);
    let began = std::time::Instant::now();
    assert_eq!(setup.doctor().code, 3);
    // A generous limit: the doctor gives up after ten seconds.
    assert!(began.elapsed() < Duration::from_mins(1));
}

#[test]
fn an_object_that_comes_back_different_is_a_failure() {
    let setup = Setup::new(WRITER);
    setup.proxy.rule(Rule::on("GET", "v1/probe/").then(Action::Body(200, b"something else".to_vec())));
    let run = setup.doctor();
    assert_eq!(run.code, 3, "{run:?}");
    assert!(Setup::line(&run, "get").starts_with("fail "), "{run:?}");
    setup.proxy.heal();
    setup.doctor().must_succeed();
}

#[test]
fn a_bucket_that_does_not_exist_is_called_that() {
    let mut setup = Setup::new(WRITER);
    setup.project.set("KACHE_S3_BUCKET", "no-such-bucket");
    let run = setup.doctor();
    assert_eq!(run.code, 3, "{run:?}");
    assert!(run.stdout.contains("no such bucket"), "{run:?}");
}

#[test]
fn a_part_of_the_cache_directory_that_cannot_be_written_is_named() {
    let project = Project::lib("pub fn one() {}\n");
    project.build().misses(&["dep"]);
    let line = || Setup::line(&project.kache(&["doctor"]), "cache");
    assert!(line().starts_with("ok "), "{}", line());
    for part in ["v1/entries", "v1/remote"] {
        let path = project.cache_dir().join(part);
        let _ = fs::remove_dir_all(&path);
        fs::write(&path, "").unwrap();
        assert!(line().starts_with("fail ") && line().contains(path.to_str().unwrap()), "{}", line());
        fs::remove_file(&path).unwrap();
        assert!(line().starts_with("ok "), "a missing file is created: {}", line());
    }
}

#[test]
fn what_the_system_answers_is_said_once() {
    let project = Project::new();
    fs::create_dir_all(project.agent_dir().join("log")).unwrap();
    let run = project.kache(&["agent", "logs"]);
    assert_eq!((run.code, run.stderr.matches("Is a directory").count()), (1, 1), "{run:?}");
}

#[test]
fn it_says_whose_signatures_count() {
    let mut setup = Setup::new(WRITER);
    let keys = setup.project.kache(&["keygen"]).must_succeed();
    let word = |prefix: &str| {
        let text = format!("{}\n{}", keys.stdout, keys.stderr);
        let fits = |word: &&str| word.starts_with(prefix);
        text.split(|c: char| c.is_whitespace() || "\"'=,[]".contains(c)).find(fits).expect("a key").to_owned()
    };
    let (secret, public) = (word("kache-sk1:"), word("kache-pk1:"));
    assert!(Setup::line(&setup.doctor(), "trusted").contains("whoever can write"));
    setup.project.set("KACHE_TRUSTED_KEYS", &public);
    let run = setup.doctor();
    assert!(Setup::line(&run, "trusted").contains("signatures of 1 key"), "{run:?}");
    assert!(Setup::line(&run, "signing").starts_with("warn "), "{run:?}");
    setup.project.set("KACHE_SIGNING_KEY", &secret);
    let run = setup.doctor().must_succeed();
    assert!(Setup::line(&run, "signing").contains(&public), "{run:?}");
    assert!(!run.stdout.contains(&secret));
    setup.project.set("KACHE_TRUSTED_KEYS", "kache-pk1:nonsense");
    assert_eq!(setup.doctor().code, 3);
}
