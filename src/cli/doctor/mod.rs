//! `kache doctor`: shows the settings and checks that everything works.
//!
//! Submodules return [`Check`]s and do not print; this one prints them by section, then a verdict, and sets the exit
//! code.

mod check;
mod directories;
mod remote;
mod settings;
mod trial;

use std::io;

use check::{Check, Severity};

use super::context::{CommandContext, Exit};
use super::printer::Table;
use super::units;
use crate::config::Config;

/// Show the settings and check that everything works
///
/// Lists each setting and its source. Checks that cargo calls this program, that
/// the cache directory can be written, and how files are linked from it into
/// the target directory. Then builds a small crate in two directories, with a
/// separate cache: the first build must be a miss, the second a hit. Run it
/// in the directory in which you build.
///
/// With --remote it only tests the remote: it lists entries, and writes, reads
/// and deletes an object below v1/probe/. It writes nothing to a read-only
/// remote.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = "\
Examples:
  kache doctor             The settings, and a test build
  kache doctor --remote    Test requests to the remote

Each line begins with ok, warn (works, but read it) or fail. Exits with code 3
if a line begins with fail.")]
pub(super) struct Args {
    /// Test only the remote
    #[arg(long)]
    remote: bool,
}

/// What the checks found so far, for the last line.
#[derive(Default)]
struct Tally {
    warnings: usize,
    failures: usize,
}

impl Tally {
    /// Prints one section and counts its results.
    fn print_section(&mut self, cx: &CommandContext, title: &str, checks: Vec<Check>) -> io::Result<()> {
        let mut table = Table::new(&[]).indented().wrapping();
        for check in checks {
            let severity = match check.severity {
                Severity::Ok => "ok  ",
                Severity::Warn => "warn",
                Severity::Fail => "fail",
            };
            self.warnings += usize::from(check.severity == Severity::Warn);
            self.failures += usize::from(check.severity == Severity::Fail);
            table.row([severity.to_owned(), format!("{:<16}", check.what), check.text]);
        }
        cx.out.data(title)?;
        cx.out.table(&table)
    }

    /// Prints whether all is well, and what to do next. `works` and `next`: both, if there is nothing to report.
    fn print_verdict(&self, cx: &CommandContext, works: &str, next: &str) -> io::Result<Exit> {
        if self.failures > 0 {
            let problems = units::count(self.failures, "problem", "problems");
            cx.out.data(format_args!("\n{problems}: fix each line that begins with fail, then run this again."))?;
            return Ok(Exit::Found);
        }
        match self.warnings {
            0 => cx.out.data(format_args!("\n{works}: {next}."))?,
            number => {
                let warnings = units::count(number, "warning", "warnings");
                cx.out.data(format_args!(
                    "\nNo problem, {warnings}: read each line that begins with warn, then {next}."
                ))?;
            }
        }
        Ok(Exit::Ok)
    }
}

pub(super) fn run(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    let mut tally = Tally::default();
    let config = match Config::load(&cx.env) {
        Ok(config) => config,
        Err(error) => {
            let check = Check::fail("settings", format!("builds run without a cache: {error}"));
            tally.print_section(cx, "Settings", vec![check])?;
            return Ok(tally.print_verdict(cx, "", "")?);
        }
    };
    if args.remote {
        tally.print_section(cx, "Remote", remote::needed_settings(cx, &config))?;
        // kache does not use a remote with a setting that failed.
        if tally.failures == 0 {
            tally.print_section(cx, "Test requests: an object below v1/probe/", remote::trial(cx, &config))?;
        }
        return Ok(tally.print_verdict(cx, "The remote works", "build with cargo, or run `kache pull` first")?);
    }
    let mut checks = settings::checks(&config);
    checks.push(settings::project());
    tally.print_section(cx, "Settings", checks)?;
    tally.print_section(cx, "Cargo", settings::wrapper(&cx.env))?;
    tally.print_section(cx, "Remote", remote::settings(cx, &config))?;
    tally.print_section(cx, "Directories", directories::checks(&config, &cx.env))?;
    tally.print_section(cx, "Test build: a small crate, in two directories", trial::checks(&cx.env))?;
    Ok(tally.print_verdict(cx, "Everything works", "build with cargo and run `kache stats`")?)
}
