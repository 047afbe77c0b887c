//! `kache completions`: prints a completion script for a shell.

use clap_complete::Shell;

use super::context::{CommandContext, Exit};

/// Print a completion script for a shell
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = "\
Examples:
  kache completions bash > ~/.local/share/bash-completion/completions/kache
  kache completions zsh > \"${fpath[1]}/_kache\"
  kache completions fish > ~/.config/fish/completions/kache.fish")]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

pub(super) fn run(cx: &CommandContext, args: &Args, command: &mut clap::Command) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "kache", &mut script);
    cx.out.raw(&script)?;
    Ok(Exit::Ok)
}
