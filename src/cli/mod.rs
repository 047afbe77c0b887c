//! The command line of kache, for calls that do not come from cargo.
//!
//! Owns the clap definitions, the exit codes and the dispatch, with one file per verb. Data goes to stdout and messages
//! to stderr, both through [`printer`]. This module does not decide what is cached; no lower layer may depend on it.

mod agent;
mod builds;
mod cargo_config;
mod completions;
mod context;
mod doctor;
mod gc;
mod init;
mod keygen;
mod list;
mod note;
mod printer;
mod progress;
mod pull;
mod pull_budget;
mod purge;
mod push;
mod remote;
mod report;
mod restore;
mod stats;
mod transfer;
mod trouble;
mod units;
mod why;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use context::{CommandContext, Exit};
use printer::Printer;

use crate::config::Env;
use crate::rustc::toolchain;

const EXIT_CODES: &str = "\
Exit codes:
  0    success
  1    failure; the reason is on stderr
  2    invalid command line
  3    a check found a problem (init --check, doctor)
  130  interrupted by Ctrl-C";

const EXAMPLES: &str = "\
Examples:
  kache init             Let cargo use kache, for every build of this user
  cargo build            The first build fills the cache
  kache stats            Show hits, misses and bypasses, with their reasons
  kache why              Show why the last build compiled units
  kache doctor           Show the settings and check that everything works

Settings are in $XDG_CONFIG_HOME/kache/config.toml (or the file that
KACHE_CONFIG names) and in KACHE_* variables; `kache doctor` shows them.
";

/// A compiler cache for Rust: all your checkouts share its results
///
/// Cargo calls kache instead of rustc. kache records what each compile reads. If
/// the same compile is asked for again, in any checkout, kache restores its
/// outputs. If kache does not understand something, rustc runs as usual.
#[derive(Parser)]
#[command(name = "kache", version, arg_required_else_help = true, verbatim_doc_comment)]
#[command(after_help = format!("{EXAMPLES}\n{EXIT_CODES}"))]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Init(init::Args),
    Stats(stats::Args),
    Why(why::Args),
    Report(report::Args),
    Doctor(doctor::Args),
    List(list::Args),
    Purge(purge::Args),
    Gc(gc::Args),
    Restore(restore::Args),
    #[command(hide = true)]
    Note(note::Args),
    Push(push::Args),
    Pull(pull::Args),
    Agent(agent::Args),
    Remote(remote::Args),
    Keygen(keygen::Args),
    Completions(completions::Args),
}

/// The verbs of kache. A test compares them with the clap definitions.
const VERBS: [&str; 17] = [
    "init",
    "stats",
    "why",
    "report",
    "doctor",
    "list",
    "purge",
    "gc",
    "restore",
    "note",
    "push",
    "pull",
    "agent",
    "remote",
    "keygen",
    "completions",
    "help",
];

/// Whether the arguments call another program and not a verb of kache: the `cc` crate in build scripts takes a
/// `RUSTC_WRAPPER` named kache for a wrapper of C compilers and runs `kache cc args...`.
pub fn is_foreign(argv: &[OsString]) -> bool {
    let [first, _, ..] = argv else { return false };
    let is_ours = first.to_str().is_some_and(|word| word.starts_with('-') || VERBS.contains(&word));
    let on_path = || toolchain::find_program(first, Path::new("."), &Env::process()).is_some();
    !is_ours && on_path()
}

/// Whether cargo runs this program as a subcommand of cargo, by this name ([`restore`]).
pub fn is_cargo_subcommand(own_name: &OsString) -> bool {
    Path::new(own_name).file_name().is_some_and(|name| name == restore::PROGRAM)
}

/// Parses and runs a command line, given without the name of this program.
pub fn run(argv: &[OsString]) -> ExitCode {
    let argv = std::iter::once(OsString::from("kache")).chain(argv.iter().cloned());
    let cli = match Cli::try_parse_from(argv) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Ok }.into();
        }
    };
    let cx = CommandContext { env: Env::process(), out: Printer::new() };
    match dispatch(&cx, &cli.verb) {
        Ok(exit) => exit.into(),
        // The reader of stdout closed the pipe, which is not an error.
        Err(error) if printer::is_broken_pipe(&error) => Exit::Ok.into(),
        Err(error) => {
            cx.out.message(format_args!("error: {error:#}"));
            Exit::Failed.into()
        }
    }
}

fn dispatch(cx: &CommandContext, verb: &Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Init(args) => init::run(cx, args),
        Verb::Stats(args) => stats::run(cx, args),
        Verb::Why(args) => why::run(cx, args),
        Verb::Report(args) => report::run(cx, args),
        Verb::Doctor(args) => doctor::run(cx, args),
        Verb::List(args) => list::run(cx, args),
        Verb::Purge(args) => purge::run(cx, args),
        Verb::Gc(args) => gc::run(cx, args),
        Verb::Restore(args) => restore::run(cx, args),
        Verb::Note(args) => note::run(cx, args),
        Verb::Push(args) => push::run(cx, args),
        Verb::Pull(args) => pull::run(cx, args),
        Verb::Agent(args) => agent::run(cx, args),
        Verb::Remote(args) => remote::run(cx, args),
        Verb::Keygen(args) => keygen::run(cx, args),
        Verb::Completions(args) => completions::run(cx, args, &mut Cli::command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_is_known_as_ours() {
        let mut command = Cli::command();
        command.build();
        let verbs: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(verbs, VERBS);
    }

    #[test]
    fn a_program_with_arguments_is_not_ours() {
        let args = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert!(is_foreign(&args("sh -c x.c")));
        assert!(!is_foreign(&args("sh")));
        assert!(!is_foreign(&args("list sh")));
        assert!(!is_foreign(&args("--version sh")));
        assert!(!is_foreign(&args("no-such-program-anywhere x")));
    }
}
