//! `kache doctor`: shows the settings and checks that everything works.
//!
//! Submodules return [`Check`]s and do not print; this one prints them by section and sets the exit code.

mod directories;
mod remote;
mod settings;
mod trial;

use super::printer::Table;
use super::{CommandContext, Exit};
use crate::config::Config;

/// Show the settings and check that everything works
///
/// Lists each setting and its source. Checks that cargo calls this program, that
/// the cache directory can be written, and how files are linked from it into
/// the target directory. Then builds a small crate in two directories, with a
/// cache of its own: the first build must be a miss, the second a hit. Run it
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

/// How serious the result of a check is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Severity {
    Ok,
    Warn,
    Fail,
}

/// The result of one check: a line of the output.
#[derive(Debug)]
struct Check {
    severity: Severity,
    what: &'static str,
    text: String,
}

impl Check {
    fn ok(what: &'static str, text: impl Into<String>) -> Self {
        Self { severity: Severity::Ok, what, text: text.into() }
    }

    fn warn(what: &'static str, text: impl Into<String>) -> Self {
        Self { severity: Severity::Warn, what, text: text.into() }
    }

    fn fail(what: &'static str, text: impl Into<String>) -> Self {
        Self { severity: Severity::Fail, what, text: text.into() }
    }
}

pub(super) fn run(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    let mut exit = Exit::Ok;
    let mut section = |title: &str, checks: Vec<Check>| {
        let mut table = Table::new(&[]).indented().wrapping();
        for check in checks {
            let severity = match check.severity {
                Severity::Ok => "ok  ",
                Severity::Warn => "warn",
                Severity::Fail => "fail",
            };
            table.row([severity.to_owned(), format!("{:<16}", check.what), check.text]);
            if check.severity == Severity::Fail {
                exit = Exit::Found;
            }
        }
        cx.out.data(title)?;
        cx.out.table(&table)?;
        Ok::<(), std::io::Error>(())
    };
    let config = match Config::load(&cx.env) {
        Ok(config) => config,
        Err(error) => {
            section("Settings", vec![Check::fail("settings", format!("{error}; builds run without a cache"))])?;
            return Ok(exit);
        }
    };
    if args.remote {
        let settings = remote::settings(cx, &config);
        let is_readable = !settings.iter().any(|check| check.what == "remote" && check.severity == Severity::Fail);
        section("Remote", settings)?;
        if is_readable {
            section("Trial: an object below v1/probe/", remote::trial(cx, &config))?;
        }
        return Ok(exit);
    }
    let mut checks = settings::checks(&config);
    checks.push(settings::project());
    section("Settings", checks)?;
    section("Cargo", settings::wrapper(&cx.env))?;
    section("Remote", remote::settings(cx, &config))?;
    section("Places", directories::checks(&config, &cx.env))?;
    section("Trial: a tiny crate, compiled in two directories", trial::checks(&cx.env))?;
    Ok(exit)
}
