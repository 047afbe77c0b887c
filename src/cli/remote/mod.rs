//! `kache remote`: looks after a remote that many machines share.

mod gc;
mod policy;
mod revoke;
mod stats;

use super::context::{CommandContext, Exit};

/// Look after a remote that many machines share
///
/// These commands list all objects of the remote, so they take longer and cost
/// more requests than push and pull, which never do.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = "\
Examples:
  kache remote stats                                What the remote holds
  kache remote gc --older-than 30d --keep-branch main --dry-run
  kache remote policy writer                        An IAM policy for CI")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    Stats(stats::Args),
    Gc(gc::Args),
    Policy(policy::Args),
    Revoke(revoke::Args),
}

pub(super) fn run(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    match &args.verb {
        Verb::Stats(args) => stats::run(cx, args),
        Verb::Gc(args) => gc::run(cx, args),
        Verb::Policy(args) => policy::run(cx, args),
        Verb::Revoke(args) => revoke::run(cx, args),
    }
}
