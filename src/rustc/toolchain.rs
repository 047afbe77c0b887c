//! Finds the real compiler behind the name that cargo used, and the files that make up its identity.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::spawn;
use crate::config::env::{self, Env};
use crate::fsx;

/// Returns the file that `program` names: that path if it contains a slash, else the first executable of that name on
/// `PATH`.
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

/// Returns the sysroot that contains a compiler: `<sysroot>/bin/rustc` beside `<sysroot>/lib/librustc_driver-*.so`.
/// `None` for rustup's proxy, and for anything else that only starts a compiler.
pub fn sysroot_around(program: &Path) -> Option<PathBuf> {
    let real = fsx::canonicalize(program).ok()?;
    let sysroot = real.parent()?.parent()?;
    let holds_driver = fsx::list(&sysroot.join("lib")).ok()?.iter().any(is_driver_library);
    holds_driver.then(|| sysroot.to_owned())
}

/// Returns whether a file is a script, which the kernel starts through its interpreter.
pub fn has_shebang(file: &Path) -> bool {
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

/// Returns whether `program` is rustup's proxy: a link to `rustup`, or (from older installers) another name of the same
/// file.
pub fn is_rustup(program: &Path) -> bool {
    let Ok(real) = fsx::canonicalize(program) else { return false };
    let same = |other: &Path| match (fsx::Stamp::of(other), fsx::Stamp::of(&real)) {
        (Ok(one), Ok(two)) => (one.dev, one.ino) == (two.dev, two.ino),
        _ => false,
    };
    real.file_stem().is_some_and(|stem| stem == "rustup") || same(&real.with_file_name("rustup"))
}

/// Runs a compiler, or a proxy of one, to get its sysroot, without redundant parts, as facts spell paths.
pub fn ask_sysroot(program: &Path, cwd: &Path, depth: OsString) -> Option<PathBuf> {
    let answer = spawn::ask(program, &["--print", "sysroot"], cwd, Some((env::KACHE_DEPTH, depth)))?;
    Some(Path::new(answer.strip_suffix('\n')?).components().collect())
}

/// Runs a compiler to get its full version text, which must look like that of rustc.
pub fn ask_version(program: &Path, cwd: &Path, depth: OsString) -> Option<String> {
    let answer = spawn::ask(program, &["-vV"], cwd, Some((env::KACHE_DEPTH, depth)))?;
    let is_rustc = answer.starts_with("rustc ") && answer.contains("\nhost: ") && answer.contains("\nrelease: ");
    is_rustc.then_some(answer)
}

/// Returns the host triple in a version text.
pub fn host_of(version: &str) -> Option<&str> {
    version.lines().find_map(|line| line.strip_prefix("host: "))
}

/// Returns the files below `sysroot` that can differ between two compilers with the same version text: driver and LLVM
/// libraries, codegen backends, and the standard library for `target`. The paths are relative to the sysroot, and
/// sorted.
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
            // `/usr/lib` contains many files that are not part of a compiler.
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

/// Returns whether the compiler's identity covers a file. `path` is relative to the sysroot. See [`identity_files`].
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

/// Returns the directory of the standard library for `target`.
pub fn target_libraries(sysroot: &Path, target: &str) -> PathBuf {
    sysroot.join("lib").join("rustlib").join(target).join("lib")
}

/// A source file of the standard library (`rustup component add rust-src`), relative to the sysroot. If it exists,
/// rustc writes the real path of the sources into debug info instead of `/rustc/<commit>` (`rustc_session::filesearch`
/// tests this file).
pub const LIBRARY_SOURCES: &str = "lib/rustlib/src/rust/library/std/src/lib.rs";

/// Returns the parent directory of [`LIBRARY_SOURCES`] that rustc calls `/rustc/<commit>`.
pub fn library_root(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib/src/rust")
}

/// Returns the commit hash in a version text.
pub fn commit_of(version: &str) -> Option<&str> {
    version.lines().find_map(|line| line.strip_prefix("commit-hash: "))
}

/// Returns whether the stamp of this one of the [`identity_files`] is checked for changes. All are, except for the many
/// libraries of a target: the core ones and the directory itself represent the rest (toolchains are replaced file by
/// file, not written into).
pub fn is_checked_by_stamp(file: &Path) -> bool {
    const CORE: [&str; 3] = ["libstd-", "libcore-", "liballoc-"];
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_of_target = file.parent().is_some_and(|dir| dir.ends_with("lib") && dir != Path::new("lib"));
    !is_of_target || CORE.iter().any(|stem| name.starts_with(stem))
}
