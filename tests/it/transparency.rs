//! kache prints and does the same as rustc (hazards T02, T03, T04, T06, T07).

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::{KACHE, Project, RawOutput, has_program, snapshot, write_program};

const SOURCE: &str = "fn never_called() {}\npub fn value() -> u32 { 7 }\npub fn main() {}\n";

const ALL: &str = "--emit=dep-info,metadata,link";
const JSON: &str = "--json=diagnostic-rendered-ansi,artifacts";

/// The result of a call, and the files that it left in `out`.
type Done = (RawOutput, BTreeMap<PathBuf, Vec<u8>>);

fn run(project: &Project, mut command: Command) -> Done {
    let out = project.path("out");
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out).expect("out-dir");
    let said = command.output().expect("it starts").into();
    let mut files = snapshot(&out);
    // Files that `-C save-temps` leaves have random names.
    files.retain(|path, _| !path.to_string_lossy().starts_with("rustc"));
    (without_ids(said), files)
}

/// Removes the lines of a rustc panic that name the thread or addresses, since these differ each time.
fn without_ids(mut said: RawOutput) -> RawOutput {
    let is_id = |line: &&[u8]| line.starts_with(b"thread '") || line.windows(3).any(|part| part == b" 0x");
    if said.code == 101 {
        said.stderr = said.stderr.split(|byte| *byte == b'\n').filter(|line| !is_id(line)).collect::<Vec<_>>().concat();
    }
    said
}

/// The arguments of a library compile into `out`, as cargo would pass them.
fn lib(project: &Project) -> Vec<OsString> {
    let mut args: Vec<OsString> = ["--crate-name", "dep", "--edition=2024", "src/lib.rs"].map(Into::into).to_vec();
    args.extend(["--error-format=json", "--json=diagnostic-rendered-ansi,artifacts"].map(OsString::from));
    args.extend(["--crate-type=lib", "--emit=dep-info,metadata,link", "-Cextra-filename=-1"].map(OsString::from));
    args.extend(["--out-dir".into(), project.path("out").into_os_string()]);
    args
}

/// The arguments of [`lib`] without the words `without`, and with the words `with`.
fn changed(project: &Project, without: &str, with: &str) -> Vec<OsString> {
    let mut args = lib(project);
    args.retain(|arg| !without.split(' ').any(|word| arg == word));
    args.extend(with.split_whitespace().map(OsString::from));
    args
}

/// Asserts that a call through kache gives the same messages, code and files as one without. `reason` is the outcome in
/// its event, or `no event`.
#[track_caller]
fn as_rustc(project: &Project, args: &[OsString], env: &[(&str, &str)], reason: &str) -> RawOutput {
    let mut plain = project.rustc(false, args);
    plain.envs(env.iter().copied());
    let mut ours = project.rustc(true, args);
    ours.envs(env.iter().copied());
    let (plain, ours) = (run(project, plain), run(project, ours));
    assert_eq!(ours.0, plain.0, "{reason}: {args:?}");
    let differs: Vec<_> =
        plain.1.iter().filter(|(name, bytes)| ours.1.get(*name) != Some(bytes)).map(|(name, _)| name).collect();
    assert!(differs.is_empty() && ours.1.len() == plain.1.len(), "{reason}: {args:?}: {differs:?}");
    let event = project.events().pop();
    let outcome = event.as_ref().map(|event| event["outcome"].as_str().unwrap_or_default());
    assert_eq!(outcome.unwrap_or("no event"), reason, "{args:?}: {event:?}");
    ours.0
}

#[test]
fn t02_probes_are_rustcs_own_and_leave_no_event() {
    let project = Project::lib(SOURCE);
    let probes: [&[&str]; 6] = [
        &["-V"],
        &["--version", "--verbose"],
        &["--print=sysroot"],
        &["--print", "cfg", "--crate-name", "___"],
        &["--help"],
        &["--explain", "E0308"],
    ];
    for probe in probes {
        let args: Vec<OsString> = probe.iter().map(OsString::from).collect();
        let said = as_rustc(&project, &args, &[], "no event");
        assert!(said.code == 0 && !said.stdout.is_empty(), "{probe:?}");
    }
    for wrong in [&["--print=nonsense"][..], &["--no-such-flag"], &[]] {
        as_rustc(&project, &wrong.iter().map(OsString::from).collect::<Vec<_>>(), &[], "no event");
    }
    assert!(!project.cache_dir().exists(), "a probe made a cache");
    // kache remembers the answers to cargo's own two questions (`probes.rs`), but does not write an event either.
    for probe in ["-vV", "- --crate-name ___ --print=file-names --crate-type bin --crate-type rlib --print=cfg"] {
        let args: Vec<OsString> = probe.split(' ').map(OsString::from).collect();
        for _ in 0..2 {
            let said = as_rustc(&project, &args, &[], "no event");
            assert!(said.code == 0 && !said.stdout.is_empty(), "{probe:?}");
        }
    }
}

#[test]
fn t02_a_probe_inherits_stdin() {
    let project = Project::lib(SOURCE);
    let said = |through_kache: bool| -> RawOutput {
        let args = ["-", "--crate-name", "piped", "--crate-type=lib", "--emit=metadata", "--out-dir", "."];
        let mut command = project.rustc(through_kache, args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(b"fn piped_and_unused() {}").expect("write");
        drop(stdin);
        child.wait_with_output().expect("it ends").into()
    };
    let plain = said(false);
    assert_eq!(said(true), plain);
    assert!(String::from_utf8_lossy(&plain.stderr).contains("piped_and_unused"));
    assert!(project.path("libpiped.rmeta").exists() && project.events().is_empty());
}

#[test]
fn t03_what_is_not_modelled_is_rustcs_own() {
    let project = Project::lib(SOURCE);
    project.file("src/other.rs", "");
    let out = project.path("out");
    let named = format!("--emit=dep-info --emit=link={}/named.rlib", out.display());
    let whole_out_dir = format!("--out-dir {}", out.display());
    let single = format!("-o {}/single.rlib", out.display());
    let cases = [
        ("bypass.unknown-flag", "", "-Cshiny=1"),
        ("bypass.unknown-flag", "", "--no-such-flag"),
        ("bypass.argfile", "", "@absent"),
        ("bypass.explicit-output", "", &single),
        ("bypass.explicit-output", ALL, &named),
        ("bypass.explicit-output", &whole_out_dir, ""),
        ("bypass.emit-kind", "", "--emit=asm"),
        ("bypass.emit-kind", "", "--emit=obj,llvm-ir"),
        ("bypass.side-outputs", "", "-Csave-temps"),
        ("bypass.inputs", "", "src/other.rs"),
        ("bypass.inputs", "src/lib.rs", ""),
        ("bypass.no-dep-info", ALL, "--emit=metadata,link"),
        ("bypass.no-artifact-notices", JSON, "--json=diagnostic-rendered-ansi"),
        ("bypass.extern-unresolved", "", "--extern x=/absent/libx.rlib"),
        ("bypass.extern-unresolved", "", "--extern x"),
        ("bypass.native-library", "", "-lstatic=absent"),
    ];
    for (reason, without, with) in cases {
        as_rustc(&project, &changed(&project, without, with), &[], reason);
    }
    assert_eq!(project.entries(), Vec::<PathBuf>::new());
}

#[test]
fn t03_dump_modes_and_logs_are_rustcs_own() {
    let project = Project::lib(SOURCE);
    let nightly = [("RUSTC_BOOTSTRAP", "1")];
    let said = as_rustc(&project, &changed(&project, "", "-Zunpretty=expanded"), &nightly, "bypass.dump-mode");
    assert!(String::from_utf8_lossy(&said.stdout).contains("fn value"), "{said:?}");
    as_rustc(&project, &changed(&project, "", "-Zemit-stack-sizes"), &nightly, "bypass.unknown-flag");
    as_rustc(&project, &lib(&project), &[("RUSTC_LOG", "error")], "bypass.rustc-log");
    assert_eq!(project.entries(), Vec::<PathBuf>::new());
    // Control: without all that, it is cached.
    project.unit("dep", "src/lib.rs").warm();
}

#[test]
fn t03_a_compiler_that_cannot_be_identified_runs_uncached() {
    let mut project = Project::lib(SOURCE);
    let real = project.env_value("RUSTC").expect("always set").to_owned();
    let odd = project.sandbox_dir().join("odd/rustc");
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in -vV) echo 'something 1.0'; exit 0;; esac\nexec '{}' \"$@\"\n",
        real.to_string_lossy()
    );
    write_program(&odd, &script);
    project.set("RUSTC", &odd);
    as_rustc(&project, &lib(&project), &[], "bypass.compiler-unknown");
    as_rustc(&project, &lib(&project), &[], "bypass.compiler-unknown");
    project.set("RUSTC", real);
    project.unit("dep", "src/lib.rs").warm();
}

#[test]
fn t03_words_laid_out_for_a_terminal_are_rustcs_own() {
    if !has_program("script") {
        return;
    }
    let project = Project::lib(SOURCE);
    let args = changed(&project, "--error-format=json --json=diagnostic-rendered-ansi,artifacts", "--color=auto");
    let on_terminal = |through_kache: bool| {
        let command = project.rustc(through_kache, &args);
        let words: Vec<String> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| format!("'{}'", word.to_string_lossy()))
            .collect();
        let mut script = project.command("script");
        script.args(["-q", "-e", "-c", &words.join(" "), "/dev/null"]).stdin(Stdio::null());
        run(&project, script)
    };
    assert!(on_terminal(true).0 == on_terminal(false).0);
    let outcome = project.events().pop().map(|event| event["outcome"].clone());
    assert!(outcome.is_none_or(|outcome| outcome.as_str().is_some_and(|outcome| outcome.starts_with("bypass."))));
    assert_eq!(project.entries(), Vec::<PathBuf>::new());
}

#[test]
fn t04_an_unknown_driver_gets_the_whole_chain() {
    let project = Project::lib(SOURCE);
    let driver = project.sandbox_dir().join("some-driver");
    let real = project.env_value("RUSTC").expect("always set").to_owned();
    write_program(&driver, "#!/bin/sh\nprintf '%s\\n' \"$@\" > driver-args\nexec \"$@\"\n");
    let call = |through_kache: bool| {
        let mut command = project.command(if through_kache { OsStr::new(KACHE) } else { driver.as_os_str() });
        if through_kache {
            command.arg(&driver);
        }
        command.arg(&real).args(lib(&project));
        let done = run(&project, command);
        (done, fs::read(project.path("driver-args")).expect("the driver ran"))
    };
    assert!(call(true) == call(false));
    assert_eq!(project.events().pop().expect("an event")["outcome"], "bypass.unknown-driver");
    // A probe through the driver counts as a probe.
    let before = project.events().len();
    let mut probe = project.command(KACHE);
    probe.arg(&driver).arg(&real).arg("-vV");
    assert!(run(&project, probe).0.stdout.starts_with(b"rustc "));
    assert_eq!(project.events().len(), before);
}

#[test]
fn t06_what_is_not_utf8_is_rustcs_own() {
    let project = Project::lib(SOURCE);
    let odd = |text: &[u8]| OsStr::from_bytes(text).to_owned();
    let mut args = lib(&project);
    args.extend(["--cfg".into(), odd(b"x\xff")]);
    as_rustc(&project, &args, &[], "bypass.non-utf8");
    let out = project.path(odd(b"out/\xff\xfe"));
    let mut args = lib(&project);
    args.extend(["--out-dir".into(), out.into_os_string()]);
    as_rustc(&project, &args, &[], "bypass.non-utf8");
    project.unit("dep", "src/lib.rs").warm();
}

#[test]
fn t06_a_directory_that_is_not_utf8() {
    let project = Project::lib(SOURCE);
    let dir = project.path(OsString::from_vec(b"d\xff".to_vec()));
    fs::create_dir_all(dir.join("src")).expect("mkdir");
    fs::write(dir.join("src/lib.rs"), SOURCE).expect("write");
    let call = |through_kache: bool| {
        let mut command = project.rustc(through_kache, lib(&project));
        command.current_dir(&dir);
        run(&project, command)
    };
    let plain = call(false);
    assert_eq!(call(true).0, plain.0);
    assert!(call(true).1 == plain.1);
    assert_eq!(project.events().pop().expect("an event")["outcome"], "bypass.non-utf8");
}

#[test]
fn t06_a_directory_that_is_gone() {
    let project = Project::lib(SOURCE);
    let source = project.path("src/lib.rs");
    let call = |through_kache: bool| {
        let dir = project.path("gone");
        fs::create_dir_all(&dir).expect("mkdir");
        let mut args = changed(&project, "src/lib.rs", "");
        args.push(source.clone().into_os_string());
        let words = project.rustc(through_kache, args);
        let mut command = project.command("/bin/sh");
        command.args(["-c", "rmdir ../gone; exec \"$@\"", "sh"]).arg(words.get_program()).args(words.get_args());
        command.current_dir(&dir);
        run(&project, command)
    };
    assert_eq!(call(true).0, call(false).0);
}

#[test]
fn t07_not_one_byte_of_ours() {
    let project = Project::lib(SOURCE);
    for format in [
        "--error-format=json --json=artifacts",
        "--error-format=json --json=artifacts,diagnostic-short",
        "--color=always",
    ] {
        let args = changed(&project, "--error-format=json --json=diagnostic-rendered-ansi,artifacts", format);
        for (text, code) in [(SOURCE, 0), ("pub fn value() {}\n", 0), ("pub fn value() -> u32 { oops }\n", 1)] {
            project.file("src/lib.rs", text);
            crate::support::settle();
            let plain = run(&project, project.rustc(false, &args)).0;
            for round in 0..3 {
                let ours = run(&project, project.rustc(true, &args)).0;
                assert_eq!(ours, plain, "{format} round {round}");
            }
            assert_eq!(plain.code, code, "{format}: {plain:?}");
        }
    }
}
