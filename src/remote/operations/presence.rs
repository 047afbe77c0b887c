//! Finds the entries that the remote lacks, from what this machine knows of it: nothing lists the remote, however large
//! it is.
//!
//! An entry of which nothing is known counts as lacking. If another machine has uploaded it, it is uploaded again,
//! under the same names: that costs bytes, and spares a request for each entry. The manifest of an entry
//! that was there a week ago is read again.

use std::sync::Arc;

use super::denials::DenialCounter;
use super::known::{Knowledge, KnownEntries};
use super::remote::Remote;
use crate::fsx::clock;
use crate::model::{EntryId, EntryKey};
use crate::remote::format::manifest::{self, MAX_MANIFEST_BYTES, PackManifest};
use crate::remote::format::names::ManifestName;
use crate::remote::s3::error::RemoteError;
use crate::remote::tasks::concurrently;

/// Requests in flight at once.
const CONCURRENT_REQUESTS: usize = 64;

/// Returns the entries that the remote lacks, in their order.
pub async fn lacking(
    remote: &Arc<Remote>,
    known: &KnownEntries,
    ids: Vec<EntryId>,
) -> Result<Vec<EntryId>, RemoteError> {
    let now = clock::now();
    let knowledge: Vec<Knowledge> = ids.iter().map(|id| known.knowledge(id.key, now)).collect();
    let old = ids.iter().zip(&knowledge).filter(|(_, knowledge)| **knowledge == Knowledge::Old);
    let confirmed = ask(remote, known, old.map(|(id, _)| id.clone()).collect()).await?;
    let is_there = |id: &EntryId, knowledge: Knowledge| match knowledge {
        Knowledge::Present => true,
        Knowledge::Old => confirmed.contains(&id.key),
        Knowledge::Unknown => false,
    };
    let lacking = ids.iter().zip(knowledge).filter(|(id, knowledge)| !is_there(id, *knowledge));
    Ok(lacking.map(|(id, _)| id.clone()).collect())
}

/// Reads the manifests of entries, under the names of those who signed them. Returns the entries that are there. An
/// entry counts as lacking if the server answers with an error: its upload will show the cause.
async fn ask(remote: &Arc<Remote>, known: &KnownEntries, ids: Vec<EntryId>) -> Result<Vec<EntryKey>, RemoteError> {
    let (mut present, denials) = (Vec::new(), DenialCounter::default());
    let find = |id: EntryId| {
        let (remote, known) = (Arc::clone(remote), known.clone());
        async move {
            let Some(object) = known.manifest(id.key) else { return Ok(None) };
            for signer in manifest::signers(&object) {
                let name = ManifestName::new(&id.crate_name, id.lookup, id.key, signer);
                for layer in remote.layers.iter().filter(|layer| layer.trust.may_trust(signer)) {
                    let there = match layer.objects.get(&name.object(), MAX_MANIFEST_BYTES).await {
                        Ok(there) => there,
                        // Somebody else wrote it.
                        Err(RemoteError::Size { .. }) => None,
                        Err(error) => return Err(error),
                    };
                    let Some(there) = there else { continue };
                    if PackManifest::decode(&there, &name, &layer.trust).is_ok() {
                        // It may be another one by now, with its pack in another bundle.
                        known.confirm(id.key, &there, false);
                        return Ok::<_, RemoteError>(Some(id.key));
                    }
                }
            }
            Ok(None)
        }
    };
    let mut answers = concurrently(CONCURRENT_REQUESTS, ids, find);
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(found) => {
                denials.record_success();
                present.extend(found);
            }
            Err(error) => {
                denials.record_failure(&error);
                if denials.should_stop() || error.status().is_none() {
                    return Err(error);
                }
            }
        }
    }
    Ok(present)
}
