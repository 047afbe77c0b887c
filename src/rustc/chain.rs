//! The chain of programs that cargo calls: `kache [<workspace wrapper>] <rustc> args...`.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The program between kache and rustc.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Driver {
    /// No program: kache runs rustc directly.
    Rustc,
    /// `clippy-driver`: a separate compiler that takes rustc's arguments (`RUSTC_WORKSPACE_WRAPPER`).
    Clippy,
    /// A program that this version of kache does not support.
    Unknown,
}

/// The call of the wrapper, split into its programs and arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProgramChain {
    /// The program between kache and rustc.
    pub driver: Driver,
    /// The program to run: the driver if there is one, else rustc.
    pub program: OsString,
    /// The real rustc, if the call names one.
    pub rustc: Option<OsString>,
    /// All arguments of `program`, unchanged.
    pub args: Vec<OsString>,
    /// The number of `args` before those of rustc.
    pub skip: usize,
}

impl ProgramChain {
    /// Parses the arguments after `kache`. `None` if there are none.
    pub fn parse(mut argv: Vec<OsString>) -> Option<Self> {
        if argv.is_empty() {
            return None;
        }
        let args = argv.split_off(1);
        let program = argv.pop()?;
        // Cargo's first argument for rustc is always an option. A program that replaces rustc may have any name
        // (`RUSTC`).
        let second = args.first().filter(|arg| !is_argument(arg));
        let second_is_rustc = second.is_some_and(|arg| is_rustc(arg));
        let (driver, rustc, skip) = match second {
            // clippy-driver recognises the call of a wrapper only by the name `rustc` (`clippy/src/driver.rs`).
            Some(rustc) if stem(&program) == "clippy-driver" && second_is_rustc => {
                (Driver::Clippy, Some(rustc.clone()), 1)
            }
            None => (Driver::Rustc, Some(program.clone()), 0),
            Some(_) if is_rustc(&program) && !second_is_rustc => (Driver::Rustc, Some(program.clone()), 0),
            Some(rustc) => {
                (Driver::Unknown, Some(rustc.clone()).filter(|_| second_is_rustc), usize::from(second_is_rustc))
            }
        };
        Some(Self { driver, program, rustc, args, skip })
    }

    /// Returns the arguments of rustc itself.
    pub fn rustc_args(&self) -> &[OsString] {
        &self.args[self.skip..]
    }
}

/// Returns whether an argument is an option of rustc, rather than the name of a program.
fn is_argument(arg: &OsStr) -> bool {
    matches!(arg.as_encoded_bytes().first(), None | Some(b'-' | b'@'))
}

/// Returns whether a program has the name of a rustc.
pub fn is_rustc(program: &OsStr) -> bool {
    let stem = stem(program);
    stem == "rustc" || stem.starts_with("rustc-")
}

fn stem(program: &OsStr) -> &str {
    Path::new(program).file_stem().and_then(OsStr::to_str).unwrap_or("")
}

/// Returns whether the call is a question to rustc (`-vV`, `--print`, stdin, no crate) rather than a compile of a file.
///
/// Cargo asks such questions in every fresh target directory and caches the answers, including failures
/// (`cargo/src/cargo/util/rustc.rs`), so kache must not change them.
pub fn is_probe(rustc_args: &[OsString]) -> bool {
    let mut has_crate_name = false;
    for arg in rustc_args {
        let Some(arg) = arg.to_str() else { continue };
        match arg {
            "-vV" | "-V" | "-Vv" | "--version" | "-h" | "--help" | "-" => return true,
            "--crate-name" => has_crate_name = true,
            _ if arg.starts_with("--print") => return true,
            _ if arg.starts_with("--crate-name=") || arg.starts_with('@') => has_crate_name = true,
            _ => {}
        }
    }
    !has_crate_name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(args: &[&str]) -> ProgramChain {
        ProgramChain::parse(args.iter().map(OsString::from).collect()).unwrap()
    }

    #[test]
    fn t04_drivers_are_told_apart() {
        assert_eq!(chain(&["/t/bin/rustc", "--crate-name", "a"]).driver, Driver::Rustc);
        assert_eq!(chain(&["rustc-1.95", "-vV"]).driver, Driver::Rustc);
        let clippy = chain(&["/t/bin/clippy-driver", "/t/bin/rustc", "--crate-name", "a"]);
        assert_eq!(clippy.driver, Driver::Clippy);
        assert_eq!(clippy.rustc_args(), ["--crate-name", "a"]);
        assert_eq!(chain(&["dylint-driver", "/t/bin/rustc", "-vV"]).driver, Driver::Unknown);
        let script = chain(&["/opt/compiler.sh", "--crate-name"]);
        assert_eq!((script.driver, script.rustc), (Driver::Rustc, Some("/opt/compiler.sh".into())));
        assert_eq!(chain(&["clippy-driver", "/opt/compiler.sh", "--crate-name", "a"]).driver, Driver::Unknown);
        assert_eq!(chain(&["dylint-driver", "/opt/compiler.sh", "-vV"]).driver, Driver::Unknown);
        assert_eq!(ProgramChain::parse(Vec::new()), None);
    }

    #[test]
    fn t02_probes_are_recognised() {
        let probe = |args: &[&str]| is_probe(&args.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(probe(&["-vV"]));
        assert!(probe(&["-", "--crate-name", "___", "--print=file-names"]));
        assert!(probe(&["--crate-name", "a", "--print", "cfg", "a.rs"]));
        assert!(probe(&["a.rs"]));
        assert!(!probe(&["--crate-name", "a", "src/lib.rs"]));
        assert!(!probe(&["@args"]));
    }
}
