//! Build scripts: how cargo calls one, the directives that it prints, and the hook that hands its runs over to kache.
//!
//! No caching here. The facts are from `cargo/src/cargo/core/compiler/custom_build.rs` of cargo 1.95.

pub mod directives;
pub mod hook;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::{Env, env};

/// The flag with which [`hook`] calls kache: `kache <program> --kache-build-script <argv[0]>`.
pub const FLAG: &str = "--kache-build-script";

/// The prefix that cargo puts before the name of the source file to name the crate of a build script.
const CRATE_PREFIX: &str = "build_script_";

/// One run of a build script, as cargo requested it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScriptInvocation {
    /// Path of the compiled script.
    pub program: PathBuf,
    /// The name by which cargo called it.
    pub argv0: OsString,
    /// The working directory, which is the directory of the package.
    pub cwd: PathBuf,
    /// `OUT_DIR`, the directory that the script may write to.
    pub out_dir: PathBuf,
}

/// Returns whether the arguments are those of the hook.
pub fn is_hook_call(argv: &[OsString]) -> bool {
    matches!(argv, [_, flag, _] if flag == FLAG)
}

impl ScriptInvocation {
    /// Reads the hook's arguments and cargo's environment. `None` if cargo did not request this run, or a directory is
    /// not UTF-8.
    pub fn parse(argv: &[OsString], cwd: PathBuf, vars: &Env) -> Option<Self> {
        let [program, _, argv0] = argv else { return None };
        let out_dir = vars.path(env::OUT_DIR).filter(|dir| dir.is_absolute())?;
        let is_text = cwd.to_str().is_some() && out_dir.to_str().is_some();
        is_text.then(|| Self { program: program.into(), argv0: argv0.clone(), cwd, out_dir })
    }

    /// Returns `<package>-<hash>`, cargo's name for the directory of this run, which distinguishes the run from all
    /// others of the build.
    pub fn unit(&self) -> String {
        // Cargo's newer layout has a directory for the hash: `build/<package>/<hash>/out`.
        let names = self.out_dir.iter().rev().skip(1).take_while(|name| *name != "build");
        let mut names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
        names.reverse();
        names.join("-")
    }

    /// Returns the name of the crate, derived from the program's file: `build-script-main` is that of `main.rs`.
    pub fn crate_name(&self) -> String {
        self.program.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().replace('-', "_"))
    }
}

/// Returns whether cargo compiles a build script under this crate name into this directory. A package may have a
/// program of the same name, but cargo puts that elsewhere.
pub fn is_build_script(crate_name: &str, out_dir: &std::path::Path) -> bool {
    let is_below_build =
        out_dir.ancestors().skip(1).take(3).any(|dir| dir.file_name().is_some_and(|name| name == "build"));
    crate_name.starts_with(CRATE_PREFIX) && is_below_build
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn scripts_are_told_by_name_and_place() {
        let is = |name, dir: &str| is_build_script(name, Path::new(dir));
        assert!(is("build_script_build", "/t/debug/build/a-1"));
        assert!(is("build_script_main", "/t/x86_64-unknown-linux-gnu/release/build/a/1/out"));
        assert!(!is("build_script_build", "/t/debug/deps") && !is("a", "/t/debug/build/a-1"));
    }

    #[test]
    fn a_run_is_named_by_its_directory() {
        let of = |dir: &str| ScriptInvocation {
            program: "/t/debug/build/a-0/build-script-main".into(),
            argv0: OsString::new(),
            cwd: "/p".into(),
            out_dir: dir.into(),
        };
        assert_eq!(of("/t/debug/build/a-1/out").unit(), "a-1");
        assert_eq!(of("/t/debug/build/a/1/out").unit(), "a-1");
        assert_eq!(of("/t/debug/build/a-1/out").crate_name(), "build_script_main");
    }

    #[test]
    fn a_call_needs_all_that_the_hook_gives() {
        let argv = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let call = argv("/t/build-script-build --kache-build-script /t/x");
        assert!(is_hook_call(&call) && !is_hook_call(&call[..2]) && !is_hook_call(&argv("/t/rustc --crate-name a")));
        let parse = |out_dir: &str| ScriptInvocation::parse(&call, "/p".into(), &Env::of([("OUT_DIR", out_dir)]));
        assert_eq!(parse("/o").unwrap().argv0, "/t/x");
        assert_eq!((parse("o"), parse("")), (None, None));
    }
}
