//! Fingerprints: the fields by which cargo decides whether a unit is the one that it built before, and their hash.
//!
//! Cargo writes the fields as JSON (`<kind>.json`), and their hash as 16 hexadecimal digits (`<kind>`). It compares
//! only the hash; the JSON explains differences. The order and types of the fields here are those of `Fingerprint` and
//! `LocalFingerprint` in cargo 1.95, because the hash depends on both. A JSON with other fields does not parse, and
//! [`Fingerprint::hash`] differs from the written hash if cargo computes it in another way.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use rustc_stable_hash::StableSipHasher128;
use serde::{Deserialize, Serialize};

use super::newest_file;

/// The fields of a fingerprint, in the order in which cargo writes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    rustc: u64,
    features: String,
    declared_features: String,
    target: u64,
    profile: u64,
    path: u64,
    deps: Vec<Dependency>,
    local: Vec<Local>,
    rustflags: Vec<String>,
    config: u64,
    compile_kind: u64,
}

/// The hash of the package id, the name of the crate, whether it is public, and the hash of its fingerprint.
type Dependency = (u64, String, bool, u64);

/// What cargo looks at in the file system or the environment (`LocalFingerprint`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Local {
    Precalculated(String),
    CheckDepInfo { dep_info: PathBuf, checksum: bool },
    RerunIfChanged { output: PathBuf, paths: Vec<PathBuf> },
    RerunIfEnvChanged { var: String, val: Option<String> },
}

/// Hashes that differ between two places of the same workspace: the hash there, and the hash here.
#[derive(Debug, Default)]
pub struct Moves {
    /// Hashes of the paths of sources ([`hash_of_source`]).
    pub sources: HashMap<u64, u64>,
    /// Hashes of fingerprints.
    pub fingerprints: HashMap<u64, u64>,
}

impl Fingerprint {
    /// Parses the JSON. `None` if it does not have exactly the fields of cargo 1.95.
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// Returns the JSON, as cargo writes it.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns the hash that cargo writes and compares.
    pub fn hash(&self) -> u64 {
        let mut hasher = StableSipHasher128::new();
        let fields = (self.rustc, &self.features, &self.declared_features, self.target, self.path, self.profile);
        fields.hash(&mut hasher);
        (&*self.local, self.config, self.compile_kind, &self.rustflags).hash(&mut hasher);
        hasher.write_usize(self.deps.len());
        for (package, name, is_public, fingerprint) in &self.deps {
            package.hash(&mut hasher);
            name.hash(&mut hasher);
            is_public.hash(&mut hasher);
            hasher.write_u64(*fingerprint);
        }
        Hasher::finish(&hasher)
    }

    /// The hashes of the fingerprints of its dependencies.
    pub fn dependencies(&self) -> impl Iterator<Item = u64> {
        self.deps.iter().map(|(.., fingerprint)| *fingerprint)
    }

    /// The paths whose changes make cargo run a build script again, absolute or relative to the package.
    pub fn watched(&self) -> impl Iterator<Item = &Path> {
        let paths = self.local.iter().filter_map(|local| match local {
            Local::RerunIfChanged { paths, .. } => Some(paths),
            Local::Precalculated(_) | Local::CheckDepInfo { .. } | Local::RerunIfEnvChanged { .. } => None,
        });
        paths.flatten().map(PathBuf::as_path)
    }

    /// The values that a build script asks cargo to watch, each with the name of its variable, and the user's flags.
    pub fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        let watched = self.local.iter().filter_map(|local| match local {
            Local::RerunIfEnvChanged { var, val } => Some((var.as_str(), val.as_deref()?)),
            _ => None,
        });
        watched.chain(self.rustflags.iter().map(|flag| ("", flag.as_str())))
    }

    /// Whether cargo compares the newest file of the package, because the build script does not say what to watch.
    pub fn compares_newest_file(&self) -> bool {
        self.local.iter().any(|local| matches!(local, Local::Precalculated(text) if newest_file::is_spelled(text)))
    }

    /// Sets the newest file of the package as it is spelled, if cargo compares it.
    #[must_use]
    pub fn with_newest_file(mut self, spelled: &str) -> Self {
        for local in &mut self.local {
            match local {
                Local::Precalculated(text) if newest_file::is_spelled(text) => spelled.clone_into(text),
                _ => {}
            }
        }
        self
    }

    /// The hash of the path of its source ([`hash_of_source`]).
    pub fn source(&self) -> u64 {
        self.path
    }

    /// Returns the fingerprint with the hashes that hold here.
    #[must_use]
    pub fn moved(mut self, moves: &Moves) -> Self {
        self.path = moves.sources.get(&self.path).copied().unwrap_or(self.path);
        for (.., fingerprint) in &mut self.deps {
            *fingerprint = moves.fingerprints.get(fingerprint).copied().unwrap_or(*fingerprint);
        }
        self
    }
}

/// Returns the hash of the path of a source, as cargo passes it to rustc: relative for members, else absolute.
pub fn hash_of_source(source: &Path) -> u64 {
    let mut hasher = StableSipHasher128::new();
    source.hash(&mut hasher);
    Hasher::finish(&hasher)
}

/// Spells a hash as cargo does (`util::to_hex`).
pub fn to_hex(hash: u64) -> String {
    format!("{:016x}", hash.swap_bytes())
}

/// Reads a hash as cargo spells it.
pub fn from_hex(text: &str) -> Option<u64> {
    let mut bytes = [0; 8];
    if text.len() != 16 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by cargo 1.95 for a library with one dependency.
    const JSON: &str = include_str!("testdata/lib-app.json");
    const HASH: &str = include_str!("testdata/lib-app");

    #[test]
    fn the_hash_is_cargos() {
        let fingerprint = Fingerprint::parse(JSON).unwrap();
        assert_eq!(to_hex(fingerprint.hash()), HASH);
        assert_eq!(from_hex(HASH), Some(fingerprint.hash()));
        assert_eq!((from_hex("0"), from_hex("0123456789abcdeg")), (None, None));
        assert_eq!(fingerprint.to_json(), JSON);
        assert_eq!(fingerprint.source(), hash_of_source(Path::new("app/src/lib.rs")));
    }

    #[test]
    fn every_field_counts() {
        let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(JSON).unwrap();
        for name in fields.keys() {
            let mut other = fields.clone();
            other.remove(name);
            assert!(Fingerprint::parse(&serde_json::to_string(&other).unwrap()).is_none(), "without {name}");
        }
        let newer = JSON.replacen('{', "{\"newer\":1,", 1);
        assert!(Fingerprint::parse(&newer).is_none());
        let edited = JSON.replacen("\"checksum\":false", "\"checksum\":true", 1);
        assert_ne!(to_hex(Fingerprint::parse(&edited).unwrap().hash()), HASH);
    }

    #[test]
    fn a_moved_fingerprint_has_the_hashes_of_this_place() {
        let fingerprint = Fingerprint::parse(JSON).unwrap();
        let dependency = fingerprint.dependencies().next().unwrap();
        let mut moves = Moves::default();
        assert_eq!(fingerprint.clone().moved(&moves), fingerprint);
        moves.sources.insert(fingerprint.source(), 1);
        moves.fingerprints.insert(dependency, 2);
        let moved = fingerprint.clone().moved(&moves);
        assert_eq!((moved.source(), moved.dependencies().next()), (1, Some(2)));
        assert_ne!(moved.hash(), fingerprint.hash());
    }
}
