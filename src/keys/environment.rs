//! Decides which variables count as inputs, and digests all variables as one input.
//!
//! A variable counts if it was read, unless its reader is known and its value cannot reach an output. The lists below
//! are complete: every variable that is not in them counts.

use super::Context;
use crate::model::{Digest, Input};

/// Variables that Rust's std reads wherever it is linked in, proc macros included.
///
/// * `RUST_BACKTRACE`, `RUST_LIB_BACKTRACE`: whether a panic prints a backtrace. A panic ends in an error, which is
///   never stored.
/// * `RUST_MIN_STACK`: the stack size of new threads. A size that is too small ends in a crash, which is never stored.
const READ_BY_STD: &[&str] = &["RUST_BACKTRACE", "RUST_LIB_BACKTRACE", "RUST_MIN_STACK"];

/// Variables that rustc, gcc, clang, the linkers and binutils read for their own purposes. They count only if a macro
/// reads them.
///
/// * `RUSTC_LOG_*`: settings of the log of rustc, which needs `RUSTC_LOG`; that is a bypass.
/// * `RUSTC_CTFE_BACKTRACE`, `RUSTC_ICE`: backtraces of failing const evaluation; where rustc writes its report of a
///   crash.
/// * `RUSTC_GRAPHVIZ_FONT`: the font of dumped graphs; dumps are a bypass.
/// * `CI`, `TERM_PROGRAM`: whether rustc's diagnostics contain links, for a terminal; cargo asks for JSON.
/// * `TERM`, `COLORTERM`, `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE`, `GCC_COLORS`, `COLUMNS`, `GCC_URLS`, `TERM_URLS`:
///   colours and widths of messages on a terminal; rustc and the linker write to pipes here. Their messages are part of
///   the entry.
/// * `TMPDIR`, `TMP`, `TEMP`: the directory for temporary files. If its name reaches an output, the root scan pins it.
/// * `CARGO_MAKEFLAGS`, `MAKEFLAGS`, `MFLAGS`, `NUM_JOBS`: the jobserver. It decides how many threads work, not their
///   results.
/// * `PATH`: programs that are looked up are separate inputs, by name.
/// * `PWD`: readers use it only if it is another name of the working directory, which is part of every key.
/// * `LD_LIBRARY_PATH`: the linker searches it for libraries that libraries need; the observer records which paths it
///   tries and finds. (For the libraries that the dynamic linker loads it does count: see `observed`.)
/// * `MALLOC_CONF`: the settings of jemalloc.
/// * `LLVM_DISABLE_CRASH_REPORT`, `LLVM_SYMBOLIZER_PATH`, `FORCE_LLD_DIAGNOSTICS_CRASH`, `LLD_IN_TEST`: crash reports
///   of LLVM, and the tests of lld.
/// * `GCC_EXTRA_DIAGNOSTIC_OUTPUT`, `EXPERIMENTAL_SARIF_SOCKET`: a second form of gcc's messages.
const READ_BY_TOOLS: &[&str] = &[
    "RUSTC_CTFE_BACKTRACE",
    "RUSTC_ICE",
    "RUSTC_GRAPHVIZ_FONT",
    "CI",
    "TERM_PROGRAM",
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "GCC_COLORS",
    "GCC_URLS",
    "TERM_URLS",
    "COLUMNS",
    "TMPDIR",
    "TMP",
    "TEMP",
    "CARGO_MAKEFLAGS",
    "MAKEFLAGS",
    "MFLAGS",
    "NUM_JOBS",
    "PATH",
    "PWD",
    "LD_LIBRARY_PATH",
    "MALLOC_CONF",
    "LLVM_DISABLE_CRASH_REPORT",
    "LLVM_SYMBOLIZER_PATH",
    "FORCE_LLD_DIAGNOSTICS_CRASH",
    "LLD_IN_TEST",
    "GCC_EXTRA_DIAGNOSTIC_OUTPUT",
    "EXPERIMENTAL_SARIF_SOCKET",
];

/// Variables that a shell or cargo sets anew for every run and that the digest of all variables leaves out: the last
/// command, the depth of shells, directories (the working directory is part of every key), the jobserver, and cargo's
/// library path. [`is_in_digest`] also leaves out kache's settings.
const PER_RUN_VARIABLES: &[&str] =
    &["_", "SHLVL", "PWD", "OLDPWD", "CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS", "LD_LIBRARY_PATH"];

/// Whether a variable that was read is an input. `plugin`: whether a proc macro, or a program that one started, read
/// it.
pub fn is_input(name: &str, plugin: bool) -> bool {
    let of_tools = READ_BY_TOOLS.contains(&name) || name.starts_with("RUSTC_LOG");
    !(READ_BY_STD.contains(&name) || (of_tools && !plugin))
}

/// Digest of all variables, except those that are set anew for every run.
pub fn digest(context: Context<'_>) -> Digest {
    digest_of(context, |_| true)
}

/// Whether an input contains this variable in a digest of many.
pub fn covers(input: &Input, name: &str) -> bool {
    is_in_digest(name)
        && match input {
            Input::Environment(_) => true,
            Input::KnownVariables(known) => !known.unknown.iter().any(|unknown| unknown == name),
            _ => false,
        }
}

/// Whether the digest of all variables includes this one.
pub fn is_in_digest(name: &str) -> bool {
    !PER_RUN_VARIABLES.contains(&name) && !name.starts_with("KACHE_")
}

/// Whether a variable counts if the commands of a shell name it. The jobserver does not, because it differs in every
/// build.
pub(super) fn may_be_named(name: &str) -> bool {
    !["CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS"].contains(&name) && !name.starts_with("KACHE_")
}

/// Whether only Rust's std reads this variable wherever it is linked in.
pub(super) fn is_read_by_std(name: &str) -> bool {
    READ_BY_STD.contains(&name)
}

/// Digest of the names and values of the variables for which `counts` is true, out of those in the digest of all
/// variables.
pub(super) fn digest_of(context: Context<'_>, counts: impl Fn(&str) -> bool) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for (name, value) in context.env.all() {
        let name = name.to_string_lossy();
        if !is_in_digest(&name) || !counts(&name) {
            continue;
        }
        let value = context.roots.tokenise(&value.to_string_lossy());
        for field in [name.as_bytes(), value.as_str().as_bytes()] {
            hasher.update(&(field.len() as u64).to_le_bytes()).update(field);
        }
    }
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// Programs of a toolchain: compilers, linkers, and the programs that these start. They read variables by name, with
/// `getenv`.
const TOOLS: &[&str] = &[
    "cc", "gcc", "g++", "c++", "clang", "clang++", "collect2", "ld", "lld", "mold", "wild", "gold", "bfd", "as", "ar",
    "nm", "strip", "objcopy", "dsymutil", "dwp", "lto1", "cc1", "cc1plus", "cpp", "ranlib", "readelf", "objdump",
    "nasm", "yasm", "rustc", "rustup", "rustfmt", "clippy", "sold", "llvm",
];

/// Other programs that build scripts start. Each reads variables by name. The list leaves out every program that runs a
/// language in which any variable can be named: shells, make, awk, perl, python.
const UTILITIES: &[&str] = &[
    "pkg-config",
    "pkgconf",
    "cmake",
    "ninja",
    "git",
    "llvm-config",
    "protoc",
    "base64",
    "basename",
    "cat",
    "chmod",
    "cksum",
    "cmp",
    "comm",
    "cp",
    "cut",
    "date",
    "diff",
    "dirname",
    "echo",
    "expand",
    "expr",
    "false",
    "find",
    "fold",
    "grep",
    "gzip",
    "head",
    "hostname",
    "id",
    "install",
    "join",
    "ln",
    "ls",
    "md5sum",
    "mkdir",
    "mkfifo",
    "mktemp",
    "mv",
    "nice",
    "nl",
    "nohup",
    "nproc",
    "od",
    "paste",
    "patch",
    "printf",
    "pwd",
    "readlink",
    "realpath",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "sha1sum",
    "sha256sum",
    "sha512sum",
    "shuf",
    "sleep",
    "sort",
    "split",
    "stat",
    "tac",
    "tail",
    "tar",
    "tee",
    "test",
    "timeout",
    "touch",
    "tr",
    "true",
    "uname",
    "uniq",
    "wc",
    "which",
    "whoami",
    "xargs",
    "xz",
];

/// Whether a program reads variables by name, so that the observer sees which ones. Shells, interpreters and unknown
/// programs may read all of them.
pub fn reads_by_name(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    // For example `x86_64-linux-gnu-gcc-12`, `ld.lld`, `rust-objcopy`.
    name.split(['-', '.']).any(|part| TOOLS.contains(&part)) || name == "lto-wrapper" || UTILITIES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_macro_makes_every_variable_an_input_but_those_of_std() {
        assert!(!is_input("TERM", false) && is_input("TERM", true));
        assert!(!is_input("RUSTC_LOG_COLOR", false));
        assert!(!is_input("RUST_BACKTRACE", true));
        assert!(is_input("LIBRARY_PATH", false) && is_input("SECRET", true));
    }

    #[test]
    fn interpreters_may_read_anything() {
        for tool in
            ["/usr/bin/x86_64-linux-gnu-gcc-12", "/x/ld.lld", "/x/collect2", "/x/rust-objcopy", "/usr/bin/ld.mold"]
        {
            assert!(reads_by_name(tool), "{tool}");
        }
        for other in ["/usr/bin/dash", "/usr/bin/python3.11", "/usr/bin/env", "/x/my-linker"] {
            assert!(!reads_by_name(other), "{other}");
        }
    }
}
