//! Cargo's two questions to a compiler: `-vV`, and what it may expect of a target under the user's flags
//! (`cargo/src/cargo/core/compiler/build_context/target_info.rs`):
//!
//! ```text
//! rustc - --crate-name ___ --print=file-names <RUSTFLAGS> --target T --crate-type bin ... --print=sysroot
//!         --print=split-debuginfo --print=crate-name --print=cfg -Wwarnings
//! ```
//! Only what this file lists is taken for such a question: flags that say nothing of this machine and name no file that rustc
//! reads for the answer (seen by `strace` for those with paths: linker and remapping). All else is somebody else's question.

use std::ffi::OsString;

/// A question whose answer depends on nothing but the compiler, these arguments and the environment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// `-vV`.
    Version,
    /// The one about a target.
    Target {
        /// All `--target`s.
        targets: Vec<String>,
    },
}

/// How the question about a target begins. `-`: the crate's source comes from stdin.
const HEAD: [&str; 4] = ["-", "--crate-name", "___", "--print=file-names"];

/// The other things that may be asked for.
const PRINTS: [&str; 5] =
    ["--print=file-names", "--print=sysroot", "--print=split-debuginfo", "--print=crate-name", "--print=cfg"];

/// Flags with a value that is taken as it stands.
const PLAIN: [&str; 7] =
    ["--crate-type", "--cfg", "--check-cfg", "--cap-lints", "--remap-path-prefix", "--edition", "--target"];

/// Letters of lint levels.
const LINTS: [&str; 4] = ["-W", "-A", "-D", "-F"];

/// Codegen options. Not `target-cpu=native`, which asks the machine; none of those that name files to read or make LLVM talk.
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

/// Unstable options.
const UNSTABLE: [&str; 2] = ["share-generics", "threads"];

/// Reads rustc's own arguments. `None`: not one of the two.
pub fn read(rustc_args: &[OsString]) -> Option<Question> {
    let args: Vec<&str> = rustc_args.iter().map(|arg| arg.to_str()).collect::<Option<_>>()?;
    if args == ["-vV"] {
        return Some(Question::Version);
    }
    let mut rest = args.strip_prefix(&HEAD)?.iter().copied();
    let mut targets = Vec::new();
    // rustc expands `@file` before it reads anything, wherever it stands.
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
            _ if PLAIN.contains(&name) || LINTS.contains(&name) => {}
            _ => return None,
        }
    }
    Some(Question::Target { targets })
}

/// A flag's name and what is attached to it: `--name=value`, `-Cvalue`.
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

/// Whether `option[=value]` is one of these. `help` lists what there is, the processor of this machine included.
fn is_known(option: &str, known: &[&str]) -> bool {
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    known.contains(&name.replace('_', "-").as_str()) && value != "help"
}

fn asks_machine(option: &str) -> bool {
    option.replace('_', "-").starts_with("target-cpu=native")
}

/// A target specification of the user's own is a file.
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
