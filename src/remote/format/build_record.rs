//! Build records: the entries that a command used, in build order, with their manifests, so that a cold machine can
//! fetch all of them without asking for each.
//!
//! Version 2: a signed object, compressed by zstd. A unit holds the signed manifest of its entry as it is on the
//! remote. A record alone never causes an entry to be restored: the signature of each manifest is checked, and its
//! entry. The name contains a digest of the content, so a record is never replaced by another one. Version 1 was not
//! signed, held no manifests, and was replaced by every push.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::manifest::{PackManifest, is_cost};
use super::names::{self, ManifestName, RecordName};
use super::refused::Refused;
use super::signature::{SigningKey, Trust};
use super::signed::SignedFormat;
use super::signer_id::SignerId;
use crate::model::{Digest, EntryId, EntryKey, LookupKey};

/// Largest object that is read, in bytes.
pub const MAX_RECORD_BYTES: u64 = 16 << 20;
/// Most units that a record may list; one with its manifest takes about 3 KB before compression.
pub const MAX_UNITS: usize = 20_000;
/// Longest name of a workspace, branch, triple or profile, in bytes.
const MAX_TEXT_BYTES: usize = 255;
/// Longest command, in bytes.
const MAX_COMMAND_BYTES: usize = 64 << 10;
const NAME_IN_REFUSALS: &str = "the build record";
const OBJECT: SignedFormat =
    SignedFormat { purpose: "build record v2", version: 2, name_in_refusals: NAME_IN_REFUSALS };

/// The entries that builds with one command used.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildRecord {
    /// The workspace: its git remote, its name in `.kache.toml`, or what its content makes.
    pub workspace: String,
    /// The branch that was checked out; empty if that is unknown.
    pub branch: String,
    /// The name of the command ([`crate::cargo::command`]): what is built with which features; empty if it is unknown.
    pub command: String,
    /// Target triple, or `host-<architecture>-<system>`.
    pub triple: String,
    /// Directory name of the profile, such as `debug`.
    pub profile: String,
    /// Digest of `Cargo.lock`; the digest of no bytes if there is none.
    pub lock: Digest,
    /// Commit that was checked out, as 40 or 64 hexadecimal digits, if there was one.
    pub commit: Option<String>,
    /// When the record was written, in milliseconds since 1970.
    pub created: i64,
    /// Entries in build order.
    pub units: Vec<BuildUnit>,
}

/// One entry that a build used.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildUnit {
    /// Crate name, which is part of the object names of the entry.
    #[serde(rename = "crate")]
    pub crate_name: String,
    /// Lookup key of the entry.
    pub lookup: LookupKey,
    /// Key of the entry.
    pub key: EntryKey,
    /// Size of the outputs in bytes; 0 if the writer no longer had the entry.
    pub bytes: u64,
    /// Duration of the compile in milliseconds; 0 if the writer no longer had the entry.
    pub cost_ms: f64,
    /// The signed manifest of the entry. `None`: the reader has to request it.
    pub manifest: Option<EmbeddedManifest>,
}

/// The bytes of a manifest object, which are JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EmbeddedManifest(Box<RawValue>);

impl PartialEq for EmbeddedManifest {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl EmbeddedManifest {
    /// Takes the bytes of a manifest object. `None`: they are not JSON.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().map(Self)
    }

    /// The bytes of the object.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.get().as_bytes()
    }
}

impl BuildUnit {
    /// Which entry it is.
    pub fn id(&self) -> EntryId {
        EntryId { crate_name: self.crate_name.clone(), lookup: self.lookup, key: self.key }
    }

    /// Decodes the manifest that the record contains. `None`: it contains none.
    pub fn decode_manifest(&self, trust: &Trust) -> Option<Result<PackManifest, Refused>> {
        let name = ManifestName::new(&self.crate_name, self.lookup, self.key, SignerId::NONE);
        self.manifest.as_ref().map(|manifest| PackManifest::decode(manifest.as_bytes(), &name, trust))
    }
}

impl BuildRecord {
    /// The name under which this signer stores the record. Equal units with equal manifests make equal names,
    /// whenever they were written.
    pub fn name(&self, signer: SignerId) -> RecordName {
        let units: Vec<_> = self.units.iter().map(|unit| (unit.key, &unit.manifest)).collect();
        let content = (&self.workspace, &self.branch, &self.command, &self.lock, &self.commit, units);
        RecordName {
            branch: names::branch_part(&self.branch),
            shape: names::shape_part(&self.triple, &self.profile),
            command: names::command_part(&self.command),
            lock: names::short_lock(self.lock),
            commit: names::commit_part(self.commit.as_deref()),
            signer,
            digest: names::record_digest(Digest::of(&serde_json::to_vec(&content).unwrap_or_default())),
        }
    }

    /// Drops the largest manifests until readers accept the object, if it holds more than they do. They request these
    /// manifests by name.
    pub fn fit(&mut self, limit: u64) {
        let bytes = |unit: &BuildUnit| unit.manifest.as_ref().map_or(0, |manifest| manifest.as_bytes().len());
        while self.units.iter().map(bytes).sum::<usize>() as u64 > limit && self.encode(None).len() as u64 > limit {
            let mut sizes: Vec<usize> = self.units.iter().map(bytes).filter(|size| *size > 0).collect();
            sizes.sort_unstable();
            // A quarter at a time: each look compresses everything.
            let Some(largest) = sizes.get(sizes.len() * 3 / 4).copied() else { return };
            self.units.iter_mut().filter(|unit| bytes(unit) >= largest).for_each(|unit| unit.manifest = None);
        }
    }

    /// Encodes the bytes of the object, signed if there is a key.
    pub fn encode(&self, signer: Option<&SigningKey>) -> Vec<u8> {
        OBJECT.encode_compressed(self, signer)
    }

    /// Decodes the object of the record `name`, verifies its signatures, and checks it with [`BuildRecord::check`].
    pub fn decode(bytes: &[u8], name: &RecordName, trust: &Trust) -> Result<Self, Refused> {
        if bytes.len() as u64 > MAX_RECORD_BYTES {
            return Err(Refused::TooLarge(NAME_IN_REFUSALS));
        }
        let record: Self = OBJECT.decode_compressed(bytes, trust)?;
        record.check()?;
        if record.name(name.signer) == *name { Ok(record) } else { Err(Refused::Moved) }
    }

    /// Checks the names, limits and numbers, as every reader does.
    pub fn check(&self) -> Result<(), Refused> {
        let is_text = |text: &String| text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control);
        for text in [&self.workspace, &self.triple, &self.profile] {
            if text.is_empty() || !is_text(text) {
                return Err(Refused::bad_name(text));
            }
        }
        if !is_text(&self.branch) {
            return Err(Refused::bad_name(&self.branch));
        }
        if self.created < 0 || !self.commit.as_deref().is_none_or(is_commit) {
            return Err(Refused::Malformed(NAME_IN_REFUSALS));
        }
        if self.units.len() > MAX_UNITS || self.command.len() > MAX_COMMAND_BYTES {
            return Err(Refused::TooLarge(NAME_IN_REFUSALS));
        }
        for unit in &self.units {
            if !names::is_crate_name(&unit.crate_name) {
                return Err(Refused::bad_name(&unit.crate_name));
            }
            if !is_cost(unit.cost_ms) {
                return Err(Refused::Malformed(NAME_IN_REFUSALS));
            }
        }
        Ok(())
    }
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::manifest::tests::manifest;
    use super::*;

    pub(crate) fn record() -> BuildRecord {
        let manifest = manifest();
        let unit = |name: &str, embedded| BuildUnit {
            crate_name: name.into(),
            lookup: manifest.lookup,
            key: manifest.key,
            bytes: 10,
            cost_ms: 2.5,
            manifest: embedded,
        };
        BuildRecord {
            workspace: "w".into(),
            branch: "feature/x".into(),
            command: "build\n--release".into(),
            triple: "host".into(),
            profile: "dev".into(),
            lock: Digest::of(b"lock"),
            commit: Some("ab".repeat(20)),
            created: 1,
            units: vec![unit("b", None), unit("a", EmbeddedManifest::new(&manifest.encode(None)))],
        }
    }

    fn decode(record: &BuildRecord) -> Result<BuildRecord, Refused> {
        BuildRecord::decode(&record.encode(None), &record.name(SignerId::NONE), &Trust::Anyone)
    }

    #[test]
    fn records_round_trip_with_their_manifests() {
        let record = record();
        let decoded = decode(&record).unwrap();
        assert_eq!(decoded, record);
        assert_eq!(decoded.units[1].decode_manifest(&Trust::Anyone), Some(Ok(manifest())));
        assert_eq!(decoded.units[0].decode_manifest(&Trust::Anyone), None);
        let nameless = BuildRecord { commit: None, branch: String::new(), ..record };
        assert_eq!(decode(&nameless), Ok(nameless));
    }

    #[test]
    fn a_record_that_is_too_large_loses_its_largest_manifests() {
        let mut record = record();
        let large = |bytes: usize| EmbeddedManifest::new(&serde_json::to_vec(&(0..bytes).collect::<Vec<_>>()).unwrap());
        record.units =
            [9000, 10, 20, 30].map(|bytes| BuildUnit { manifest: large(bytes), ..record.units[0].clone() }).into();
        let whole = record.clone();
        record.fit(whole.encode(None).len() as u64);
        assert_eq!(record, whole, "control: it fits");
        record.fit(2000);
        let left: Vec<_> = record.units.iter().map(|unit| unit.manifest.is_some()).collect();
        assert_eq!(left, [false, true, true, true]);
    }

    #[test]
    fn equal_units_make_equal_names_and_others_do_not() {
        let (one, mut other) = (record(), record());
        other.created = 7;
        assert_eq!(one.name(SignerId::NONE), other.name(SignerId::NONE));
        other.units[0].key = EntryKey(Digest::of(b"other"));
        assert_ne!(one.name(SignerId::NONE), other.name(SignerId::NONE));
        let bytes = other.encode(None);
        let moved = BuildRecord::decode(&bytes, &one.name(SignerId::NONE), &Trust::Anyone);
        assert_eq!(moved, Err(Refused::Moved), "a record under the name of another one");
    }

    #[test]
    fn only_trusted_keys_may_write_one_and_their_records_hold_manifests_of_trusted_keys() {
        let (ours, _) = SigningKey::generate().unwrap();
        let (theirs, _) = SigningKey::generate().unwrap();
        let trust = Trust::of_keys([ours.public()]);
        let record = record();
        let decode = |signer: Option<&SigningKey>| {
            let id = signer.map_or(SignerId::NONE, SigningKey::id);
            BuildRecord::decode(&record.encode(signer), &record.name(id), &trust)
        };
        assert_eq!((decode(None), decode(Some(&theirs))), (Err(Refused::Unsigned), Err(Refused::Untrusted)));
        let decoded = decode(Some(&ours)).unwrap();
        assert_eq!(decoded.units[1].decode_manifest(&trust), Some(Err(Refused::Unsigned)));
    }

    #[test]
    fn r11_a_record_that_makes_no_sense_is_refused() {
        let with = |change: &dyn Fn(&mut BuildRecord)| {
            let mut record = record();
            change(&mut record);
            decode(&record).unwrap_err().id()
        };
        assert_eq!(with(&|r| r.units[1].crate_name = "../x".into()), "bad-name");
        assert_eq!(with(&|r| r.workspace = String::new()), "bad-name");
        assert_eq!(with(&|r| r.branch = "a\nb".into()), "bad-name");
        assert_eq!(with(&|r| r.profile = "a\nb".into()), "bad-name");
        assert_eq!(with(&|r| r.commit = Some("HEAD".into())), "malformed");
        assert_eq!(with(&|r| r.units[0].cost_ms = -1.0), "malformed");
        assert_eq!(with(&|r| r.created = -1), "malformed");
        assert_eq!(with(&|r| r.units = vec![r.units[0].clone(); MAX_UNITS + 1]), "too-large");
    }

    #[test]
    fn a_record_of_many_units_can_be_read() {
        let mut full = record();
        full.units = vec![full.units[1].clone(); MAX_UNITS];
        assert!(decode(&full).is_ok());
    }
}
