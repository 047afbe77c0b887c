//! Which variables count as inputs, and all of them as one.
//!
//! A variable counts if it was read, unless its reader is known and its value cannot reach an output. The lists below are
//! complete: what does not stand there counts.

use super::Context;
use crate::model::Digest;

/// Variables that Rust's own std reads wherever it is linked in, proc macros included.
///
/// * `RUST_BACKTRACE`, `RUST_LIB_BACKTRACE`: whether a panic prints a backtrace. A panic ends in an error, which is never
///   stored.
/// * `RUST_MIN_STACK`: the size of new threads' stacks. Too small a one ends in a crash, which is never stored.
const READ_BY_STD: &[&str] = &["RUST_BACKTRACE", "RUST_LIB_BACKTRACE", "RUST_MIN_STACK"];

/// Variables that rustc, gcc, clang, the linkers and binutils read on their own account. A macro that reads one makes it
/// count.
///
/// * `RUSTC_LOG_*`: rustc's log, which needs `RUSTC_LOG`; that is a bypass.
/// * `RUSTC_CTFE_BACKTRACE`, `RUSTC_ICE`: backtraces of failing const evaluation; where rustc puts its report of a crash.
/// * `RUSTC_GRAPHVIZ_FONT`: the font of dumped graphs; dumps are a bypass.
/// * `CI`, `TERM_PROGRAM`: whether rustc's own diagnostics are links, for a terminal; cargo asks for JSON.
/// * `TERM`, `COLORTERM`, `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE`, `GCC_COLORS`, `COLUMNS`, `GCC_URLS`, `TERM_URLS`: colours
///   and widths of messages on a terminal; rustc and the linker write to pipes here. What they say is part of the entry.
/// * `TMPDIR`, `TMP`, `TEMP`: where temporary files go. Their names do not reach outputs, or the root scan pins them.
/// * `CARGO_MAKEFLAGS`, `MAKEFLAGS`, `MFLAGS`, `NUM_JOBS`: the jobserver; how many threads work, not what they make.
/// * `PATH`: programs that are looked up are inputs of their own, by name.
/// * `PWD`: believed only where it is another name of the working directory, which is part of every key.
/// * `LD_LIBRARY_PATH`: the linker searches it for libraries that libraries need; what it tries and finds is recorded. (For
///   what the dynamic linker loads it counts all the same: see `observed`.)
/// * `MALLOC_CONF`: jemalloc's settings.
/// * `LLVM_DISABLE_CRASH_REPORT`, `LLVM_SYMBOLIZER_PATH`, `FORCE_LLD_DIAGNOSTICS_CRASH`, `LLD_IN_TEST`: crash reports of
///   LLVM, and lld's own tests.
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

/// What a shell or cargo sets anew for every run, left out of the whole: the last command, the depth of shells, directories
/// (the working directory is part of every key), the jobserver, and kache's own settings.
const NOT_OF_THE_WHOLE: &[&str] =
    &["_", "SHLVL", "PWD", "OLDPWD", "CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS", "LD_LIBRARY_PATH"];

/// Whether a variable that was read is an input. `plugin`: a proc macro, or a program that one started, read it.
pub fn counts(name: &str, plugin: bool) -> bool {
    let of_tools = READ_BY_TOOLS.contains(&name) || name.starts_with("RUSTC_LOG");
    !(READ_BY_STD.contains(&name) || (of_tools && !plugin))
}

/// Digest of all variables.
pub fn digest(context: Context<'_>) -> Digest {
    digest_of(context, |_| true)
}

/// Whether a variable is one of the whole.
pub(super) fn is_of_whole(name: &str) -> bool {
    !NOT_OF_THE_WHOLE.contains(&name) && !name.starts_with("KACHE_")
}

/// Whether a variable counts that the commands of a shell name. Not the jobserver, which is another one in every build.
pub(super) fn may_be_named(name: &str) -> bool {
    !["CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS"].contains(&name) && !name.starts_with("KACHE_")
}

/// Whether nothing but Rust's own std reads a variable wherever it is linked in.
pub(super) fn is_of_std(name: &str) -> bool {
    READ_BY_STD.contains(&name)
}

/// Digest of the names and values of those variables that count.
pub(super) fn digest_of(context: Context<'_>, counts: impl Fn(&str) -> bool) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for (name, value) in context.env.all() {
        let name = name.to_string_lossy();
        if !is_of_whole(&name) || !counts(&name) {
            continue;
        }
        let value = context.roots.tokenise(&value.to_string_lossy());
        for field in [name.as_bytes(), value.as_str().as_bytes()] {
            hasher.update(&(field.len() as u64).to_le_bytes()).update(field);
        }
    }
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// Programs of a toolchain: compilers, linkers and what they start. They read variables by name, through getenv.
const TOOLS: &[&str] = &[
    "cc", "gcc", "g++", "c++", "clang", "clang++", "collect2", "ld", "lld", "mold", "wild", "gold", "bfd", "as", "ar",
    "nm", "strip", "objcopy", "dsymutil", "dwp", "lto1", "cc1", "cc1plus", "cpp", "ranlib", "readelf", "objdump",
    "nasm", "yasm", "rustc", "rustup", "rustfmt", "clippy", "sold", "llvm",
];

/// What build scripts start besides: each reads variables by name. Not among them is whatever runs a language in which any
/// variable can be named: shells, make, awk, perl, python.
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

/// Whether a program tells which variables it reads. Shells, interpreters and everything unknown may take them all.
pub fn tells_what_it_reads(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    // `x86_64-linux-gnu-gcc-12`, `ld.lld`, `rust-objcopy`.
    name.split(['-', '.']).any(|part| TOOLS.contains(&part)) || name == "lto-wrapper" || UTILITIES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_macro_makes_every_variable_count_but_those_of_std() {
        assert!(!counts("TERM", false) && counts("TERM", true));
        assert!(!counts("RUSTC_LOG_COLOR", false));
        assert!(!counts("RUST_BACKTRACE", true));
        assert!(counts("LIBRARY_PATH", false) && counts("SECRET", true));
    }

    #[test]
    fn interpreters_may_read_anything() {
        for tool in
            ["/usr/bin/x86_64-linux-gnu-gcc-12", "/x/ld.lld", "/x/collect2", "/x/rust-objcopy", "/usr/bin/ld.mold"]
        {
            assert!(tells_what_it_reads(tool), "{tool}");
        }
        for other in ["/usr/bin/dash", "/usr/bin/python3.11", "/usr/bin/env", "/x/my-linker"] {
            assert!(!tells_what_it_reads(other), "{other}");
        }
    }
}
