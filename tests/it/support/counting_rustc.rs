//! The counting rustc: what kache takes for the compiler, and the judge of what it was really asked to do.
//!
//! Not a module of the tests: `toolchain.rs` compiles this file by itself, once, into `<toolchain>/bin/rustc` (and
//! `clippy-driver`). It appends one JSON line per call to the file named by `COUNTING_RUSTC_LOG`, runs the hooks the
//! test left beside that log (`<log>.before.<crate>`, `.instead.`, `.after.`: shell scripts that get rustc's
//! arguments), and runs the real program with the same arguments plus a `--sysroot` that points back at the stand-in,
//! so that the stand-in and the real compiler never disagree about where the sysroot is.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::time::{SystemTime, UNIX_EPOCH};

/// The directory of the real toolchain's programs, baked in by `toolchain.rs`.
const REAL_BIN: &str = env!("COUNTING_REAL_BIN");

fn main() {
    let exe = std::env::current_exe().expect("own path");
    let name = exe.file_name().expect("own name").to_owned();
    let sysroot = exe.parent().and_then(Path::parent).expect("bin is in a sysroot").to_owned();
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let log = std::env::var_os("COUNTING_RUSTC_LOG").map(PathBuf::from);
    let krate = crate_name(&args);
    record(log.as_deref(), "start", &args);
    if is_version_probe(&args) {
        if let Ok(text) = fs::read(sysroot.join("version-text")) {
            std::io::stdout().write_all(&text).expect("stdout");
            return;
        }
    }
    let mut real = Command::new(Path::new(REAL_BIN).join(name));
    real.args(&args);
    if !args.iter().any(|a| a.to_string_lossy().starts_with("--sysroot")) {
        real.arg("--sysroot").arg(&sysroot);
    }
    let (Some(log), Some(krate)) = (log, krate) else { fail(real.exec()) };
    let hook = |when: &str| -> Option<PathBuf> {
        let path = PathBuf::from(format!("{}.{when}.{krate}", log.display()));
        path.exists().then_some(path)
    };
    if let Some(script) = hook("before") {
        shell(&script, &args).status().expect("before hook");
    }
    if let Some(script) = hook("instead") {
        fail(shell(&script, &args).exec());
    }
    let Some(script) = hook("after") else { fail(real.exec()) };
    let status = real.status().expect("the real rustc starts");
    shell(&script, &args).status().expect("after hook");
    record(Some(&log), "end", &args);
    exit(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
}

fn fail(error: std::io::Error) -> ! {
    panic!("counting rustc: {error}")
}

fn shell(script: &Path, args: &[OsString]) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg(script).args(args);
    command
}

fn is_version_probe(args: &[OsString]) -> bool {
    args.iter().any(|a| a == "-vV" || a == "-V" || a == "--version")
}

/// The value of `--crate-name`, unless this is one of cargo's probes.
fn crate_name(args: &[OsString]) -> Option<String> {
    let at = args.iter().position(|a| a == "--crate-name")?;
    let name = args.get(at + 1)?.to_str()?.to_owned();
    let queried = args.iter().any(|a| a == "-" || a.to_string_lossy().starts_with("--print"));
    (!queried && name != "___").then_some(name)
}

fn record(log: Option<&Path>, event: &str, args: &[OsString]) {
    let Some(log) = log else { return };
    let at = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let list: Vec<String> = args.iter().map(|a| quote(&a.to_string_lossy())).collect();
    let krate = crate_name(args).map_or("null".to_owned(), |name| quote(&name));
    let line = format!("{{\"event\":\"{event}\",\"at\":{at},\"crate\":{krate},\"args\":[{}]}}\n", list.join(","));
    let mut file = OpenOptions::new().append(true).create(true).open(log).expect("open the log");
    file.write_all(line.as_bytes()).expect("append to the log");
}

fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
