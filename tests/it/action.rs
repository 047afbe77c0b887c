//! The GitHub actions: runs their shell steps as a runner would, against a real server.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::action::{Job, action, pairs, steps};
use crate::support::github_cache::GithubCache;
use crate::support::s3_server::{READER, S3Server, WRITER};
use crate::support::{KACHE, Project, Run};

/// The inputs of a workflow that uses this server.
fn inputs<'a>(endpoint: &'a str, (access, secret): (&'a str, &'a str)) -> Vec<(&'static str, &'a str)> {
    let bucket = crate::support::s3_server::BUCKET;
    let keys = [("access-key", access), ("secret-key", secret), ("region", "us-east-1")];
    [("kache", KACHE), ("bucket", bucket), ("endpoint", endpoint)].into_iter().chain(keys).collect()
}

/// Runs `cargo build` with the environment that the earlier steps set.
fn build(project: &Project, job: &Job<'_>) -> Run {
    let mut command = project.command(crate::support::real_cargo());
    command.arg("build").env_remove("RUSTC_WRAPPER").envs(&job.env);
    project.finish(command).must_succeed()
}

#[track_caller]
fn all_fine(runs: &[Run]) {
    for run in runs {
        run.must_succeed_ref();
        assert!(!run.stdout.contains("::warning"), "{run:?}");
    }
}

fn dep() -> Project {
    Project::app_over("pub fn value() -> u32 { 7 }\n")
}

#[test]
fn the_actions_are_well_formed() {
    for directory in ["", "save"] {
        let action = action(directory);
        assert_eq!(action["runs"]["using"].as_str(), Some("composite"));
        for (name, input) in pairs(&action["inputs"]) {
            assert!(input["description"].as_str().is_some_and(|text| text.len() > 10), "{name}: a description");
            assert!(input["default"].as_str().is_some(), "{name}: a default that is a text");
        }
        for step in steps(&action) {
            for (name, value) in pairs(&step["env"]) {
                assert!(value.as_str().is_some(), "{name}: a text");
            }
            assert!(step["run"].as_str().is_some() != step["uses"].as_str().is_some(), "a step runs or uses: {step:?}");
        }
    }
}

#[test]
fn one_job_fills_the_remote_and_the_next_finds_everything() {
    let server = S3Server::start();
    let one = dep();
    let two = one.other_machine("two");
    let endpoint = server.endpoint();
    let mut job = Job::new(&one, "push");
    all_fine(&job.uses("", &inputs(&endpoint, WRITER)));
    assert_eq!(job.env.get("KACHE_REMOTE_READONLY"), None);
    build(&one, &job).misses(&["dep", "app"]);
    all_fine(&job.uses("save", &[]));
    assert!(!server.objects_with("/manifests/").is_empty(), "{:?}", server.objects());
    assert!(
        job.summary().contains("| Misses | 2, ") && job.summary().contains("| Uploaded | 2 |"),
        "{}",
        job.summary()
    );

    let mut next = Job::new(&two, "push");
    all_fine(&next.uses("", &inputs(&endpoint, WRITER)));
    build(&two, &next).hits(&["dep", "app"]);
    all_fine(&next.uses("save", &[]));
    let summary = next.summary();
    assert!(
        summary.contains("100.0 % hits") && summary.contains("| Hits | 2, 2 of them fetched from the remote |"),
        "{summary}"
    );
    assert!(summary.contains("| Fetched | 2 | "), "{summary}");
    let mut stats = two.command(KACHE);
    stats.arg("stats").envs(&next.env);
    assert!(two.finish(stats).stdout.contains("fetched from the remote"));
}

#[test]
fn r07_a_pull_request_only_reads_and_one_from_a_fork_always() {
    let server = S3Server::start();
    let project = dep();
    let endpoint = server.endpoint();
    let head = "github.event.pull_request.head.repo.full_name";
    let run_head = "github.event.workflow_run.head_repository.full_name";
    // With the default, and with `read-only: "false"`.
    for (event, name, repository, is_read_only) in [
        ("pull_request", head, "fork/ws", [true, true]),
        ("pull_request_target", head, "fork/ws", [true, true]),
        ("pull_request", head, "", [true, true]),
        ("pull_request", head, "me/ws", [true, false]),
        ("pull_request_target", head, "me/ws", [true, false]),
        ("workflow_run", run_head, "fork/ws", [true, true]),
        ("workflow_run", run_head, "me/ws", [false, false]),
        ("push", head, "", [false, false]),
    ] {
        for (read_only, expected) in ["auto", "false"].into_iter().zip(is_read_only) {
            let mut job = Job::new(&project, event).with(name, repository);
            let more = [("read-only", read_only), ("pull", "false")];
            all_fine(&job.uses("", &[inputs(&endpoint, WRITER), more.to_vec()].concat()));
            let set = job.env.get("KACHE_REMOTE_READONLY").map(String::as_str);
            assert_eq!(set, expected.then_some("1"), "{event} from {repository:?}, {read_only}");
        }
    }
    let of_run = "github.event.workflow_run.event";
    let mut job = Job::new(&project, "workflow_run").with(run_head, "me/ws").with(of_run, "pull_request");
    all_fine(&job.uses("", &inputs(&endpoint, WRITER)));
    assert_eq!(job.env["KACHE_REMOTE_READONLY"], "1", "a run after that of a pull request");
    let mut job = Job::new(&project, "pull_request").with(head, "me/ws");
    all_fine(&job.uses("", &inputs(&endpoint, WRITER)));
    project.wipe();
    build(&project, &job).misses(&["dep"]);
    all_fine(&job.uses("save", &[]));
    assert_eq!(server.objects(), Vec::<String>::new());
    assert!(job.summary().contains("Misses"), "{}", job.summary());
    // Control: the same job of the repository itself uploads.
    let mut own = Job::new(&project, "push");
    all_fine(&own.uses("", &inputs(&endpoint, WRITER)));
    all_fine(&own.uses("save", &[]));
    assert_ne!(server.objects(), Vec::<String>::new());
}

#[test]
fn r08_trusted_keys_without_a_key_do_not_mean_anyone() {
    let server = S3Server::start();
    let project = dep();
    let endpoint = server.endpoint();
    let with = |keys: &'static str| {
        let mut job = Job::new(&project, "push");
        let runs =
            job.uses("", &[inputs(&endpoint, WRITER), vec![("trusted-keys", keys), ("strict", "true")]].concat());
        (job.env.get("KACHE_TRUSTED_KEYS").cloned(), runs)
    };
    for blank in ["", " ", ",", " ,\n"] {
        let (keys, runs) = with(blank);
        assert_eq!(keys.as_deref(), Some(","), "{blank:?}");
        let last = runs.last().expect("runs");
        assert!(last.code != 0 && last.stdout.contains("KACHE_TRUSTED_KEYS names no key"), "{last:?}");
        assert!(runs.iter().any(|run| run.stdout.contains("::warning title=kache::trusted-keys")), "{runs:?}");
    }
    let public = kache::remote::SigningKey::generate().expect("a key").0.public().to_string();
    let mut job = Job::new(&project, "push");
    all_fine(&job.uses("", &[inputs(&endpoint, WRITER), vec![("trusted-keys", public.as_str())]].concat()));
    assert_eq!(job.env["KACHE_TRUSTED_KEYS"], public);
    let (keys, runs) = with("any");
    all_fine(&runs);
    assert_eq!(keys, None, "control: anyone, but only if it says so");
}

#[test]
fn without_a_bucket_the_cache_of_the_service_is_the_remote() {
    let cache = GithubCache::start();
    let one = dep();
    let service = || {
        let variables = cache.variables().into_iter().filter(|(name, _)| name.starts_with("ACTIONS_"));
        variables.map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>()
    };
    let mut job = Job::new(&one, "push");
    job.javascript = service();
    all_fine(&job.uses("", &[("kache", KACHE), ("strict", "true")]));
    assert_eq!(job.env["KACHE_REMOTE_TYPE"], "github");
    build(&one, &job).misses(&["dep", "app"]);
    all_fine(&job.uses("save", &[("strict", "true")]));
    let packs = || cache.keys().iter().filter(|key| key.starts_with("kache/v2/manifests/")).count();
    assert_eq!(packs(), 2, "{:?}", cache.keys());
    // A pull request, a job without these variables, one that does not want it, and one with a bucket.
    let head = "github.event.pull_request.head.repo.full_name";
    let mut pull_request = Job::new(&one, "pull_request").with(head, "me/ws");
    pull_request.javascript = service();
    all_fine(&pull_request.uses("", &[("kache", KACHE)]));
    assert_eq!(pull_request.env["KACHE_REMOTE_READONLY"], "1");
    all_fine(&pull_request.uses("save", &[]));
    let server = S3Server::start();
    let endpoint = server.endpoint();
    for (has_service, inputs) in [
        (false, vec![("kache", KACHE)]),
        (true, vec![("kache", KACHE), ("github-cache", "false")]),
        (true, inputs(&endpoint, WRITER)),
    ] {
        let mut job = Job::new(&one, "push");
        job.javascript = if has_service { service() } else { BTreeMap::new() };
        all_fine(&job.uses("", &inputs));
        assert_eq!(job.env.get("KACHE_REMOTE_TYPE"), None, "{inputs:?}");
        assert!(!job.env.contains_key("ACTIONS_RUNTIME_TOKEN"), "{inputs:?}");
    }
}

#[test]
fn a_remote_that_fails_is_a_warning_and_with_strict_an_error() {
    let server = S3Server::start();
    let project = dep();
    let endpoint = server.endpoint();
    let mut job = Job::new(&project, "push");
    let wrong = (WRITER.0, "not-the-secret");
    let runs = job.uses("", &inputs(&endpoint, wrong));
    assert!(runs.iter().all(|run| run.code == 0), "{runs:?}");
    assert!(runs.last().expect("runs").stdout.contains("::warning title=kache::the pull"), "{runs:?}");
    build(&project, &job).misses(&["dep"]);
    let runs = job.uses("save", &[]);
    assert!(runs.iter().all(|run| run.code == 0) && runs[0].stdout.contains("::warning"), "{runs:?}");
    let runs = job.uses("save", &[("strict", "true")]);
    assert!(runs[0].code != 0 && runs[1].code == 0, "the summary is written all the same: {runs:?}");

    let mut strict = inputs(&endpoint, wrong);
    strict.push(("strict", "true"));
    let runs = Job::new(&project, "push").uses("", &strict);
    assert_ne!(runs.last().expect("runs").code, 0);
    let mut reader = inputs(&endpoint, READER);
    reader.extend([("strict", "true"), ("read-only", "true")]);
    all_fine(&Job::new(&project, "push").uses("", &reader));
}

#[test]
fn without_a_bucket_there_is_a_local_cache_and_a_summary() {
    let project = dep();
    let mut job = Job::new(&project, "push");
    all_fine(&job.uses("", &[("kache", KACHE)]));
    build(&project, &job).misses(&["dep"]);
    project.wipe();
    build(&project, &job).hits(&["dep"]);
    all_fine(&job.uses("save", &[]));
    assert!(job.summary().contains("50.0 % hits"), "{}", job.summary());
}

#[test]
fn values_reach_the_environment_as_they_are() {
    let project = Project::new();
    let mut job = Job::new(&project, "push");
    let evil = "a\nPATH=/evil\n$(touch evil) `touch evil` ' \" \\";
    let runs = job.uses(
        "",
        &[("kache", KACHE), ("pull", "false"), ("prefix", evil), ("access-key", "x"), ("secret-key", "kache-sk1:x")],
    );
    all_fine(&runs);
    assert_eq!(job.env.get("KACHE_S3_PREFIX").map(String::as_str), Some(evil));
    assert_eq!((job.env.get("PATH"), project.path("evil").exists()), (None, false));
    let said: String = runs.iter().map(|run| run.stdout.as_str()).collect();
    assert!(said.contains("::add-mask::kache-sk1:x"), "{said}");
}

#[test]
fn kache_is_compiled_from_the_actions_own_checkout_once() {
    let mut project = dep();
    // A stand-in for cargo that does only what this test checks.
    let bin = project.sandbox_dir().join("bin");
    fs::create_dir_all(&bin).unwrap();
    let script = format!(
        "#!/bin/sh\necho \"$PWD $* wrapper=$RUSTC_WRAPPER flags=$RUSTFLAGS\" >> {0}/calls\n\
         while [ \"$1\" != --root ]; do shift; done\nmkdir -p \"$2/bin\" && ln -sf {KACHE} \"$2/bin/kache\"\n",
        bin.display()
    );
    fs::write(bin.join("cargo"), script).unwrap();
    fs::set_permissions(bin.join("cargo"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), project.env_value("PATH").unwrap().to_str().unwrap());
    project.set("PATH", path).set("RUSTC_WRAPPER", "another").set("RUSTFLAGS", "-Dwarnings");
    for _ in 0..2 {
        let mut job = Job::new(&project, "push");
        all_fine(&job.uses("", &[]));
        assert!(job.env["RUSTC_WRAPPER"].ends_with("/temp/kache/bin/kache"), "{:?}", job.env);
        assert_eq!(job.path.len(), 1);
    }
    let calls = fs::read_to_string(bin.join("calls")).unwrap();
    assert_eq!(calls.lines().count(), 1, "{calls}");
    assert!(calls.starts_with(env!("CARGO_MANIFEST_DIR")) && calls.contains("install --locked"), "{calls}");
    assert!(calls.trim_end().ends_with("wrapper= flags="), "{calls}");

    // If kache cannot be compiled, the job continues without it, unless `strict` is set.
    fs::remove_dir_all(project.sandbox_dir().join("runner")).unwrap();
    fs::write(bin.join("cargo"), "#!/bin/sh\nexit 101\n").unwrap();
    let mut job = Job::new(&project, "push");
    let runs = job.uses("", &[]);
    assert!(runs.iter().all(|run| run.code == 0) && runs[1].stdout.contains("::warning"), "{runs:?}");
    assert_eq!(job.env.get("RUSTC_WRAPPER"), None);
    all_fine(&job.uses("save", &[]));
    assert_ne!(job.uses("", &[("strict", "true")]).last().expect("runs").code, 0);
}

#[test]
fn r08_only_the_last_step_sees_the_signing_key() {
    let server = S3Server::start();
    let (one, endpoint) = (dep(), server.endpoint());
    let (key, secret) = kache::remote::SigningKey::generate().expect("a key");
    let public = key.public().to_string();
    let with = |more: &[(&'static str, &'static str)]| {
        let trusted = vec![("trusted-keys", public.as_str())];
        [inputs(&endpoint, WRITER), trusted, more.to_vec()].concat()
    };
    let mut job = Job::new(&one, "push");
    all_fine(&job.uses("", &with(&[("sign", "true")])));
    assert!(job.env.values().all(|value| !value.contains("kache-sk1:")), "{:?}", job.env);
    build(&one, &job).misses(&["dep", "app"]);
    // Without the key nothing is uploaded, and the step says so.
    let run = job.uses("save", &[]);
    assert!(run[0].stdout.contains("::warning") && server.objects_with("/manifests/").is_empty(), "{run:?}");
    all_fine(&job.uses("save", &[("signing-key", &secret)]));
    let manifests = server.objects_with("/manifests/");
    assert_eq!(manifests.len(), 2, "{:?}", server.objects());
    assert!(manifests.iter().all(|name| name.ends_with(&key.id().to_string())), "{manifests:?}");
    // Another job trusts them, and a pull request does not write, whatever it is given.
    let two = one.other_machine("two");
    let mut next = Job::new(&two, "pull_request").with("github.event.pull_request.head.repo.full_name", "me/ws");
    all_fine(&next.uses("", &with(&[("sign", "true")])));
    build(&two, &next).hits(&["dep", "app"]);
    two.file("dep/src/lib.rs", "pub fn value() -> u32 { 8 }\n");
    build(&two, &next).misses(&["dep", "app"]);
    all_fine(&next.uses("save", &[("signing-key", &secret)]));
    assert_eq!(server.objects_with("/manifests/"), manifests);
}
