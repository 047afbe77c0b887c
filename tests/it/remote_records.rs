//! Build records of real workspaces: those of one command, branch or repository do not replace those of another.

use std::collections::BTreeSet;
use std::process::Command;

use kache::model::{Digest, EntryKey};
use kache::remote::{BuildRecord, Trust, WorkspaceObject};

use crate::remote_push_pull::assert_reports;
use crate::support::forger::Keys;
use crate::support::s3_server::{S3Server, WRITER};
use crate::support::{Project, Run, manifest};

const HTTPS: &str = "https://user:token@github.com/org/app.git";
/// The end of commands' names in these tests.
const VARIABLES: &str = "CARGO_INCREMENTAL=0";
const SSH: &str = "git@github.com:org/app.git";

/// A workspace `app` with the members `one` and `two`, which build nothing for each other, with cargo's commands known.
fn workspace() -> Project {
    let mut project = Project::new();
    project.set("KACHE_BULK", "on");
    // The CI that runs this test names a branch, too.
    for name in kache::config::env::CI_BRANCHES.iter().chain(&kache::config::env::CI_DEFAULT_BRANCHES) {
        project.unset(name);
    }
    project.file("Cargo.toml", manifest("app", "[workspace]\nmembers = [\"one\", \"two\"]\n"));
    project.file("src/lib.rs", "pub fn app() {}\n");
    for name in ["one", "two"] {
        project.file(&format!("{name}/Cargo.toml"), manifest(name, ""));
        project.file(&format!("{name}/src/lib.rs"), format!("pub fn {name}() {{}}\n"));
    }
    project.file(".gitignore", "target\n");
    project
}

fn git(project: &Project, args: &[&str]) {
    let mut command: Command = project.command("git");
    command.args(["-c", "user.name=kache", "-c", "user.email=kache@example.org", "-c", "commit.gpgsign=false"]);
    let output = command.args(args).output().expect("git, which this test needs");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes a repository of the checkout, on `main`, with one commit.
fn init(project: &Project, url: Option<&str>) {
    git(project, &["init", "--quiet", "--initial-branch=main"]);
    if let Some(url) = url {
        git(project, &["config", "remote.origin.url", url]);
    }
    // With the lock file that cargo will write.
    project.cargo(&["generate-lockfile"]);
    commit(project);
}

fn commit(project: &Project) {
    git(project, &["add", "--all"]);
    git(project, &["commit", "--quiet", "--allow-empty", "--message=one more"]);
}

/// Runs kache with the remote, which no build sees: no agent helps.
fn with_remote(server: &S3Server, project: &mut Project, args: &[&str]) -> Run {
    project.use_remote(&S3Server::variables(&server.endpoint(), WRITER));
    let run = project.kache(args).must_succeed();
    project.use_no_remote();
    run
}

/// The records on the server: command, branch, and crates.
fn records(server: &S3Server) -> BTreeSet<(String, String, Vec<String>)> {
    let read = |object: &String| {
        let Some((_, WorkspaceObject::Record(name))) = WorkspaceObject::parse_any(object) else { panic!("{object}") };
        let record = BuildRecord::decode(&server.read(object).expect("a record"), &name, &Trust::Anyone);
        let record = record.unwrap_or_else(|refused| panic!("{object}: {refused}"));
        let mut crates: Vec<_> = record.units.iter().map(|unit| unit.crate_name.clone()).collect();
        crates.sort();
        (record.command, record.branch, crates)
    };
    server.objects_with(".record.zst").iter().map(read).collect()
}

/// The workspaces of which the server has records, as names spell them.
fn workspaces(server: &S3Server) -> BTreeSet<String> {
    let part = |object: &String| object.split('/').nth(2).expect("a workspace").to_owned();
    server.objects_with(".record.zst").iter().map(part).collect()
}

#[test]
fn a_check_and_a_build_keep_their_records_and_one_pull_serves_both() {
    let server = S3Server::start();
    let base = workspace();
    init(&base, Some(HTTPS));
    let (mut build, mut check, mut two) =
        (base.other_machine("build"), base.other_machine("check"), base.other_machine("two"));
    build.cargo(&["build", "--workspace"]).misses(&["app", "one", "two"]);
    with_remote(&server, &mut build, &["push"]);
    check.cargo(&["check", "--workspace"]).misses(&["app", "one", "two"]);
    with_remote(&server, &mut check, &["push"]);
    let commands: Vec<String> = records(&server).into_iter().map(|(command, ..)| command).collect();
    let named = |verb: &str| format!("{verb}\n--workspace\n{VARIABLES}");
    assert_eq!(commands, [named("build"), named("check")]);
    with_remote(&server, &mut two, &["pull"]);
    two.cargo(&["build", "--workspace"]).hits(&["app", "one", "two"]);
    two.cargo(&["check", "--workspace"]).hits(&["app", "one", "two"]);
    // Control: with one of the records, a pull serves one of them.
    let of_check: Vec<String> = {
        let is_check = |object: &String| {
            let Some((_, WorkspaceObject::Record(name))) = WorkspaceObject::parse_any(object) else { return false };
            name.command == kache::remote::names::command_part(&named("check"))
        };
        server.objects_with(".record.zst").into_iter().filter(is_check).collect()
    };
    assert!(of_check.len() == 1 && server.remove(&of_check[0]));
    let mut three = base.other_machine("three");
    with_remote(&server, &mut three, &["pull"]);
    three.cargo(&["build", "--workspace"]).hits(&["app", "one", "two"]);
    three.cargo(&["check", "--workspace"]).misses(&["app", "one", "two"]);
}

#[test]
fn a_build_of_one_package_does_not_shrink_what_is_pulled() {
    let server = S3Server::start();
    let base = workspace();
    init(&base, Some(HTTPS));
    let (mut ci, mut laptop) = (base.other_machine("ci"), base.other_machine("laptop"));
    ci.cargo(&["build", "--workspace"]);
    with_remote(&server, &mut ci, &["push"]);
    // Later: first the package alone, then with the command of CI, of which only a changed package is compiled.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    laptop.cargo(&["build", "-p", "one"]).misses(&["one"]);
    with_remote(&server, &mut laptop, &["push"]);
    laptop.cargo(&["build", "--workspace"]);
    laptop.file("one/src/lib.rs", "pub fn one() -> u32 { 2 }\n");
    laptop.cargo(&["build", "--workspace"]).misses(&["one"]);
    with_remote(&server, &mut laptop, &["push"]);
    let mut two = base.other_machine("two");
    with_remote(&server, &mut two, &["pull"]);
    two.cargo(&["build", "--workspace"]).hits(&["app", "one", "two"]);
    // Control: a record of one package alone serves that one.
    server.clear();
    let mut alone = base.other_machine("alone");
    alone.cargo(&["build", "-p", "one"]);
    with_remote(&server, &mut alone, &["push"]);
    let mut three = base.other_machine("three");
    with_remote(&server, &mut three, &["pull"]);
    three.cargo(&["build", "--workspace"]).hits(&["one"]).misses(&["app", "two"]);
}

#[test]
fn two_jobs_with_one_command_at_the_same_time_are_both_served() {
    let server = S3Server::start();
    let base = workspace();
    init(&base, Some(HTTPS));
    let (mut warm, mut cold) = (base.other_machine("warm"), base.other_machine("cold"));
    // The same command on the same commit, with another compile: what CI runs on two versions of a system.
    cold.set("RUSTC_BOOTSTRAP", "1");
    for job in [&warm, &cold] {
        job.cargo(&["build", "--workspace"]).misses(&["app", "one", "two"]);
    }
    // Neither sees the record of the other before it writes its own.
    let mut first = with_remote(&server, &mut warm, &["push"]);
    let of_warm: Vec<_> = server.objects_with(".record.zst");
    let bytes: Vec<_> = of_warm.iter().map(|object| server.read(object).expect("a record")).collect();
    for object in &of_warm {
        assert!(server.remove(object));
    }
    let second = with_remote(&server, &mut cold, &["push"]);
    of_warm.iter().zip(&bytes).for_each(|(object, bytes)| server.write(object, bytes));
    first.stdout.push_str(&second.stdout);
    assert_eq!(server.objects_with(".record.zst").len(), 2, "{}", first.stdout);
    for (name, bootstrap) in [("one-more-warm", None), ("one-more-cold", Some("1"))] {
        let mut reader = base.other_machine(name);
        if let Some(bootstrap) = bootstrap {
            reader.set("RUSTC_BOOTSTRAP", bootstrap);
        }
        with_remote(&server, &mut reader, &["pull"]);
        reader.cargo(&["build", "--workspace"]).hits(&["app", "one", "two"]);
    }
    // Control: one of the records serves one of the jobs.
    for object in &of_warm {
        assert!(server.remove(object));
    }
    let mut last = base.other_machine("last");
    with_remote(&server, &mut last, &["pull"]);
    last.cargo(&["build", "--workspace"]).misses(&["app", "one", "two"]);
}

#[test]
fn forty_branches_leave_the_record_of_main() {
    let server = S3Server::start();
    let mut one = workspace();
    init(&one, Some(HTTPS));
    one.build();
    with_remote(&server, &mut one, &["push"]);
    let of_main = server.objects_with("/main.");
    assert_eq!(of_main.iter().filter(|object| object.ends_with(".record.zst")).count(), 1);
    let mut newest = String::new();
    for number in 0..40 {
        newest = format!("feature/{number}");
        git(&one, &["checkout", "--quiet", "-b", &newest, "main"]);
        one.file("src/lib.rs", format!("pub fn app() -> u32 {{ {number} }}\n"));
        commit(&one);
        one.build();
        with_remote(&server, &mut one, &["push"]);
    }
    assert_eq!(server.objects_with("/main."), of_main);
    let branches = records(&server).into_iter().map(|(_, branch, _)| branch).collect::<BTreeSet<_>>();
    assert!(branches.len() == 41 && branches.contains(&newest), "{branches:?}");
    git(&one, &["checkout", "--quiet", "main"]);
    let mut two = one.other_machine("two");
    let run = with_remote(&server, &mut two, &["pull"]);
    assert_reports(&run, &format!("(branch main, cargo build {VARIABLES})"));
    two.build().hits(&["app"]);
    // A new branch takes the record of main, and says so.
    git(&one, &["checkout", "--quiet", "-b", "new", "main"]);
    let mut three = one.other_machine("three");
    assert_reports(&with_remote(&server, &mut three, &["pull"]), &format!("(branch main, cargo build {VARIABLES})"));
    three.build().hits(&["app"]);
    // Control: a branch with a record takes its own.
    git(&one, &["checkout", "--quiet", &newest]);
    let mut four = one.other_machine("four");
    assert_reports(&with_remote(&server, &mut four, &["pull"]), &format!("(branch {newest}, cargo build {VARIABLES})"));
    four.build().hits(&["app"]);
}

/// Pushes what this checkout builds with this remote of git, from its own machine.
fn push_with(server: &S3Server, name: &str, url: &str, change: impl Fn(&Project)) -> Project {
    let mut project = workspace();
    change(&project);
    init(&project, Some(url));
    project.cargo(&["build", "--workspace"]);
    with_remote(server, &mut project, &["push"]);
    assert!(!records(server).is_empty(), "{name}");
    project
}

#[test]
fn repositories_are_told_apart_by_their_remotes_and_clones_are_not() {
    let server = S3Server::start();
    push_with(&server, "https", HTTPS, |_| {});
    assert_eq!(workspaces(&server).len(), 1);
    let names = || server.objects().concat();
    assert!(!names().contains("token"));
    push_with(&server, "ssh", SSH, |_| {});
    push_with(&server, "ssh with a port", "ssh://git@github.com:22/org/app", |_| {});
    assert_eq!(workspaces(&server).len(), 1, "clones of one repository");
    // A package of the same name elsewhere, which has nothing to pull yet.
    let mut other = workspace();
    init(&other, Some("https://github.com/somebody/app"));
    assert_reports(&with_remote(&server, &mut other, &["pull", "--dry-run"]), "no build record of app@");
    other.cargo(&["build", "--workspace"]);
    with_remote(&server, &mut other, &["push"]);
    assert_eq!(workspaces(&server).len(), 2);
    // Control: a clone has a record.
    let mut clone = workspace();
    init(&clone, Some(SSH));
    assert_reports(&with_remote(&server, &mut clone, &["pull", "--dry-run"]), "build record v2/builds/app_github");
}

#[test]
fn a_name_in_the_project_file_wins() {
    let server = S3Server::start();
    let named = |project: &Project| {
        project.file(".kache.toml", "[workspace]\nname = \"ours\"\n");
    };
    push_with(&server, "named", HTTPS, named);
    push_with(&server, "named elsewhere", "https://github.com/somebody/fork", named);
    assert_eq!(workspaces(&server), BTreeSet::from(["ours".to_owned()]));
    // Controls: without the name, and with another one.
    push_with(&server, "unnamed", HTTPS, |_| {});
    push_with(&server, "other name", HTTPS, |project| {
        project.file(".kache.toml", "[workspace]\nname = \"theirs\"\n");
    });
    assert_eq!(workspaces(&server).len(), 3);
}

#[test]
fn forged_records_hide_nothing() {
    let server = S3Server::start();
    let (ours, other) = (Keys::new(), Keys::new());
    let mut one = workspace();
    init(&one, Some(HTTPS));
    one.cargo(&["build", "--workspace"]);
    one.set("KACHE_SIGNING_KEY", &ours.secret);
    with_remote(&server, &mut one, &["push"]);
    // Newer ones that claim to be of the same signer: of the same command, and of another one.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let forge = |number: u64| {
        let object =
            server.objects_with(".record.zst").into_iter().find(|object| object.contains("/main.")).expect("one");
        let Some((_, WorkspaceObject::Record(name))) = WorkspaceObject::parse_any(&object) else { panic!("{object}") };
        let mut record = BuildRecord::decode(&server.read(&object).expect("it"), &name, &Trust::Anyone).expect("it");
        record.units.truncate(1);
        if number.is_multiple_of(2) {
            record.command = format!("forged {number}");
        }
        record.units[0].key = EntryKey(Digest::of(&number.to_le_bytes()));
        let name = record.name(ours.key.id()).object(&record.workspace);
        assert_eq!(server.read(&name), None);
        (name, record.encode(Some(&other.key)))
    };
    let forged: Vec<_> = (0..20).map(forge).collect();
    for (name, bytes) in &forged {
        server.write(name, bytes);
    }
    let trusting = |name: &str, keys: &Keys| {
        let mut reader = one.other_machine(name);
        reader.unset("KACHE_SIGNING_KEY").set("KACHE_TRUSTED_KEYS", keys.public().to_string());
        reader
    };
    let mut reader = trusting("reader", &ours);
    assert_reports(&with_remote(&server, &mut reader, &["pull"]), "(branch main, cargo build --workspace");
    reader.cargo(&["build", "--workspace"]).hits(&["app", "one", "two"]);
    // A build of one package on the same branch still adds to what was recorded before.
    let mut job = one.other_machine("job");
    with_remote(&server, &mut job, &["pull"]);
    job.file("one/src/lib.rs", "pub fn one() -> u32 { 3 }\n");
    job.cargo(&["build", "--workspace"]).misses(&["one"]);
    with_remote(&server, &mut job, &["push"]);
    for object in server.objects_with(".record.zst") {
        let is_forged = forged.iter().any(|(name, _)| *name == object);
        let Some((_, WorkspaceObject::Record(name))) = WorkspaceObject::parse_any(&object) else { panic!("{object}") };
        let bytes = server.read(&object).expect("a record");
        let record = BuildRecord::decode(&bytes, &name, &Trust::of_keys([ours.public()]));
        assert_eq!(record.is_err(), is_forged, "{object}");
        assert!(is_forged || record.expect("it is ours").units.len() >= 3);
    }
    // Control: who trusts the forger uses its records.
    let mut fooled = trusting("fooled", &other);
    fooled.set("KACHE_TRUSTED_KEYS", format!("{} {}", ours.public(), other.public()));
    let run = with_remote(&server, &mut fooled, &["pull", "--dry-run"]);
    assert_reports(&run, "cargo forged ");
}

#[test]
fn what_looks_secret_in_a_command_or_branch_stays_here() {
    let server = S3Server::start();
    let mut project = workspace();
    init(&project, Some(HTTPS));
    let feature = |name: &str| project.file("Cargo.toml", manifest("app", &format!("[features]\n{name} = []\n")));
    let (plain, token) = ("usual", "ghp_0123456789abcdef0123456789abcdef0123");
    feature(plain);
    commit(&project);
    project.cargo(&["build", "--features", plain]);
    with_remote(&server, &mut project, &["push"]);
    let feature = |name: &str| project.file("Cargo.toml", manifest("app", &format!("[features]\n{name} = []\n")));
    feature(token);
    git(&project, &["checkout", "--quiet", "-b", token]);
    project.file("src/lib.rs", "pub fn other() {}\n");
    project.cargo(&["build", "--features", token]);
    with_remote(&server, &mut project, &["push"]);
    let all = records(&server);
    let holds = |text: &str| all.iter().any(|(command, branch, _)| command.contains(text) || branch.contains(text));
    assert!(holds(plain) && holds("main"), "control: {all:?}");
    assert!(!holds("ghp_"), "{all:?}");
    assert!(server.objects().iter().all(|name| !name.contains("ghp_")), "{:?}", server.objects());
}
