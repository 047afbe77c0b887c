//! Pack manifests: one small object on the remote per entry, written last. An entry is on the remote if, and only if,
//! its manifest is.
//!
//! Version 2: `{"v":2,"body":{...},"signatures":[{"key":...,"signature":...}]}`. The signed bytes are those of `body`,
//! exactly as stored. The body names its lookup key, key and crate, so that kache detects a manifest that was moved. It
//! lists the inputs, which determine the key together with the lookup key, and holds the digests of the pack,
//! compressed and not, and of every file in it. Unknown fields are refused, since a later version would not be version
//! 2. Version 1 had neither bundles nor the digest of the archive.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::limits::{
    MAX_BUNDLE_BYTES, MAX_FILE_NAME_BYTES, MAX_FILES, MAX_FILES_BYTES, MAX_META_BYTES, MAX_PACK_BYTES, META,
};
use super::names::{self, ManifestName};
use super::refused::Refused;
use super::signature::{SigningKey, Trust};
use super::signed::SignedFormat;
use super::signer_id::SignerId;
use crate::model::{Digest, EntryKey, Input, InputSet, LookupKey};
use crate::store::entries::is_file_name;

/// Largest manifest that is read, in bytes. A thousand inputs take about 150 KB.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// Name of the manifest in refusals.
const NAME_IN_REFUSALS: &str = "the manifest";
const OBJECT: SignedFormat = SignedFormat { purpose: "manifest v2", version: 2, name_in_refusals: NAME_IN_REFUSALS };

/// Digest and size of a pack, or of the archive in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackRef {
    /// Digest of the bytes.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
}

/// A bundle, which is several small packs in a row, and the place of one of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleRef {
    /// Digest of the bundle.
    pub digest: Digest,
    /// Size of the bundle in bytes.
    pub size: u64,
    /// Where the pack begins in it.
    pub offset: u64,
}

/// One file in the pack.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRef {
    /// File name: one normal path component.
    pub name: String,
    /// Digest of the bytes.
    pub digest: Digest,
    /// Size in bytes, uncompressed.
    pub size: u64,
}

/// Describes the pack of one entry on the remote.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackManifest {
    /// Lookup key that the entry is found under.
    pub lookup: LookupKey,
    /// Key of the entry.
    pub key: EntryKey,
    /// Crate name, which is part of the object names of the entry.
    pub crate_name: String,
    /// Package name and version.
    pub package: String,
    /// Crate types joined by commas, `test`, or `run` for a run of a build script.
    pub kind: String,
    /// `link`, `metadata`, or `run` for a run of a build script.
    pub emit: String,
    /// When the entry was made, in milliseconds since 1970.
    pub created: i64,
    /// Duration of the compile in milliseconds.
    pub cost_ms: f64,
    /// Digest and size of the pack, compressed.
    pub pack: PackRef,
    /// Digest and size of the archive in the pack, which is its content without compression.
    pub archive: PackRef,
    /// The bundle that contains the pack. `None`: the pack is a separate object.
    pub bundle: Option<BundleRef>,
    /// `meta.json` in the pack, which holds the entry.
    pub meta: FileRef,
    /// The outputs in the pack, in the order of the entry.
    pub files: Vec<FileRef>,
    /// The inputs of the compile. With the lookup key they determine the key.
    pub inputs: Vec<Input>,
}

impl PackManifest {
    /// Encodes the bytes of the object, signed if there is a key.
    pub fn encode(&self, signer: Option<&SigningKey>) -> Vec<u8> {
        OBJECT.encode(self, signer)
    }

    /// Decodes the object called `name`, verifies its signatures, and checks the manifest with [`PackManifest::check`].
    /// The signer in the name is a hint only.
    pub fn decode(bytes: &[u8], name: &ManifestName, trust: &Trust) -> Result<Self, Refused> {
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(Refused::TooLarge(NAME_IN_REFUSALS));
        }
        let manifest: Self = OBJECT.decode(bytes, trust)?;
        if ManifestName::new(&manifest.crate_name, manifest.lookup, manifest.key, name.signer) != *name {
            return Err(Refused::Moved);
        }
        manifest.check()?;
        Ok(manifest)
    }

    /// Checks that the manifest is sound: names, limits, and that its inputs result in its key.
    pub fn check(&self) -> Result<(), Refused> {
        if !names::is_crate_name(&self.crate_name) {
            return Err(Refused::bad_name(&self.crate_name));
        }
        for text in [&self.package, &self.kind, &self.emit] {
            if text.len() > 512 || text.chars().any(char::is_control) {
                return Err(Refused::bad_name(text));
            }
        }
        if !is_cost(self.cost_ms) || self.created < 0 || self.meta.name != META || self.meta.size == 0 {
            return Err(Refused::Malformed(NAME_IN_REFUSALS));
        }
        let total = self.files.iter().try_fold(self.meta.size, |sum, file| sum.checked_add(file.size));
        if self.files.len() > MAX_FILES
            || self.meta.size > MAX_META_BYTES
            || total.is_none_or(|total| total > MAX_FILES_BYTES)
            || self.pack.size > MAX_PACK_BYTES
        {
            return Err(Refused::TooLarge("the pack"));
        }
        self.check_bundle()?;
        let mut seen = HashSet::from([META]);
        for file in &self.files {
            check_name(&file.name)?;
            if !seen.insert(&file.name) {
                return Err(Refused::duplicate(&file.name));
            }
        }
        let set = InputSet { inputs: self.inputs.clone() };
        if set.entry_key(self.lookup) == self.key { Ok(()) } else { Err(Refused::Inputs) }
    }

    fn check_bundle(&self) -> Result<(), Refused> {
        let Some(bundle) = self.bundle else { return Ok(()) };
        let end = bundle.offset.checked_add(self.pack.size);
        match end.is_some_and(|end| end <= bundle.size) && bundle.size <= MAX_BUNDLE_BYTES {
            true => Ok(()),
            false => Err(Refused::TooLarge("the bundle")),
        }
    }
}

/// The ids of the keys that claim to have signed a manifest object: of nobody, if it has no signature.
pub fn signers(object: &[u8]) -> Vec<SignerId> {
    let ids = SignedFormat::signers(object);
    if ids.is_empty() { vec![SignerId::NONE] } else { ids }
}

/// Whether a compile can have taken this many milliseconds.
pub(super) fn is_cost(ms: f64) -> bool {
    ms.is_finite() && ms >= 0.0
}

/// Checks that a pack, and also a directory, can hold a file of this name.
pub(super) fn check_name(name: &str) -> Result<(), Refused> {
    // A tar header ends a name at the first zero byte; a backslash separates directories on other systems.
    let is_plain = !name.chars().any(|c| c.is_control() || c == '\\') && name.len() <= MAX_FILE_NAME_BYTES;
    if is_plain && is_file_name(name) { Ok(()) } else { Err(Refused::bad_name(name)) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn manifest() -> PackManifest {
        let lookup = LookupKey(Digest::of(b"l"));
        let inputs = vec![Input::Env("A".into(), None)];
        let file = |name: &str, bytes: &[u8]| FileRef {
            name: name.into(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
        };
        PackManifest {
            lookup,
            key: InputSet { inputs: inputs.clone() }.entry_key(lookup),
            crate_name: "a".into(),
            package: "a 1.0.0".into(),
            kind: "lib".into(),
            emit: "link".into(),
            created: 7,
            cost_ms: 1.5,
            pack: PackRef { digest: Digest::of(b"pack"), size: 4 },
            archive: PackRef { digest: Digest::of(b"archive"), size: 7 },
            bundle: None,
            meta: file(META, b"{}"),
            files: vec![file("liba.rlib", b"rlib"), file("liba.rmeta", b"")],
            inputs,
        }
    }

    fn name_of(manifest: &PackManifest) -> ManifestName {
        ManifestName::new(&manifest.crate_name, manifest.lookup, manifest.key, SignerId::NONE)
    }

    #[test]
    fn manifests_round_trip_signed_and_unsigned() {
        let (key, _) = SigningKey::generate().unwrap();
        let manifest = manifest();
        let trust = Trust::of_keys([key.public()]);
        let signed = manifest.encode(Some(&key));
        assert_eq!(PackManifest::decode(&signed, &name_of(&manifest), &trust).unwrap(), manifest);
        assert_eq!(PackManifest::decode(&signed, &name_of(&manifest), &Trust::Anyone).unwrap(), manifest);
        let plain = manifest.encode(None);
        assert_eq!(PackManifest::decode(&plain, &name_of(&manifest), &Trust::Anyone).unwrap(), manifest);
        assert_eq!(PackManifest::decode(&plain, &name_of(&manifest), &trust), Err(Refused::Unsigned));
    }

    #[test]
    fn r01_no_byte_of_a_signed_manifest_can_be_changed() {
        let (key, _) = SigningKey::generate().unwrap();
        let manifest = manifest();
        let trust = Trust::of_keys([key.public()]);
        let signed = manifest.encode(Some(&key));
        for at_byte in 0..signed.len() {
            let mut changed = signed.clone();
            changed[at_byte] ^= 1;
            let decoded = PackManifest::decode(&changed, &name_of(&manifest), &trust);
            assert!(decoded.is_err(), "byte {at_byte}: {}", String::from_utf8_lossy(&changed));
        }
    }

    #[test]
    fn r11_inputs_that_do_not_make_the_key_are_refused() {
        let mut tampered = manifest();
        tampered.inputs.push(Input::Env("B".into(), None));
        assert_eq!(tampered.check(), Err(Refused::Inputs));
        assert_eq!(manifest().check(), Ok(()));
    }

    #[test]
    fn r11_a_pack_lies_inside_its_bundle() {
        let in_bundle = |offset, size| {
            let bundle = Some(BundleRef { digest: Digest::of(b"b"), size, offset });
            PackManifest { bundle, ..manifest() }.check()
        };
        assert_eq!((in_bundle(0, 4), in_bundle(6, 10)), (Ok(()), Ok(())));
        for (offset, size) in [(7, 10), (u64::MAX, 10), (0, MAX_BUNDLE_BYTES + 1)] {
            assert_eq!(in_bundle(offset, size), Err(Refused::TooLarge("the bundle")), "{offset} {size}");
        }
    }

    #[test]
    fn a_moved_manifest_is_refused() {
        let manifest = manifest();
        let bytes = manifest.encode(None);
        let name = name_of(&manifest);
        let other = Digest::of(b"other");
        for elsewhere in [
            ManifestName { crate_part: "b".into(), ..name.clone() },
            ManifestName { lookup: LookupKey(other), ..name.clone() },
            ManifestName { key: EntryKey(other), ..name },
        ] {
            assert_eq!(PackManifest::decode(&bytes, &elsewhere, &Trust::Anyone), Err(Refused::Moved));
        }
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let name = name_of(&manifest());
        let decode = |bytes: &[u8]| PackManifest::decode(bytes, &name, &Trust::Anyone).unwrap_err();
        let deep = "[".repeat(100_000);
        assert_eq!(decode(deep.as_bytes()), Refused::Malformed(NAME_IN_REFUSALS));
        assert_eq!(decode(format!("{{\"v\":2,\"body\":{deep}").as_bytes()), Refused::Malformed(NAME_IN_REFUSALS));
        let closed = format!("{{\"v\":2,\"body\":{{\"inputs\":{deep}{}}},\"signatures\":[]}}", "]".repeat(100_000));
        assert_eq!(decode(closed.as_bytes()), Refused::Malformed(NAME_IN_REFUSALS));
        assert_eq!(decode(&vec![b' '; 5 << 20]), Refused::TooLarge(NAME_IN_REFUSALS));
    }
}
