//! The counting rustc: kache takes it for the compiler, and its log shows which compiles really reached the compiler.
//!
//! This file is not a module of the tests: `toolchain.rs` compiles it separately, once, into `<toolchain>/bin/rustc`
//! (and `clippy-driver`). For each call it appends a JSON line to the file that `COUNTING_RUSTC_LOG` names, runs the
//! hooks that the test left beside that log (`<log>.before.<crate>`, `.instead.`, `.after.`: shell scripts that receive
//! rustc's arguments), and runs the real program with the same arguments plus a `--sysroot` that points back at the
//! stand-in, so that the stand-in and the real compiler always agree on the sysroot.
//!
//! It must not leave traces. kache's observer is preloaded into this process, as into the compiler, and records calls
//! into libc: a variable read here, or a log written here, would become an input or a side effect of the unit under
//! test. So everything that only the stand-in does bypasses libc (`quiet`). The observer removes itself from `environ`,
//! and only `exec` and `posix_spawn` of libc put it back: a hook, which a raw `execve` starts, is not observed; the
//! real compiler, which libc starts, is.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::time::{SystemTime, UNIX_EPOCH};

/// The directory of the real toolchain's programs, which `toolchain.rs` compiles in.
const REAL_BIN: &str = env!("COUNTING_REAL_BIN");

fn main() {
    // This is a `readlink` of /proc/self/exe, and files in /proc are not inputs.
    let exe = std::env::current_exe().expect("own path");
    let name = exe.file_name().expect("own name").to_owned();
    let sysroot = exe.parent().and_then(Path::parent).expect("bin is in a sysroot").to_owned();
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let log = quiet::var("COUNTING_RUSTC_LOG").map(PathBuf::from);
    let krate = crate_name(&args);
    record(log.as_deref(), "start", &args);
    if is_version_probe(&args) {
        if let Some(text) = quiet::read(&sysroot.join("version-text")) {
            quiet::print(&text);
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
        quiet::exists(&path).then_some(path)
    };
    if let Some(script) = hook("before") {
        quiet::run_script(&script, &args);
    }
    if let Some(script) = hook("instead") {
        fail(quiet::become_script(&script, &args));
    }
    let Some(script) = hook("after") else { fail(real.exec()) };
    let status = real.status().expect("the real rustc starts");
    quiet::run_script(&script, &args);
    record(Some(&log), "end", &args);
    exit(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
}

fn fail(error: std::io::Error) -> ! {
    panic!("counting rustc: {error}")
}

fn is_version_probe(args: &[OsString]) -> bool {
    args.iter().any(|a| a == "-vV" || a == "-V" || a == "--version")
}

/// Returns the value of `--crate-name`. `None`: the call is a probe.
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
    quiet::append(log, line.as_bytes());
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

/// Files, variables and programs through raw system calls (Linux), without any function that the observer interposes.
mod quiet {
    use super::{OsStr, OsString, Path};
    use std::ffi::{CString, c_char, c_int, c_long};
    use std::io::Error;
    use std::os::unix::ffi::OsStrExt as _;
    use std::ptr;

    unsafe extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
        fn signal(number: c_int, handler: usize) -> usize;
        static environ: *const *const c_char;
    }

    #[cfg(target_arch = "x86_64")]
    mod nr {
        pub const READ: i64 = 0;
        pub const WRITE: i64 = 1;
        pub const CLOSE: i64 = 3;
        pub const CLONE: i64 = 56;
        pub const EXECVE: i64 = 59;
        pub const WAIT4: i64 = 61;
        pub const EXIT_GROUP: i64 = 231;
        pub const OPENAT: i64 = 257;
        pub const FACCESSAT: i64 = 269;
    }

    #[cfg(target_arch = "aarch64")]
    mod nr {
        pub const FACCESSAT: i64 = 48;
        pub const OPENAT: i64 = 56;
        pub const CLOSE: i64 = 57;
        pub const READ: i64 = 63;
        pub const WRITE: i64 = 64;
        pub const EXIT_GROUP: i64 = 94;
        pub const CLONE: i64 = 220;
        pub const EXECVE: i64 = 221;
        pub const WAIT4: i64 = 260;
    }

    // These are the same on both architectures.
    const AT_FDCWD: c_long = -100;
    const O_RDONLY: c_long = 0;
    const O_WRONLY: c_long = 0o1;
    const O_CREAT: c_long = 0o100;
    const O_APPEND: c_long = 0o2000;
    const O_CLOEXEC: c_long = 0o2_000_000;
    const EINTR: i32 = 4;
    const SIGPIPE: c_int = 13;
    const SIGCHLD: c_long = 17;

    /// Returns a variable by walking `environ`, because the observer records `getenv`.
    pub fn var(name: &str) -> Option<OsString> {
        std::env::vars_os().find_map(|(key, value)| (key == OsStr::new(name)).then_some(value))
    }

    pub fn exists(path: &Path) -> bool {
        let path = text(path.as_os_str());
        unsafe { syscall(nr::FACCESSAT, AT_FDCWD, path.as_ptr(), 0 as c_long) == 0 }
    }

    /// Reads a whole file; `None`: it cannot be opened.
    pub fn read(path: &Path) -> Option<Vec<u8>> {
        let file = open(path, O_RDONLY).ok()?;
        let (mut bytes, mut buffer) = (Vec::new(), [0_u8; 4096]);
        loop {
            let count = unsafe { syscall(nr::READ, file, buffer.as_mut_ptr(), buffer.len()) };
            match usize::try_from(count) {
                Ok(0) => break,
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                Err(_) => retry_or_fail("read"),
            }
        }
        close(file);
        Some(bytes)
    }

    /// Appends a line in one write, because many compilers share the log.
    pub fn append(path: &Path, line: &[u8]) {
        let file = open(path, O_WRONLY | O_CREAT | O_APPEND).expect("open the log");
        write_all(file, line);
        close(file);
    }

    pub fn print(bytes: &[u8]) {
        write_all(1, bytes);
    }

    /// Runs a shell script to its end, and ignores its exit code.
    pub fn run_script(script: &Path, args: &[OsString]) {
        let argv = script_argv(script, args);
        let none = 0 as c_long;
        let pid = unsafe { syscall(nr::CLONE, SIGCHLD, none, none, none, none) };
        assert!(pid >= 0, "fork: {}", Error::last_os_error());
        if pid == 0 {
            let _ = execute(&argv);
            unsafe { syscall(nr::EXIT_GROUP, 127 as c_long) };
        }
        while unsafe { syscall(nr::WAIT4, pid, none, none, none) } < 0 {
            retry_or_fail("wait");
        }
    }

    /// Replaces this process with a shell script. Returns only if that fails.
    pub fn become_script(script: &Path, args: &[OsString]) -> Error {
        execute(&script_argv(script, args))
    }

    fn execute(argv: &[CString]) -> Error {
        let mut pointers: Vec<*const c_char> = argv.iter().map(|arg| arg.as_ptr()).collect();
        pointers.push(ptr::null());
        unsafe {
            // Rust programs ignore SIGPIPE. A shell must start with the default (0), as `std::process` ensures.
            signal(SIGPIPE, 0);
            syscall(nr::EXECVE, pointers[0], pointers.as_ptr(), environ);
        }
        Error::last_os_error()
    }

    fn script_argv(script: &Path, args: &[OsString]) -> Vec<CString> {
        let args = args.iter().map(OsString::as_os_str);
        [OsStr::new("/bin/sh"), script.as_os_str()].into_iter().chain(args).map(text).collect()
    }

    fn open(path: &Path, flags: c_long) -> Result<c_long, Error> {
        let path = text(path.as_os_str());
        let file = unsafe { syscall(nr::OPENAT, AT_FDCWD, path.as_ptr(), flags | O_CLOEXEC, 0o666 as c_long) };
        if file < 0 { Err(Error::last_os_error()) } else { Ok(file) }
    }

    fn close(file: c_long) {
        unsafe { syscall(nr::CLOSE, file) };
    }

    fn write_all(file: c_long, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let count = unsafe { syscall(nr::WRITE, file, bytes.as_ptr(), bytes.len()) };
            match usize::try_from(count) {
                Ok(count) => bytes = &bytes[count..],
                Err(_) => retry_or_fail("write"),
            }
        }
    }

    fn retry_or_fail(what: &str) {
        let error = Error::last_os_error();
        assert!(error.raw_os_error() == Some(EINTR), "{what}: {error}");
    }

    fn text(text: &OsStr) -> CString {
        CString::new(text.as_bytes()).expect("no zero byte")
    }
}
