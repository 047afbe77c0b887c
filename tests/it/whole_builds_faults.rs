//! Whole builds that are disturbed: edits, kills, full disks and other commands while kache restores.
//!
//! The oracle of each test is the program: it must print what is in the sources now.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use crate::support::{Project, Run, has_program, settle};
use crate::whole_builds::workspace;

/// What the program must print: what is in the sources now.
fn expected(project: &Project) -> String {
    let read = |path: &str| fs::read_to_string(project.path(path)).expect("read");
    let value = read("dep/src/lib.rs").chars().filter(char::is_ascii_digit).collect::<String>();
    // `u32` holds two digits.
    format!("{}||{}|{}|{}", &value[2..], read("app/input.txt"), read("app/env.txt"), read("README.md"))
}

#[test]
#[ignore = "slow"]
fn an_edit_while_the_build_is_restored_is_never_lost() {
    let one = workspace();
    one.recorded(&["build"]);
    let two = one.clone_to("work/two");
    let (mut rng, mut fresh) = (crate::support::random::generator(), 0);
    let rounds = std::env::var("KACHE_IT_ROUNDS").map_or(60, |rounds| rounds.parse().expect("a number"));
    for round in 0..rounds {
        two.wipe();
        for (file, text) in [
            ("dep/src/lib.rs", "pub fn value() -> u32 { 1 }\n"),
            ("README.md", "readme 1"),
            ("app/input.txt", "input 1"),
        ] {
            two.file(file, text);
        }
        settle();
        let delay = Duration::from_micros(rng.u64(0..60_000));
        let edit = rng.usize(0..3);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(delay);
                match edit {
                    0 => two.file("dep/src/lib.rs", format!("pub fn value() -> u32 {{ 1{round} }}\n")),
                    1 => two.file("README.md", format!("readme {round}")),
                    _ => two.file("app/input.txt", format!("input {round}")),
                };
            });
            two.kache(&["restore"]).must_succeed();
        });
        let (run, printed) = two.build_and_run();
        fresh += usize::from(run.dirty().is_empty());
        assert_eq!(printed, expected(&two), "round {round}, {delay:?}\n{}", run.stderr);
    }
    assert!(fresh < rounds, "no edit came in time: the test shows nothing");
}

#[test]
#[ignore = "slow"]
fn a_restore_that_is_killed_leaves_nothing_half() {
    if !has_program("pkill") {
        return;
    }
    let one = workspace();
    one.recorded(&["build"]);
    let two = one.clone_to("work/two");
    let mut rng = crate::support::random::generator();
    for round in 0..40 {
        two.wipe();
        let mut command = two.command(crate::support::KACHE);
        let mut restore = command.arg("restore").stdout(Stdio::null()).spawn().expect("kache");
        std::thread::sleep(Duration::from_micros(rng.u64(0..80_000)));
        kill_all(&two, restore.id());
        restore.wait().expect("wait");
        let (run, printed) = two.build_and_run();
        assert_eq!(printed, expected(&two), "round {round}\n{}", run.stderr);
        two.build().is_noop();
    }
}

/// Kills a process and its children.
fn kill_all(project: &Project, pid: u32) {
    project.command("pkill").args(["-9", "-P", &pid.to_string()]).status().expect("pkill");
    project.command("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status().expect("kill");
}

/// The calls by which a restore changes files.
const CHANGES: &str = "mkdir,mkdirat,link,linkat,rename,renameat,renameat2,unlink,unlinkat,utimensat,symlink";
/// The calls that need room on the disk.
const NEED_ROOM: &str = "mkdir,mkdirat,link,linkat,rename,renameat,renameat2,write,copy_file_range,fallocate";

/// Restores the build while strace disturbs the calls that `inject` names. `when` counts them in each process.
fn disturbed(project: &Project, inject: &str, when: &str) -> Run {
    let mut command = project.command("strace");
    let log = project.sandbox_dir().join("strace.log");
    let calls = inject.split(':').next().expect("calls");
    command.args(["-f", "-e", &format!("trace={calls}"), "-e"]);
    command.arg(format!("inject={inject}:when={when}")).arg("-o").arg(log);
    project.finish({
        command.arg(crate::support::KACHE).arg("restore");
        command
    })
}

/// Asserts that the build is right after a disturbed restore, now and after another edit.
#[track_caller]
fn is_right(project: &Project, what: &str) {
    let (run, printed) = project.build_and_run();
    assert_eq!(printed, expected(project), "{what}\n{}", run.stderr);
    project.build().is_noop();
}

#[test]
#[ignore = "slow"]
fn a_restore_that_is_killed_at_any_change_of_a_file_leaves_nothing_half() {
    at_every_call(CHANGES, "signal=KILL", "");
}

#[test]
#[ignore = "slow"]
fn a_disk_that_is_full_from_any_call_on_costs_time_only() {
    at_every_call(NEED_ROOM, "error=ENOSPC", "+");
}

/// Disturbs one of these calls in each restore: first the first call, and at last one that a restore does not reach.
fn at_every_call(calls: &str, fault: &str, and_later: &str) {
    if !has_program("strace") {
        return;
    }
    let one = workspace();
    one.recorded(&["build"]);
    let two = one.clone_to("work/two");
    let (mut disturbed_in, mut at) = (0, 1);
    loop {
        two.wipe();
        let run = disturbed(&two, &format!("{calls}:{fault}"), &format!("{at}{and_later}"));
        let log = fs::read_to_string(two.sandbox_dir().join("strace.log")).expect("log");
        let was_disturbed = log.contains("(INJECTED)") || log.contains("killed by SIGKILL");
        is_right(&two, &format!("{fault} at {at}: {}", run.stderr));
        if !was_disturbed {
            break;
        }
        disturbed_in += usize::from(two.target_dir().exists());
        // Neighbouring calls do the same for another unit.
        at += if at < 40 { 1 } else { 3 };
    }
    assert!(disturbed_in > 20, "too few restores were disturbed: {disturbed_in}");
}

/// Builds with cargo while every rename of kache takes this many seconds. Resolver 2 lets cargo go on meanwhile.
fn slowly(seconds: u32, args: &[&str]) -> Option<(Project, Run, Duration)> {
    if !has_program("strace") {
        return None;
    }
    let one = workspace();
    let text = fs::read_to_string(one.path("Cargo.toml")).expect("manifest");
    one.file("Cargo.toml", text.replace("\"3\"", "\"2\""));
    one.recorded(&["build"]);
    let two = one.clone_to("work/two");
    if args.contains(&"--locked") {
        two.file("dep/Cargo.toml", crate::support::manifest("dep", "[dependencies]\nmac = { path = \"../mac\" }\n"));
    }
    let mut command = two.command("strace");
    command.args(["-f", "-e", "trace=rename", "-e", &format!("inject=rename:delay_enter={seconds}s")]);
    command.args(["-o", "/dev/null", "cargo"]).args(args);
    let began = std::time::Instant::now();
    let run = two.finish(command);
    Some((two, run, began.elapsed()))
}

#[test]
#[ignore = "slow"]
fn a_restore_ends_with_its_cargo() {
    let Some((two, run, took)) = slowly(1, &["build", "--locked"]) else { return };
    assert!(run.stderr.contains("Cargo.lock needs to be updated") || run.stderr.contains("--locked"), "{}", run.stderr);
    // strace ends with the last process. The whole restore would take half a minute.
    assert!(took < Duration::from_secs(15), "{took:?}");
    is_right(&two, "after a failed cargo");
}

#[test]
#[ignore = "slow"]
fn cargo_does_not_wait_for_ever() {
    let Some((two, run, took)) = slowly(2, &["build"]) else { return };
    run.must_succeed();
    assert!((10..30).contains(&took.as_secs()), "{took:?}");
    is_right(&two, "after a slow restore");
}

#[test]
#[ignore = "slow"]
fn commands_that_remove_things_beside_a_restore_cost_time_only() {
    let one = workspace();
    one.recorded(&["build"]);
    let two = one.clone_to("work/two");
    let mut rng = crate::support::random::generator();
    for round in 0..24 {
        // What the last round removed.
        one.wipe().recorded(&["build"]);
        two.wipe();
        let delay = Duration::from_micros(rng.u64(0..60_000));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(delay);
                match round % 3 {
                    0 => two.kache_with("KACHE_MAX_SIZE", "1", &["gc"]),
                    1 => two.kache(&["purge"]),
                    _ => two.try_cargo(&["clean"]),
                };
            });
            two.kache(&["restore"]);
        });
        is_right(&two, &format!("round {round}, {delay:?}"));
    }
}
