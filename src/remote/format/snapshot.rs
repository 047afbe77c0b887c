//! Build snapshots on the remote: what a command built in a workspace, with the calls of its units, so that a machine
//! with an empty store can restore the whole build after a pull.
//!
//! Version 1: a signed object, compressed by zstd. The body names its workspace and command, so that kache detects an
//! object that was moved. A snapshot says how to ask for units. Whoever could write one unsigned could let kache ask
//! for a unit in another way than cargo does, so the keys that may sign manifests must sign snapshots, too.

use serde::{Deserialize, Serialize};

use super::refused::Refused;
use super::signature::{SigningKey, Trust};
use super::signed::SignedFormat;
use crate::model::LookupKey;
use crate::store::build_snapshots::{BuildSnapshot, MAX_UNITS, SnapshotName};
use crate::store::calls::CallRecord;

/// Largest object that is read, in bytes. A build of 280 units takes about 100 KB.
pub const MAX_OBJECT_BYTES: u64 = 16 << 20;
const NAME_IN_REFUSALS: &str = "the build snapshot";
const OBJECT: SignedFormat =
    SignedFormat { purpose: "build snapshot v1", version: 1, name_in_refusals: NAME_IN_REFUSALS };

/// A build snapshot, and the calls of its units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotWithCalls {
    /// The snapshot.
    pub snapshot: BuildSnapshot,
    /// The calls, by their lookup keys.
    pub calls: Vec<(LookupKey, CallRecord)>,
}

impl SnapshotWithCalls {
    /// Encodes the bytes of the object, signed if there is a key.
    pub fn encode(&self, signer: Option<&SigningKey>) -> Vec<u8> {
        OBJECT.encode_compressed(self, signer)
    }

    /// Decodes the object of the snapshot `name`, verifies its signatures, and checks that cargo may have written the
    /// names of its units.
    pub fn decode(bytes: &[u8], name: SnapshotName, trust: &Trust) -> Result<Self, Refused> {
        let decoded: Self = OBJECT.decode_compressed(bytes, trust)?;
        if decoded.snapshot.name() != name {
            return Err(Refused::Moved);
        }
        if decoded.snapshot.units.len() > MAX_UNITS || decoded.calls.len() > MAX_UNITS {
            return Err(Refused::TooLarge(NAME_IN_REFUSALS));
        }
        match decoded.snapshot.units.iter().find(|unit| !unit.name.is_plain()) {
            Some(unit) => Err(Refused::bad_name(&unit.name.dir)),
            None => Ok(decoded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cargo::unit_dir::UnitName;
    use crate::model::{Digest, TokenString};
    use crate::store::build_snapshots::BuiltUnit;

    fn object() -> SnapshotWithCalls {
        let name = UnitName { profile: "debug".into(), dir: "a-0123456789abcdef".into(), kind: "lib-a".into() };
        let lookup = LookupKey(Digest::of(b"l"));
        let fingerprint = TokenString::literal("{}");
        let unit = BuiltUnit { name, lookup, fingerprint, hash: 1, printed: None };
        let snapshot = BuildSnapshot {
            workspace: "w".into(),
            command: "build".into(),
            configuration: Digest::of(b""),
            build_dir: TokenString::spelled("{workspace}/target").unwrap(),
            units: vec![unit],
            pulled: false,
        };
        let call = CallRecord {
            argv: vec![TokenString::literal("rustc")],
            cwd: TokenString::spelled("{workspace}").unwrap(),
            variables: vec![("A".into(), None)],
            manifests: Vec::new(),
        };
        SnapshotWithCalls { snapshot, calls: vec![(lookup, call)] }
    }

    #[test]
    fn it_is_read_as_it_was_written_and_only_under_its_name() {
        let (object, bytes) = (object(), object().encode(None));
        let decode = |bytes: &[u8], name| SnapshotWithCalls::decode(bytes, name, &Trust::Anyone);
        assert_eq!(decode(&bytes, object.snapshot.name()), Ok(object.clone()));
        assert_eq!(decode(&bytes, SnapshotName::of("w", "test")), Err(Refused::Moved));
        for at in 0..bytes.len() {
            assert!(decode(&bytes[..at], object.snapshot.name()).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn only_trusted_keys_may_write_one() {
        let (ours, _) = SigningKey::generate().unwrap();
        let (theirs, _) = SigningKey::generate().unwrap();
        let trust = Trust::of_keys([ours.public()]);
        let name = object().snapshot.name();
        let decode = |signer: Option<&SigningKey>| SnapshotWithCalls::decode(&object().encode(signer), name, &trust);
        assert_eq!(decode(Some(&ours)), Ok(object()));
        assert_eq!((decode(None), decode(Some(&theirs))), (Err(Refused::Unsigned), Err(Refused::Untrusted)));
    }

    #[test]
    fn r02_no_name_of_a_unit_leads_out_of_the_build_directory() {
        for dir in ["..", "a/../../b", ""] {
            let mut object = object();
            object.snapshot.units[0].name.dir = dir.into();
            let decoded = SnapshotWithCalls::decode(&object.encode(None), object.snapshot.name(), &Trust::Anyone);
            assert!(matches!(decoded, Err(Refused::BadName(_))), "{dir}: {decoded:?}");
        }
    }
}
