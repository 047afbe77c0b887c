//! Build snapshots on the remote: `push` writes those of a workspace, and `pull` reads them.
//!
//! One object for each command of a workspace, replaced by every push. A snapshot that cannot be read counts as absent;
//! without it, machines restore units one by one.

use std::cmp::Reverse;

use super::build_records::WorkspaceListing;
use super::checkout::Checkout;
use super::remote::Remote;
use super::workspace::Workspace;
use crate::cargo::Fingerprint;
use crate::fsx;
use crate::model::{TokenString, secret};
use crate::remote::format::names;
use crate::remote::format::snapshot::{MAX_OBJECT_BYTES, SnapshotWithCalls};
use crate::remote::s3::error::{RemoteError, Result};
use crate::store::build_snapshots::{BuildSnapshot, BuiltUnit};
use crate::store::calls::CallRecord;
use crate::store::{Store, Withheld};

/// Most snapshots to use for a workspace, newest first.
const MAX_FOUND: usize = 32;
/// Most snapshots to read. Anybody may have written those that are refused.
const MAX_READ: usize = 128;

/// Returns the snapshots of the workspace that were made on this machine, with the calls of their units. What holds a
/// value that looks secret stays here: a unit, for its call or its fingerprint, or the snapshot of a command. So do the
/// units of withheld entries: what a build script made from a secret may be in their calls.
pub fn of_workspace(store: &Store, workspace: &Workspace, withheld: &Withheld) -> fsx::Result<Vec<SnapshotWithCalls>> {
    let mut found = Vec::new();
    for mut snapshot in store.snapshots()?.into_iter().filter(|snapshot| is_ours(snapshot, workspace)) {
        if withheld.value_in(snapshot.command.as_bytes()).is_some() {
            continue;
        }
        let is_withheld = |lookup| {
            let manifest = store.manifest(lookup).ok();
            manifest.is_none_or(|manifest| manifest.records().any(|record| withheld.reason(record.key).is_some()))
        };
        let call = |lookup| {
            let may_leave =
                |call: &CallRecord| !holds_secret(call) && !holds_value(call, withheld) && !is_withheld(lookup);
            store.call(lookup).filter(may_leave)
        };
        let calls: Vec<_> = snapshot.units.iter().filter_map(|unit| Some((unit.lookup, call(unit.lookup)?))).collect();
        let has_call = |unit: &BuiltUnit| calls.iter().any(|(lookup, _)| *lookup == unit.lookup);
        snapshot.units.retain(|unit| {
            let is_found = withheld.value_in(unit.fingerprint.as_str().as_bytes()).is_some();
            has_call(unit) && !is_found && !fingerprint_holds_secret(unit)
        });
        if !snapshot.units.is_empty() {
            found.push(SnapshotWithCalls { snapshot, calls });
        }
    }
    Ok(found)
}

fn is_ours(snapshot: &BuildSnapshot, workspace: &Workspace) -> bool {
    let has_secret = snapshot.command.lines().any(secret::is_secret_word);
    snapshot.workspace == workspace.name && !snapshot.pulled && !has_secret
}

fn fingerprint_holds_secret(unit: &BuiltUnit) -> bool {
    // Any place will do: only its values count.
    let json = unit.fingerprint.expand(|kind| Some(kind.name()));
    let parsed = json.and_then(|json| Fingerprint::parse(&json));
    parsed.is_none_or(|fingerprint| fingerprint.values().any(|(name, value)| secret::is_secret(name, value)))
}

fn holds_secret(call: &CallRecord) -> bool {
    let is_secret = |(name, value): &(String, Option<TokenString>)| {
        value.as_ref().is_some_and(|value| secret::is_secret(name, value.as_str()))
    };
    call.variables.iter().any(is_secret) || call.argv.iter().any(|arg| secret::is_secret("", arg.as_str()))
}

/// Whether a call contains one of the values: what a build script printed may be in a variable of any name.
fn holds_value(call: &CallRecord, withheld: &Withheld) -> bool {
    serde_json::to_vec(call).is_ok_and(|text| withheld.value_in(&text).is_some())
}

/// Reads the snapshots of a listing, the newest first, one of each name. Skips those that are refused.
pub async fn read_all(
    remote: &Remote,
    checkout: &Checkout,
    listing: &WorkspaceListing,
) -> Result<Vec<SnapshotWithCalls>> {
    let mut listed = listing.snapshots.clone();
    listed.sort_by_key(|snapshot| Reverse(snapshot.modified));
    let mut found: Vec<SnapshotWithCalls> = Vec::new();
    for snapshot in listed.iter().take(MAX_READ) {
        if found.len() == MAX_FOUND {
            break;
        }
        if found.iter().any(|known| known.snapshot.name() == snapshot.name) {
            continue;
        }
        let layer = &remote.layers[snapshot.layer];
        let object = names::snapshot(&checkout.workspace, snapshot.name, snapshot.signer);
        let bytes = match layer.objects.get(&object, MAX_OBJECT_BYTES).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) | Err(RemoteError::Size { .. }) => continue,
            Err(error) => return Err(error),
        };
        found.extend(SnapshotWithCalls::decode(&bytes, snapshot.name, &layer.trust));
    }
    Ok(found)
}

/// Puts snapshots with the calls of their units into the store, unless it has one of the same command that was made
/// here. Returns how many there were.
pub fn import(store: &Store, snapshots: &[SnapshotWithCalls]) -> fsx::Result<usize> {
    // One that was made here fits better.
    let is_new = |found: &&SnapshotWithCalls| store.snapshot(found.snapshot.name()).is_none_or(|known| known.pulled);
    let mut count = 0;
    for found in snapshots.iter().filter(is_new) {
        found.calls.iter().try_for_each(|(lookup, call)| store.put_call(*lookup, call))?;
        store.put_snapshot(&BuildSnapshot { pulled: true, ..found.snapshot.clone() })?;
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_with_a_secret_stays_here() {
        let call = |name: &str, value: &str| CallRecord {
            argv: Vec::new(),
            cwd: TokenString::default(),
            variables: vec![(name.into(), Some(TokenString::literal(value))), ("GONE_TOKEN".into(), None)],
            manifests: Vec::new(),
        };
        assert!(holds_secret(&call("API_TOKEN", "x")) && holds_secret(&call("A", "ghp_0123456789")));
        assert!(!holds_secret(&call("OUT_DIR", "{target}/out")));
    }
}
