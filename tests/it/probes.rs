//! The two questions that cargo asks the compiler, answered from a memo (hazards T02, U15).

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{
    Project, RawOutput, Run, find, make_toolchain, real_cargo, skip, update_toolchain, write_program,
};

const DEP: &str = "pub fn value() -> u32 { 7 }\n";

/// A library, and a toolchain whose programs no other test links. A new link would change their ctime, and kache would
/// ask them again.
fn own_toolchain() -> (Project, PathBuf) {
    let mut project = Project::lib(DEP);
    let dir = project.sandbox_dir().join("toolchain");
    make_toolchain(&dir);
    renew(&dir, "1111111111111111111111111111111111111111");
    project.use_toolchain(&dir);
    (project, dir)
}

/// Puts another compiler in the same place, and waits until its stamps are old enough to prove something.
fn renew(toolchain: &Path, commit: &str) {
    update_toolchain(toolchain, commit);
    let driver = toolchain.join("bin/clippy-driver");
    if driver.exists() {
        let mut copy = Command::new("/bin/sh");
        copy.args(["-c", "cp \"$1\" \"$1.staged\" && mv \"$1.staged\" \"$1\"", "sh"]).arg(&driver);
        assert!(copy.status().expect("sh").success());
    }
    std::thread::sleep(Duration::from_millis(80));
}

/// Cargo's question about a target, with the user's flags where cargo puts them.
fn target_question(flags: &str) -> Vec<OsString> {
    let text = format!(
        "- --crate-name ___ --print=file-names {flags} --crate-type bin --crate-type rlib --crate-type dylib \
         --crate-type cdylib --crate-type staticlib --crate-type proc-macro --print=sysroot --print=split-debuginfo \
         --print=crate-name --print=cfg -Wwarnings"
    );
    words(&text)
}

fn words(text: &str) -> Vec<OsString> {
    text.split_whitespace().map(OsString::from).collect()
}

/// Asks through kache. Returns the answer, and how often the compiler was asked.
fn ask(project: &Project, args: &[OsString], env: &[(&str, &str)]) -> (RawOutput, usize) {
    let log = PathBuf::from(project.env_value("COUNTING_RUSTC_LOG").expect("always set"));
    let calls = || fs::read_to_string(&log).map_or(0, |text| text.lines().count());
    let before = calls();
    let mut command = project.rustc(true, args);
    let said = command.envs(env.iter().copied()).output().expect("kache starts").into();
    (said, calls() - before)
}

fn plainly(project: &Project, args: &[OsString], env: &[(&str, &str)]) -> RawOutput {
    let mut command = project.rustc(false, args);
    command.envs(env.iter().copied()).output().expect("rustc starts").into()
}

/// Asserts that the answer is rustc's own both times, and that the compiler is not asked the second time.
#[track_caller]
fn is_remembered(project: &Project, args: &[OsString], env: &[(&str, &str)]) -> RawOutput {
    let plain = plainly(project, args, env);
    assert!(plain.code == 0 && plain.stderr.is_empty() && !plain.stdout.is_empty(), "{args:?}: {plain:?}");
    for round in 0..2 {
        let (said, calls) = ask(project, args, env);
        assert_eq!(said, plain, "{args:?} round {round}");
        assert!(round == 0 || calls == 0, "{args:?}: the compiler was asked again");
    }
    plain
}

/// Asserts that the answer is rustc's own, and that the compiler is asked each time.
#[track_caller]
fn is_rustcs(project: &Project, args: &[OsString], env: &[(&str, &str)]) -> RawOutput {
    let plain = plainly(project, args, env);
    for round in 0..3 {
        let (said, calls) = ask(project, args, env);
        assert_eq!(said, plain, "{args:?} {env:?} round {round}");
        assert!(calls > 0, "{args:?} {env:?} round {round}: the compiler was not asked");
    }
    plain
}

fn probes(run: &Run) -> usize {
    run.calls.iter().filter(|call| call.krate.is_none()).count()
}

fn answers(project: &Project) -> Vec<PathBuf> {
    find(&project.cache_dir().join("v1/probes"), "", "")
}

#[test]
fn t02_a_fresh_target_directory_asks_nothing() {
    let (mut project, _) = own_toolchain();
    for args in [&["build"][..], &["check"], &["build", "--target", "x86_64-unknown-linux-gnu"]] {
        let first = project.wipe().cargo(args);
        let second = project.wipe().cargo(args);
        assert_eq!(probes(&second), 0, "{args:?}: {:?}", second.calls);
        // Control: cargo asks; `check` asks the same as `build`.
        assert!(probes(&first) > 0 || args == ["check"], "{args:?}: {:?}", first.calls);
    }
    project.set("KACHE_DISABLED", "1");
    assert!(probes(&project.wipe().build()) >= 2, "control: cargo asks");
    let events: Vec<_> = project.events().into_iter().filter(|event| event["crate"] != "dep").collect();
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn t02_clippy_is_asked_once_too() {
    let (project, toolchain) = own_toolchain();
    if !toolchain.join("bin/cargo-clippy").exists() {
        skip("cargo-clippy is not installed");
        return;
    }
    let clippy = || {
        let mut command = project.command(toolchain.join("bin/cargo-clippy"));
        command.arg("clippy").env("CARGO", real_cargo());
        project.wipe().finish(command).must_succeed()
    };
    assert!(probes(&clippy()) > 0);
    assert_eq!(probes(&clippy()), 0);
    // The answer of the driver differs from rustc's.
    let driver = toolchain.join("bin/clippy-driver");
    let through = |program: &Path| -> RawOutput {
        let mut command = project.command(program);
        if program != driver {
            command.arg(&driver);
        }
        command.arg(toolchain.join("bin/rustc")).args(target_question("")).output().expect("it starts").into()
    };
    let kache = Path::new(crate::support::KACHE);
    assert_eq!(through(kache), through(&driver));
    assert_eq!(through(kache), through(&driver));
    is_remembered(&project, &target_question(""), &[]);
}

#[test]
fn t02_answers_are_rustcs_to_the_byte() {
    let (project, _) = own_toolchain();
    is_remembered(&project, &words("-vV"), &[]);
    let mut seen = Vec::new();
    for target in
        ["", "--target aarch64-unknown-linux-gnu", "--target=i686-unknown-linux-gnu", "--target aarch64-apple-darwin"]
    {
        for flags in ["", "-C opt-level=3 -Dwarnings", "--cfg foo", "-Clinker=/absent/cc -Clink-arg=-fuse-ld=mold"] {
            seen.push(is_remembered(&project, &target_question(&format!("{flags} {target}")), &[]).stdout);
        }
    }
    for flags in ["-C target-feature=+avx2", "-C target-cpu=x86-64-v3", "-Ctarget-cpu=x86-64-v4", "-C panic=abort"] {
        seen.push(is_remembered(&project, &target_question(flags), &[]).stdout);
    }
    seen.sort();
    seen.dedup();
    assert!(seen.len() >= 10, "control: the answers differ, {} of them", seen.len());
}

#[test]
fn t02_warnings_and_errors_are_rustcs_each_time() {
    let (project, _) = own_toolchain();
    for flags in
        ["--target wasm32-unknown-unknown", "--target x86_64-unknown-linux-musl", "-C target-feature=+nonsense"]
    {
        let said = is_rustcs(&project, &target_question(flags), &[]);
        assert!(said.code == 0 && !said.stderr.is_empty(), "{flags}: {said:?}");
    }
    for flags in ["--target no-such-target", "--cfg", "-C panic=maybe", "-Z threads=2"] {
        assert_ne!(is_rustcs(&project, &target_question(flags), &[]).code, 0, "{flags}");
    }
    assert!(answers(&project).is_empty());
}

#[test]
fn t02_other_questions_are_rustcs_each_time() {
    let (project, _) = own_toolchain();
    project.file("args", "--cfg\nfoo\n");
    for args in ["-V", "--version --verbose", "--print target-list", "--print=sysroot", "--print cfg --crate-name ___"]
    {
        is_rustcs(&project, &words(args), &[]);
    }
    for flags in
        ["-C target-cpu=native", "@args", "-L /usr/lib", "--print=target-libdir", "--sysroot /absent", "-C help"]
    {
        is_rustcs(&project, &target_question(flags), &[]);
    }
    // A question that a build script asks.
    let args = "--crate-name probe --crate-type=lib --emit=asm -o - src/lib.rs";
    assert!(!is_rustcs(&project, &words(args), &[]).stdout.is_empty());
    assert!(answers(&project).is_empty());
    is_remembered(&project, &words("-vV"), &[]);
    assert_eq!(answers(&project).len(), 1, "control");
}

#[test]
fn t02_variables_that_rustc_reads_count() {
    let (project, toolchain) = own_toolchain();
    let question = target_question("");
    let stable = is_remembered(&project, &question, &[]);
    let nightly = is_remembered(&project, &question, &[("RUSTC_BOOTSTRAP", "1")]);
    assert_ne!(stable, nightly, "control: there are more cfgs then");
    assert_eq!(is_remembered(&project, &question, &[]), stable);
    is_remembered(&project, &question, &[("CI", "true")]);
    assert_ne!(is_rustcs(&project, &question, &[("RUST_MIN_STACK", "much")]).code, 0);
    assert_ne!(is_rustcs(&project, &question, &[("RUSTC_LOG_COLOR", "pink")]).code, 0);
    is_rustcs(&project, &question, &[("RUSTC_LOG", "error")]);
    let path = toolchain.to_str().expect("text");
    is_rustcs(&project, &question, &[("RUST_TARGET_PATH", path)]);
    // Variables that rustc does not read do not count.
    let (_, calls) =
        ask(&project, &question, &[("LANG", "de_DE.UTF-8"), ("RUST_BACKTRACE", "1"), ("SOMETHING", "else")]);
    assert_eq!(calls, 0);
}

#[test]
fn t02_a_target_of_the_sysroots_own_is_rustcs() {
    let (project, toolchain) = own_toolchain();
    let rustlib = toolchain.join("lib/rustlib");
    let real = fs::read_link(&rustlib).expect("a link");
    fs::remove_file(&rustlib).expect("unlink");
    fs::create_dir_all(rustlib.join("my-own-target")).expect("own rustlib");
    for entry in fs::read_dir(&real).expect("rustlib") {
        let entry = entry.expect("entry");
        symlink(entry.path(), rustlib.join(entry.file_name())).expect("link");
    }
    let spec =
        project.rustc(false, words("-Zunstable-options --print target-spec-json --target x86_64-unknown-linux-gnu"));
    let mut spec = spec;
    let spec = spec.env("RUSTC_BOOTSTRAP", "1").output().expect("rustc starts").stdout;
    fs::write(rustlib.join("my-own-target/target.json"), spec).expect("a specification");
    std::thread::sleep(Duration::from_millis(80));
    is_remembered(&project, &target_question(""), &[]);
    for env in [&[][..], &[("RUSTC_BOOTSTRAP", "1")]] {
        is_rustcs(&project, &target_question("--target my-own-target"), env);
    }
}

#[test]
fn t02_a_crate_from_stdin_is_rustcs() {
    let (project, _) = own_toolchain();
    let named = |through_kache: bool, source: &str| -> RawOutput {
        let args = target_question("").into_iter().filter(|arg| arg != "--print=crate-name").collect::<Vec<_>>();
        let mut command = project.rustc(through_kache, args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("piped");
        // A compiler that fails before it reads does not fail this test.
        let _ = std::io::Write::write_all(&mut stdin, source.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("it ends").into()
    };
    for source in ["", "#![crate_type = \"lib\"]", "#![crate_name = \"other\"]"] {
        let plain = named(false, source);
        assert_eq!(named(true, source), plain, "{source}");
        assert_eq!(named(true, source), plain, "{source}");
    }
    assert!(answers(&project).is_empty());
    is_remembered(&project, &target_question(""), &[]);
}

#[test]
fn u15_an_updated_toolchain_is_asked_again() {
    let (project, dir) = own_toolchain();
    let first = is_remembered(&project, &words("-vV"), &[]);
    is_remembered(&project, &target_question(""), &[]);
    renew(&dir, "2222222222222222222222222222222222222222");
    let second = is_remembered(&project, &words("-vV"), &[]);
    assert_ne!(first, second);
    assert!(String::from_utf8_lossy(&second.stdout).contains("2222222222"));
    assert!(ask(&project, &target_question(""), &[]).1 > 0, "the other question is asked again too");
}

#[test]
fn u15_an_update_while_the_compiler_answers_is_not_remembered() {
    let (project, dir) = own_toolchain();
    is_remembered(&project, &target_question(""), &[]);
    let first = plainly(&project, &words("-vV"), &[]);
    // The compiler is replaced while it answers: kache asks the old one, and the new one answers.
    let (rustc, kept) = (dir.join("bin/rustc"), dir.join("bin/kept"));
    fs::rename(&rustc, &kept).expect("rename");
    let driver = find(&dir.join("lib"), "librustc_driver", ".so").pop().expect("a driver");
    let saved = dir.join("saved");
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in -vV) [ -e '{saved}.asked' ] && [ ! -e '{saved}' ] && {{ mv '{driver}' '{saved}'; \
         echo other > '{driver}'; echo answer of another; exit 0; }}; touch '{saved}.asked';; esac\nexec '{kept}' \"$@\"\n",
        saved = saved.display(),
        driver = driver.display(),
        kept = kept.display()
    );
    write_program(&rustc, &script);
    std::thread::sleep(Duration::from_millis(80));
    // kache first runs `-vV` itself to identify the compiler.
    let (said, _) = ask(&project, &words("-vV"), &[]);
    assert!(String::from_utf8_lossy(&said.stdout).contains("another"), "control: {said:?}");
    fs::rename(&saved, &driver).expect("the old compiler is back");
    fs::write(&saved, "").expect("and stays");
    assert!(ask(&project, &words("-vV"), &[]).0 == first, "the new compiler's answer was taken for the old one's");
}

#[test]
fn u15_a_name_that_points_elsewhere_is_asked_again() {
    let (mut project, first) = own_toolchain();
    let second = project.sandbox_dir().join("second");
    make_toolchain(&second);
    renew(&second, "1111111111111111111111111111111111111111");
    let current = project.sandbox_dir().join("current");
    symlink(&first, &current).expect("current");
    project.use_toolchain(&current);
    let one = is_remembered(&project, &target_question(""), &[]);
    fs::remove_file(&current).expect("repoint");
    symlink(&second, &current).expect("current");
    let two = is_remembered(&project, &target_question(""), &[]);
    assert_ne!(one, two, "control: the sysroots differ, the compilers do not");
    // Another name for the program itself.
    let bin = project.sandbox_dir().join("elsewhere/bin");
    fs::create_dir_all(&bin).expect("mkdir");
    symlink(first.join("bin/rustc"), bin.join("rustc")).expect("a link");
    project.set("RUSTC", bin.join("rustc"));
    is_remembered(&project, &target_question(""), &[]);
}

#[test]
fn u15_a_program_found_on_path_is_the_one_that_is_asked() {
    let (mut project, first) = own_toolchain();
    let second = project.sandbox_dir().join("second");
    make_toolchain(&second);
    renew(&second, "2222222222222222222222222222222222222222");
    project.set("RUSTC", "rustc");
    let old = project.env_value("PATH").expect("always set").to_owned();
    let mut version = |toolchain: &Path| {
        let dirs = std::iter::once(toolchain.join("bin")).chain(std::env::split_paths(&old));
        project.set("PATH", std::env::join_paths(dirs).expect("a path"));
        String::from_utf8(is_remembered(&project, &words("-vV"), &[]).stdout).expect("text")
    };
    assert!(version(&first).contains("11111111"));
    assert!(version(&second).contains("22222222"));
    assert!(version(&first).contains("11111111"));
    // rustc follows a link with its own name in the working directory.
    symlink(first.join("bin/rustc"), project.path("rustc")).expect("a link");
    is_rustcs(&project, &target_question(""), &[]);
}

#[test]
fn u15_a_proxy_that_decides_by_directory_is_asked_each_time() {
    let (mut project, dir) = own_toolchain();
    let proxy = project.sandbox_dir().join("cargo-bin");
    write_program(&proxy.join("rustup"), &format!("#!/bin/sh\nexec '{}/bin/rustc' \"$@\"\n", dir.display()));
    symlink("rustup", proxy.join("rustc")).expect("the proxy");
    project.set("RUSTC", proxy.join("rustc")).unset("RUSTUP_TOOLCHAIN");
    for args in [words("-vV"), target_question("")] {
        is_rustcs(&project, &args, &[]);
        assert_eq!(ask(&project, &args, &[]).1, 1, "asked more than once");
    }
    assert!(answers(&project).is_empty());
    // Control: the answer of a toolchain that is selected by name is remembered.
    let home = project.sandbox_dir().join("rustup-home");
    fs::create_dir_all(home.join("toolchains")).expect("mkdir");
    symlink(&dir, home.join("toolchains/mine")).expect("the toolchain");
    std::thread::sleep(Duration::from_millis(80));
    let home = home.to_str().expect("text").to_owned();
    is_remembered(&project, &words("-vV"), &[("RUSTUP_TOOLCHAIN", "mine"), ("RUSTUP_HOME", &home)]);
}

#[test]
fn i07_a_damaged_answer_is_asked_again() {
    let (project, _) = own_toolchain();
    is_remembered(&project, &words("-vV"), &[]);
    let [answer] = answers(&project).try_into().expect("one answer");
    let whole = fs::read(&answer).expect("read");
    let mut flipped = whole.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    for damaged in [Vec::new(), whole[..whole.len() / 2].to_vec(), flipped] {
        fs::write(&answer, damaged).expect("damage");
        assert!(ask(&project, &words("-vV"), &[]).1 > 0);
        assert!(fs::read(&answer).expect("read") == whole, "mended");
        is_remembered(&project, &words("-vV"), &[]);
    }
    project.kache(&["purge"]).must_succeed();
    assert!(answers(&project).is_empty());
    is_remembered(&project, &words("-vV"), &[]);
}

#[test]
fn t07_a_store_that_cannot_be_written_changes_no_answer() {
    let (mut project, _) = own_toolchain();
    project.file("no-directory", "");
    project.set("KACHE_CACHE_DIR", project.path("no-directory"));
    is_rustcs(&project, &words("-vV"), &[]);
    is_rustcs(&project, &target_question(""), &[]);
    project.set("KACHE_CACHE_DIR", "relative");
    is_rustcs(&project, &words("-vV"), &[]);
}

#[test]
fn t02_a_disabled_kache_asks_each_time() {
    let (mut project, _) = own_toolchain();
    is_remembered(&project, &words("-vV"), &[]);
    is_rustcs(&project, &words("-vV"), &[("KACHE_DISABLED", "1")]);
    project.set("KACHE_CACHE_DIR", project.sandbox_dir().join("other-cache"));
    project.set("KACHE_DISABLED", "1");
    is_rustcs(&project, &target_question(""), &[]);
    assert!(!project.cache_dir().exists());
}
