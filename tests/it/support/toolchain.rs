//! Stand-in toolchains: a directory laid out like a sysroot, whose `bin/rustc` records each call and then runs the real
//! rustc.
//!
//! kache treats a program as a compiler if the `lib` directory next to its `bin` contains a `librustc_driver`. The
//! stand-in has a file of a few bytes there, which is cheap to hash and easy to change, so that tests can simulate a
//! rebuilt compiler. Its `lib/rustlib` links to the real one.

use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Returns the directory of the real toolchain, as `rustc --print sysroot` prints it.
pub(crate) fn real_sysroot() -> &'static Path {
    static REAL: OnceLock<PathBuf> = OnceLock::new();
    REAL.get_or_init(|| {
        let out = Command::new("rustc").args(["--print", "sysroot"]).output().expect("rustc on PATH");
        assert!(out.status.success(), "rustc --print sysroot failed");
        PathBuf::from(String::from_utf8(out.stdout).expect("utf-8 sysroot").trim_end())
    })
}

/// Returns the real cargo, not a rustup proxy: the one in the sysroot, else `$CARGO`, else `cargo` from `PATH`.
pub(crate) fn real_cargo() -> PathBuf {
    let beside = real_sysroot().join("bin/cargo");
    if beside.exists() {
        return beside;
    }
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// Returns the stand-in toolchain that tests share. A test that changes a toolchain creates its own with
/// [`make_toolchain`].
pub(crate) fn shared_toolchain() -> &'static Path {
    static SHARED: OnceLock<PathBuf> = OnceLock::new();
    SHARED.get_or_init(|| {
        let dir = store_dir().join("toolchain");
        if !dir.exists() {
            let staging = tempfile::tempdir_in(store_dir()).expect("staging").keep();
            make_toolchain(&staging);
            if fs::rename(&staging, &dir).is_err() {
                fs::remove_dir_all(&staging).ok(); // another test process was first
            }
        }
        dir
    })
}

/// Builds a stand-in toolchain in `dir`, which may exist if it is empty.
pub(crate) fn make_toolchain(dir: &Path) {
    let program = counting_program();
    fs::create_dir_all(dir.join("bin")).expect("bin");
    fs::create_dir_all(dir.join("lib")).expect("lib");
    fs::hard_link(program, dir.join("bin/rustc")).expect("rustc");
    symlink(real_sysroot().join("lib/rustlib"), dir.join("lib/rustlib")).expect("rustlib");
    write_driver(dir, "one");
    let clippy = real_sysroot().join("bin/cargo-clippy");
    if clippy.exists() && real_sysroot().join("bin/clippy-driver").exists() {
        fs::hard_link(program, dir.join("bin/clippy-driver")).expect("clippy-driver");
        shell("cp \"$1\" \"$2\"", &[&clippy, &dir.join("bin/cargo-clippy")]);
    }
}

/// Replaces the bytes of the compiler's own library, as rebuilding the compiler would.
pub(crate) fn write_driver(dir: &Path, marker: &str) {
    let path = dir.join("lib/librustc_driver-0123456789abcdef.so");
    let staged = dir.join("lib/.staged");
    fs::write(&staged, format!("stand-in for the compiler: {marker}\n")).expect("driver");
    fs::rename(staged, path).expect("driver in place");
}

/// Makes the rustc in `dir` print this commit hash for `-vV`, gives its binary a new inode and new bytes, and replaces
/// the compiler's own library.
pub(crate) fn update_toolchain(dir: &Path, commit: &str) {
    let out = Command::new(real_sysroot().join("bin/rustc")).arg("-vV").output().expect("rustc -vV");
    let text = String::from_utf8(out.stdout).expect("utf-8");
    let lines: Vec<String> = text
        .lines()
        .map(|line| match line.split_once(": ") {
            Some(("commit-hash", _)) => format!("commit-hash: {commit}"),
            _ => line.to_owned(),
        })
        .collect();
    fs::write(dir.join("version-text"), lines.join("\n") + "\n").expect("version-text");
    let rustc = dir.join("bin/rustc");
    // Bytes that are appended to an ELF image change the file, but not the program.
    shell(
        "cp \"$1\" \"$1.staged\" && echo \"$2\" >> \"$1.staged\" && mv \"$1.staged\" \"$1\"",
        &[&rustc, Path::new(commit)],
    );
    write_driver(dir, commit);
}

/// Runs a shell script that writes a program. This process must not open the program for writing: a process that
/// another test thread starts could inherit the descriptor, and the new program would fail with "text file busy".
fn shell(script: &str, args: &[&Path]) {
    let status = Command::new("/bin/sh").args(["-c", script, "sh"]).args(args).status().expect("sh");
    assert!(status.success(), "`{script}` failed");
}

/// Returns the compiled counting rustc. It is built once for each source text and real toolchain, and kept between test
/// runs.
fn counting_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let path = store_dir().join("counting-rustc");
        if !path.exists() {
            let staging = tempfile::tempdir_in(store_dir()).expect("staging");
            let staged = staging.path().join("counting-rustc");
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/counting_rustc.rs");
            let status = Command::new(real_sysroot().join("bin/rustc"))
                .args(["--edition=2024", "-Copt-level=1", "-Cpanic=abort", "--crate-name=counting_rustc", "-o"])
                .arg(&staged)
                .arg(source)
                .env("COUNTING_REAL_BIN", real_sysroot().join("bin"))
                .status()
                .expect("rustc starts");
            assert!(status.success(), "the counting rustc does not compile");
            fs::rename(&staged, &path).expect("publish the counting rustc");
        }
        path
    })
}

/// Returns the directory of the programs built for the tests, which is named by a hash of everything they are built
/// from.
fn store_dir() -> PathBuf {
    let mut hasher = DefaultHasher::new();
    include_str!("counting_rustc.rs").hash(&mut hasher);
    include_str!("toolchain.rs").hash(&mut hasher);
    real_sysroot().hash(&mut hasher);
    let rustc = fs::metadata(real_sysroot().join("bin/rustc")).expect("the real rustc");
    rustc.modified().expect("mtime").hash(&mut hasher);
    let mut name = OsString::from("support-");
    name.push(format!("{:016x}", hasher.finish()));
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&dir).expect("support directory");
    dir
}
