//! Builds that run at the same time as another build, a collection or a killed neighbour (hazards I05, I08, I09, I11,
//! I12).

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Project, files_under, manifest, real_cargo, settle, signal, wait_until};

const DEP: &str = "pub fn value() -> u32 { 7 }\n";

fn out_dir(project: &Project) -> PathBuf {
    project.target_dir().join("debug/deps")
}

/// A restore that fails midway leaves neither an output nor a temp.
#[test]
fn i05_a_failing_restore_leaves_nothing() {
    for name in ["libdep-0000000000000000.rlib", "libdep-0000000000000000.rmeta", "dep-0000000000000000.d"] {
        let project = Project::lib(DEP);
        project.unit("dep", "src/lib.rs").warm();
        let command = project.unit("dep", "src/lib.rs").command();
        let in_the_way = out_dir(&project).join(name);
        fs::create_dir(&in_the_way).expect("a directory in an output's place");
        let listing = project.path("listing");
        project.hook("instead", "dep", &format!("ls -A '{}' > listing; exit 3\n", out_dir(&project).display()));
        let run = project.finish(command);
        assert_eq!(run.code, 3, "{name}: {}", run.stderr);
        assert_eq!(fs::read_to_string(listing).expect("rustc ran").trim_end(), name, "left by the restore");
        let outcome = project.last_outcome("dep");
        assert_eq!(outcome, ("miss.restore-failed".to_owned(), "rustc-failed".to_owned()));
        // Control: with the directory removed, it is a hit.
        fs::remove_dir(in_the_way).expect("rmdir");
        project.unhook("instead", "dep").unit("dep", "src/lib.rs").hits();
        assert_eq!(project.temps(), Vec::<PathBuf>::new());
    }
}

/// The same for rustc: it reports the usual error about a directory in the way.
#[test]
fn i05_what_rustc_cannot_write_either_is_rustcs_error() {
    let mut project = Project::lib(DEP);
    project.unit("dep", "src/lib.rs").warm();
    let command = project.unit("dep", "src/lib.rs").command();
    let in_the_way = out_dir(&project).join("libdep-0000000000000000.rmeta");
    fs::create_dir(&in_the_way).expect("a directory");
    let ours = project.finish(command);
    project.set("KACHE_DISABLED", "1");
    let rustcs = project.unit("dep", "src/lib.rs").run().must_fail();
    assert_eq!((ours.code, ours.stdout, ours.stderr), (rustcs.code, rustcs.stdout, rustcs.stderr));
}

/// Deletes the directory `what` again and again while `during` runs.
fn while_deleting(what: &Path, during: impl FnOnce()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = fs::remove_dir_all(what);
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        during();
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
#[ignore = "slow"]
fn i08_a_cache_that_vanishes_under_a_build_costs_compiles_only() {
    let project = Project::app_over(DEP);
    for vanishing in ["v1", "v1/blobs", "v1/entries", ""] {
        project.wipe().build();
        while_deleting(&project.cache_dir().join(vanishing), || {
            for _ in 0..6 {
                project.unit("dep", "dep/src/lib.rs").run().must_succeed();
            }
            let (_, said) = project.wipe().build_and_run();
            assert_eq!(said, "7", "while {vanishing:?} was deleted");
            assert!(project.build().dirty().is_empty());
        });
        project.assert_store_whole();
    }
    project.wipe().build();
    project.rebuild_hits(&["dep"]);
}

#[test]
fn i09_a_cache_deleted_while_rustc_runs_is_filled_again() {
    let project = Project::lib(DEP);
    project.unit("dep", "src/lib.rs").misses();
    project.file("src/lib.rs", "pub fn value() -> u32 { 8 }\n");
    settle();
    project.hook("before", "dep", &format!("rm -rf '{}'\n", project.cache_dir().display()));
    project.unit("dep", "src/lib.rs").misses();
    assert_eq!(project.last_outcome("dep").1, "stored", "{:?}", project.events());
    project.unhook("before", "dep").assert_store_whole();
    project.unit("dep", "src/lib.rs").hits();
}

#[test]
#[ignore = "slow"]
fn i08_collections_beside_builds_cost_compiles_only() {
    let project = Project::app_over(DEP);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let mut command = project.command(crate::support::KACHE);
                command.arg("gc").env("KACHE_MAX_SIZE", "1B");
                let output = command.output().expect("kache gc");
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
        });
        for round in 0..6 {
            let (_, said) = project.wipe().build_and_run();
            assert_eq!(said, "7");
            project.unit("dep", "dep/src/lib.rs").run().must_succeed();
            project.unit("dep", "dep/src/lib.rs").run().must_succeed();
            assert!(project.build().dirty().is_empty(), "round {round}");
        }
        done.store(true, Ordering::Relaxed);
    });
    project.assert_store_whole();
    project.wipe().build();
    project.rebuild_hits(&["dep"]);
    // Control: a collection down to one byte removes all entries.
    let mut command = project.command(crate::support::KACHE);
    command.arg("gc").env("KACHE_MAX_SIZE", "1B");
    project.finish(command).must_succeed();
    assert_eq!(project.entries(), Vec::<PathBuf>::new());
    project.rebuild_misses(&["dep"]);
}

/// kache recognises the temps of a killed process by their names, and keeps them as long as they may have an owner.
#[test]
fn i10_young_temps_are_left_to_their_owners() {
    let project = Project::lib(DEP);
    project.unit("dep", "src/lib.rs").misses();
    let shard = project.blobs()[0].parent().expect("a shard").to_owned();
    let temp = shard.join(format!("{}somebody", crate::support::TEMP_PREFIX));
    fs::write(&temp, "half a blob").expect("write");
    project.kache(&["gc"]).must_succeed();
    assert!(temp.exists());
    project.assert_store_whole();
    project.unit("dep", "src/lib.rs").hits();
}

/// A workspace with a chain of four libraries, and one that is not connected to them.
fn workspace() -> Project {
    let project = Project::new();
    project.file("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"c*\"]\n");
    for (name, below) in [("ca", None), ("cb", Some("ca")), ("cc", Some("cb")), ("cd", Some("cc")), ("ce", None)] {
        let dependency = below.map(|below| format!("[dependencies]\n{below} = {{ path = \"../{below}\" }}\n"));
        project.file(&format!("{name}/Cargo.toml"), manifest(name, &dependency.unwrap_or_default()));
        let value = below.map_or("1".to_owned(), |below| format!("{below}::value() + 1"));
        project.file(&format!("{name}/src/lib.rs"), format!("pub fn value() -> u32 {{ {value} }}\n"));
    }
    project
}

const MEMBERS: [&str; 5] = ["ca", "cb", "cc", "cd", "ce"];

/// Runs `cargo build` in all checkouts at once.
fn build_at_once(checkouts: &[Project]) {
    let start = |project: &Project| {
        let mut command = project.command(real_cargo());
        command.args(["build", "-j2"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("cargo starts")
    };
    let children: Vec<Child> = checkouts.iter().map(start).collect();
    for mut child in children {
        assert!(child.wait().expect("cargo ends").success());
    }
}

fn compiles(checkouts: &[Project], krate: &str) -> usize {
    checkouts.iter().map(|project| project.compiled(krate)).sum()
}

#[test]
#[ignore = "slow"]
fn i11_eight_builds_at_once_compile_every_unit_once() {
    let first = workspace();
    let mut checkouts: Vec<Project> = (1..8).map(|n| first.clone_to(&format!("depth-{n}/checkout"))).collect();
    checkouts.push(first);
    build_at_once(&checkouts);
    for krate in MEMBERS {
        assert_eq!(compiles(&checkouts, krate), 1, "`{krate}` over all checkouts");
    }
    checkouts[0].assert_store_whole();
    assert_eq!(files_under(&checkouts[0].cache_dir().join("v1/claims")), Vec::<PathBuf>::new());
    for project in &checkouts {
        project.assert_noop();
    }
    // Each of the 40 events is whole: eight processes append to one log.
    assert_eq!(checkouts[0].events().len(), 8 * MEMBERS.len());
    // Control: without the cache, each checkout compiles for itself.
    for project in &mut checkouts[..2] {
        project.set("KACHE_DISABLED", "1").wipe();
    }
    build_at_once(&checkouts[..2]);
    assert_eq!(compiles(&checkouts, "ca"), 3);
}

#[test]
fn i11_without_waiting_nothing_breaks() {
    let mut first = workspace();
    first.set("KACHE_CLAIM_WAIT", "0");
    let mut checkouts: Vec<Project> = (1..4).map(|n| first.clone_to(&format!("checkout-{n}"))).collect();
    checkouts.push(first);
    build_at_once(&checkouts);
    checkouts[0].assert_store_whole();
    for project in &checkouts {
        project.assert_noop();
        project.rebuild_hits(&MEMBERS);
    }
}

/// Two checkouts. In the first one, a call of `dep` holds the claim: its rustc sleeps until `go` exists or 30 seconds
/// have passed.
struct HeldClaim {
    one: Project,
    two: Project,
    holder: Child,
}

impl HeldClaim {
    fn new() -> Self {
        let one = Project::lib(DEP);
        // The first call of all also asks the compiler for its identity.
        one.unit("other", "src/lib.rs").misses();
        Self::of(one)
    }

    /// The same after a compile of an earlier state, so that the duration of a compile is known.
    fn after_a_compile() -> Self {
        let one = Project::lib("pub fn value() -> u32 { 1 }\n");
        one.unit("dep", "src/lib.rs").misses();
        one.file("src/lib.rs", DEP);
        settle();
        Self::of(one)
    }

    fn of(one: Project) -> Self {
        let (two, before) = (one.clone_to("two"), one.compiled("dep"));
        one.hook("before", "dep", "n=0; while [ ! -e go ] && [ $n -lt 600 ]; do sleep 0.05; n=$((n+1)); done\n");
        let mut command = one.unit("dep", "src/lib.rs").command();
        command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
        let holder = command.spawn().expect("kache starts");
        wait_until("the holder's rustc", || one.compiled("dep") == before + 1);
        Self { one, two, holder }
    }

    fn signal(&self, name: &str) {
        signal(name, &self.holder.id().to_string());
    }

    /// The command that compiles the same unit in the other checkout.
    fn second(&self) -> Command {
        let mut command = self.two.unit("dep", "src/lib.rs").command();
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

impl Drop for HeldClaim {
    fn drop(&mut self) {
        signal("KILL", &format!("-{}", self.holder.id()));
        let _ = self.holder.wait();
    }
}

#[test]
fn i11_the_second_waits_for_the_first_and_compiles_nothing() {
    let mut held = HeldClaim::new();
    let mut second = held.second().spawn().expect("kache starts");
    std::thread::sleep(Duration::from_millis(300));
    assert!(second.try_wait().expect("wait").is_none() && held.two.compiled("dep") == 0);
    fs::write(held.one.path("go"), "").expect("go");
    assert!(second.wait().expect("wait").success() && held.holder.wait().expect("wait").success());
    assert_eq!((held.one.compiled("dep"), held.two.compiled("dep")), (1, 0));
    assert!(held.two.unit("dep", "src/lib.rs").rlib().exists());
    assert_eq!(held.two.last_outcome("dep").0, "hit.local");
}

#[test]
fn i12_a_killed_holder_frees_its_claim() {
    let mut held = HeldClaim::new();
    let mut second = held.second().spawn().expect("kache starts");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(held.two.compiled("dep"), 0, "control: it waits while the holder lives");
    held.signal("KILL");
    held.holder.wait().expect("the holder died");
    let killed = Instant::now();
    assert!(second.wait().expect("wait").success());
    assert!(killed.elapsed() < Duration::from_secs(10), "waited for the dead: {:?}", killed.elapsed());
    assert_eq!(held.two.compiled("dep"), 1);
    held.two.unit("dep", "src/lib.rs").hits();
}

#[test]
fn i12_a_stopped_holder_is_waited_for_no_longer_than_asked() {
    let mut held = HeldClaim::new();
    held.signal("STOP");
    let began = Instant::now();
    let status = held.second().env("KACHE_CLAIM_WAIT", "1").status().expect("kache starts");
    let waited = began.elapsed();
    assert!(status.success() && held.two.compiled("dep") == 1);
    assert!(waited > Duration::from_millis(900) && waited < Duration::from_secs(8), "{waited:?}");
    held.signal("CONT");
    fs::write(held.one.path("go"), "").expect("go");
    assert!(held.holder.wait().expect("wait").success(), "the late holder ends well too");
    held.one.unhook("before", "dep").unit("dep", "src/lib.rs").hits();
    held.two.unit("dep", "src/lib.rs").hits();
    held.two.assert_store_whole();
}

#[test]
fn i12_a_stopped_holder_stalls_nobody() {
    let mut held = HeldClaim::new();
    held.signal("STOP");
    let began = Instant::now();
    let status = held.second().status().expect("kache starts");
    assert!(status.success() && held.two.compiled("dep") == 1);
    assert!(began.elapsed() < Duration::from_mins(1), "waited {:?}; the setting says five minutes", began.elapsed());
    held.signal("CONT");
    fs::write(held.one.path("go"), "").expect("go");
    assert!(held.holder.wait().expect("wait").success(), "the late holder ends well too");
    held.two.assert_store_whole();
}

/// A holder that is alive, and whose compile takes much longer than ever before.
#[test]
fn i12_a_crawling_holder_is_waited_for_as_long_as_the_compile_once_took() {
    let mut held = HeldClaim::after_a_compile();
    let began = Instant::now();
    let status = held.second().status().expect("kache starts");
    let waited = began.elapsed();
    assert!(status.success() && held.two.compiled("dep") == 1);
    assert!(waited > Duration::from_secs(3) && waited < Duration::from_mins(1), "{waited:?}");
    fs::write(held.one.path("go"), "").expect("go");
    assert!(held.holder.wait().expect("wait").success());
    held.two.assert_store_whole();
}

#[test]
fn i12_a_holder_whose_compile_fails_leaves_it_to_the_next() {
    let mut held = HeldClaim::new();
    held.one.hook("instead", "dep", "exit 1\n");
    let mut second = held.second().spawn().expect("kache starts");
    std::thread::sleep(Duration::from_millis(200));
    fs::write(held.one.path("go"), "").expect("go");
    assert!(!held.holder.wait().expect("wait").success());
    assert!(second.wait().expect("wait").success());
    assert_eq!(held.two.compiled("dep"), 1, "a failure is nobody's hit");
}

#[test]
fn i12_a_claim_file_alone_claims_nothing() {
    let project = Project::lib(DEP);
    project.unit("dep", "src/lib.rs").misses();
    let lookup = project.events()[0]["lookup"].as_str().expect("lookup").to_owned();
    fs::remove_dir_all(project.cache_dir().join("v1/manifests")).expect("forget");
    let claims = project.cache_dir().join("v1/claims");
    fs::create_dir_all(&claims).expect("claims");
    for content in ["", "1\n", "999999999", "garbage"] {
        fs::write(claims.join(&lookup), content).expect("a claim file left behind");
        let began = Instant::now();
        project.unit("dep", "src/lib.rs").misses();
        assert!(began.elapsed() < Duration::from_secs(10));
        fs::remove_dir_all(project.cache_dir().join("v1/manifests")).expect("forget");
    }
}
