//! `kache init`: configures cargo to use kache, or undoes it.

use std::path::Path;

use anyhow::{Context, bail, ensure};

use super::cargo_config::{self, CargoConfig};
use super::context::{CommandContext, Exit};
use crate::fsx;

/// Let cargo use kache for every build of this user
///
/// Sets build.rustc-wrapper in $CARGO_HOME/config.toml (by default ~/.cargo) to
/// this program, and changes nothing else in that file. Asks before it writes;
/// without a terminal, pass --yes.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = "\
Examples:
  kache init               Ask, then set it
  kache init --yes         Set it without asking (in scripts and CI)
  kache init --check       Exit with code 0 if it is set, 3 if not
  kache init --undo        Remove it

To use kache for one build only: RUSTC_WRAPPER=kache cargo build")]
#[expect(clippy::struct_excessive_bools, reason = "one per flag")]
pub(super) struct Args {
    /// Only report the setting; exit with code 3 if kache is not used
    #[arg(long, conflicts_with_all = ["undo", "yes", "replace"])]
    check: bool,
    /// Remove the setting; leave another wrapper alone
    #[arg(long, conflicts_with = "replace")]
    undo: bool,
    /// Do not ask before writing
    #[arg(long, short)]
    yes: bool,
    /// Replace another wrapper, such as sccache
    #[arg(long)]
    replace: bool,
}

pub(super) fn run(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    let config = CargoConfig::of_user(&cx.env).context("cannot read cargo's configuration")?;
    let exit = match (args.check, args.undo) {
        (true, _) => return check(cx, &config),
        (_, true) => undo(cx, args, config)?,
        _ => set(cx, args, config)?,
    };
    warn_of_variables(cx);
    Ok(exit)
}

fn set(cx: &CommandContext, args: &Args, mut config: CargoConfig) -> anyhow::Result<Exit> {
    let program = fsx::current_exe()?;
    ensure!(fsx::exists(&program), "the file of this program does not exist any more: {}", program.display());
    let text = program.to_str().with_context(|| format!("{} is not valid UTF-8", program.display()))?;
    let place = config.path.display().to_string();
    let before = config.wrapper().map(str::to_owned);
    if let Some(other) = before.as_deref().filter(|other| !cargo_config::is_kache(other) && !args.replace) {
        bail!("{place} sets build.rustc-wrapper to {other}; to use kache instead, run `kache init --replace`");
    }
    config.set_wrapper(text)?;
    if !config.is_changed() {
        cx.out.data(format_args!("already set up: {place} names {text}"))?;
        return Ok(Exit::Ok);
    }
    warn_of_target_dir(cx, &program);
    let instead = before.map_or_else(String::new, |before| format!(" (now {before})"));
    if !is_agreed(cx, args, &format!("Set build.rustc-wrapper in {place} to {text}{instead}?"))? {
        return Ok(Exit::Failed);
    }
    config.save().with_context(|| format!("cannot write {place}"))?;
    cx.out.data(format_args!("set build.rustc-wrapper in {place} to {text}"))?;
    Ok(Exit::Ok)
}

fn undo(cx: &CommandContext, args: &Args, mut config: CargoConfig) -> anyhow::Result<Exit> {
    let place = config.path.display().to_string();
    let Some(wrapper) = config.wrapper().map(str::to_owned) else {
        cx.out.data(format_args!("nothing to undo: {place} sets no build.rustc-wrapper"))?;
        return Ok(Exit::Ok);
    };
    if !cargo_config::is_kache(&wrapper) {
        cx.out.data(format_args!("nothing to undo: {place} sets build.rustc-wrapper to {wrapper}"))?;
        return Ok(Exit::Ok);
    }
    if !is_agreed(cx, args, &format!("Remove build.rustc-wrapper = {wrapper} from {place}?"))? {
        return Ok(Exit::Failed);
    }
    config.remove_wrapper();
    config.save().with_context(|| format!("cannot write {place}"))?;
    cx.out.data(format_args!("removed build.rustc-wrapper from {place}"))?;
    Ok(Exit::Ok)
}

fn is_agreed(cx: &CommandContext, args: &Args, question: &str) -> anyhow::Result<bool> {
    if args.yes {
        return Ok(true);
    }
    let answer = cx.out.confirm(question)?;
    let agreed = answer.context("stdin is not a terminal, so kache cannot ask: pass --yes")?;
    if !agreed {
        cx.out.message("nothing changed");
    }
    Ok(agreed)
}

fn check(cx: &CommandContext, config: &CargoConfig) -> anyhow::Result<Exit> {
    let place = config.path.display();
    let mut exit = Exit::Ok;
    let line = match config.wrapper() {
        Some(program) if !cargo_config::is_kache(program) => {
            exit = Exit::Found;
            format!("not set up: {place} sets build.rustc-wrapper to {program}; run `kache init --replace`")
        }
        Some(program) if Path::new(program).is_absolute() && !fsx::exists(Path::new(program)) => {
            exit = Exit::Found;
            format!("broken: {place} names {program}, which does not exist; run `kache init`")
        }
        Some(program) => format!("set up: {place} names {program}"),
        None => {
            exit = Exit::Found;
            format!("not set up: {place} sets no build.rustc-wrapper; run `kache init`")
        }
    };
    cx.out.data(line)?;
    if warn_of_variables(cx) {
        exit = Exit::Found;
    }
    Ok(exit)
}

/// Warns if a variable overrides the file, and returns whether one does.
fn warn_of_variables(cx: &CommandContext) -> bool {
    let wrapper = cargo_config::from_variables(&cx.env).filter(|wrapper| !cargo_config::is_kache(&wrapper.program));
    if let Some(wrapper) = &wrapper {
        let (place, program) = (&wrapper.place, &wrapper.program);
        cx.out.message(format_args!("warning: {place}={program} in the environment overrides the file"));
    }
    wrapper.is_some()
}

/// Warns if this program is in a target directory: `cargo clean` would remove it, and every build would then fail.
fn warn_of_target_dir(cx: &CommandContext, program: &Path) {
    if program.ancestors().any(|dir| fsx::exists(&dir.join(".rustc_info.json"))) {
        let program = program.display();
        cx.out.message(format_args!(
            "warning: {program} is in a target directory: after `cargo clean`, no build works.\n\
             Install kache first: cargo install --locked --path ."
        ));
    }
}
