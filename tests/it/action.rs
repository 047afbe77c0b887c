//! The GitHub actions: runs their shell steps as a runner would, against a real server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::action::{Job, action, pairs, steps};
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
fn r07_a_pull_request_from_a_fork_only_reads() {
    let server = S3Server::start();
    let project = dep();
    let endpoint = server.endpoint();
    let head = "github.event.pull_request.head.repo.full_name";
    for (event, name, repository, is_read_only) in [
        ("pull_request", head, "fork/ws", true),
        ("pull_request_target", head, "fork/ws", true),
        ("pull_request", head, "", true),
        ("workflow_run", "github.event.workflow_run.head_repository.full_name", "fork/ws", true),
        ("pull_request", head, "me/ws", false),
        ("push", head, "", false),
    ] {
        let mut job = Job::new(&project, event).with(name, repository);
        all_fine(&job.uses("", &inputs(&endpoint, WRITER)));
        let read_only = job.env.get("KACHE_REMOTE_READONLY").map(String::as_str);
        assert_eq!(read_only, is_read_only.then_some("1"), "{event} from {repository:?}");
    }
    let mut job = Job::new(&project, "pull_request").with(head, "fork/ws");
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
    let runs = job.uses("", &[("kache", KACHE), ("pull", "false"), ("prefix", evil), ("signing-key", "kache-sk1:x")]);
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
