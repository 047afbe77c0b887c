//! Whole builds: kache restores all units before cargo looks at them, and cargo finds them fresh. A unit must never be
//! fresh with an old content, whatever differs in the other checkout.
//!
//! The control of each test: without the difference, the same unit is restored.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::s3_server::{S3Server, WRITER};
use crate::support::{Project, Run, has_program, manifest, settle, wait_until};

/// The workspace of most tests: a program with a build script, over a library and a macro.
pub(crate) fn workspace() -> Project {
    let mut project = Project::new();
    project.set("KACHE_BULK", "on");
    project.file("Cargo.toml", "[workspace]\nmembers = [\"app\", \"dep\", \"mac\"]\nresolver = \"3\"\n");
    project.file("README.md", "readme 1");
    let over = "[dependencies]\ndep = { path = \"../dep\" }\nmac = { path = \"../mac\" }\n";
    project.file("app/Cargo.toml", manifest("app", over));
    project.file("app/src/main.rs", MAIN);
    project.file("app/build.rs", BUILD);
    project.file("app/input.txt", "input 1");
    project.file("app/env.txt", "env 1");
    project.file("dep/Cargo.toml", manifest("dep", ""));
    project.file("dep/src/lib.rs", "pub fn value() -> u32 { 1 }\n");
    project.file("mac/Cargo.toml", manifest("mac", "[lib]\nproc-macro = true\n"));
    project.file("mac/src/lib.rs", MACRO);
    project
}

const MAIN: &str = r#"
fn unused() {}
fn main() {
    let input = include_str!(concat!(env!("OUT_DIR"), "/input.txt"));
    let readme = include_str!("../../README.md");
    println!("{}|{}|{input}|{}|{readme}", dep::value(), mac::variable!(), env!("FROM_SCRIPT"));
}
"#;
pub(crate) const BUILD: &str = r#"
fn main() {
    println!("cargo::rerun-if-changed=input.txt");
    println!("cargo::rerun-if-changed=env.txt");
    println!("cargo::rustc-env=FROM_SCRIPT={}", std::fs::read_to_string("env.txt").unwrap());
    let out = std::env::var("OUT_DIR").unwrap();
    std::fs::copy("input.txt", std::path::Path::new(&out).join("input.txt")).unwrap();
}
"#;
const MACRO: &str = r#"
use proc_macro::TokenStream;
#[proc_macro]
pub fn variable(_: TokenStream) -> TokenStream {
    format!("{:?}", std::env::var("MACRO_VARIABLE").unwrap_or_default()).parse().unwrap()
}
"#;

impl Project {
    /// Builds with these arguments of cargo, and waits for the snapshot of the build.
    pub(crate) fn recorded(&self, args: &[&str]) -> Run {
        let run = self.cargo(args);
        self.wait_for_snapshot();
        run
    }

    pub(crate) fn wait_for_snapshot(&self) {
        let awaits = |name: &fs::DirEntry| name.file_name().to_string_lossy().starts_with("cargo-");
        let claims = self.cache_dir().join("v1/claims");
        wait_until("the snapshot", || !fs::read_dir(&claims).into_iter().flatten().flatten().any(|name| awaits(&name)));
        assert!(self.cache_dir().join("v1/snapshots").exists(), "there is a snapshot");
    }

    /// The events of units that came with the whole build.
    pub(crate) fn restored(&self) -> Vec<String> {
        let events = self.events().into_iter().filter(|event| event["outcome"] == "hit.whole-build");
        let mut units: Vec<String> = events.map(|event| format!("{} {}", event["crate"], event["kind"])).collect();
        units.sort_unstable();
        units.iter().map(|unit| unit.replace('"', "")).collect()
    }

    /// Asserts that cargo had to build exactly these packages, and returns what the program prints.
    #[track_caller]
    pub(crate) fn builds_only(&self, packages: &[&str]) -> String {
        let run = self.build();
        let mut built: Vec<&str> = run.dirty().iter().filter_map(|line| line.split_whitespace().nth(1)).collect();
        built.sort_unstable();
        assert_eq!(built, packages, "{}", run.stderr);
        self.app_output()
    }
}

const ALL: &[&str] = &["app", "dep", "mac"];

#[test]
fn a_second_checkout_is_fresh_and_notices_every_edit() {
    let one = workspace();
    one.recorded(&["build"]);
    assert_eq!(one.app_output(), "1||input 1|env 1|readme 1");
    let two = one.clone_to("work/two");
    let run = two.build();
    run.is_noop();
    assert!(run.stderr.contains("function `unused` is never used"), "warnings come again: {}", run.stderr);
    assert_eq!(two.app_output(), one.app_output());
    assert_eq!(
        two.restored(),
        ["app bin", "build_script_build bin", "build_script_build run", "dep lib", "mac proc-macro"]
    );
    two.build().is_noop();
    one.build().is_noop();
    // What cargo has to know about each file.
    settle();
    two.file("README.md", "readme 2");
    assert_eq!(two.builds_only(&["app"]), "1||input 1|env 1|readme 2");
    settle();
    two.file("app/input.txt", "input 2");
    assert_eq!(two.builds_only(&["app"]), "1||input 2|env 1|readme 2");
    settle();
    two.file("dep/src/lib.rs", "pub fn value() -> u32 { 2 }\n");
    assert_eq!(two.builds_only(&["app", "dep"]), "2||input 2|env 1|readme 2");
    one.build().is_noop();
    assert_eq!(one.app_output(), "1||input 1|env 1|readme 1");
}

#[test]
fn plain_cargo_finds_the_restored_build_fresh() {
    let one = workspace();
    one.recorded(&["build"]);
    let mut two = one.clone_to("work/two");
    two.build().is_noop();
    two.unset("RUSTC_WRAPPER");
    two.build().is_noop();
    settle();
    two.file("app/input.txt", "input 2");
    assert_eq!(two.builds_only(&["app"]), "1||input 2|env 1|readme 1");
}

#[test]
fn without_bulk_cargo_asks_for_every_unit() {
    let one = workspace();
    one.recorded(&["build"]);
    let mut two = one.clone_to("work/two");
    two.set("KACHE_BULK", "off");
    assert_eq!(two.builds_only(ALL), one.app_output());
    assert_eq!(two.restored(), [""; 0]);
    // After `cargo clean`, with it.
    two.set("KACHE_BULK", "on").wipe();
    assert_eq!(two.builds_only(&[]), one.app_output());
}

#[test]
fn what_differs_in_the_second_checkout_is_built_there() {
    let one = workspace();
    one.recorded(&["build"]);
    for (at, (file, content, packages, printed)) in [
        ("dep/src/lib.rs", "pub fn value() -> u32 { 3 }\n", &["app", "dep"][..], "3||input 1|env 1|readme 1"),
        ("README.md", "readme 3", &["app"], "1||input 1|env 1|readme 3"),
        ("app/input.txt", "input 3", &["app"], "1||input 3|env 1|readme 1"),
        // The script prints something else, so the program is asked for in another way.
        ("app/env.txt", "env 3", &["app"], "1||input 1|env 3|readme 1"),
        ("app/src/main.rs", "fn main() { println!(\"{}\", dep::value()); mac::variable!(); }\n", &["app"], "1"),
        (
            "app/Cargo.toml",
            &manifest(
                "app",
                "description = \"x\"\n[dependencies]\ndep = { path = \"../dep\" }\nmac = { path = \"../mac\" }\n",
            ),
            &["app"],
            "1||input 1|env 1|readme 1",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let two = one.clone_to(&format!("work/other-{at}"));
        settle();
        two.file(file, content);
        assert_eq!(two.builds_only(packages), printed, "{file}");
        two.build().is_noop();
    }
}

#[test]
fn a_program_is_not_taken_from_a_build_in_which_its_script_printed_something_else() {
    let one = workspace();
    one.recorded(&["build"]);
    let two = one.clone_to("work/two");
    settle();
    two.file("app/env.txt", "env 4").recorded(&["build"]);
    // The newest record is that of the second checkout; the run of the first one is in the store, too.
    let three = two.clone_to("work/three");
    assert_eq!(three.builds_only(&[]), "1||input 1|env 4|readme 1");
    let four = one.clone_to("work/four");
    assert_eq!(four.builds_only(&["app"]), "1||input 1|env 1|readme 1");
}

#[test]
fn a_variable_that_a_macro_reads_is_that_of_this_build() {
    let mut one = workspace();
    one.set("MACRO_VARIABLE", "a").recorded(&["build"]);
    let mut two = one.clone_to("work/two");
    two.set("MACRO_VARIABLE", "b");
    assert_eq!(two.builds_only(&["app"]), "1|b|input 1|env 1|readme 1");
    let mut three = one.clone_to("work/three");
    three.set("MACRO_VARIABLE", "a");
    assert_eq!(three.builds_only(&[]), "1|a|input 1|env 1|readme 1");
}

#[test]
fn a_variable_that_cargos_configuration_sets_is_not_taken_from_the_record() {
    let one = workspace();
    one.file(".cargo/config.toml", "[env]\nMACRO_VARIABLE = \"a\"\n").recorded(&["build"]);
    let two = one.clone_to("work/two");
    assert_eq!(two.builds_only(&[]), "1|a|input 1|env 1|readme 1");
    // A variable of the user wins over the same configuration.
    let mut users = one.clone_to("work/user");
    users.set("MACRO_VARIABLE", "c");
    assert_eq!(users.builds_only(&["app"]), "1|c|input 1|env 1|readme 1");
    let three = one.clone_to("work/three");
    three.file(".cargo/config.toml", "[env]\nMACRO_VARIABLE = \"b\"\n");
    assert_eq!(three.builds_only(ALL), "1|b|input 1|env 1|readme 1");
}

#[test]
fn a_program_that_prints_its_own_directory_prints_that_of_its_checkout() {
    let one = workspace();
    one.file(
        "app/src/main.rs",
        "fn main() { println!(\"{}\", env!(\"CARGO_MANIFEST_DIR\")); mac::variable!(); dep::value(); }\n",
    );
    one.recorded(&["build"]);
    let two = one.clone_to("work/two");
    assert_eq!(two.builds_only(&["app"]), two.path("app").to_string_lossy());
    assert_eq!(two.restored().len(), 4, "the other units came with the build");
}

#[test]
fn a_unit_that_was_built_before_stays_and_its_dependents_are_not_taken_from_elsewhere() {
    let one = workspace();
    one.recorded(&["build"]);
    let two = one.clone_to("work/two");
    settle();
    two.file("dep/src/lib.rs", "pub fn value() -> u32 { 4 }\n");
    two.cargo(&["build", "-p", "dep"]);
    let restored = two.kache(&["restore", "--verbose"]).must_succeed();
    assert!(restored.stdout.contains("1 were there already"), "{}", restored.stdout);
    assert!(restored.stdout.contains("(bin-app): miss."), "{}", restored.stdout);
    assert_eq!(two.builds_only(&["app"]), "4||input 1|env 1|readme 1");
}

#[test]
fn a_script_that_watches_an_absolute_path_watches_the_one_of_its_checkout() {
    let one = workspace();
    one.file(
        "app/build.rs",
        BUILD.replace("=input.txt\"", "={}/../README.md\", std::env::var(\"CARGO_MANIFEST_DIR\").unwrap()"),
    );
    one.recorded(&["build"]);
    let two = one.clone_to("work/two");
    assert_eq!(two.builds_only(&[]), one.app_output());
    settle();
    one.file("README.md", "readme 5");
    two.build().is_noop();
    settle();
    two.file("README.md", "readme 6");
    let run = two.cargo(&["build", "-v"]);
    assert!(run.stderr.contains("README.md` has changed"), "{}", run.stderr);
}

#[test]
fn a_script_that_says_nothing_of_what_to_watch_is_fresh_and_notices_every_file() {
    for git in [false, true] {
        let one = workspace();
        one.file("app/build.rs", BUILD.replace("cargo::rerun-if-changed=", "cargo::metadata=FILE="));
        one.recorded(&["build"]);
        let two = one.clone_to("work/two");
        if git {
            for args in [&["init", "-q"][..], &["add", "-A"]] {
                assert!(two.command("git").args(args).status().expect("git").success());
            }
        }
        settle();
        two.file("app/newest.txt", "the newest file of the package");
        two.file("dep/newer.txt", "of another package");
        settle();
        assert_eq!(two.builds_only(&[]), one.app_output());
        settle();
        two.file("app/input.txt", "input 2");
        assert_eq!(two.builds_only(&["app"]), "1||input 2|env 1|readme 1");
        settle();
        two.file("app/other.txt", "a file that the script does not read");
        two.builds_only(&["app"]);
    }
}

#[test]
fn a_build_directory_that_is_removed_at_once_was_read_before() {
    let one = workspace();
    one.file(
        "app/build.rs",
        BUILD.replace("let out", "std::thread::sleep(std::time::Duration::from_secs(2)); let out"),
    );
    one.build();
    one.wipe();
    one.wait_for_snapshot();
    let two = one.clone_to("work/two");
    two.build();
    let restored = two.restored();
    assert!(["dep lib", "mac proc-macro"].iter().all(|unit| restored.contains(&(*unit).to_owned())), "{restored:?}");
}

#[test]
fn packages_that_cargo_has_yet_to_download_are_waited_for() {
    let mut project = workspace();
    project.set("CARGO_NET_OFFLINE", "false");
    let origin = project.path("../origin");
    fs::create_dir_all(&origin).expect("directory");
    fs::rename(project.path("dep"), origin.join("dep")).expect("rename");
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
        let status = project.command("git").current_dir(&origin).args(identity).args(args).status();
        assert!(status.expect("git").success());
    };
    git(&["init", "-q"]);
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", "dep"]);
    project.file("Cargo.toml", "[workspace]\nmembers = [\"app\", \"mac\"]\nresolver = \"3\"\n");
    let over = format!("dep = {{ git = \"file://{}\" }}\nmac = {{ path = \"../mac\" }}\n", origin.display());
    project.file("app/Cargo.toml", manifest("app", &format!("[dependencies]\n{over}")));
    project.recorded(&["build"]);
    let two = project.clone_to("work/two");
    two.build().is_noop();
    // As on a machine on which cargo has downloaded nothing.
    let home = Path::new(two.env_value("CARGO_HOME").expect("always set"));
    fs::remove_dir_all(home.join("git")).expect("remove");
    two.wipe();
    let run = two.build();
    assert!(run.stderr.contains("Updating git repository"), "{}", run.stderr);
    run.is_noop();
    assert_eq!(two.app_output(), project.app_output());
}

#[test]
fn what_depends_on_cargo_lock_waits_for_the_one_that_cargo_writes() {
    let one = workspace();
    let reads = "let lock = std::fs::read_to_string(\"../Cargo.lock\").unwrap().lines().count();\n    \
                 println!(\"cargo::rustc-env=FROM_SCRIPT={lock} lines\");\n    let out";
    one.file("app/build.rs", BUILD.replace("println!(\"cargo::rustc-env", "// ").replace("let out", reads));
    one.recorded(&["build"]);
    let same = one.clone_to("work/same");
    same.cargo(&["build", "--locked"]).is_noop();
    let two = one.clone_to("work/two");
    two.file("dep/Cargo.toml", manifest("dep", "[dependencies]\nmac = { path = \"../mac\" }\n"));
    let lines = || fs::read_to_string(two.path("Cargo.lock")).expect("Cargo.lock").lines().count();
    let before = lines();
    let (_, printed) = two.build_and_run();
    assert!(lines() > before, "cargo wrote another Cargo.lock");
    assert_eq!(printed, format!("1||input 1|{} lines|readme 1", lines()));
    assert!(two.restored().contains(&"mac proc-macro".to_owned()), "{:?}", two.restored());
}

#[test]
fn options_in_an_alias_count() {
    let one = workspace();
    one.file(".cargo/config.toml", "[alias]\nci = \"build --target-dir out\"\n");
    one.recorded(&["ci"]);
    let two = one.clone_to("work/two");
    fs::remove_dir_all(two.path("out")).expect("remove what was copied");
    two.kache(&["restore", "--", "ci"]).must_succeed();
    assert!(two.path("out").exists() && !two.target_dir().exists());
    two.cargo(&["ci"]).is_noop();
}

#[test]
fn cargo_waits_only_where_it_asks_again() {
    // Resolver 3 makes cargo ask before it resolves, resolver 2 afterwards.
    for resolver in ["2", "3"] {
        let one = workspace();
        let text = fs::read_to_string(one.path("Cargo.toml")).expect("manifest");
        one.file("Cargo.toml", text.replace("\"3\"", &format!("\"{resolver}\"")));
        one.recorded(&["build"]);
        let two = one.clone_to("work/two");
        two.build().is_noop();
        assert_eq!(two.restored().len(), 5, "resolver {resolver}");
        assert_eq!(two.app_output(), one.app_output());
    }
}

#[test]
fn verified_hits_are_not_restored_before() {
    let one = workspace();
    one.recorded(&["build"]);
    let mut two = one.clone_to("work/two");
    two.set("KACHE_VERIFY", "hits").set("KACHE_VERIFY_RATE", "1/2");
    let verified = || two.events().iter().filter(|event| event["outcome"] == "hit.verified").count();
    let (mut together, mut rounds) = (0, 0);
    while (verified() < 5 || together < 5) && rounds < 40 {
        two.wipe().build();
        (together, rounds) = (two.restored().len(), rounds + 1);
    }
    assert!(rounds < 40, "{} verified, {together} restored", verified());
    assert!(!two.events().iter().any(|event| event["outcome"] == "hit.differs"));
    let log = two.cache_dir().join("events/whole-builds.jsonl");
    let before = fs::read_to_string(&log).expect("log");
    let chosen = before.matches("KACHE_VERIFY chose it").count();
    assert!(chosen > 0 && verified() >= chosen, "{chosen} were chosen, and {} verified", verified());
    two.set("KACHE_VERIFY_RATE", "1/1").wipe().build();
    assert_eq!(fs::read_to_string(&log).expect("log"), before, "nothing to restore");
}

#[test]
fn a_snapshot_of_a_whole_build_does_not_shrink_if_its_directory_goes() {
    let one = workspace();
    one.recorded(&["build"]);
    for round in 0..3 {
        let two = one.clone_to(&format!("work/{round}"));
        two.build().is_noop();
        two.wipe();
        two.wait_for_snapshot();
    }
    let three = one.clone_to("work/three");
    three.build().is_noop();
    assert_eq!(three.restored().len(), 4 * 5);
}

#[test]
fn what_a_run_left_behind_is_not_mixed_with_another_one() {
    let one = workspace();
    one.recorded(&["build"]);
    let two = one.clone_to("work/two");
    let run = fs::read_dir(one.path("target/debug/build")).expect("build").flatten();
    let run = run.map(|dir| dir.path()).find(|dir| dir.join("out").exists()).expect("a run");
    let left = two.path("target/debug/build").join(run.file_name().expect("a name")).join("out");
    fs::create_dir_all(&left).expect("directory");
    fs::write(left.join("stray.txt"), "stray").expect("write");
    let restored = two.kache(&["restore", "--verbose"]).must_succeed();
    assert!(restored.stdout.contains("OUT_DIR is not empty"), "{}", restored.stdout);
    assert_eq!(two.builds_only(&["app"]), one.app_output());
}

#[test]
fn every_command_has_its_own_record() {
    let one = workspace();
    one.file("dep/src/lib.rs", "pub fn value() -> u32 { 1 }\n#[test]\nfn works() {}\n");
    one.file(".cargo/config.toml", "[alias]\nout = \"run --quiet --package app --\"\n");
    let commands: [&[&str]; 7] = [
        &["check"],
        &["clippy", "--locked"],
        &["out", "argument"],
        &["build", "-p", "dep"],
        &["test", "--no-run"],
        &["build", "--release"],
        &["build", "--target", "x86_64-unknown-linux-gnu"],
    ];
    for command in commands.iter().filter(|_| cfg!(target_arch = "x86_64")) {
        one.wipe().recorded(command);
        let two = one.clone_to(&format!("work/{}", command.join("").replace('-', "")));
        two.cargo(command).is_noop();
        assert!(!two.restored().is_empty());
    }
}

#[test]
fn a_command_that_found_all_fresh_is_restored_from_a_similar_one() {
    let one = workspace();
    one.recorded(&["build"]);
    one.cargo(&["run"]);
    let two = one.clone_to("work/two");
    two.cargo(&["run"]).is_noop();
    two.wait_for_snapshot();
    two.cargo(&["clean"]);
    let tests = two.recorded(&["test", "--no-run"]);
    assert!(tests.stderr.contains("Compiling app"), "{}", tests.stderr);
    let restored = two.restored();
    assert_eq!(restored.iter().filter(|unit| *unit == "dep lib").count(), 2, "{restored:?}");
    let three = one.clone_to("work/three");
    three.cargo(&["test", "--no-run"]).is_noop();
}

#[test]
fn members_in_other_directories_and_renamed_manifests_are_found() {
    let one = workspace();
    let manifest = |project: &Project| project.path("Cargo.toml").to_string_lossy().into_owned();
    one.recorded(&["build", "--manifest-path", &manifest(&one)]);
    let two = one.clone_to("work/two");
    let mut command = two.command(crate::support::real_cargo());
    command.args(["build", "-q", "--manifest-path", &manifest(&two)]).current_dir("/");
    two.finish(command).must_succeed().is_noop();
    assert_eq!(two.restored().len(), 5);
    let three = one.clone_to("work/three");
    let mut command = three.command(crate::support::real_cargo());
    three
        .finish({
            command.args(["build"]).current_dir(three.path("dep"));
            command
        })
        .must_succeed();
}

#[test]
fn a_target_directory_elsewhere_is_used() {
    let mut one = workspace();
    one.set("CARGO_TARGET_DIR", one.sandbox_dir().join("targets/one/target")).recorded(&["build"]);
    let mut two = one.clone_to("work/two");
    two.set("CARGO_TARGET_DIR", one.sandbox_dir().join("targets/two/target"));
    assert_eq!(two.builds_only(&[]), one.app_output());
    // Another configuration may mean another linker, other variables, anything.
    let three = one.clone_to("work/three");
    three.file(".cargo/config.toml", "[build]\njobs = 1\n");
    assert_eq!(three.builds_only(ALL), one.app_output());
}

#[test]
fn nothing_is_restored_where_another_cargo_builds() {
    if !has_program("flock") {
        return;
    }
    let one = workspace();
    one.recorded(&["build"]);
    let two = one.clone_to("work/two");
    let lock = two.path("target/debug/.cargo-lock");
    fs::create_dir_all(lock.parent().expect("a directory")).expect("directory");
    let mut holder = Command::new("flock");
    holder.arg(&lock).args(["-c", "echo held; sleep 60"]).stdout(Stdio::piped()).process_group(0);
    let mut holder = holder.spawn().expect("flock");
    std::io::Read::read_exact(holder.stdout.as_mut().expect("stdout"), &mut [0; 4]).expect("the lock is held");
    let restored = two.kache(&["restore"]).must_succeed();
    crate::support::signal("KILL", &format!("-{}", holder.id()));
    holder.wait().expect("wait");
    assert!(restored.stdout.contains("another cargo is building"), "{}", restored.stdout);
    assert!(!two.path("target/debug/.fingerprint").exists());
}

#[test]
fn an_edit_of_a_warm_checkout_keeps_the_record_complete() {
    let mut one = workspace();
    one.set("CARGO_INCREMENTAL", "1").recorded(&["build"]);
    settle();
    one.file("dep/src/lib.rs", "pub fn value() -> u32 { 7 }\n");
    one.recorded(&["build"]);
    let two = one.clone_to("work/two");
    assert_eq!(two.builds_only(&["app", "dep"]), one.app_output(), "offered results come per unit");
    let three = one.clone_to("work/three");
    assert_eq!(three.builds_only(&[]), one.app_output(), "they are shared then");
}

#[test]
fn what_kache_restore_says() {
    let one = workspace();
    let nothing = one.kache(&["restore"]).must_succeed();
    assert!(nothing.stdout.contains("no build with `cargo build` is recorded"), "{}", nothing.stdout);
    one.recorded(&["build"]);
    let two = one.clone_to("work/two");
    let all = two.kache(&["restore"]).must_succeed();
    assert!(all.stdout.starts_with("restored 5 of 5 units in "), "{}", all.stdout);
    let again = two.kache(&["restore", "--", "build"]).must_succeed();
    assert!(again.stdout.contains("5 were there already"), "{}", again.stdout);
    two.build().is_noop();
}

#[test]
fn a_build_of_hits_is_recorded_too() {
    let mut one = workspace();
    one.set("KACHE_BULK", "off").build();
    // Only stored results have calls, so the next command has to compile some units.
    one.set("KACHE_BULK", "on").file("dep/src/lib.rs", "pub fn value() -> u32 { 9 }\n").recorded(&["test", "--no-run"]);
    let two = one.clone_to("work/two");
    two.recorded(&["build"]);
    let three = one.clone_to("work/three");
    three.build();
    assert!(three.restored().contains(&"dep lib".to_owned()), "{:?}", three.restored());
}

#[test]
fn a_unit_that_was_cleaned_is_never_older_than_what_was_built_from_another_one() {
    let one = workspace();
    one.recorded(&["build"]);
    let two = one.clone_to("work/two");
    settle();
    two.file("dep/src/lib.rs", "pub fn value() -> u32 { 5 }\n");
    assert_eq!(two.builds_only(&["app", "dep"]), "5||input 1|env 1|readme 1");
    // The program above stays in place while its library is restored as it was at first.
    two.cargo(&["clean", "-p", "dep"]);
    two.file("dep/src/lib.rs", "pub fn value() -> u32 { 1 }\n");
    rewind(&two.path("dep/src/lib.rs"));
    two.kache(&["restore"]).must_succeed();
    let (run, printed) = two.build_and_run();
    assert_eq!(printed, "1||input 1|env 1|readme 1", "{}", run.stderr);
}

/// Sets the mtime of a file to a time long ago, as tools do that keep the times of a checkout.
fn rewind(path: &Path) {
    filetime::set_file_mtime(path, filetime::FileTime::from_unix_time(1_500_000_000, 0)).expect("set the time");
}

#[test]
fn messages_of_a_failed_compile_do_not_come_back() {
    let one = workspace();
    one.recorded(&["build"]);
    let two = one.clone_to("work/two");
    settle();
    two.file("dep/src/lib.rs", "pub fn value() -> u32 { \"text\" }\n");
    two.try_cargo(&["build"]).must_fail();
    two.file("dep/src/lib.rs", "pub fn value() -> u32 { 1 }\n");
    two.kache(&["restore"]).must_succeed();
    let run = two.build();
    assert!(!run.stderr.contains("mismatched types"), "{}", run.stderr);
    assert_eq!(two.app_output(), one.app_output());
}

#[test]
fn a_build_script_may_have_any_name() {
    let one = workspace();
    one.file(
        "app/Cargo.toml",
        manifest(
            "app",
            "build = \"make_it.rs\"\n[dependencies]\ndep = { path = \"../dep\" }\nmac = { path = \"../mac\" }\n",
        ),
    );
    one.file("app/make_it.rs", BUILD).remove("app/build.rs").recorded(&["build"]);
    let two = one.clone_to("work/two");
    assert_eq!(two.builds_only(&[]), one.app_output());
}

#[test]
fn arguments_of_a_program_are_not_cargos() {
    let one = workspace();
    one.recorded(&["run", "--", "--target-dir", "elsewhere"]);
    let two = one.clone_to("work/two");
    two.cargo(&["run", "--", "--target-dir", "elsewhere"]).is_noop();
    assert!(!two.path("elsewhere").exists());
}

#[test]
fn what_is_left_out_is_seen() {
    let one = workspace();
    one.recorded(&["build"]);
    let two = one.clone_to("work/two");
    settle();
    two.file("dep/src/lib.rs", "pub fn value() -> u32 { 8 }\n");
    two.build();
    let stats = two.kache_json(&["stats", "--json"]);
    assert_eq!(
        (&stats["whole_builds"]["builds"], &stats["whole_builds"]["restored"]),
        (&1.into(), &3.into()),
        "{stats}"
    );
    let report = two.kache_json(&["report", "--format", "json"]);
    assert_eq!((&report["whole_builds"]["restored"], &report["whole_builds"]["left"]), (&3.into(), &2.into()));
    let why = two.kache_json(&["why", "--json"]);
    let left = why["whole_build"]["left_out"].as_array().expect("a list").clone();
    assert!(left[0]["unit"].as_str().expect("a name").contains("(lib-dep)"), "{left:?}");
    assert!(left[0]["reason"].as_str().expect("a text").starts_with("miss.input-changed: file"), "{left:?}");
    let text = two.kache(&["why"]).ends(0);
    assert!(text.contains("Restored 3 units before cargo asked, and left 2 to cargo:"), "{text}");
    assert!(two.kache(&["stats"]).ends(0).contains("1 build restored as a whole in "));
    assert!(two.kache(&["report"]).ends(0).contains("; 2 left to cargo"));
}

#[test]
fn intermediate_files_share_their_inodes_and_programs_do_not() {
    let one = workspace();
    one.recorded(&["build"]);
    let two = one.clone_to("work/two");
    two.build().is_noop();
    let is_canonical = |path: &Path| crate::support::stat(path).mtime_ns == crate::support::CANONICAL_MTIME_NS;
    let is_shared = |prefix: &str, suffix: &str| {
        is_canonical(&crate::support::find_one(&two.path("target/debug/deps"), prefix, suffix))
    };
    assert!(is_shared("libmac-", ".so") && is_shared("libdep-", ".rmeta") && is_shared("libdep-", ".rlib"));
    assert!(!is_canonical(&two.path("target/debug/app")), "the program is private");
    // An incremental compile replaces files in other ways.
    let mut three = one.clone_to("work/three");
    three.set("CARGO_INCREMENTAL", "1").recorded(&["build"]);
    let mut four = one.clone_to("work/four");
    four.set("CARGO_INCREMENTAL", "1");
    four.build().is_noop();
    let path = crate::support::find_one(&four.path("target/debug/deps"), "libdep-", ".rmeta");
    assert_ne!(crate::support::stat(&path).mtime_ns, crate::support::CANONICAL_MTIME_NS);
}

#[test]
fn a_machine_with_an_empty_cache_restores_the_whole_build_after_a_pull() {
    let server = S3Server::start();
    let mut one = workspace();
    one.use_remote(&S3Server::variables(&server.endpoint(), WRITER));
    one.recorded(&["build"]);
    let pushed = one.kache(&["push"]).ends(0);
    assert!(pushed.contains("1 build snapshot"), "{pushed}");
    let two = one.other_machine("two");
    let pulled = two.kache(&["pull"]).ends(0);
    assert!(pulled.contains("1 build snapshot"), "{pulled}");
    two.build().is_noop();
    assert_eq!((two.restored().len(), two.app_output()), (5, one.app_output()));
    // Without the snapshot, cargo asks for each unit.
    let three = one.other_machine("three");
    for object in server.objects_with(".snapshot.zst") {
        server.remove(&object);
    }
    three.kache(&["pull"]).ends(0);
    assert_eq!(three.builds_only(ALL), one.app_output());
}

#[test]
fn a_push_right_after_a_build_has_its_snapshot() {
    let server = S3Server::start();
    let mut one = workspace();
    one.use_remote(&S3Server::variables(&server.endpoint(), WRITER));
    one.build();
    assert!(one.kache(&["push"]).ends(0).contains("1 build snapshot"));
}

#[test]
fn r08_a_snapshot_that_nobody_trusted_signed_is_not_used() {
    let server = S3Server::start();
    let key = |project: &Project| {
        let keys = project.kache(&["keygen"]).ends(0);
        let line = |prefix: &str| {
            let found = keys.split(['=', '"', '\n']).find(|word| word.starts_with(prefix));
            found.unwrap_or_else(|| panic!("{keys}")).to_owned()
        };
        (line("kache-sk1:"), line("kache-pk1:"))
    };
    let mut one = workspace();
    one.use_remote(&S3Server::variables(&server.endpoint(), WRITER));
    let (secret, public) = key(&one);
    one.recorded(&["build"]);
    one.kache(&["push"]).ends(0);
    let unsigned = server.objects_with(".snapshot.zst").remove(0);
    let mut two = one.other_machine("two");
    let pulled = two.set("KACHE_TRUSTED_KEYS", public).kache(&["pull"]).ends(0);
    assert!(!pulled.contains("build snapshot"), "nobody signed it: {pulled}");
    one.set("KACHE_SIGNING_KEY", secret).kache(&["push"]).ends(0);
    let signed = server.objects_with(".snapshot.zst").into_iter().find(|name| *name != unsigned);
    let signed = signed.expect("another object, beside the unsigned one");
    let bytes = server.read(&signed).expect("an object");
    server.write(&signed, &server.read(&unsigned).expect("an object"));
    let pulled = two.kache(&["pull"]).ends(0);
    assert!(!pulled.contains("build snapshot"), "only its name says that somebody signed it: {pulled}");
    server.write(&signed, &bytes);
    assert!(two.kache(&["pull"]).ends(0).contains("1 build snapshot"));
    two.build().is_noop();
}
