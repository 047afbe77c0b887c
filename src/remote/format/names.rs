//! Object names, version 1 (`{prefix}/v1/...`):
//!
//! ```text
//! manifests/{crate}/{lookup key}/{key}.json
//! packs/{crate}/{key}.{digest}.tar.zst
//! builds/{workspace}/{triple}.{profile}.{lock}.{commit}.json
//! snapshots/{workspace}/{name}.json.zst
//! probe/{id}
//! ```
//!
//! The digest in the name of a pack is that of its bytes: two writers, or two compression levels, write two objects,
//! and each manifest keeps its pack. (Without it, as before, the second pack made the first manifest useless.)
//!
//! Keys, digests and names of snapshots are spelled as 43 characters of unpadded base64url. A part that is empty, too
//! long, or contains other characters than names may is changed: it is cut, other characters become `_`, and `~` and 8
//! characters of its digest follow. So every name stays below [`MAX_OBJECT_NAME_BYTES`] with a prefix of up to 16
//! characters: some servers refuse longer ones. Names come back from listings, which anybody may have written: kache
//! ignores a name that is not spelled exactly like this.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::model::{Digest, EntryKey, LookupKey};
use crate::store::build_snapshots::SnapshotName;

/// All names are shorter than this many bytes, with a prefix of up to 16.
pub const MAX_OBJECT_NAME_BYTES: usize = 150;

/// Names of crates, workspaces and profiles: at most 24 bytes, without dots.
const NAME_PART: PartSpelling = PartSpelling { max_bytes: 24, dots: false };
/// Target triples: at most 36 bytes, dots allowed.
const TRIPLE_PART: PartSpelling = PartSpelling { max_bytes: 36, dots: true };
/// Characters of the digest in a part that was changed.
const MARK_CHARS: usize = 8;
/// Hexadecimal digits of the `Cargo.lock` digest in the name of a build record.
const LOCK_DIGITS: usize = 16;
/// Hexadecimal digits of the commit in the name of a build record.
const COMMIT_DIGITS: usize = 12;
/// Replaces the commit if there is none.
const NO_COMMIT: &str = "none";
/// Replaces the triple of a build without `--target`.
const HOST: &str = "host";

/// Builds and parses the names of all objects below one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectNames {
    root: String,
}

/// The name of a manifest, as its parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ManifestName {
    /// Crate name, as object names spell it.
    pub crate_part: String,
    /// Lookup key of the entry.
    pub lookup: LookupKey,
    /// Key of the entry.
    pub key: EntryKey,
}

/// The name of a build record, as object names spell it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BuildName {
    /// Target triple of the build, or `host`.
    pub triple: String,
    /// Directory name of the profile.
    pub profile: String,
    /// First 16 digits of the digest of `Cargo.lock`.
    pub lock: String,
    /// First 12 digits of the commit, or `none`.
    pub commit: String,
}

impl ManifestName {
    /// Creates the name of the manifest of an entry of this crate.
    pub fn new(crate_name: &str, lookup: LookupKey, key: EntryKey) -> Self {
        Self { crate_part: crate_part(crate_name), lookup, key }
    }
}

impl BuildName {
    /// Creates the name of a build record. `commit`: at least 12 hexadecimal digits; anything else counts as no commit.
    pub fn new(triple: Option<&str>, profile: &str, lock: Digest, commit: Option<&str>) -> Self {
        let commit = commit.and_then(short_commit).unwrap_or_else(|| NO_COMMIT.to_owned());
        Self {
            triple: TRIPLE_PART.spell(triple.unwrap_or(HOST)),
            profile: NAME_PART.spell(profile),
            lock: short_lock(lock),
            commit,
        }
    }

    fn parse(stem: &str) -> Option<Self> {
        // Split from the end, since a triple may contain dots.
        let mut parts = stem.rsplitn(4, '.');
        let (commit, lock, profile, triple) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_commit = commit == NO_COMMIT || is_hex(commit, COMMIT_DIGITS);
        let is_valid =
            TRIPLE_PART.is_valid(triple) && NAME_PART.is_valid(profile) && is_hex(lock, LOCK_DIGITS) && is_commit;
        let owned = str::to_owned;
        is_valid.then(|| Self {
            triple: owned(triple),
            profile: owned(profile),
            lock: owned(lock),
            commit: owned(commit),
        })
    }
}

impl ObjectNames {
    /// Creates the names below `prefix`, which may be empty.
    pub fn new(prefix: &str) -> Self {
        let prefix = prefix.trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        Self { root: format!("{prefix}{slash}v1/") }
    }

    /// Name of the manifest of an entry.
    pub fn manifest(&self, crate_name: &str, lookup: LookupKey, key: EntryKey) -> String {
        self.manifest_named(&ManifestName::new(crate_name, lookup, key))
    }

    /// Object name of this manifest.
    pub fn manifest_named(&self, name: &ManifestName) -> String {
        let (lookup, key) = (encode_digest(name.lookup.0), encode_digest(name.key.0));
        format!("{}manifests/{}/{lookup}/{key}.json", self.root, name.crate_part)
    }

    /// Name of the pack with these bytes (`digest`). An entry may have several packs; a manifest describes one of them.
    pub fn pack(&self, crate_name: &str, key: EntryKey, digest: Digest) -> String {
        let (crate_part, key, digest) = (crate_part(crate_name), encode_digest(key.0), encode_digest(digest));
        format!("{}packs/{crate_part}/{key}.{digest}.tar.zst", self.root)
    }

    /// Common prefix of the names of all manifests.
    pub fn all_manifests(&self) -> String {
        format!("{}manifests/", self.root)
    }

    /// Common prefix of the names of a crate's manifests.
    pub fn manifests_of(&self, crate_name: &str) -> String {
        format!("{}manifests/{}/", self.root, crate_part(crate_name))
    }

    /// Common prefix of the names of the manifests under a lookup key.
    pub fn manifests_under(&self, crate_name: &str, lookup: LookupKey) -> String {
        format!("{}{}/", self.manifests_of(crate_name), encode_digest(lookup.0))
    }

    /// Parses the name of a manifest. `None`: it is not one, or not spelled as kache spells it.
    pub fn parse_manifest(&self, name: &str) -> Option<ManifestName> {
        let rest = name.strip_prefix(&self.root)?.strip_prefix("manifests/")?.strip_suffix(".json")?;
        let mut parts = rest.split('/');
        let (crate_part, lookup, key) = (parts.next()?, parts.next()?, parts.next()?);
        let is_whole = parts.next().is_none() && NAME_PART.is_valid(crate_part);
        let (lookup, key) = (LookupKey(decode_digest(lookup)?), EntryKey(decode_digest(key)?));
        is_whole.then(|| ManifestName { crate_part: crate_part.to_owned(), lookup, key })
    }

    /// Common prefix of the names of a workspace's build records.
    pub fn builds_of(&self, workspace: &str) -> String {
        format!("{}builds/{}/", self.root, NAME_PART.spell(workspace))
    }

    /// Name of a build record.
    pub fn build(&self, workspace: &str, build: &BuildName) -> String {
        let BuildName { triple, profile, lock, commit } = build;
        format!("{}{triple}.{profile}.{lock}.{commit}.json", self.builds_of(workspace))
    }

    /// Parses the name of a build record of `workspace`. `None`: it is not one, or not spelled as kache spells it.
    pub fn parse_build(&self, workspace: &str, name: &str) -> Option<BuildName> {
        BuildName::parse(name.strip_prefix(&self.builds_of(workspace))?.strip_suffix(".json")?)
    }

    /// Common prefix of the names of a workspace's build snapshots.
    pub fn snapshots_of(&self, workspace: &str) -> String {
        format!("{}snapshots/{}/", self.root, NAME_PART.spell(workspace))
    }

    /// Name of a build snapshot.
    pub fn snapshot(&self, workspace: &str, name: SnapshotName) -> String {
        format!("{}{}.json.zst", self.snapshots_of(workspace), encode_digest(name.0))
    }

    /// Parses the name of a build snapshot of `workspace`. `None`: it is not one, or not spelled as kache spells it.
    pub fn parse_snapshot(&self, workspace: &str, name: &str) -> Option<SnapshotName> {
        decode_digest(name.strip_prefix(&self.snapshots_of(workspace))?.strip_suffix(".json.zst")?).map(SnapshotName)
    }

    /// Name of the object that `doctor` tests the remote with. `id`: letters and digits.
    pub fn probe(&self, id: &str) -> String {
        format!("{}probe/{id}", self.root)
    }
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

/// Spells the digest of `Cargo.lock` for the name of a build record.
pub(super) fn short_lock(lock: Digest) -> String {
    lock.hex()[..LOCK_DIGITS].to_owned()
}

/// Spells a commit for the name of a build record. `None`: not hexadecimal, or too short.
pub(super) fn short_commit(commit: &str) -> Option<String> {
    let short = commit.get(..COMMIT_DIGITS)?.to_ascii_lowercase();
    is_hex(&short, COMMIT_DIGITS).then_some(short)
}

/// Spells a triple for the name of a build record.
pub(super) fn triple_part(triple: &str) -> String {
    TRIPLE_PART.spell(triple)
}

/// Spells a profile for the name of a build record.
pub(super) fn profile_part(profile: &str) -> String {
    NAME_PART.spell(profile)
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn encode_digest(digest: Digest) -> String {
    URL_SAFE_NO_PAD.encode(digest.as_bytes())
}

/// Parses a digest. Each digest has one spelling: the spare bits of the last character must be zero.
fn decode_digest(text: &str) -> Option<Digest> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Digest::from_bytes)
}

/// How a part of a name is spelled.
struct PartSpelling {
    max_bytes: usize,
    dots: bool,
}

impl PartSpelling {
    fn is_plain(&self, byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') || (self.dots && byte == b'.')
    }

    fn spell(&self, text: &str) -> String {
        if (1..=self.max_bytes).contains(&text.len()) && text.bytes().all(|byte| self.is_plain(byte)) {
            return text.to_owned();
        }
        let plain = |c: char| u8::try_from(c).is_ok_and(|byte| self.is_plain(byte));
        let start = text.chars().take(self.max_bytes - MARK_CHARS - 1).map(|c| if plain(c) { c } else { '_' });
        let mark = encode_digest(Digest::of(text.as_bytes()));
        start.chain(['~']).chain(mark.chars().take(MARK_CHARS)).collect()
    }

    fn is_valid(&self, part: &str) -> bool {
        let (text, mark) = part.split_once('~').map_or((part, None), |(text, mark)| (text, Some(mark)));
        let is_mark = |mark: &str| {
            mark.len() == MARK_CHARS && mark.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        };
        let fits = part.len() <= self.max_bytes && (mark.is_some() || !text.is_empty());
        fits && mark.is_none_or(is_mark) && text.bytes().all(|byte| self.is_plain(byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG_CRATE_NAME: &str = "a_crate_with_a_name_that_goes_on_and_on";

    fn keys() -> (LookupKey, EntryKey) {
        (LookupKey(Digest::of(b"l")), EntryKey(Digest::of(b"k")))
    }

    #[test]
    fn names_stay_short_and_tell_things_apart() {
        let names = ObjectNames::new("/sixteen-letters/");
        let (lookup, key) = keys();
        let longest = "x86_64-unknown-linux-gnu-with-a-long-tail.custom";
        for crate_name in ["serde", LONG_CRATE_NAME, "größe", &"x".repeat(255)] {
            let build = BuildName::new(Some(longest), LONG_CRATE_NAME, lookup.0, Some(&"ab".repeat(20)));
            let pack = names.pack(crate_name, key, lookup.0);
            for name in [names.manifest(crate_name, lookup, key), pack, names.build(crate_name, &build)] {
                assert!(name.len() < MAX_OBJECT_NAME_BYTES && name.is_ascii(), "{name}");
            }
        }
        assert_ne!(crate_part(LONG_CRATE_NAME), crate_part(&format!("{LONG_CRATE_NAME}_")));
        assert_ne!(crate_part("größe"), crate_part("gröse"));
        assert_eq!(crate_part("serde_json"), "serde_json");
        assert_eq!(crate_part(LONG_CRATE_NAME).len(), 24);
        assert_eq!(ObjectNames::new("").all_manifests(), "v1/manifests/");
    }

    #[test]
    fn manifests_names_round_trip() {
        let (lookup, key) = keys();
        for prefix in ["", "team", "team/x"] {
            let names = ObjectNames::new(prefix);
            for crate_name in ["serde", LONG_CRATE_NAME, "größe", "b"] {
                let at = ManifestName::new(crate_name, lookup, key);
                let name = names.manifest(crate_name, lookup, key);
                assert_eq!(names.parse_manifest(&name), Some(at.clone()));
                assert!(name.starts_with(&names.manifests_under(crate_name, lookup)));
                assert!(name.starts_with(&names.manifests_of(crate_name)) && name.starts_with(&names.all_manifests()));
            }
        }
    }

    #[test]
    fn r02_names_that_are_spelled_otherwise_are_not_ours() {
        let names = ObjectNames::new("p");
        let (lookup, key) = keys();
        let good = names.manifest("serde", lookup, key);
        assert!(names.parse_manifest(&good).is_some());
        let spelled = encode_digest(key.0);
        // The last of the 43 characters has two spare bits.
        let alias = good.replace(&spelled, &format!("{}{}", &spelled[..42], char::from(spelled.as_bytes()[42] + 1)));
        for bad in [
            good.replacen("p/", "q/", 1),
            good.replacen("p/", "", 1),
            good.replace("serde", ".."),
            good.replace("serde", ""),
            good.replace("serde", "a.b"),
            good.replace("serde", "a~short"),
            good.replace("serde", "a~b~12345678"),
            good.replace("serde", &"x".repeat(25)),
            good.replace("serde", "x/y"),
            good.replace(".json", ".jsonl"),
            good.replace(&spelled, "../../etc/passwd"),
            good.replace(&spelled, &key.0.hex()),
            good.replace(&spelled, &format!("{spelled}=")),
            good.replace("v1", "v2"),
            format!("{good}/"),
            alias,
            String::new(),
        ] {
            assert_eq!(names.parse_manifest(&bad), None, "{bad}");
        }
    }

    #[test]
    fn builds_names_round_trip() {
        let names = ObjectNames::new("");
        let lock = Digest::of(b"lock");
        let thumb = BuildName::new(Some("thumbv8m.main-none-eabi"), "release", lock, Some(&"AB".repeat(20)));
        let host = BuildName::new(None, "dev", lock, None);
        assert_eq!((thumb.commit.as_str(), thumb.lock.len()), ("abababababab", 16));
        assert_eq!((host.triple.as_str(), host.commit.as_str()), ("host", "none"));
        let custom = BuildName::new(Some("my target.json"), "päckchen", lock, Some("not hex at all"));
        for build in [&thumb, &host, &custom] {
            assert_eq!(names.parse_build("w s", &names.build("w s", build)).as_ref(), Some(build));
        }
        let good = names.build("w", &host);
        for bad in [
            good.replace("none", "None"),
            good.replace("none", "abc"),
            good.replace(&host.lock, "0"),
            good.replace("host", "ho/st"),
            good.replace("host.", ""),
            good.replace("dev", ""),
        ] {
            assert_eq!(names.parse_build("w", &bad), None, "{bad}");
        }
        assert_eq!(names.parse_build("other", &good), None);
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
