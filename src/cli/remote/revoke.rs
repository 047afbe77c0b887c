//! `kache remote revoke`: takes the trust away from keys, on all machines.

use std::time::SystemTime;

use anyhow::Context;

use crate::cli::context::{CommandContext, Exit};
use crate::cli::{transfer, units};
use crate::remote::format::revocation::{self, MAX_LIST_BYTES};
use crate::remote::s3::listing::ListedObject;
use crate::remote::{PublicKey, Trust, names};

/// Revoke signing keys on all machines
///
/// Adds public keys to the list of revoked keys that this machine signs with
/// its own key (KACHE_SIGNING_KEY). Machines that trust this machine's key do
/// not trust the revoked ones any more, whatever their trusted_keys say. A list
/// can only take trust away.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = "\
Examples:
  kache remote revoke kache-pk1:...      Revoke a key
  kache remote revoke                    Show the keys that this key revoked")]
pub(super) struct Args {
    /// Public keys
    #[arg(value_name = "KEY")]
    keys: Vec<PublicKey>,
}

pub(super) fn run(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    transfer::run_connected(cx, async |remote, _| {
        let signer =
            remote.signer.as_ref().context("KACHE_SIGNING_KEY is not set: a list of revoked keys is signed")?;
        anyhow::ensure!(!args.keys.contains(&signer.public()), "a key cannot revoke itself");
        let writer = remote.writer().context("the remote is read-only here")?;
        let name = names::revocation(signer.id());
        anyhow::ensure!(
            writer.objects.is_mutable(),
            "{} cannot replace a list: use a bucket or a directory",
            writer.place
        );
        let trust = Trust::of_keys([signer.public()]);
        let known = writer.objects.get(&name, MAX_LIST_BYTES).await.context("cannot read the list")?;
        // A list that cannot be read may have named keys, which would be trusted again.
        let mut keys = match known {
            Some(bytes) => revocation::decode(&bytes, &trust)
                .with_context(|| format!("the list {name} is damaged: delete it, and revoke all keys again"))?,
            None => Vec::new(),
        };
        let before = keys.len();
        keys.extend(args.keys.iter().filter(|key| !keys.contains(key)).copied().collect::<Vec<_>>());
        if keys.len() > before {
            let list = revocation::encode(&keys, signer);
            let size = list.len() as u64;
            writer.objects.put(&name, list).await.context("cannot write the list")?;
            let mut listed = writer.objects.list(&names::revocations()).all().await.context("cannot list the lists")?;
            // Some servers list a new object only later.
            listed.push(ListedObject { name: name.clone(), size, modified: Some(SystemTime::now()) });
            let index = crate::remote::objects::index::encode(&names::revocations(), &listed);
            let index_name = crate::remote::objects::index::name(&names::revocations());
            writer.objects.put(&index_name, index).await.context("cannot write the index of the lists")?;
        }
        keys.iter().try_for_each(|key| cx.out.data(key))?;
        cx.out.message(format_args!("{} revoked by {}", units::count(keys.len(), "key", "keys"), signer.public()));
        Ok(Exit::Ok)
    })
}
