//! Finding the real compiler behind the name that cargo used, and the files that make it what it is.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::spawn;
use crate::config::env::{self, Env};
use crate::fsx;

/// The file that `program` names: itself if it holds a slash, else the first executable of that name on `PATH`.
pub fn find_program(program: &OsStr, cwd: &Path, vars: &Env) -> Option<PathBuf> {
    if program.as_encoded_bytes().contains(&b'/') {
        return Some(cwd.join(program));
    }
    let path = vars.get(env::PATH)?;
    std::env::split_paths(&path).map(|dir| cwd.join(dir).join(program)).find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    fsx::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The sysroot that a compiler stands in: `<sysroot>/bin/rustc` beside `<sysroot>/lib/librustc_driver-*.so`. `None` for
/// rustup's proxy and for anything else that only starts a compiler.
pub fn sysroot_around(program: &Path) -> Option<PathBuf> {
    let real = fsx::canonicalize(program).ok()?;
    let sysroot = real.parent()?.parent()?;
    let holds_driver = fsx::list(&sysroot.join("lib")).ok()?.iter().any(is_driver_library);
    holds_driver.then(|| sysroot.to_owned())
}

/// Whether a file is a script, which the kernel starts by its interpreter.
pub fn is_script(file: &Path) -> bool {
    let mut mark = [0; 2];
    fsx::open(file).is_ok_and(|mut file| file.read_exact(&mut mark).is_ok()) && mark == *b"#!"
}

fn is_compiler_library(name: &OsString) -> bool {
    const STEMS: [&str; 4] = ["librustc_driver", "libLLVM", "libstd-", "libtest-"];
    name.to_str().is_some_and(|name| STEMS.iter().any(|stem| name.starts_with(stem)))
}

fn is_driver_library(name: &OsString) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("librustc_driver"))
}

/// Whether `program` is rustup's proxy: a link to `rustup`, or (from older installers) another name of the same file.
pub fn is_rustup(program: &Path) -> bool {
    let Ok(real) = fsx::canonicalize(program) else { return false };
    let same = |other: &Path| match (fsx::Stamp::of(other), fsx::Stamp::of(&real)) {
        (Ok(one), Ok(two)) => (one.dev, one.ino) == (two.dev, two.ino),
        _ => false,
    };
    real.file_stem().is_some_and(|stem| stem == "rustup") || same(&real.with_file_name("rustup"))
}

/// Asks a compiler, or a proxy of one, for its sysroot.
pub fn ask_sysroot(program: &Path, cwd: &Path, depth: OsString) -> Option<PathBuf> {
    let answer = spawn::ask(program, &["--print", "sysroot"], cwd, Some((env::KACHE_DEPTH, depth)))?;
    Some(PathBuf::from(answer.strip_suffix('\n')?))
}

/// Asks a compiler for its full version text, which must look like rustc's.
pub fn ask_version(program: &Path, cwd: &Path, depth: OsString) -> Option<String> {
    let answer = spawn::ask(program, &["-vV"], cwd, Some((env::KACHE_DEPTH, depth)))?;
    let is_rustc = answer.starts_with("rustc ") && answer.contains("\nhost: ") && answer.contains("\nrelease: ");
    is_rustc.then_some(answer)
}

/// The host triple in a version text.
pub fn host_of(version: &str) -> Option<&str> {
    version.lines().find_map(|line| line.strip_prefix("host: "))
}

/// The files below `sysroot` that make two compilers with the same version text differ: driver and LLVM libraries, codegen
/// backends, and the standard library for `target`. Relative to the sysroot, sorted.
pub fn identity_files(sysroot: &Path, host: &str, target: &str) -> fsx::Result<Vec<PathBuf>> {
    let rustlib = Path::new("lib").join("rustlib");
    let mut dirs = vec![
        PathBuf::from("lib"),
        rustlib.join(host).join("codegen-backends"),
        target_libraries(Path::new(""), target),
    ];
    dirs.dedup();
    let mut files = Vec::new();
    for dir in dirs {
        for name in fsx::list(&sysroot.join(&dir))? {
            // In `/usr/lib` there is much that is no compiler's.
            if dir == Path::new("lib") && !is_compiler_library(&name) {
                continue;
            }
            let file = dir.join(name);
            if fsx::metadata(&sysroot.join(&file)).is_ok_and(|metadata| metadata.is_file()) {
                files.push(file);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Whether the compiler's identity stands for a file: `path` is relative to the sysroot. See [`identity_files`].
pub fn is_covered_by_identity(path: &Path) -> bool {
    let Some(name) = path.file_name() else { return false };
    let parts: Vec<_> = path.parent().unwrap_or(path).iter().filter_map(OsStr::to_str).collect();
    match parts.as_slice() {
        ["bin"] => name == "rustc" || name == "clippy-driver",
        ["lib"] => is_compiler_library(&name.to_owned()),
        ["lib", "rustlib", _, "lib" | "codegen-backends"] => true,
        _ => false,
    }
}

/// The directory of the standard library for `target`.
pub fn target_libraries(sysroot: &Path, target: &str) -> PathBuf {
    sysroot.join("lib").join("rustlib").join(target).join("lib")
}

/// The sources of the standard library (`rustup component add rust-src`), below the sysroot. If they are there, rustc writes their
/// real path into debug info instead of `/rustc/<commit>` (`rustc_session::filesearch`, by this file).
pub const LIBRARY_SOURCES: &str = "lib/rustlib/src/rust/library/std/src/lib.rs";

/// The part of [`LIBRARY_SOURCES`] that `/rustc/<commit>` stands for.
pub fn library_root(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib/src/rust")
}

/// The commit hash in a version text.
pub fn commit_of(version: &str) -> Option<&str> {
    version.lines().find_map(|line| line.strip_prefix("commit-hash: "))
}

/// Which of the [`identity_files`] tell by their stamps that something changed: all but the many libraries of a target,
/// where the core ones and the directory itself stand for the rest (toolchains are replaced file by file, not written into).
pub fn tells_by_stamp(file: &Path) -> bool {
    const CORE: [&str; 3] = ["libstd-", "libcore-", "liballoc-"];
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_of_target = file.parent().is_some_and(|dir| dir.ends_with("lib") && dir != Path::new("lib"));
    !is_of_target || CORE.iter().any(|stem| name.starts_with(stem))
}
