//! `kache restore`: restores a whole build before cargo looks at it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::context::{CommandContext, Exit};
use super::printer::plain;
use super::units;
use crate::cargo::configuration::Configuration;
use crate::cargo::{command, metadata, workspace as cargo_workspace};
use crate::config::{Config, Verify, env};
use crate::events::WholeBuild;
use crate::fsx;
use crate::fsx::temp::Temp;
use crate::remote::Workspace;
use crate::store::build_snapshots::BuildSnapshot;
use crate::wrapper::checkout;
use crate::wrapper::whole_build::{self, BuildToRestore, NotRestored};

/// The subcommand of cargo as which kache runs itself, to get the environment that cargo would give to a compile: that
/// of rustup's proxy, and the path of cargo.
const SUBCOMMAND: &str = "restore";
/// The name of the program that cargo runs for that subcommand.
pub(super) const PROGRAM: &str = "cargo-restore";

/// Restore a whole build into the target directory
///
/// Restores the results of a cargo command that another checkout, or this one
/// before `cargo clean`, has run, so that cargo finds them there and compiles
/// only what differs. Give the command that you are going to run. Results whose
/// inputs differ here are left out, and nothing in the target directory is
/// replaced.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = "\
Examples:
  kache restore                      Before `cargo build`
  kache restore -- test --workspace  Before `cargo test --workspace`
  kache restore --verbose            List what was left out, and why")]
pub(super) struct Args {
    /// List the units that were left out, and why
    #[arg(short, long)]
    verbose: bool,
    /// The directory through which cargo found this program
    #[arg(long, hide = true)]
    found_in: Option<PathBuf>,
    /// The command of cargo [default: build]
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(super) fn run(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    match &args.found_in {
        Some(dir) => restore(cx, args, dir),
        None => run_by_cargo(cx, args),
    }
}

/// Lets cargo run this command.
fn run_by_cargo(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    let dir = Temp::dir()?;
    fsx::symlink(&fsx::current_exe()?, &dir.path().join(PROGRAM))?;
    let path = cx.env.get(env::PATH).unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(dir.path().to_owned()).chain(std::env::split_paths(&path)))?;
    let mut command = Command::new("cargo");
    command.arg(SUBCOMMAND).arg("--found-in").arg(dir.path()).args(args.verbose.then_some("--verbose"));
    let status = command.arg("--").args(&args.command).env(env::PATH, path).status().context("cannot run cargo")?;
    Ok(if status.success() { Exit::Ok } else { Exit::Failed })
}

/// Restores the build. `found_in` is not in the `PATH` that a compile would see.
fn restore(cx: &CommandContext, args: &Args, found_in: &Path) -> anyhow::Result<Exit> {
    let (config, store) = cx.store()?;
    let cargo = cx.env.path(env::CARGO).context("cargo has not run this command")?;
    let path = cx.env.get(env::PATH).unwrap_or_default();
    let path = std::env::join_paths(std::env::split_paths(&path).filter(|dir| dir != found_in))?;
    let vars = cx.env.without(&[env::CARGO]).with([(env::PATH, path)]);
    let words = if args.command.is_empty() { vec!["build".to_owned()] } else { args.command.clone() };
    let spelled = words.join(" ");
    let all = std::iter::once("cargo".to_owned()).chain(words).collect::<Vec<_>>();
    let cwd = fsx::current_dir()?;
    let configuration = Configuration::of(&cwd, vars.cargo_home().as_deref());
    let all = command::without_alias(all, |name| configuration.alias(name));
    let metadata = metadata::ask(&cargo, &all)?;
    let workspace = Workspace::around(&metadata.workspace_root).context("there is no workspace here")?;
    let place = cargo_workspace::relative(&workspace.root, &command::directory(&all, &cwd));
    let Some(name) = command::name(&all, &vars, &place) else {
        cx.out.data(format_args!("nothing to restore: kache does not record `cargo {spelled}`"))?;
        return Ok(Exit::Ok);
    };
    let Some(snapshot) = checkout::snapshot(&store, &workspace.name, &name) else {
        cx.out.data(format_args!("nothing to restore: no build with `cargo {spelled}` is recorded"))?;
        return Ok(Exit::Ok);
    };
    if let Some(why) = refusal(&config, &configuration, &snapshot) {
        cx.out.data(format_args!("nothing restored: {why}"))?;
        return Ok(Exit::Ok);
    }
    let build_dir = metadata.build_dir();
    let roots = checkout::roots(&workspace.root, &build_dir, &vars, &store);
    let number = u64::from(std::process::id());
    let build = BuildToRestore {
        config: &config,
        vars: &vars,
        cargo: &cargo,
        jobs: command::jobs(&all, &vars),
        roots: &roots,
        build_dir: &build_dir,
        number,
        verified_by: None,
        is_locked: command::is_locked(&all),
        is_over: &|| false,
    };
    match whole_build::restore(&build, &snapshot) {
        Ok(done) => print(cx, &done, args.verbose),
        Err(why @ (NotRestored::Busy(_) | NotRestored::Clock(_) | NotRestored::Over)) => {
            cx.out.data(format_args!("nothing restored: {why}"))?;
            Ok(Exit::Ok)
        }
        Err(error) => Err(error).context("cannot restore the build"),
    }
}

/// Why the snapshot cannot be used here.
fn refusal(config: &Config, configuration: &Configuration, snapshot: &BuildSnapshot) -> Option<&'static str> {
    if config.disabled.value || !config.observe.value {
        return Some("the settings turn kache or its observer off");
    }
    if config.verify.value == Verify::Hits {
        return Some("KACHE_VERIFY is set, and hits are verified only where cargo asks for them");
    }
    if configuration.sets_variables() {
        return Some(
            "cargo's configuration sets variables ([env]), which only cargo knows; its build restores the units",
        );
    }
    let is_same = configuration.digest() == Some(snapshot.configuration);
    (!is_same).then_some("cargo's configuration files differ from those of the recorded build")
}

fn print(cx: &CommandContext, done: &WholeBuild, verbose: bool) -> anyhow::Result<Exit> {
    let total =
        units::count(usize::try_from(done.restored + done.present + done.left).unwrap_or(usize::MAX), "unit", "units");
    cx.out.data(format_args!("restored {} of {total} in {}", done.restored, units::millis(done.ms)))?;
    if done.present > 0 {
        cx.out.data(format_args!("{} were there already", done.present))?;
    }
    if done.left > 0 {
        let hint = if verbose { ":" } else { " (--verbose lists them)" };
        cx.out.data(format_args!("{} left to cargo{hint}", done.left))?;
    }
    for left in done.left_out.iter().filter(|_| verbose) {
        cx.out.data(format_args!("  {}: {}", plain(&left.unit), plain(&left.reason)))?;
    }
    Ok(Exit::Ok)
}
