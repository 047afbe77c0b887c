//! Fixtures for inputs that only the observer sees: a proc macro that reads files and variables, and builds whose
//! compiled crates are checked one by one.
//!
//! The pattern of such a test: `fresh_hits` (rustc compiles nothing: the state is known), change an input,
//! `fresh_compiles` (exactly these crates, and the program prints the new value), change something beside the input,
//! `fresh_hits` again. Each half is the control of the other: a cache that never hits fails the first, and a cache that
//! does not look at inputs fails the second.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{Project, Run, manifest, settle, write_program};

/// A proc macro crate with everything that a macro may do behind rustc's back. Arguments are single strings without
/// quotes inside. Paths are relative to the package that is compiled.
///
/// These macros do not start programs or walk the environment: code for that may make every variable an input.
const MACROS: &str = r#"
use proc_macro::TokenStream;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::{env, fs};

fn text_of(input: &TokenStream) -> String { input.to_string().trim_matches('"').to_owned() }

fn literal(text: impl ToString) -> TokenStream { format!("{:?}", text.to_string()).parse().unwrap() }

fn place(input: &TokenStream) -> PathBuf {
    PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap()).join(text_of(input))
}

#[proc_macro]
pub fn variable(input: TokenStream) -> TokenStream { literal(env::var(text_of(&input)).unwrap_or("unset".into())) }

#[proc_macro]
pub fn file(input: TokenStream) -> TokenStream {
    literal(fs::read_to_string(place(&input)).unwrap_or("absent".into()).trim_end())
}

/// A path as it stands: relative to where rustc runs.
#[proc_macro]
pub fn file_from_cwd(input: TokenStream) -> TokenStream {
    literal(fs::read_to_string(text_of(&input)).unwrap_or("absent".into()).trim_end())
}

#[proc_macro]
pub fn file_in_out_dir(input: TokenStream) -> TokenStream {
    literal(fs::read_to_string(PathBuf::from(env::var("OUT_DIR").unwrap()).join(text_of(&input))).unwrap().trim_end())
}

#[proc_macro]
pub fn exists(input: TokenStream) -> TokenStream { literal(place(&input).exists()) }

#[proc_macro]
pub fn size(input: TokenStream) -> TokenStream { literal(fs::metadata(place(&input)).unwrap().len()) }

#[proc_macro]
pub fn is_executable(input: TokenStream) -> TokenStream {
    use std::os::unix::fs::PermissionsExt;
    literal(fs::metadata(place(&input)).unwrap().permissions().mode() & 0o100 != 0)
}

#[proc_macro]
pub fn listing(input: TokenStream) -> TokenStream {
    let Ok(list) = fs::read_dir(place(&input)) else { return literal("no directory") };
    let mut names: Vec<_> = list.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    literal(names.join(","))
}

#[proc_macro]
pub fn real_name(input: TokenStream) -> TokenStream {
    literal(fs::canonicalize(place(&input)).unwrap().file_name().unwrap().to_str().unwrap())
}

#[proc_macro]
pub fn link(input: TokenStream) -> TokenStream { literal(fs::read_link(place(&input)).unwrap().display()) }

/// A line of the package's own manifest, as `proc-macro-crate` finds names.
#[proc_macro]
pub fn manifest_line(input: TokenStream) -> TokenStream {
    let text = fs::read_to_string(PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap()).join("Cargo.toml")).unwrap();
    literal(text.lines().find_map(|line| line.strip_prefix(text_of(&input).as_str())).unwrap_or("none"))
}

#[proc_macro]
pub fn manifest_dir(_: TokenStream) -> TokenStream { literal(env::var("CARGO_MANIFEST_DIR").unwrap()) }

#[proc_macro]
pub fn put(input: TokenStream) -> TokenStream {
    fs::OpenOptions::new().create(true).append(true).open(place(&input)).unwrap().write_all(b"x").unwrap();
    literal("put")
}

#[proc_macro]
pub fn take_away(input: TokenStream) -> TokenStream { literal(fs::remove_file(place(&input)).is_ok()) }

/// Talks to a port of this machine.
#[proc_macro]
pub fn ask(input: TokenStream) -> TokenStream {
    let mut answer = String::new();
    match std::net::TcpStream::connect(("127.0.0.1", text_of(&input).parse().unwrap())) {
        Ok(mut stream) => stream.read_to_string(&mut answer).unwrap(),
        Err(_) => return literal("nobody"),
    };
    literal(answer)
}
"#;

/// Appended to [`MACROS`] for macros that run programs.
const PROGRAMS: &str = r#"
fn output(mut command: std::process::Command) -> TokenStream {
    let output = command.current_dir(env::var("CARGO_MANIFEST_DIR").unwrap()).output().expect("starts");
    literal(String::from_utf8(output.stdout).unwrap().trim_end())
}

#[proc_macro]
pub fn shell(input: TokenStream) -> TokenStream {
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(text_of(&input));
    output(command)
}

/// A program without arguments, found through PATH.
#[proc_macro]
pub fn tool(input: TokenStream) -> TokenStream { output(std::process::Command::new(text_of(&input))) }
"#;

impl Project {
    /// Creates a binary `app` that prints the result of `dep::value()`, a path package `dep` whose value is this macro
    /// call (such as `variable!("NAME")`), and the proc macro crate `mac` ([`MACROS`]).
    pub(crate) fn with_macro(call: &str) -> Self {
        let project = Self::app_over(&value_of("mac", call));
        project.file("dep/Cargo.toml", manifest("dep", "[dependencies]\nmac = { path = \"../mac\" }\n"));
        project.file("mac/Cargo.toml", manifest("mac", "[lib]\nproc-macro = true\n"));
        project.file("mac/src/lib.rs", MACROS);
        project
    }

    /// Like [`Self::with_macro`], with additional macros that run programs ([`PROGRAMS`]).
    pub(crate) fn with_program_macro(call: &str) -> Self {
        let project = Self::with_macro(call);
        project.file("mac/src/lib.rs", [MACROS, PROGRAMS].concat());
        project
    }

    /// Builds into a fresh target directory. Asserts that rustc compiles exactly these crates, and that `app` prints
    /// `said`.
    #[track_caller]
    pub(crate) fn fresh_compiles(&self, crates: &[&str], said: &str) -> Run {
        settle();
        let (run, says) = self.wipe().build_and_run();
        assert_eq!((run.compiles(), says.as_str()), (crates.to_vec(), said), "{}", self.history());
        run
    }

    /// Builds into a fresh target directory. Asserts that rustc does not compile anything, and that `app` prints
    /// `said`.
    #[track_caller]
    pub(crate) fn fresh_hits(&self, said: &str) -> Run {
        self.fresh_compiles(&[], said)
    }

    /// Runs the first build, then a fresh one that does not compile anything, so that every unit is known to be stored.
    #[track_caller]
    pub(crate) fn settled(&self, said: &str) {
        settle();
        let (run, says) = self.wipe().build_and_run();
        assert_eq!(says, said, "the first build");
        assert!(!run.compiles().is_empty(), "the first build must compile");
        self.fresh_hits(said);
    }

    /// Asserts that kache does not store the result: each build compiles `krate`, `app` prints `said`, and the log has
    /// a reason.
    #[track_caller]
    pub(crate) fn never_stored(&self, krate: &str, said: &str) {
        for _ in 0..2 {
            settle();
            let (run, says) = self.wipe().build_and_run();
            run.misses(&[krate]);
            assert_eq!(says, said);
            let (outcome, stored) = self.last_outcome(krate);
            assert!(outcome.starts_with("bypass.") || stored != "stored", "{krate}: {outcome} {stored}");
        }
    }

    /// Puts directories of the sandbox in front of the `PATH` of this machine.
    pub(crate) fn path_with(&mut self, dirs: &[&str]) -> &mut Self {
        let machine = std::env::var_os("PATH").expect("PATH");
        let own = dirs.iter().map(|dir| self.sandbox_dir().join(dir));
        let joined = std::env::join_paths(own.chain(std::env::split_paths(&machine))).expect("PATH");
        self.set("PATH", joined)
    }

    /// Writes a shell script into the sandbox.
    pub(crate) fn script(&self, name: &str, body: &str) -> &Self {
        write_program(&self.sandbox_dir().join(name), &format!("#!/bin/sh\n{body}\n"));
        self
    }

    /// Compiles C source into the sandbox with these flags. Returns the path of the result.
    pub(crate) fn compile_c(&self, name: &str, source: &str, flags: &[&str]) -> PathBuf {
        let made = self.sandbox_dir().join(name);
        fs::create_dir_all(made.parent().expect("parent")).expect("parents");
        let text = made.with_extension("c");
        fs::write(&text, source).expect("write C");
        let output = Command::new("cc").arg(&text).arg("-o").arg(&made).args(flags).output().expect("cc");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::remove_file(text).expect("remove the C text");
        made
    }

    /// Returns the last events, for the message of a test that fails.
    pub(crate) fn history(&self) -> String {
        let events = self.events();
        let line = |event: &serde_json::Value| {
            let field = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            format!(
                "{} {}: {} {} [{}]",
                field("crate"),
                field("kind"),
                field("outcome"),
                field("stored"),
                field("detail")
            )
        };
        let lines: Vec<String> = events.iter().rev().take(20).rev().map(line).collect();
        format!("the last events:\n{}\n", lines.join("\n"))
    }
}

/// Returns a library whose value is a macro call through `path`: `mac`, or a crate that re-exports it.
pub(crate) fn value_of(path: &str, call: &str) -> String {
    format!("pub fn value() -> &'static str {{ {path}::{call} }}\n")
}
