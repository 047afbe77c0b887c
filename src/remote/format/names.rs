//! Object names, version 2, relative to the root of an object store:
//!
//! ```text
//! v2/manifests/{crate}/{lookup key}/{key}.{signer}
//! v2/packs/{crate}/{key}.{digest}.tar.zst
//! v2/bundles/{digest}.tar.zst
//! v2/builds/{workspace}/{branch}.{shape}.{command}.{lock}.{commit}.{signer}.{digest}.record.zst
//! v2/builds/{workspace}/{name}.{signer}.snapshot.zst
//! v2/builds/{workspace}/index.json
//! v2/revoked/{signer}.json
//! v2/probe/{id}
//! ```
//!
//! Version 2 adds the signer to the names of signed objects, so that an object of one signer neither hides nor replaces
//! that of another, and the digest of the content to those of packs, bundles and records, which are therefore never
//! replaced by others. Version 1 had neither.
//!
//! Keys, digests and names of snapshots are spelled as 43 characters of unpadded base64url, shorter digests (signers,
//! shapes, commands) as 8, that of a record as 16. A part that is empty, too long, or contains other characters than
//! names may is changed: it is cut, other characters become `_`, and `~` and 8 characters of its digest follow. So
//! every name stays below [`MAX_OBJECT_NAME_BYTES`]: some servers refuse longer ones. Names come back from listings,
//! which anybody may have written: kache ignores a name that is not spelled exactly like this.

use super::name_parts::{
    MARK_CHARS, PartSpelling, SHORT_HEX_DIGITS, decode_digest, encode_digest, is_base64, is_hex, short_digest,
};
use super::signer_id::SignerId;
use crate::model::{Digest, EntryKey, LookupKey};
use crate::store::build_snapshots::SnapshotName;

/// All names are shorter than this many bytes; with a prefix of up to 16, below 156, the limit of some servers.
pub const MAX_OBJECT_NAME_BYTES: usize = 139;

/// What all names begin with.
const ROOT: &str = "v2/";
/// Names of crates and workspaces: at most 24 bytes.
const NAME_PART: PartSpelling = PartSpelling { max_bytes: 24 };
/// Names of branches: at most 16 bytes.
const BRANCH_PART: PartSpelling = PartSpelling { max_bytes: 16 };
/// Characters of the digest in the name of a record.
const RECORD_DIGEST_CHARS: usize = 16;
/// Replaces the commit if there is none.
const NO_COMMIT: &str = "none";

/// The name of a manifest, as its parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ManifestName {
    /// Crate name, as object names spell it.
    pub crate_part: String,
    /// Lookup key of the entry.
    pub lookup: LookupKey,
    /// Key of the entry.
    pub key: EntryKey,
    /// Who signed it.
    pub signer: SignerId,
}

/// The name of a build record, as its parts. Only a record with another content has another name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordName {
    /// The branch, as object names spell it.
    pub branch: String,
    /// What was built for, as [`shape_part`] spells it.
    pub shape: String,
    /// The command, as [`command_part`] spells it.
    pub command: String,
    /// First 12 digits of the digest of `Cargo.lock`.
    pub lock: String,
    /// First 12 digits of the commit, or `none`.
    pub commit: String,
    /// Who signed it.
    pub signer: SignerId,
    /// Characters of the digest of its content.
    pub digest: String,
}

/// An object below the prefix of a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkspaceObject {
    /// A build record.
    Record(RecordName),
    /// A build snapshot, and who signed it.
    Snapshot(SnapshotName, SignerId),
}

impl ManifestName {
    /// Creates the name of the manifest of an entry of this crate.
    pub fn new(crate_name: &str, lookup: LookupKey, key: EntryKey, signer: SignerId) -> Self {
        Self { crate_part: crate_part(crate_name), lookup, key, signer }
    }

    /// Object name of the manifest.
    pub fn object(&self) -> String {
        let (lookup, key) = (encode_digest(self.lookup.0), encode_digest(self.key.0));
        format!("{ROOT}manifests/{}/{lookup}/{key}.{}", self.crate_part, self.signer)
    }

    /// Parses the object name of a manifest. `None`: it is not one, or not spelled as kache spells it.
    pub fn parse(object: &str) -> Option<Self> {
        let mut parts = object.strip_prefix(ROOT)?.strip_prefix("manifests/")?.split('/');
        let (crate_part, lookup, last) = (parts.next()?, parts.next()?, parts.next()?);
        let is_whole = parts.next().is_none() && NAME_PART.is_valid(crate_part);
        let (key, signer) = last.split_once('.')?;
        let (lookup, key) = (LookupKey(decode_digest(lookup)?), EntryKey(decode_digest(key)?));
        let signer = signer.parse().ok()?;
        is_whole.then(|| Self { crate_part: crate_part.to_owned(), lookup, key, signer })
    }
}

impl RecordName {
    /// Object name of the record in this workspace.
    pub fn object(&self, workspace: &str) -> String {
        let Self { branch, shape, command, lock, commit, signer, digest } = self;
        format!(
            "{}{branch}.{shape}.{command}.{lock}.{commit}.{signer}.{digest}.record.zst",
            workspace_prefix(workspace)
        )
    }

    fn parse(stem: &str) -> Option<Self> {
        let mut parts = stem.split('.');
        let mut next = || parts.next().map(str::to_owned);
        let (branch, shape, command) = (next()?, next()?, next()?);
        let (lock, commit, signer, digest) = (next()?, next()?, next()?, next()?);
        let is_valid = BRANCH_PART.is_valid(&branch)
            && is_base64(&shape, MARK_CHARS)
            && is_base64(&command, MARK_CHARS)
            && is_hex(&lock)
            && (commit == NO_COMMIT || is_hex(&commit))
            && is_base64(&digest, RECORD_DIGEST_CHARS)
            && parts.next().is_none();
        let signer = signer.parse().ok()?;
        is_valid.then_some(Self { branch, shape, command, lock, commit, signer, digest })
    }
}

impl WorkspaceObject {
    /// Parses the name of an object of `workspace`. `None`: it is neither a record nor a snapshot, or not spelled as
    /// kache spells it.
    pub fn parse(workspace: &str, object: &str) -> Option<Self> {
        Self::parse_any(object).filter(|(part, _)| *part == workspace_part(workspace)).map(|(_, parsed)| parsed)
    }

    /// Parses the name of an object of any workspace, and returns the workspace as object names spell it.
    pub fn parse_any(object: &str) -> Option<(&str, Self)> {
        let (part, name) = object.strip_prefix(ROOT)?.strip_prefix("builds/")?.split_once('/')?;
        Some((Some(part).filter(|part| NAME_PART.is_valid(part))?, Self::parse_last(name)?))
    }

    fn parse_last(name: &str) -> Option<Self> {
        if let Some(stem) = name.strip_suffix(".record.zst") {
            return RecordName::parse(stem).map(Self::Record);
        }
        let (name, signer) = name.strip_suffix(".snapshot.zst")?.split_once('.')?;
        Some(Self::Snapshot(SnapshotName(decode_digest(name)?), signer.parse().ok()?))
    }
}

/// Common prefix of the names of all manifests.
pub fn all_manifests() -> String {
    format!("{ROOT}manifests/")
}

/// Common prefix of the names of a crate's manifests.
pub fn manifests_of(crate_name: &str) -> String {
    format!("{ROOT}manifests/{}/", crate_part(crate_name))
}

/// Common prefix of the names of the manifests under a lookup key.
pub fn manifests_under(crate_name: &str, lookup: LookupKey) -> String {
    format!("{}{}/", manifests_of(crate_name), encode_digest(lookup.0))
}

/// Name of the pack with these bytes (`digest`). An entry may have several packs; a manifest describes one of them.
pub fn pack(crate_name: &str, key: EntryKey, digest: Digest) -> String {
    let (crate_part, key, digest) = (crate_part(crate_name), encode_digest(key.0), encode_digest(digest));
    format!("{ROOT}packs/{crate_part}/{key}.{digest}.tar.zst")
}

/// Common prefix of the names of all packs.
pub fn all_packs() -> String {
    format!("{ROOT}packs/")
}

/// Name of the bundle of small packs with these bytes.
pub fn bundle(digest: Digest) -> String {
    format!("{ROOT}bundles/{}.tar.zst", encode_digest(digest))
}

/// Common prefix of the names of all bundles.
pub fn all_bundles() -> String {
    format!("{ROOT}bundles/")
}

/// Common prefix of the names of the records and snapshots of a workspace.
pub fn workspace_prefix(workspace: &str) -> String {
    format!("{ROOT}builds/{}/", NAME_PART.spell(workspace))
}

/// Common prefix of the names of the records and snapshots of all workspaces.
pub fn all_workspaces() -> String {
    format!("{ROOT}builds/")
}

/// Name of a build snapshot of a workspace.
pub fn snapshot(workspace: &str, name: SnapshotName, signer: SignerId) -> String {
    format!("{}{}.{signer}.snapshot.zst", workspace_prefix(workspace), encode_digest(name.0))
}

/// Common prefix of the names of the lists of revoked keys.
pub fn revocations() -> String {
    format!("{ROOT}revoked/")
}

/// Name of the list of the keys that this signer revokes.
pub fn revocation(signer: SignerId) -> String {
    format!("{}{signer}.json", revocations())
}

/// Parses the name of a list of revoked keys, and returns its signer. `None`: it is none, or not spelled as kache
/// spells it.
pub fn parse_revocation(object: &str) -> Option<SignerId> {
    object.strip_prefix(&revocations())?.strip_suffix(".json")?.parse().ok()
}

/// Name of the object that `doctor` tests the remote with. `id`: letters and digits.
pub fn probe(id: &str) -> String {
    format!("{ROOT}probe/{id}")
}

/// Whether this can be the name of a crate: at most 255 bytes, and only `-` and the characters that rustc accepts in
/// `--crate-name`.
pub fn is_crate_name(name: &str) -> bool {
    (1..=255).contains(&name.len()) && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
}

/// Spells a crate name for object names.
pub fn crate_part(crate_name: &str) -> String {
    NAME_PART.spell(crate_name)
}

/// Spells a workspace for object names.
pub fn workspace_part(workspace: &str) -> String {
    NAME_PART.spell(workspace)
}

/// Spells a branch for object names.
pub fn branch_part(branch: &str) -> String {
    BRANCH_PART.spell(branch)
}

/// Spells what was built for (`<triple or host>/<directory of the profile>`) for the name of a build record.
pub fn shape_part(triple: &str, profile: &str) -> String {
    short_digest(format!("{triple}\0{profile}").as_bytes())
}

/// Spells a command for the name of a build record.
pub fn command_part(command: &str) -> String {
    short_digest(command.as_bytes())
}

/// Spells the digest of a record's content for its name.
pub(super) fn record_digest(digest: Digest) -> String {
    let mut spelled = encode_digest(digest);
    spelled.truncate(RECORD_DIGEST_CHARS);
    spelled
}

/// Spells the digest of `Cargo.lock` for the name of a build record.
pub fn short_lock(lock: Digest) -> String {
    lock.hex()[..SHORT_HEX_DIGITS].to_owned()
}

/// Spells a commit for the name of a build record. `None`: not hexadecimal, or too short.
pub fn short_commit(commit: &str) -> Option<String> {
    let short = commit.get(..SHORT_HEX_DIGITS)?.to_ascii_lowercase();
    is_hex(&short).then_some(short)
}

/// Spells a commit, or that there is none, for the name of a build record.
pub fn commit_part(commit: Option<&str>) -> String {
    commit.and_then(short_commit).unwrap_or_else(|| NO_COMMIT.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG_NAME: &str = "a_crate_with_a_name_that_goes_on_and_on";

    fn manifest(crate_name: &str) -> ManifestName {
        let (lookup, key) = (LookupKey(Digest::of(b"l")), EntryKey(Digest::of(b"k")));
        ManifestName::new(crate_name, lookup, key, SignerId::NONE)
    }

    fn record(branch: &str, commit: Option<&str>) -> RecordName {
        RecordName {
            branch: branch_part(branch),
            shape: shape_part("host", "debug"),
            command: command_part("build --release"),
            lock: short_lock(Digest::of(b"lock")),
            commit: commit_part(commit),
            signer: SignerId::NONE,
            digest: record_digest(Digest::of(b"content")),
        }
    }

    #[test]
    fn names_stay_short_and_tell_things_apart() {
        for name in ["serde", LONG_NAME, "größe", &"x".repeat(255)] {
            let at = manifest(name);
            let snapshot = snapshot(name, SnapshotName(at.key.0), SignerId::NONE);
            let pack = pack(name, at.key, at.lookup.0);
            let record = record(name, Some(&"ab".repeat(20))).object(name);
            for object in [at.object(), pack, bundle(at.key.0), record, snapshot] {
                assert!(object.len() < MAX_OBJECT_NAME_BYTES && object.is_ascii(), "{} {object}", object.len());
            }
        }
        assert_ne!(crate_part(LONG_NAME), crate_part(&format!("{LONG_NAME}_")));
        assert_ne!(crate_part("größe"), crate_part("gröse"));
        assert_ne!(branch_part("feature/one"), branch_part("feature/two"));
        assert_eq!((crate_part("serde_json").as_str(), branch_part("main").as_str()), ("serde_json", "main"));
        assert_eq!(crate_part(LONG_NAME).len(), 24);
    }

    #[test]
    fn names_round_trip() {
        for crate_name in ["serde", LONG_NAME, "größe", "b"] {
            let at = manifest(crate_name);
            let object = at.object();
            assert_eq!(ManifestName::parse(&object), Some(at.clone()));
            assert!(object.starts_with(&manifests_under(crate_name, at.lookup)));
            assert!(object.starts_with(&manifests_of(crate_name)) && object.starts_with(&all_manifests()));
        }
        for name in [record("main", Some(&"AB".repeat(20))), record("fix/ä", None), record("x", Some("not hex"))] {
            let parsed = WorkspaceObject::parse("w s", &name.object("w s"));
            assert_eq!(parsed, Some(WorkspaceObject::Record(name.clone())));
            assert_eq!(WorkspaceObject::parse("other", &name.object("w s")), None);
        }
        let of = SnapshotName(Digest::of(b"s"));
        let parsed = WorkspaceObject::parse("w", &snapshot("w", of, SignerId::NONE));
        assert_eq!(parsed, Some(WorkspaceObject::Snapshot(of, SignerId::NONE)));
        assert_eq!(WorkspaceObject::parse("w", &(workspace_prefix("w") + "index.json")), None);
        assert_eq!(parse_revocation(&revocation(SignerId::NONE)), Some(SignerId::NONE));
        assert_eq!(parse_revocation(&format!("{}some name.json", revocations())), None);
    }

    #[test]
    fn r02_names_that_are_spelled_otherwise_are_not_ours() {
        let at = manifest("serde");
        let good = at.object();
        let spelled = encode_digest(at.key.0);
        // The last of the 43 characters has two spare bits.
        let alias = good.replace(&spelled, &format!("{}{}", &spelled[..42], char::from(spelled.as_bytes()[42] + 1)));
        for bad in [
            format!("p/{good}"),
            good.replace("serde", ".."),
            good.replace("serde", ""),
            good.replace("serde", "a.b"),
            good.replace("serde", "a~short"),
            good.replace("serde", "a~b~12345678"),
            good.replace("serde", &"x".repeat(25)),
            good.replace("serde", "x/y"),
            good.replace(".unsigned", ""),
            good.replace(".unsigned", ".short"),
            good.replace(&spelled, "../../etc/passwd"),
            good.replace(&spelled, &at.key.0.hex()),
            good.replace(&spelled, &format!("{spelled}=")),
            good.replace("v2", "v1"),
            format!("{good}/"),
            alias,
            String::new(),
        ] {
            assert_eq!(ManifestName::parse(&bad), None, "{bad}");
        }
        let good = record("main", None).object("w");
        assert!(WorkspaceObject::parse("w", &good).is_some(), "control");
        for bad in [
            good.replace("none", "None"),
            good.replace("none", "abc"),
            good.replace("main", "ma/in"),
            good.replace("main.", ""),
            good.replace("main", ""),
            good.replace(".record", ".x.record"),
            good.replace("record.zst", "snapshot.zst"),
        ] {
            assert_eq!(WorkspaceObject::parse("w", &bad), None, "{bad}");
        }
    }

    #[test]
    fn r02_crate_names_hold_no_paths() {
        for good in ["serde", "a", "größe", "build_script_build", "a-b"] {
            assert!(is_crate_name(good), "{good}");
        }
        for bad in ["", "a/b", "..", ".", "a b", "a\0", "a.b", "a\n", &"x".repeat(256)] {
            assert!(!is_crate_name(bad), "{bad:?}");
        }
    }
}
