//! The workspace around a directory: its name, lock file, and recent builds.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use crate::cargo::command::normalize;
use crate::cargo::workspace;
use crate::config::{Env, env};
use crate::events::{BuildCommand, Event, build, command};
use crate::fsx;
use crate::model::{Digest, EntryId, EntryKey, LookupKey};

/// Builds that ended at most this many milliseconds before the last one still count: CI runs clippy, build and test
/// before one push.
pub const RECENT_MS: i64 = 6 * 3_600_000;

/// A cargo workspace, or a package without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// Root directory, which contains `Cargo.lock` if there is one.
    pub root: PathBuf,
    /// Name of the workspace on this machine, as local snapshots have it: characters of `[A-Za-z0-9_.-]`, at most 40.
    pub name: String,
    /// Digest of `Cargo.lock`; `None` if it does not exist yet.
    pub lock: Option<Digest>,
    /// Packages that `Cargo.lock` names.
    pub packages: BTreeSet<Package>,
}

/// A package in a lock file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Package name, as in the lock file.
    pub name: String,
    /// Package version, as in the lock file.
    pub version: String,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct LockFile {
    package: Vec<Locked>,
}

#[derive(serde::Deserialize)]
struct Locked {
    name: String,
    version: String,
}

impl Workspace {
    /// Finds the workspace around `dir`. `None`: neither `dir` nor a directory above it contains a `Cargo.toml`.
    pub fn around(dir: &Path) -> Option<Self> {
        let root = workspace::root(dir)?;
        let lock = fsx::read(&root.join("Cargo.lock")).ok();
        let text = lock.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        let packages = toml::from_str::<LockFile>(&text).unwrap_or_default().package;
        let name = workspace::name(&root, &text);
        let lock = lock.as_deref().map(Digest::of);
        let packages = packages.into_iter().map(|package| Package { name: package.name, version: package.version });
        Some(Self { name, lock, packages: packages.collect(), root })
    }
}

/// The directories that may contain the target directory of a build of the workspace around `dir`: the packages above
/// it, and the target directories that cargo's variables and configuration files name.
pub fn target_dir_candidates(dir: &Path, vars: &Env) -> Vec<PathBuf> {
    let variables = [env::CARGO_TARGET_DIR, env::CARGO_BUILD_TARGET_DIR].into_iter();
    let named = variables.filter_map(|name| vars.path(name)).map(|target| normalize(&dir.join(target)));
    let packages = dir.ancestors().filter(|dir| fsx::exists(&dir.join("Cargo.toml"))).map(Path::to_owned);
    let of_home = vars.cargo_home().and_then(|home| configured_target_dir(&home.join("config.toml"), &home));
    packages.chain(named).chain(dir.ancestors().filter_map(target_dir_of)).chain(of_home).collect()
}

/// Reads `build.target-dir` from the configuration file in a directory.
fn target_dir_of(dir: &Path) -> Option<PathBuf> {
    configured_target_dir(&dir.join(".cargo/config.toml"), dir)
}

/// Reads `build.target-dir` from a configuration file; cargo resolves it relative to the directory that contains
/// `.cargo`.
fn configured_target_dir(file: &Path, base: &Path) -> Option<PathBuf> {
    let config: toml::Table = fsx::read_to_string(file).ok()?.parse().ok()?;
    Some(normalize(&base.join(config.get("build")?.get("target-dir")?.as_str()?)))
}

/// The entries that builds of one shape used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedEntries {
    /// `<triple or host>/<directory of the profile>`.
    pub shape: String,
    /// The name of the command ([`crate::cargo::command`]); empty if it is unknown.
    pub command: String,
    /// Entries in build order; those of the last build come first.
    pub entries: Vec<EntryId>,
}

/// Lists the entries that the builds in `target_dirs` used: those of the last build's shape and command, and of every
/// other one that was built in the six hours before it. Pure.
///
/// The last build comes first. Then come the entries of earlier builds with its shape and command in those hours, for
/// units that no later build named.
pub fn used_entries(events: &[Event], commands: &[BuildCommand], target_dirs: &[PathBuf]) -> Vec<UsedEntries> {
    let is_here = |event: &Event| target_dirs.iter().any(|dir| Path::new(&event.target).starts_with(dir));
    let builds = build::all(events, is_here);
    let end = |build: &[&Event]| build.iter().map(|event| event.at).max().unwrap_or(i64::MIN);
    let Some(last) = builds.last().map(|build| end(build)) else { return Vec::new() };
    let mut all: Vec<UsedEntries> = Vec::new();
    let mut named: HashSet<(usize, [String; 4])> = HashSet::new();
    for build in builds.iter().rev().filter(|build| end(build) >= last.saturating_sub(RECENT_MS)) {
        let Some(shape) = shape_of(build) else { continue };
        let first = build.first().map_or((0, 0), |event| (event.cargo_pid, event.at));
        let command = command::of_build(commands, first.0, first.1, end(build)).to_owned();
        let at = all.iter().position(|used| used.shape == shape && used.command == command).unwrap_or_else(|| {
            all.push(UsedEntries { shape: shape.clone(), command: command.clone(), entries: Vec::new() });
            all.len() - 1
        });
        for event in build {
            let unit = [&event.unit, &event.crate_name, &event.kind, &event.emit].map(Clone::clone);
            if let Some(id) = entry_of(event)
                && named.insert((at, unit))
            {
                all[at].entries.push(id);
            }
        }
    }
    all.retain(|used| !used.entries.is_empty());
    all
}

/// The shape of a whole build. With `--target`, cargo builds build scripts and macros for the host as well, so a shape
/// for another triple takes precedence.
fn shape_of(build: &[&Event]) -> Option<String> {
    let shapes = || build.iter().rev().map(|event| &event.shape).filter(|shape| !shape.is_empty());
    shapes().find(|shape| !shape.starts_with("host/")).or_else(|| shapes().next()).cloned()
}

/// The entry that an invocation restored or stored, if there is one.
fn entry_of(event: &Event) -> Option<EntryId> {
    let (lookup, key) = (event.lookup.parse().ok()?, event.key.parse().ok()?);
    let exists = event.outcome.is_hit() || event.is_stored();
    exists.then(|| EntryId { crate_name: event.crate_name.clone(), lookup: LookupKey(lookup), key: EntryKey(key) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, text: &str) {
        fsx::Publish::default().bytes(&dir.join(name), text.as_bytes()).unwrap();
    }

    #[test]
    fn a_workspace_is_called_after_its_root_package_or_first_member() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("my dir");
        assert_eq!(Workspace::around(&dir), None);
        write(&dir, "Cargo.toml", "[workspace]\nmembers = [\"a\"]\n");
        assert_eq!(Workspace::around(&dir).unwrap().name, "mydir");
        write(&dir, "a/Cargo.toml", "[package]\nname = \"a\"\n");
        let lock = "[[package]]\nname = \"zed\"\nversion = \"1.0.0\"\n[[package]]\nname = \"mid\"\nversion = \"2.0.0\"\n\
                    [[package]]\nname = \"abc\"\nversion = \"3.0.0\"\nsource = \"registry\"\n";
        assert_eq!(Workspace::around(&dir.join("a/src")).unwrap().root, dir, "the nearest [workspace]");
        write(&dir, "Cargo.lock", lock);
        let found = Workspace::around(&dir.join("a/src")).unwrap();
        assert_eq!((found.name.as_str(), found.root.as_path()), ("mid", dir.as_path()));
        assert_eq!(found.lock, Some(Digest::of(lock.as_bytes())));
        assert_eq!(found.packages.len(), 3);
        write(&dir, "Cargo.toml", "[package]\nname = \"root-package\"\n[workspace]\n");
        assert_eq!(Workspace::around(&dir).unwrap().name, "root-package");
    }

    #[test]
    fn a_target_directory_may_be_outside_the_workspace() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path();
        write(dir, "ws/Cargo.toml", "[package]\nname = \"a\"\n");
        write(dir, "ws/.cargo/config.toml", "[build]\ntarget-dir = \"../built\"\n");
        let vars = Env::of([(env::CARGO_TARGET_DIR, "/named"), (env::CARGO_BUILD_TARGET_DIR, "beside")]);
        let here = dir.join("ws");
        let expected = [here.clone(), "/named".into(), here.join("beside"), dir.join("built")];
        assert_eq!(target_dir_candidates(&here, &vars), expected);
    }

    fn event(cargo_pid: u64, unit: &str, at: i64, shape: &str) -> Event {
        Event {
            cargo_pid,
            unit: unit.into(),
            crate_name: unit.into(),
            at,
            target: "/ws/target".into(),
            shape: shape.into(),
            outcome: "hit.local".into(),
            lookup: Digest::of(unit.as_bytes()).hex(),
            key: Digest::of(format!("{unit}{at}").as_bytes()).hex(),
            ..Event::default()
        }
    }

    fn found(events: &[Event]) -> Vec<(String, Vec<String>)> {
        let names = |used: UsedEntries| (used.shape, used.entries.into_iter().map(|id| id.crate_name).collect());
        used_entries(events, &[], &["/ws".into()]).into_iter().map(names).collect()
    }

    #[test]
    fn the_last_build_comes_first_and_earlier_ones_add_what_it_did_not_name() {
        let (debug, release) = ("host/debug", "host/release");
        let mut events = vec![event(1, "a", 1, debug), event(1, "old", 2, debug)];
        let late = RECENT_MS + 10;
        events.extend([event(2, "a", late, debug), event(2, "lint", late + 1, debug)]);
        events.extend([event(3, "r", late + 2, release)]);
        events.extend([event(4, "b", late + 3, debug), event(4, "a", late + 4, debug)]);
        let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let expected = [(debug.to_owned(), strings(&["b", "a", "lint"])), (release.to_owned(), strings(&["r"]))];
        assert_eq!(found(&events), expected);
        let newest = Digest::of(format!("a{}", late + 4).as_bytes());
        assert_eq!(used_entries(&events, &[], &["/ws".into()])[0].entries[1].key.0, newest, "per unit only the newest");
        assert!(used_entries(&events, &[], &["/elsewhere".into()]).is_empty());
    }

    #[test]
    fn a_cross_build_takes_its_host_units_along_and_what_was_not_stored_is_left_out() {
        let cross = "wasm32-unknown-unknown/debug";
        let failed = Event { outcome: "miss.no-manifest".into(), ..event(1, "f", 3, cross) };
        let stored = Event { stored: Some("stored".into()), ..event(1, "s", 4, "host/debug") };
        let stored = Event { outcome: "miss.no-manifest".into(), ..stored };
        let events = [event(1, "macro", 1, "host/debug"), event(1, "lib", 2, cross), failed, stored];
        assert_eq!(found(&events), [(cross.to_owned(), vec!["macro".to_owned(), "lib".into(), "s".into()])]);
    }

    #[test]
    fn builds_with_other_commands_are_told_apart() {
        let line = |number, command: &str| BuildCommand { v: command::VERSION, at: 1, number, command: command.into() };
        let events = [event(1, "a", 1, "host/debug"), event(2, "b", 2, "host/debug"), event(3, "c", 3, "host/debug")];
        let commands = [line(1, "build"), line(2, "build\n-p one"), line(3, "build")];
        let used = used_entries(&events, &commands, &["/ws".into()]);
        let names = |used: &UsedEntries| {
            (used.command.clone(), used.entries.iter().map(|id| id.crate_name.clone()).collect::<Vec<_>>())
        };
        let found: Vec<_> = used.iter().map(names).collect();
        let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(found, [("build".into(), strings(&["c", "a"])), ("build\n-p one".into(), strings(&["b"]))]);
    }
}
