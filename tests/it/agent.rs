//! The agent: it fetches entries during a build, uploads the results of compiles, and is never the reason that
//! something goes wrong.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::faults::{Action, FaultProxy, Lie, Rule};
use crate::support::s3_server::{S3Server, WRITER};
use crate::support::{Project, manifest, signal, wait_until};

const CRATES: usize = 24;

fn name(n: usize) -> String {
    format!("k{n}")
}

/// A program that depends on many libraries. Each of them depends on the library two places before it, so cargo can
/// always compile two at once.
fn workspace() -> Project {
    let mut project = Project::new();
    let all: Vec<String> = (0..CRATES).map(|n| format!("k{n} = {{ path = \"k{n}\" }}")).collect();
    project.file("Cargo.toml", manifest("app", &format!("[dependencies]\n{}\n[workspace]\n", all.join("\n"))));
    let sum: Vec<String> = (0..CRATES).map(|n| format!("k{n}::value()")).collect();
    project.file("src/main.rs", format!("fn main() {{ println!(\"{{}}\", {}); }}\n", sum.join(" + ")));
    for n in 0..CRATES {
        let below = n.checked_sub(2).map(|m| format!("[dependencies]\nk{m} = {{ path = \"../k{m}\" }}\n"));
        project.file(&format!("k{n}/Cargo.toml"), manifest(&name(n), &below.unwrap_or_default()));
        let value = n.checked_sub(2).map_or_else(|| "1".to_owned(), |m| format!("1 + k{m}::value()"));
        project.file(&format!("k{n}/src/lib.rs"), format!("pub fn value() -> u64 {{ {value} }}\n"));
    }
    project.set("CARGO_BUILD_JOBS", "2");
    project
}

/// The output of the program.
fn sum() -> String {
    (0..CRATES).map(|n| n / 2 + 1).sum::<usize>().to_string()
}

fn remote(project: &mut Project, endpoint: &str) {
    // Longer than the pauses after an error. The agent also ends when its cache is removed, as happens at the end of
    // the test.
    project.set("KACHE_AGENT_IDLE", "60s");
    project.use_remote(&S3Server::variables(endpoint, WRITER));
}

/// Makes every compile of a library take half a second longer, so that it takes as long as that of a real crate.
fn slow_down(project: &Project) {
    for n in 0..CRATES {
        project.hook("before", &name(n), "sleep 0.5");
    }
}

/// A machine that has built and pushed the workspace, and another one with an empty store.
fn pushed(server: &S3Server) -> (Project, Project) {
    let mut one = workspace();
    slow_down(&one);
    one.build();
    remote(&mut one, &server.endpoint());
    one.kache(&["push"]).must_succeed_ref();
    let two = one.other_machine("two");
    (one, two)
}

/// Number of entries in the upload queues of all remotes.
fn queued(project: &Project) -> usize {
    let list = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().map(|entry| entry.expect("an entry").path());
    list(project.cache_dir().join("v1/remote/queue")).flat_map(list).count()
}

fn status(project: &Project) -> serde_json::Value {
    project.kache_json(&["agent", "status", "--json"])
}

fn pid(project: &Project) -> u32 {
    u32::try_from(status(project)["pid"].as_u64().expect("an agent runs")).expect("a process id")
}

/// Milliseconds that misses waited for the remote, and number of hits that came from it.
fn waits(project: &Project) -> (f64, usize) {
    let events = project.events();
    let waited = events.iter().filter_map(|event| event["waited_ms"].as_f64()).sum();
    (waited, events.iter().filter(|event| event["outcome"] == "hit.remote").count())
}

#[test]
#[ignore = "slow"]
fn a_cold_machine_is_served_while_it_builds() {
    let server = S3Server::start();
    let (_one, mut two) = pushed(&server);
    let proxy = FaultProxy::start(server.address());
    proxy.set_latency(Duration::from_millis(50));
    remote(&mut two, &proxy.endpoint());
    slow_down(&two);
    let run = two.build();
    assert_eq!(two.app_output(), sum());
    let compiled = run.compiles().len();
    let (_, hits) = waits(&two);
    // The exact number depends on the speed of the machine; `benches/agent.rs` measures it.
    assert!(compiled <= CRATES / 4, "{:?}\n{}", run.compiles(), two.history());
    assert_eq!(compiled + hits, CRATES + 1, "{}", two.history());
    // The same agent fetches the entries again after a purge has removed them.
    let (agent, (_, before)) = (pid(&two), waits(&two));
    two.kache(&["purge"]).must_succeed();
    let run = two.wipe().build();
    assert_eq!(pid(&two), agent);
    let (compiled, hits) = (run.compiles().len(), waits(&two).1 - before);
    assert!(compiled <= CRATES / 4 && compiled + hits == CRATES + 1, "{:?}\n{}", run.compiles(), two.history());
    // Control: without the agent, cargo compiles everything.
    let mut three = two.other_machine("three");
    three.use_no_remote();
    assert_eq!(three.build().compiles().len(), CRATES + 1);
}

#[test]
fn t11_there_is_one_agent_of_mine_alone_and_it_holds_nothing_of_the_build() {
    let server = S3Server::start();
    let mut project = workspace();
    remote(&mut project, &server.endpoint());
    // Returns although the agent is still running, because the agent does not hold any pipe of the build.
    project.build();
    let agent = pid(&project);
    for at in [project.agent_dir(), project.agent_dir().join("socket")] {
        assert_eq!(
            std::fs::metadata(&at).expect("it is there").permissions().mode() & 0o777,
            0o700,
            "{}",
            at.display()
        );
    }
    // A second agent exits at once.
    let second = project.kache(&["agent", "run"]);
    assert!(second.must_succeed_ref().stderr.contains("another agent"), "{}", second.stderr);
    assert_eq!(pid(&project), agent);
    // T10: the agent holds neither cargo's jobserver nor any pipe.
    let held: Vec<String> = std::fs::read_dir(format!("/proc/{agent}/fd"))
        .expect("the agent's descriptors")
        .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .map(|path| path.display().to_string())
        .collect();
    assert!(held.iter().any(|path| path.contains("socket")), "{held:?}");
    assert!(!held.iter().any(|path| path.starts_with("pipe:") || path.contains("fifo")), "{held:?}");
    assert_eq!(held.iter().filter(|path| *path == "/dev/null").count(), 3, "{held:?}");
    let session = |process: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("stat");
        stat.split(' ').nth(5).map(str::to_owned)
    };
    assert_ne!(session(&agent.to_string()), session("self"), "the agent has a separate session");

    assert!(project.kache(&["agent", "stop"]).must_succeed_ref().stderr.contains("stopped the agent"));
    wait_until("the end", || !PathBuf::from(format!("/proc/{agent}")).exists());
    assert_eq!(status(&project), serde_json::Value::Null);
    assert!(project.kache(&["agent", "logs"]).must_succeed_ref().stdout.contains("listening"));
}

#[test]
fn another_user_is_refused() {
    use std::os::unix::process::CommandExt as _;
    let server = S3Server::start();
    let mut project = Project::lib("pub fn value() {}");
    remote(&mut project, &server.endpoint());
    project.build();
    let mine = std::fs::metadata(project.agent_dir()).expect("the agent's directory").uid();
    if mine != 0 {
        return crate::support::skip("only root can be somebody else");
    }
    // Opens every directory on the way, so that the modes do not matter and the credentials of the peer decide.
    for dir in project.agent_dir().ancestors().take_while(|dir| dir.starts_with(project.sandbox_dir())) {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777)).expect("open the way");
    }
    let socket = project.agent_dir().join("socket");
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o777)).expect("open the socket");
    let ask = |user: u32| {
        let script = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
                      s.sendall(b'{\"v\":1,\"ask\":\"status\"}\\n')\nsys.stdout.write(s.recv(4096).decode())";
        let mut command = std::process::Command::new("python3");
        let output = command.args(["-c", script]).arg(&socket).uid(user).output().expect("python3");
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(ask(mine).contains("\"pid\""), "control");
    assert_eq!(ask(65_534), "");
}

#[test]
#[ignore = "slow"]
fn an_idle_agent_ends_and_so_does_one_whose_cache_is_gone() {
    let server = S3Server::start();
    let mut project = Project::lib("pub fn value() {}");
    remote(&mut project, &server.endpoint());
    project.set("KACHE_AGENT_IDLE", "2s");
    project.build();
    let agent = PathBuf::from(format!("/proc/{}", pid(&project)));
    wait_until("the end of the idle agent", || !agent.exists());
    assert!(!project.agent_dir().join("socket").exists());

    project.set("KACHE_AGENT_IDLE", "600s").wipe();
    std::fs::remove_dir_all(project.cache_dir()).expect("delete the cache");
    project.build();
    let agent = PathBuf::from(format!("/proc/{}", pid(&project)));
    std::fs::remove_dir_all(project.cache_dir()).expect("delete the cache");
    wait_until("the end of the agent without a cache", || !agent.exists());
}

#[test]
#[ignore = "slow"]
fn what_was_compiled_is_sent_and_the_queue_outlives_the_agent() {
    let server = S3Server::start();
    let proxy = FaultProxy::start(server.address());
    proxy.rule(Rule::on("PUT", "/").then(Action::Error(503, "SlowDown", "later")));
    let mut project = Project::app_over("pub fn value() -> u32 { 1 }");
    remote(&mut project, &proxy.endpoint());
    project.build();
    let queued = || queued(&project);
    assert_eq!(queued(), 2);
    assert_eq!(server.objects_with("/manifests/").len(), 0);
    signal("KILL", &pid(&project).to_string());
    proxy.heal();
    // Half a minute later, the next miss starts another agent, which finds the queue of the first one.
    std::fs::remove_file(project.agent_dir().join("starting")).expect("as if half a minute had passed");
    project.file("dep/src/lib.rs", "pub fn value() -> u32 { 2 }");
    project.build();
    wait_until("the sending", || queued() == 0);
    assert_eq!(server.objects_with("/manifests/").len(), 4, "{:?}", server.objects());
    let two = project.other_machine("two");
    two.kache(&["pull", "--all"]).must_succeed_ref();
    assert!(two.build().compiles().is_empty(), "{}", two.history());
}

#[test]
#[ignore = "slow"]
fn a_read_only_remote_is_never_written() {
    let server = S3Server::start();
    let proxy = FaultProxy::start(server.address());
    for (read_only, writes) in [("1", false), ("0", true)] {
        let mut project = Project::lib("pub fn value() {}");
        remote(&mut project, &proxy.endpoint());
        project.set("KACHE_REMOTE_READONLY", read_only);
        project.build();
        match writes {
            true => wait_until("the control's writing", || proxy.count("PUT", "/manifests/") > 0),
            false => std::thread::sleep(Duration::from_secs(3)),
        }
        assert_eq!(proxy.count("PUT", "/") > 0, writes);
        assert!(!project.cache_dir().join("v1/remote/queue").exists() || writes);
        project.kache(&["agent", "stop"]);
    }
}

/// The ways in which a remote can fail.
fn faults() -> Vec<(&'static str, Rule)> {
    let on = |action| Rule::on("*", "/").then(action);
    vec![
        ("hangs", on(Action::Hang)),
        ("closes", on(Action::Close)),
        ("refuses", on(Action::Error(403, "AccessDenied", "no"))),
        ("fails", on(Action::Error(500, "InternalError", "no"))),
        ("talks nonsense", on(Action::Garbage)),
        ("crawls", on(Action::Slow(10_000))),
        ("hangs after a few bytes", on(Action::HangAfter(40))),
        ("lists nonsense", Rule::on("GET", "list-type").then(Action::Listing(Lie::NoXml))),
        ("has damaged packs", Rule::on("GET", "/bundles/").then(Action::Flip(30))),
        ("has damaged manifests", Rule::on("GET", "/manifests/").then(Action::Flip(100))),
        ("has lost its packs", Rule::on("GET", "/bundles/").then(Action::Empty(404))),
    ]
}

#[test]
#[ignore = "slow"]
fn r09_whatever_the_remote_does_the_build_is_right_and_hardly_waits() {
    let server = S3Server::start();
    let (_one, two) = pushed(&server);
    for (what, rule) in faults() {
        let proxy = FaultProxy::start(server.address());
        proxy.rule(rule);
        let mut machine = two.other_machine(&format!("at-{}", what.replace(' ', "-")));
        remote(&mut machine, &proxy.endpoint());
        let run = machine.build();
        assert_eq!(machine.app_output(), sum(), "{what}");
        let (waited, hits) = waits(&machine);
        assert_eq!(hits + run.compiles().len(), CRATES + 1, "{what}: {}", machine.history());
        // The capital of all jobs and some noise. Waiting for a remote without a limit would cost many seconds.
        assert!(waited < 5_000.0, "{what}: {waited} ms");
        machine.kache(&["agent", "stop"]);
    }
}

#[test]
#[ignore = "slow"]
fn r09_lookups_that_hang_stop_nothing_that_the_record_names() {
    let server = S3Server::start();
    let (_one, mut two) = pushed(&server);
    let proxy = FaultProxy::start(server.address());
    proxy.rule(Rule::on("GET", "prefix=v2%2Fmanifests").then(Action::Hang));
    remote(&mut two, &proxy.endpoint());
    slow_down(&two);
    two.build();
    assert!(waits(&two).1 > 0, "{}", two.history());
    assert!(proxy.count("GET", "prefix=v2%2Fmanifests") > 0, "misses before the record are looked up");
    two.kache(&["agent", "stop"]);
}

#[test]
fn an_agent_that_hangs_is_left_alone() {
    let server = S3Server::start();
    let mut project = workspace();
    remote(&mut project, &server.endpoint());
    project.build();
    let agent = pid(&project);
    signal("STOP", &agent.to_string());
    let before = project.events().len();
    for n in 0..CRATES {
        project.file(&format!("k{n}/src/lib.rs"), "pub fn value() -> u64 { 7 }\n");
    }
    project.build();
    let waited: f64 = project.events()[before..].iter().filter_map(|event| event["waited_ms"].as_f64()).sum();
    assert!(waited > 50.0, "somebody asked: {waited}");
    assert!(waited < 1_000.0, "everybody asked: {waited}");
    assert!(project.agent_dir().join("silent").exists());
    signal("CONT", &agent.to_string());
    signal("KILL", &agent.to_string());
}

/// Sends `text` to the agent and reads one line. Returns `None` if there is no answer.
fn say(project: &Project, text: &str) -> Option<String> {
    let mut stream = UnixStream::connect(project.agent_dir().join("socket")).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream.write_all(text.as_bytes()).ok()?;
    stream.shutdown(std::net::Shutdown::Write).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    Some(line).filter(|line| !line.is_empty())
}

#[test]
fn nonsense_is_not_answered_and_a_newer_version_takes_over() {
    let server = S3Server::start();
    let mut project = Project::lib("pub fn value() {}");
    remote(&mut project, &server.endpoint());
    project.build();
    let agent = PathBuf::from(format!("/proc/{}", pid(&project)));
    let long = "x".repeat(1 << 20);
    for nonsense in ["", "\n", "{}\n", "GET / HTTP/1.1\r\n\r\n", "{\"v\":1}\n", "[[[[\n", long.as_str()] {
        assert_eq!(say(&project, nonsense), None, "{nonsense:.20}");
    }
    assert!(say(&project, "{\"v\":0,\"ask\":\"status\"}\n").expect("an answer").contains("other-version"));
    assert!(agent.exists(), "an older one asks in vain");
    assert!(say(&project, "{\"v\":9,\"ask\":\"dance\"}\n").expect("an answer").contains("other-version"));
    wait_until("the end", || !agent.exists());
    // The next miss starts another agent.
    project.file("src/lib.rs", "pub fn other() {}").build();
    assert!(pid(&project) > 0);
}

#[test]
#[ignore = "slow"]
fn r08_an_agent_serves_only_the_remote_that_was_meant() {
    let (server, other) = (S3Server::start(), S3Server::start());
    let (_one, mut two) = pushed(&server);
    remote(&mut two, &other.endpoint());
    two.build();
    let first = pid(&two);
    // Another remote right after it: the agent does not serve it, and does not upload anything of one to the other.
    remote(&mut two, &server.endpoint());
    two.wipe();
    for n in 0..CRATES {
        two.file(&format!("k{n}/src/lib.rs"), "pub fn value() -> u64 { 9 }\n");
    }
    two.build();
    assert_eq!(two.app_output(), (9 * CRATES).to_string());
    assert_eq!(waits(&two).1, 0);
    assert_eq!(pid(&two), first, "it is busy, so it stays");
}

#[test]
fn what_cannot_be_sent_stops_no_other() {
    let server = S3Server::start();
    let proxy = FaultProxy::start(server.address());
    proxy.rule(Rule::on("PUT", "/manifests/dep/").then(Action::Error(400, "InvalidRequest", "not this one")));
    let mut project = Project::app_over("pub fn value() -> u32 { 1 }");
    remote(&mut project, &proxy.endpoint());
    project.build();
    wait_until("the sending", || !server.objects_with("/manifests/app/").is_empty());
    wait_until("the words", || {
        status(&project)["uploads"].as_str().is_some_and(|words| words.contains("not this one"))
    });
    assert_eq!(queued(&project), 1);
    assert_eq!(server.objects_with("/manifests/dep/"), Vec::<String>::new());
}
