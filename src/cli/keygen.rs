//! `kache keygen`: generates a key pair to sign manifests.

use std::path::PathBuf;

use anyhow::Context;

use super::context::{CommandContext, Exit};
use crate::config::env;
use crate::fsx;
use crate::remote::SigningKey;

/// Generate a key pair to sign uploads
///
/// Machines that push set the secret key as KACHE_SIGNING_KEY. Machines that
/// pull list the public key in trusted_keys: they then refuse entries that are
/// not signed with the secret key. Prints both keys. With --out, writes the
/// secret key to a file that only its owner can read, and does not print it.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = "\
Examples:
  kache keygen                             Print both keys
  kache keygen --out kache-signing.key     Write the secret key to a file
  KACHE_SIGNING_KEY=$(cat kache-signing.key) kache push")]
pub(super) struct Args {
    /// Write the secret key to this file, which must not exist
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn run(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    let (key, secret) = SigningKey::generate().context("cannot generate a key")?;
    if let Some(file) = &args.out {
        fsx::create_private(file, format!("{secret}\n").as_bytes()).context("cannot write the secret key")?;
        cx.out.message(format_args!("wrote the secret key to {}", file.display()));
    } else {
        cx.out.data("# The secret key: set it where you push.")?;
        cx.out.data(format_args!("{}={secret}", env::KACHE_SIGNING_KEY))?;
        cx.out.data("")?;
    }
    cx.out.data("# The public key: add it to the settings where you pull, below [cache.remote].")?;
    cx.out.data(format_args!("trusted_keys = [\"{}\"]", key.public()))?;
    Ok(Exit::Ok)
}
