//! The two questions that cargo asks a compiler: `-vV`, and what to expect of a target under the user's flags
//! (`cargo/src/cargo/core/compiler/build_context/target_info.rs`):
//!
//! ```text
//! rustc - --crate-name ___ --print=file-names <RUSTFLAGS> --target T --crate-type bin ... --print=sysroot
//!         --print=split-debuginfo --print=crate-name --print=cfg -Wwarnings
//! ```
//! Only the flags listed in this file may occur in such a question. Their values do not depend on this machine, and do
//! not name a file that rustc reads for the answer (checked with `strace` for the flags with paths: linker and
//! remapping). Any other call is not treated as a question of cargo.

use std::ffi::OsString;

/// A question whose answer depends only on the compiler, these arguments and the environment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// `-vV`: the version and the host triple of the compiler.
    Version,
    /// The question about a target.
    Target {
        /// The values of all `--target` flags.
        targets: Vec<String>,
    },
}

/// The first arguments of the question about a target. `-` means that the source of the crate comes from stdin.
const FIRST_ARGS: [&str; 4] = ["-", "--crate-name", "___", "--print=file-names"];

/// The `--print` flags that may follow.
const PRINTS: [&str; 5] =
    ["--print=file-names", "--print=sysroot", "--print=split-debuginfo", "--print=crate-name", "--print=cfg"];

/// Flags with a value that is not checked.
const WITH_ANY_VALUE: [&str; 7] =
    ["--crate-type", "--cfg", "--check-cfg", "--cap-lints", "--remap-path-prefix", "--edition", "--target"];

/// Flags for lint levels.
const LINTS: [&str; 4] = ["-W", "-A", "-D", "-F"];

/// Codegen options. `target-cpu=native` is refused because it queries the machine. Options that name files to read, or
/// make LLVM print, are not listed.
const CODEGEN: [&str; 34] = [
    "code-model",
    "codegen-units",
    "control-flow-guard",
    "debug-assertions",
    "debuginfo",
    "default-linker-libraries",
    "dwarf-version",
    "embed-bitcode",
    "extra-filename",
    "force-frame-pointers",
    "force-unwind-tables",
    "instrument-coverage",
    "link-arg",
    "link-args",
    "link-dead-code",
    "link-self-contained",
    "linker",
    "linker-flavor",
    "linker-plugin-lto",
    "lto",
    "metadata",
    "no-redzone",
    "opt-level",
    "overflow-checks",
    "panic",
    "prefer-dynamic",
    "relocation-model",
    "relro-level",
    "rpath",
    "split-debuginfo",
    "strip",
    "symbol-mangling-version",
    "target-cpu",
    "target-feature",
];

/// Unstable options (`-Z`).
const UNSTABLE: [&str; 2] = ["share-generics", "threads"];

/// Parses the arguments of a call. `None` if they are neither of the two questions.
pub fn read(rustc_args: &[OsString]) -> Option<Question> {
    let args: Vec<&str> = rustc_args.iter().map(|arg| arg.to_str()).collect::<Option<_>>()?;
    if args == ["-vV"] {
        return Some(Question::Version);
    }
    let mut rest = args.strip_prefix(&FIRST_ARGS)?.iter().copied();
    let mut targets = Vec::new();
    // rustc expands `@file` in any position before it parses anything.
    if args.iter().any(|arg| arg.starts_with('@')) {
        return None;
    }
    while let Some(arg) = rest.next() {
        if PRINTS.contains(&arg) || matches!(arg, "-O" | "-g") {
            continue;
        }
        let (name, value) = match split(arg) {
            (name, Some(value)) => (name, value),
            (name, None) => (name, rest.next()?),
        };
        match name {
            "--target" if !value.is_empty() && !names_file(value) => targets.push(value.to_owned()),
            "--target" => return None,
            "-C" if is_known(value, &CODEGEN) && !asks_machine(value) => {}
            "-Z" if is_known(value, &UNSTABLE) => {}
            _ if WITH_ANY_VALUE.contains(&name) || LINTS.contains(&name) => {}
            _ => return None,
        }
    }
    Some(Question::Target { targets })
}

/// Splits a flag into its name and the attached value: `--name=value`, `-Cvalue`.
fn split(arg: &str) -> (&str, Option<&str>) {
    if arg.starts_with("--") {
        let (name, value) = arg.split_once('=').map_or((arg, None), |(name, value)| (name, Some(value)));
        return (if name == "--codegen" { "-C" } else { name }, value);
    }
    match arg.split_at_checked(2) {
        Some((name, "")) => (name, None),
        Some((name, value)) => (name, Some(value)),
        None => (arg, None),
    }
}

/// Returns whether `option[=value]` is listed in `known`. The value `help` is not: it lists the possible values,
/// including the processor of this machine.
fn is_known(option: &str, known: &[&str]) -> bool {
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    known.contains(&name.replace('_', "-").as_str()) && value != "help"
}

fn asks_machine(option: &str) -> bool {
    option.replace('_', "-").starts_with("target-cpu=native")
}

/// A custom target specification is a file.
fn names_file(target: &str) -> bool {
    let is_json = std::path::Path::new(target).extension().is_some_and(|extension| extension == "json");
    is_json || target.contains(['/', '\\'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Question> {
        super::read(&text.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    fn about_target(flags: &str) -> Option<Question> {
        read(&format!(
            "- --crate-name ___ --print=file-names {flags} --crate-type bin --crate-type rlib --crate-type dylib \
             --crate-type cdylib --crate-type staticlib --crate-type proc-macro --print=sysroot --print=split-debuginfo \
             --print=crate-name --print=cfg -Wwarnings"
        ))
    }

    #[test]
    fn t02_cargos_two_questions_are_known() {
        let targets = |names: &[&str]| Question::Target { targets: names.iter().map(|&name| name.into()).collect() };
        assert_eq!(read("-vV"), Some(Question::Version));
        assert_eq!(about_target(""), Some(targets(&[])));
        assert_eq!(about_target("--target wasm32-wasip1"), Some(targets(&["wasm32-wasip1"])));
        assert_eq!(about_target("--target=a-b --target c-d"), Some(targets(&["a-b", "c-d"])));
        for flags in [
            "-C target-feature=+avx2 --cfg foo",
            "-Ctarget-cpu=x86-64-v3 -O -g",
            "-C target_cpu=x86-64-v3",
            "-C linker=clang -C link-arg=-fuse-ld=/usr/bin/mold",
            "--codegen=lto=thin -Dwarnings -A dead_code --cap-lints=allow",
            "--remap-path-prefix=/a=/b --check-cfg cfg(a) -Zthreads=8",
        ] {
            assert_eq!(about_target(flags), Some(targets(&[])), "{flags}");
        }
    }

    #[test]
    fn t02_other_questions_are_rustcs() {
        for args in ["", "-V", "-vV x", "--version", "-", "--print cfg", "- --crate-name a --print=file-names"] {
            assert_eq!(read(args), None, "{args:?}");
        }
        for flags in [
            "@args",
            "--cfg @args",
            "--target my.json",
            "--target dir/my",
            "--target=",
            "--sysroot=/s",
            "--sysroot /s",
            "-L /lib",
            "-L/lib",
            "-lz",
            "--extern a=b",
            "-o x",
            "--out-dir x",
            "--emit=link",
            "-C target-cpu=native",
            "-Ctarget_cpu=native",
            "-C target-cpu=help",
            "-C profile-use=/p",
            "-C llvm-args=--version",
            "-C incremental=/i",
            "-C help",
            "-C",
            "-Zunpretty=expanded",
            "-Z codegen-backend=x",
            "--print=target-libdir",
            "--print cfg",
            "--print=cfg=file",
            "lib.rs",
            "-",
            "--verbose",
            "-vV",
            "--explain E0308",
        ] {
            assert_eq!(about_target(flags), None, "{flags:?}");
        }
    }
}
