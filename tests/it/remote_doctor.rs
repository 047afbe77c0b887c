//! `kache doctor --remote`: the requests that it tries, and the checks that fail. `output_remote.rs` has the texts.

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

    /// The first word of the line about `what`: ok, warn or fail.
    #[track_caller]
    fn verdict<'a>(run: &'a Run, what: &str) -> &'a str {
        let mut lines = run.stdout.lines().map(str::split_whitespace);
        let found = lines.find_map(|mut words| Some((words.next()?, words.next()?)).filter(|(_, word)| *word == what));
        found.unwrap_or_else(|| panic!("no line about {what}: {run:?}")).0
    }
}

#[test]
fn all_four_are_tried_and_nothing_is_left() {
    let setup = Setup::new(WRITER);
    let run = setup.doctor().must_succeed();
    for what in ["list", "put", "get", "delete"] {
        assert_eq!(Setup::verdict(&run, what), "ok", "{what}");
    }
    assert_eq!((setup.server.objects(), run.stdout.contains(WRITER.1)), (Vec::new(), false));
    assert_eq!(setup.proxy.count("PUT", "/team/x/v2/probe/"), 1);
    assert_eq!(setup.proxy.count("DELETE", "/team/x/v2/probe/"), 1);
}

#[test]
fn a_key_that_may_only_read_is_told_so_and_read_only_writes_nothing() {
    let mut setup = Setup::new(READER);
    let run = setup.doctor();
    assert_eq!((run.code, Setup::verdict(&run, "put")), (3, "fail"), "{run:?}");
    setup.project.set("KACHE_REMOTE_READONLY", "1");
    setup.doctor().must_succeed();
    assert_eq!((setup.proxy.count("PUT", ""), setup.proxy.count("DELETE", "")), (0, 0));
    assert!(setup.proxy.count("GET", "") >= 2, "{:?}", setup.proxy.seen());
}

#[test]
fn r08_a_wrong_secret_is_called_that_and_not_shown() {
    let setup = Setup::new((WRITER.0, "not-the-secret"));
    let run = setup.doctor();
    assert_eq!((run.code, Setup::verdict(&run, "list")), (3, "fail"), "{run:?}");
    assert!(!run.stdout.contains("not-the-secret") && !run.stderr.contains("not-the-secret"), "{run:?}");
    let run = setup.project.kache(&["pull", "--all"]);
    assert!(run.code == 1 && !run.stderr.contains("not-the-secret"), "{run:?}");
}

#[test]
#[ignore = "slow"]
fn a_server_that_is_not_there_or_never_answers_is_no_wait_without_end() {
    let mut setup = Setup::new(WRITER);
    setup.project.set("KACHE_S3_ENDPOINT", "http://127.0.0.1:9");
    let run = setup.doctor();
    assert_eq!((run.code, Setup::verdict(&run, "list")), (3, "fail"), "{run:?}");
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
    setup.proxy.rule(Rule::on("GET", "v2/probe/").then(Action::Body(200, b"something else".to_vec())));
    let run = setup.doctor();
    assert_eq!((run.code, Setup::verdict(&run, "get")), (3, "fail"), "{run:?}");
    setup.proxy.heal();
    setup.doctor().must_succeed();
}

#[test]
fn a_part_of_the_cache_directory_that_cannot_be_written_is_named() {
    let project = Project::lib("pub fn one() {}\n");
    project.build().misses(&["dep"]);
    let doctor = || project.kache(&["doctor"]);
    assert_eq!(Setup::verdict(&doctor(), "cache"), "ok");
    for part in ["v1/entries", "v1/remote"] {
        let path = project.cache_dir().join(part);
        let _ = fs::remove_dir_all(&path);
        fs::write(&path, "").unwrap();
        let run = doctor();
        assert_eq!(Setup::verdict(&run, "cache"), "fail", "{run:?}");
        assert!(run.stdout.contains(path.to_str().unwrap()), "{run:?}");
        fs::remove_file(&path).unwrap();
        assert_eq!(Setup::verdict(&doctor(), "cache"), "ok", "a missing file is created");
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
    assert_eq!(Setup::verdict(&setup.doctor(), "trusted"), "ok");
    setup.project.set("KACHE_TRUSTED_KEYS", &public);
    let run = setup.doctor();
    assert_eq!((Setup::verdict(&run, "trusted"), Setup::verdict(&run, "signing")), ("ok", "warn"), "{run:?}");
    setup.project.set("KACHE_SIGNING_KEY", &secret);
    let run = setup.doctor().must_succeed();
    assert_eq!(Setup::verdict(&run, "signing"), "ok", "{run:?}");
    assert!(run.stdout.contains(&public) && !run.stdout.contains(&secret), "{run:?}");
    setup.project.set("KACHE_TRUSTED_KEYS", "kache-pk1:nonsense");
    assert_eq!(setup.doctor().code, 3);
}
