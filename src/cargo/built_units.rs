//! Reads the units that cargo has built from its files: of each one the fingerprint, when it was begun, and what a
//! build script printed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::fingerprint::{self, Fingerprint};
use super::unit_dir::{FINGERPRINTS, UnitName, unit_id};
use crate::fsx::clock::Time;
use crate::fsx::{self, Stamp};

/// A unit that was built.
#[derive(Clone, Debug)]
pub struct BuiltUnit {
    /// The unit.
    pub name: UnitName,
    /// Its fingerprint, whose hash is the one that cargo wrote.
    pub fingerprint: Fingerprint,
    /// The hash.
    pub hash: u64,
    /// When the compile or run began. Cargo gives this time to its dep-info, or to the recorded output of the script.
    pub begun: Time,
    /// What a build script printed; nothing for a compile.
    pub printed: Vec<u8>,
}

/// The units that were built since some time, read while cargo still builds: its user may remove the build directory as
/// soon as it ends.
#[derive(Debug)]
pub struct GrowingBuild {
    build_dir: PathBuf,
    since: i64,
    units: HashMap<UnitName, BuiltUnit>,
}

impl GrowingBuild {
    /// Begins with no unit. `since` is in milliseconds since 1970.
    pub fn new(build_dir: PathBuf, since: i64) -> Self {
        Self { build_dir, since, units: HashMap::new() }
    }

    /// Reads the units that have been built since the last call.
    pub fn read_new(&mut self) {
        for profile in profiles(&self.build_dir) {
            for name in names(&self.build_dir, &profile) {
                let is_new = || Some(Stamp::of(&name.json_file(&self.build_dir)).ok()?.mtime.as_millis() >= self.since);
                if !self.units.contains_key(&name) && is_new() == Some(true) {
                    let unit = read(&self.build_dir, name);
                    self.units.extend(unit.map(|unit| (unit.name.clone(), unit)));
                }
            }
        }
    }

    /// The units that were read, if they are in this build directory.
    pub fn units_in(&self, build_dir: &Path) -> impl Iterator<Item = &BuiltUnit> {
        self.units.values().filter(move |_| build_dir == self.build_dir)
    }
}

/// Reads all units below `<build_dir>/<profile>`. Leaves out those that were not built to the end, or whose hash this
/// version cannot compute.
pub fn read_all(build_dir: &Path, profile: &str) -> Vec<BuiltUnit> {
    names(build_dir, profile).into_iter().filter_map(|name| read(build_dir, name)).collect()
}

/// The directories of profiles: `debug` and `<triple>/debug`.
fn profiles(build_dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for name in fsx::list(build_dir).unwrap_or_default().iter().filter_map(|name| name.to_str()) {
        if fsx::exists(&build_dir.join(name).join(FINGERPRINTS)) {
            found.push(name.to_owned());
        } else {
            let below = fsx::list(&build_dir.join(name)).unwrap_or_default();
            let below = below.iter().filter_map(|below| Some(format!("{name}/{}", below.to_str()?)));
            found.extend(below.filter(|profile| fsx::exists(&build_dir.join(profile).join(FINGERPRINTS))));
        }
    }
    found
}

/// The names of all units below `<build_dir>/<profile>`.
fn names(build_dir: &Path, profile: &str) -> Vec<UnitName> {
    let root = build_dir.join(profile).join(FINGERPRINTS);
    let mut all = Vec::new();
    for dir in fsx::list(&root).unwrap_or_default() {
        let Some(dir) = dir.to_str().filter(|dir| unit_id(dir).is_some()) else { continue };
        for file in fsx::list(&root.join(dir)).unwrap_or_default() {
            let Some(kind) = file.to_str().and_then(|file| file.strip_suffix(".json")) else { continue };
            all.push(UnitName { profile: profile.to_owned(), dir: dir.to_owned(), kind: kind.to_owned() });
        }
    }
    all
}

fn read(build_dir: &Path, name: UnitName) -> Option<BuiltUnit> {
    let written = fsx::read_to_string(&name.hash_file(build_dir)).ok()?;
    let fingerprint = Fingerprint::parse(&fsx::read_to_string(&name.json_file(build_dir)).ok()?)?;
    let hash = fingerprint.hash();
    // Cargo writes the JSON after the hash, so the two may be of different builds.
    if fingerprint::to_hex(hash) != written {
        return None;
    }
    let (begun, printed) = match name.is_run() {
        true => {
            let output = name.script_dir(build_dir).join("output");
            (Stamp::of(&output).ok()?.mtime, fsx::read(&output).ok()?)
        }
        false => (Stamp::of(&name.dep_info_file(build_dir)).ok()?.mtime, Vec::new()),
    };
    Some(BuiltUnit { name, fingerprint, hash, begun, printed })
}
