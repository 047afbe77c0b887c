//! Build records: the entries that a build used, in build order, so that a cold machine can request all of them at
//! once.
//!
//! Version 1: `{"v":1,"workspace":...,"triple":...,"profile":...,"lock":...,"commit":...,"created":...,"units":[...]}`.
//! A record is an unsigned hint: it lists entries to request, and each fetched entry is checked on its own. A record
//! alone never causes an entry to be restored.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::manifest::is_cost;
use super::names::{self, BuildName};
use super::refused::{self, Refused};
use crate::model::{Digest, EntryKey, LookupKey};

/// Largest record that is read, in bytes.
pub const MAX_RECORD_BYTES: u64 = 16 << 20;
/// Most units that a record may list; one takes about 250 bytes.
pub const MAX_UNITS: usize = 50_000;
/// Longest name of a workspace, triple or profile, in bytes.
const MAX_TEXT_BYTES: usize = 255;
const VERSION: u32 = 1;
const NAME_IN_REFUSALS: &str = "the build record";

/// The entries that one build used.
#[derive(Clone, PartialEq, Debug)]
pub struct BuildRecord {
    /// Name of the workspace.
    pub workspace: String,
    /// Target triple, or `host`.
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
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionedRecord {
    v: u32,
    workspace: String,
    triple: String,
    profile: String,
    lock: Digest,
    commit: Option<String>,
    created: i64,
    units: Vec<BuildUnit>,
}

/// Describes the checkout for which a build record is chosen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checkout {
    /// Digest of `Cargo.lock`, if there is one.
    pub lock: Option<Digest>,
    /// Commits of the branch, newest first, as hexadecimal digits.
    pub ancestors: Vec<String>,
    /// Target triple, or `host`; `None` matches any.
    pub triple: Option<String>,
    /// Directory name of the profile; `None` matches any.
    pub profile: Option<String>,
}

impl BuildRecord {
    /// Name under which the record is stored.
    pub fn name(&self) -> BuildName {
        BuildName::new(Some(&self.triple), &self.profile, self.lock, self.commit.as_deref())
    }

    /// Encodes the bytes of the object.
    pub fn encode(&self) -> Vec<u8> {
        let Self { workspace, triple, profile, lock, commit, created, units } = self.clone();
        let object = VersionedRecord { v: VERSION, workspace, triple, profile, lock, commit, created, units };
        serde_json::to_vec(&object).unwrap_or_default()
    }

    /// Decodes the bytes of an object, and checks the record with [`BuildRecord::check`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Refused> {
        if bytes.len() as u64 > MAX_RECORD_BYTES {
            return Err(Refused::TooLarge(NAME_IN_REFUSALS));
        }
        refused::check_version(bytes, VERSION, NAME_IN_REFUSALS)?;
        let object: VersionedRecord =
            serde_json::from_slice(bytes).map_err(|_| Refused::Malformed(NAME_IN_REFUSALS))?;
        let VersionedRecord { v: _, workspace, triple, profile, lock, commit, created, units } = object;
        let record = Self { workspace, triple, profile, lock, commit, created, units };
        record.check()?;
        Ok(record)
    }

    /// Checks the names, limits and numbers, as every reader does.
    pub fn check(&self) -> Result<(), Refused> {
        for text in [&self.workspace, &self.triple, &self.profile] {
            if text.is_empty() || text.len() > MAX_TEXT_BYTES || text.chars().any(char::is_control) {
                return Err(Refused::bad_name(text));
            }
        }
        if self.created < 0 || !self.commit.as_deref().is_none_or(is_commit) {
            return Err(Refused::Malformed(NAME_IN_REFUSALS));
        }
        if self.units.len() > MAX_UNITS {
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

/// Chooses the record to use and returns its index. Each record comes with the time when it was written. Pure.
///
/// The newest record with the same `Cargo.lock` is best, then a record of the nearest commit in the history of this
/// branch, then the newest one for the same triple and profile. Between records with the same lock file or the same
/// commit, a matching triple and profile outrank age.
pub fn choose<T: Ord>(builds: &[(BuildName, T)], checkout: &Checkout) -> Option<usize> {
    let lock = checkout.lock.map(names::short_lock);
    let triple = checkout.triple.as_deref().map(names::triple_part);
    let profile = checkout.profile.as_deref().map(names::profile_part);
    let mut distances = HashMap::new();
    for (distance, commit) in checkout.ancestors.iter().enumerate() {
        if let Some(short) = names::short_commit(commit) {
            distances.entry(short).or_insert(distance);
        }
    }
    let has_shape = |name: &BuildName| {
        triple.as_ref().is_none_or(|triple| *triple == name.triple)
            && profile.as_ref().is_none_or(|profile| *profile == name.profile)
    };
    // A greater rank is better; a record without a rank is not a candidate.
    let rank = |name: &BuildName| {
        let shape = has_shape(name);
        if lock.as_ref() == Some(&name.lock) {
            return Some((2, Reverse(0), shape));
        }
        match distances.get(&name.commit) {
            Some(distance) => Some((1, Reverse(*distance), shape)),
            None => shape.then_some((0, Reverse(0), shape)),
        }
    };
    let ranked = builds.iter().enumerate().filter_map(|(at, (name, when))| Some((rank(name)?, when, name, at)));
    ranked.max().map(|(.., at)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> BuildRecord {
        let unit = |name: &str| BuildUnit {
            crate_name: name.into(),
            lookup: LookupKey(Digest::of(b"l")),
            key: EntryKey(Digest::of(b"k")),
            bytes: 10,
            cost_ms: 2.5,
        };
        BuildRecord {
            workspace: "w".into(),
            triple: "host".into(),
            profile: "dev".into(),
            lock: Digest::of(b"lock"),
            commit: Some("ab".repeat(20)),
            created: 1,
            units: vec![unit("b"), unit("a")],
        }
    }

    #[test]
    fn records_round_trip_in_their_order() {
        let record = record();
        assert_eq!(BuildRecord::decode(&record.encode()), Ok(record.clone()));
        assert_eq!(record.name().commit, "abababababab");
        let nameless = BuildRecord { commit: None, ..record };
        assert_eq!(BuildRecord::decode(&nameless.encode()), Ok(nameless));
    }

    #[test]
    fn r11_a_record_that_makes_no_sense_is_refused() {
        let id = |record: &BuildRecord| BuildRecord::decode(&record.encode()).unwrap_err().id();
        let with = |change: &dyn Fn(&mut BuildRecord)| {
            let mut record = record();
            change(&mut record);
            id(&record)
        };
        assert_eq!(with(&|r| r.units[1].crate_name = "../x".into()), "bad-name");
        assert_eq!(with(&|r| r.workspace = String::new()), "bad-name");
        assert_eq!(with(&|r| r.profile = "a\nb".into()), "bad-name");
        assert_eq!(with(&|r| r.commit = Some("HEAD".into())), "malformed");
        assert_eq!(with(&|r| r.units[0].cost_ms = -1.0), "malformed");
        assert_eq!(with(&|r| r.units[0].cost_ms = f64::NAN), "malformed");
        assert_eq!(with(&|r| r.created = -1), "malformed");
        assert_eq!(with(&|r| r.units = vec![r.units[0].clone(); MAX_UNITS + 1]), "too-large");
    }

    #[test]
    fn a_full_record_of_the_usual_names_can_be_read() {
        let mut full = record();
        full.units = vec![full.units[0].clone(); MAX_UNITS];
        full.units.iter_mut().for_each(|unit| unit.crate_name = "a_name_of_twenty_four_ch".into());
        assert!(BuildRecord::decode(&full.encode()).is_ok());
    }

    fn named(triple: &str, profile: &str, lock: &[u8], commit: Option<&str>) -> BuildName {
        BuildName::new(Some(triple), profile, Digest::of(lock), commit)
    }

    #[test]
    fn the_same_lock_wins_then_the_nearest_commit_then_the_shape() {
        let (old, mid, far) = ("1".repeat(40), "2".repeat(40), "3".repeat(40));
        let builds = [
            (named("host", "dev", b"other", None), 9),
            (named("host", "release", b"other", Some(&far)), 8),
            (named("host", "release", b"other", Some(&mid)), 1),
            (named("host", "dev", b"lock", None), 2),
            (named("host", "dev", b"lock", None), 3),
            (named("host", "release", b"lock", None), 4),
        ];
        let mut checkout = Checkout { lock: Some(Digest::of(b"lock")), ..Checkout::default() };
        assert_eq!(choose(&builds, &checkout), Some(5), "the newest of the same lock");
        checkout.profile = Some("dev".into());
        assert_eq!(choose(&builds, &checkout), Some(4), "of the same profile");
        checkout.profile = Some("bench".into());
        assert_eq!(choose(&builds, &checkout), Some(5), "the lock counts more than the profile");
        checkout.profile = None;
        checkout.lock = Some(Digest::of(b"new"));
        checkout.ancestors = vec![old, mid, far];
        assert_eq!(choose(&builds, &checkout), Some(2), "the nearest commit, though not the newest record");
        checkout.ancestors.clear();
        assert_eq!(choose(&builds, &checkout), Some(0), "the newest at all");
        checkout.triple = Some("aarch64-apple-darwin".into());
        assert_eq!(choose(&builds, &checkout), None);
        checkout.triple = Some("host".into());
        checkout.profile = Some("release".into());
        assert_eq!(choose(&builds, &checkout), Some(1), "the newest of this shape");
        assert_eq!(choose::<u8>(&[], &checkout), None);
        assert_eq!(choose(&builds, &Checkout::default()), Some(0), "without a lock: the newest");
    }
}
