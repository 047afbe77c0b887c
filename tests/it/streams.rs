//! The messages of the compiler, how it ends, and what it inherits (hazards T08 to T13, T14).

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Project, RawOutput, Run, has_program, real_cargo, settle, signal, wait_until};

const WARNS: &str = "fn never_called() {}\npub fn value() -> u32 { let mut x = 7; x }\n";

/// `count` functions that rustc warns about.
fn many(count: usize, body: &str) -> String {
    (0..count).fold(String::new(), |text, n| text + &format!("fn never_called_{n}() {body}\n"))
}

fn said(mut command: Command) -> RawOutput {
    command.output().expect("it starts").into()
}

/// The results of the unit's call: with kache disabled, and of the first and the second call through kache.
fn both(project: &mut Project, flags: &[&str]) -> [RawOutput; 3] {
    let first = said(project.unit("dep", "src/lib.rs").args(flags).command());
    let second = said(project.unit("dep", "src/lib.rs").args(flags).command());
    project.set("KACHE_DISABLED", "1");
    let plain = said(project.unit("dep", "src/lib.rs").args(flags).command());
    project.unset("KACHE_DISABLED");
    [plain, first, second]
}

#[test]
fn t08_warnings_are_replayed_byte_for_byte() {
    let many: String = many(400, "{ let unused = \"äöü\\u{1F980}\"; }");
    for text in [WARNS, &many, "pub fn a() { /* \r */ }\n#[deprecated] pub fn b() {}\npub fn c() { b() }\n"] {
        let mut project = Project::lib(text);
        settle();
        let compiled = project.compiled("dep");
        for flags in [&[][..], &["--diagnostic-width=40"], &["--cap-lints=warn"], &["--json=diagnostic-short"]] {
            let [plain, miss, hit] = both(&mut project, flags);
            assert_eq!(miss, plain, "{flags:?}");
            assert_eq!(hit, plain, "{flags:?}");
        }
        assert_eq!(
            project.compiled("dep") - compiled,
            8,
            "a miss and a plain run for each of four: {:?}",
            project.outcomes("dep")
        );
    }
}

#[test]
fn t08_cargo_shows_the_same_colours_again() {
    let mut project = Project::app_over(WARNS);
    project.set("CARGO_TERM_COLOR", "always");
    settle();
    let words = |run: &Run| {
        let about = |line: &&str| !line.contains("Finished") && !line.contains("Compiling");
        run.stderr.lines().filter(about).map(str::to_owned).collect::<Vec<_>>()
    };
    let miss = project.build();
    let hit = project.rebuild_hits(&["dep"]);
    assert!(hit.stderr.contains("\u{1b}[") && hit.stderr.contains("never_called"), "{}", hit.stderr);
    assert_eq!(words(&hit), words(&miss));
    // Fresh: cargo replays what it recorded from kache.
    assert_eq!(words(&project.build()), words(&miss));
    project.set("KACHE_DISABLED", "1").wipe();
    assert_eq!(words(&project.build()), words(&miss));
}

#[test]
fn t09_errors_are_never_stored() {
    let mut project = Project::lib("pub fn value() -> u32 { oops }\n");
    settle();
    let [plain, first, second] = both(&mut project, &[]);
    assert_eq!((plain.code, &first, &second), (1, &plain, &plain));
    assert_eq!(project.compiled("dep"), 3);
    assert_eq!(project.outcomes("dep")[0], ("miss.no-manifest".to_owned(), "rustc-failed".to_owned()));
    assert_eq!((project.entries(), project.manifests()), (vec![], vec![]));
    project.file("src/lib.rs", WARNS);
    settle();
    project.unit("dep", "src/lib.rs").warm();
    project.file("src/lib.rs", "pub fn value() -> u32 { oops }\n");
    assert_eq!(said(project.unit("dep", "src/lib.rs").command()), plain);
    project.file("src/lib.rs", WARNS);
    project.unit("dep", "src/lib.rs").hits();
}

#[test]
fn t09_exit_codes_and_signals_are_rustcs() {
    let project = Project::lib(WARNS);
    settle();
    let ends = [("exit 42", 42), ("exit 101", 101), ("exit 255", 255)];
    let signals = [
        ("KILL", -9),
        ("SEGV", -11),
        ("ABRT", -6),
        ("TERM", -15),
        ("INT", -2),
        ("HUP", -1),
        ("BUS", -7),
        ("PIPE", -13),
    ];
    let killed = signals.map(|(name, code)| (format!("ulimit -c 0; kill -{name} $$"), code));
    let all = ends.map(|(script, code)| (script.to_owned(), code)).into_iter().chain(killed);
    for (script, code) in all {
        project.hook("instead", "dep", &format!("echo spoken; echo murmured >&2\n{script}\n"));
        let ours = said(project.unit("dep", "src/lib.rs").command());
        assert_eq!(ours, RawOutput { code, stdout: b"spoken\n".to_vec(), stderr: b"murmured\n".to_vec() }, "{script}");
        assert_eq!(project.last_outcome("dep").1, "rustc-failed");
    }
    assert_eq!((project.entries(), project.manifests()), (vec![], vec![]));
    project.unhook("instead", "dep").unit("dep", "src/lib.rs").warm();
}

#[test]
fn t09_a_killed_kache_takes_its_compiler_along() {
    let project = Project::lib(WARNS);
    for name in ["TERM", "KILL", "INT"] {
        project.hook("instead", "dep", "echo $$ > pid.staged; mv pid.staged pid; exec sleep 60\n");
        let mut command = project.unit("dep", "src/lib.rs").command();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("kache starts");
        wait_until("the compiler", || project.path("pid").exists());
        let pid = fs::read_to_string(project.path("pid")).expect("pid");
        signal(name, &child.id().to_string());
        assert!(!child.wait().expect("wait").success());
        let is_running = || {
            let state = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            state.contains("(sleep)") && !state.contains(") Z")
        };
        wait_until("the compiler's end", || !is_running());
        project.remove("pid");
    }
    project.unhook("instead", "dep").unit("dep", "src/lib.rs").warm();
}

#[test]
fn t09_a_success_without_outputs_is_not_stored() {
    let project = Project::lib(WARNS);
    settle();
    let rlib = project.unit("dep", "src/lib.rs").rlib();
    for script in ["exit 0\n".to_owned(), format!(": > '{}'\n", rlib.display())] {
        project.hook("instead", "dep", &script);
        for _ in 0..2 {
            project.unit("dep", "src/lib.rs").misses();
        }
    }
    // Outputs truncated after rustc has announced them.
    project.unhook("instead", "dep").hook("after", "dep", &format!(": > '{}'\n", rlib.display()));
    for _ in 0..2 {
        project.unit("dep", "src/lib.rs").misses();
    }
    assert_eq!(project.last_outcome("dep").1, "outputs-unknown");
    assert_eq!((project.entries(), project.manifests()), (vec![], vec![]));
    project.unhook("after", "dep").unit("dep", "src/lib.rs").warm();
}

#[test]
fn what_rustc_says_is_passed_on_when_it_says_it() {
    let project = Project::lib(WARNS);
    project.hook("instead", "dep", "echo first >&2; n=0; while [ ! -e go ] && [ $n -lt 400 ]; do sleep 0.05; n=$((n+1)); done; echo last >&2; exit 1\n");
    let mut command = project.unit("dep", "src/lib.rs").command();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("kache starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "first");
    assert!(child.try_wait().expect("wait").is_none(), "it came only when rustc had ended");
    fs::write(project.path("go"), "").expect("go");
    assert_eq!(lines.next().expect("a line").expect("text"), "last");
    assert!(!child.wait().expect("wait").success());
}

/// A process that the compiler started outlives it and holds its streams open.
#[test]
fn t11_a_child_that_keeps_the_streams_does_not_hang_the_call() {
    let project = Project::lib(WARNS);
    settle();
    let pid = project.path("sleeper");
    for when in ["before", "after"] {
        project.hook(when, "dep", &format!("sleep 60 & echo $! > '{}'\n", pid.display()));
        let began = Instant::now();
        project.unit("dep", "src/lib.rs").args(["--cfg", when]).misses();
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        signal("KILL", fs::read_to_string(&pid).expect("pid").trim());
        project.unhook(when, "dep").unit("dep", "src/lib.rs").args(["--cfg", when]).hits();
    }
}

#[test]
fn t11_a_reader_that_goes_away_does_not_stop_the_compiler() {
    let many: String = many(2000, "{}");
    let project = Project::lib(&many);
    settle();
    let mut command = project.unit("dep", "src/lib.rs").command();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kache starts");
    drop((child.stdout.take(), child.stderr.take()));
    wait_until("the end", || child.try_wait().expect("wait").is_some());
    assert!(child.wait().expect("wait").success());
    assert_eq!(project.last_outcome("dep").1, "stored");
    let hit = project.unit("dep", "src/lib.rs").hits();
    assert_eq!(hit.stderr.matches("is never used").count() % 2000, 0);
    assert!(hit.stderr.contains("never_called_1999"));
}

/// `cargo build 2>&1 | less`: cargo stops reading, and the messages of the compiler pile up in pipes after it has
/// ended.
#[test]
#[ignore = "slow"]
fn t08_a_reader_that_takes_its_time_gets_every_byte() {
    // More than one pipe holds, and less than two pipes and a buffer hold: the compiler ends while its messages are
    // still on the way.
    for count in [120, 180, 240] {
        let mut project = Project::lib(&many(count, "{}"));
        settle();
        let mut command = project.unit("dep", "src/lib.rs").command();
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        std::thread::sleep(Duration::from_secs(2));
        let miss: RawOutput = child.wait_with_output().expect("it ends").into();
        let hit = said(project.unit("dep", "src/lib.rs").command());
        assert_eq!(project.last_outcome("dep").0, "hit.local");
        project.set("KACHE_DISABLED", "1");
        let plain = said(project.unit("dep", "src/lib.rs").command());
        assert!((70_000..250_000).contains(&plain.stderr.len()), "control: {} bytes", plain.stderr.len());
        assert!(miss == plain, "{} of {} bytes on the miss", miss.stderr.len(), plain.stderr.len());
        assert!(hit == plain, "{} of {} bytes on the hit", hit.stderr.len(), plain.stderr.len());
    }
}

#[test]
fn t12_the_environment_reaches_rustc_byte_for_byte() {
    let mut project = Project::lib(WARNS);
    settle();
    project.hook("before", "dep", "cat /proc/$$/environ > environ\n");
    let environ = |project: &Project| {
        let mut command = project.unit("dep", "src/lib.rs").command();
        command
            .env("DEP_X:Y", "1")
            .env("EMPTY", "")
            .env("LINES", "a\nb=c\n")
            .env("MAKEFLAGS", " -j --jobserver-auth=3,4");
        command.env("ODD", OsString::from_vec(b"\xff\xfe".to_vec())).env(OsString::from_vec(b"N\xff".to_vec()), "odd");
        assert!(said(command).code == 0);
        let bytes = fs::read(project.path("environ")).expect("environ");
        let mut vars: Vec<Vec<u8>> = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
        vars.retain(|var| !var.starts_with(b"KACHE_DISABLED="));
        vars.sort();
        vars
    };
    let ours = environ(&project);
    project.set("KACHE_DISABLED", "1");
    assert_eq!(ours, environ(&project));
    assert!(ours.contains(&b"DEP_X:Y=1".to_vec()) && ours.contains(&b"ODD=\xff\xfe".to_vec()), "control");
}

#[test]
fn t10_the_jobserver_reaches_rustc() {
    let project = Project::app_over(WARNS);
    let look = "printf '%s' \"$CARGO_MAKEFLAGS\" > seen; for fd in $(printf '%s' \"$CARGO_MAKEFLAGS\" | \
                sed 's/.*--jobserver-auth=\\([0-9]*\\),\\([0-9]*\\).*/\\1 \\2/'); do test -p /proc/$$/fd/$fd && echo pipe >> pipes; done\n";
    project.hook("before", "dep", look);
    project.build().misses(&["dep"]);
    let seen = fs::read_to_string(project.path("dep/seen"))
        .or_else(|_| fs::read_to_string(project.path("seen")))
        .expect("seen");
    assert!(seen.contains("--jobserver"), "{seen}");
    let pipes = fs::read_to_string(project.path("dep/pipes")).or_else(|_| fs::read_to_string(project.path("pipes")));
    assert_eq!(pipes.expect("neither descriptor is open").lines().count(), 2);
}

#[test]
fn t10_two_builds_under_one_make_end() {
    if !has_program("make") {
        return;
    }
    let one = Project::app_over(WARNS);
    let two = one.clone_to("two");
    let cargo = real_cargo();
    let text = format!(
        "all: a b\na:\n\t+cd '{}' && '{cargo}' build\nb:\n\t+cd '{}' && '{cargo}' build\n",
        one.dir().display(),
        two.dir().display(),
        cargo = cargo.display()
    );
    one.file("Makefile", text);
    for _ in 0..2 {
        let mut make = one.command("make");
        make.args(["-j2", "all"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut make = make.spawn().expect("make starts");
        wait_until("make -j2", || make.try_wait().expect("wait").is_some());
        assert!(make.wait().expect("wait").success());
        assert_eq!((one.app_output().as_str(), two.app_output().as_str()), ("7", "7"));
        assert_eq!(one.compiled("dep") + two.compiled("dep"), 1);
        one.wipe();
        two.wipe();
    }
}

#[test]
fn t13_an_argument_file_reaches_rustc_as_one() {
    let project = Project::lib(WARNS);
    settle();
    let out = project.path("out");
    fs::create_dir_all(&out).expect("mkdir");
    let flags = format!(
        "src/lib.rs\n--crate-type=lib\n--emit=dep-info,metadata,link\n--cfg\nfeature=\"a b\"\n--out-dir\n{}\n",
        out.display()
    );
    project.file("args", flags);
    let call = |more: &[&str]| {
        let mut command =
            project.rustc(true, ["--crate-name", "dep", "--error-format=json", "--json=artifacts", "@args"]);
        command.args(more);
        project.finish(command).must_succeed()
    };
    let miss = call(&[]);
    let first = miss.compiles_of("dep")[0].args.clone();
    assert!(first.contains(&"@args".to_owned()), "{first:?}");
    assert!(!first.iter().any(|arg| arg.contains("feature")), "unfolded: {first:?}");
    assert_eq!(project.last_outcome("dep").1, "stored");
    fs::remove_dir_all(&out).expect("clean");
    call(&[]).hits(&["dep"]);
    assert!(out.join("libdep.rlib").exists());
    // A flag that kache cannot remove from the argument file stays in it.
    project.file("more", format!("-Cincremental={}\n", project.path("session").display()));
    call(&["@more"]).misses(&["dep"]);
    assert!(project.path("session").exists());
    assert_eq!(project.last_outcome("dep").0, "bypass.argfile");
}

#[test]
fn t14_trybuild_sees_its_own_paths() {
    let project = Project::lib("pub fn file() -> &'static str { file!() }\n");
    settle();
    let remaps = |flags: &[&str]| {
        let run = project.unit("dep", "src/lib.rs").args(flags).misses();
        project.unit("dep", "src/lib.rs").args(flags).hits();
        run.compiles_of("dep")[0].has("--remap-path-prefix")
    };
    assert!(remaps(&[]), "control: otherwise paths are made neutral");
    assert!(!remaps(&["--cfg", "trybuild"]));
    let two = project.clone_to("elsewhere/two");
    two.unit("dep", "src/lib.rs").args(["--cfg", "trybuild"]).run().must_succeed();
    assert_eq!(two.temps(), Vec::<PathBuf>::new());
}

#[test]
fn t11_a_collection_in_the_background_holds_no_stream() {
    let project = Project::lib(WARNS);
    settle();
    project.unit("dep", "src/lib.rs").misses();
    // Long ago, so that the next compile that stores something starts a collection.
    let stamp = project.cache_dir().join("v1/gc.stamp");
    filetime::set_file_mtime(&stamp, filetime::FileTime::from_unix_time(1_000_000_000, 0))
        .expect("the time of the last one");
    for n in 0..3 {
        let began = Instant::now();
        project.unit("dep", "src/lib.rs").args(["--cfg", &format!("n{n}")]).misses();
        assert!(began.elapsed() < Duration::from_secs(10));
    }
    assert!(
        fs::metadata(&stamp).expect("stamp").modified().expect("mtime").elapsed().expect("past")
            < Duration::from_mins(1)
    );
    project.unit("dep", "src/lib.rs").args(["--cfg", "n0"]).hits();
    project.assert_store_whole();
}
