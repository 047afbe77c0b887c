//! Restores a whole build before cargo looks at it, from a snapshot of the same command in another checkout.
//!
//! Each unit is restored only if kache would have served a hit to cargo for it ([`entry_hit::find`]), and all units
//! that it depends on are in place. Then kache writes the files by which cargo calls the unit fresh, the hash of its
//! fingerprint last. Cargo computes and compares the fingerprints itself, so the two must agree: cargo proves the
//! arguments, kache the inputs. Cargo asks for all other units as always.
//!
//! The clock rule: every private file gets one time, which is taken before the first input is looked at. An input that
//! changes from then on is newer, so cargo notices it. Units that exist are not touched.
//!
//! A library, a macro or a build script needs no private file at all if its outputs may be the blobs themselves, whose
//! canonical time is older than any other. Cargo compares the times of units. So the same must be true of all that it
//! depends on, runs of build scripts included (cargo must not look at the times of what such a run watches). And
//! nothing that depends on it may be in place: it would seem newer than an output that it was not made from.

mod restorer;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use restorer::BuildToRestore;
use restorer::{LeftOut, Placed, Restorer};

use crate::cargo::unit_dir::FINGERPRINTS;
use crate::events::{RestoreLog, WholeBuild, restore as log};
use crate::fsx::clock::{self, Time};
use crate::fsx::lock::HeldFile;
use crate::fsx::{self, Publish, Stamp};
use crate::keys::Roots;
use crate::model::RootKind;
use crate::store::Store;
use crate::store::build_snapshots::BuildSnapshot;

/// How often to look whether somebody still needs the build.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Why nothing, or not all, was restored.
#[derive(Debug, thiserror::Error)]
pub enum NotRestored {
    /// The times of files prove nothing here.
    #[error("{0} is on a file system whose times are too coarse or come from another machine")]
    Clock(PathBuf),
    /// A cargo is building there.
    #[error("another cargo is building in {0}")]
    Busy(PathBuf),
    /// Cargo has ended, or does not wait any longer.
    #[error("cargo does not wait for the build")]
    Over,
    /// A file could not be written.
    #[error(transparent)]
    Files(#[from] fsx::Error),
}

/// Restores the units of a snapshot, and logs how many were restored and which were left to cargo.
pub fn restore(build: &BuildToRestore<'_>, snapshot: &BuildSnapshot) -> Result<WholeBuild, NotRestored> {
    let began = Instant::now();
    create_build_dir(build.build_dir)?;
    let mut profiles: Vec<&str> = snapshot.units.iter().map(|unit| unit.name.profile.as_str()).collect();
    profiles.sort_unstable();
    profiles.dedup();
    let may_share = profiles.iter().all(|profile| is_unused(build.build_dir, profile));
    let mut locks = Vec::new();
    for profile in profiles {
        let path = build.build_dir.join(profile).join(".cargo-lock");
        locks.push(HeldFile::try_acquire(&path)?.ok_or_else(|| NotRestored::Busy(path.clone()))?);
    }
    let time = time_before_inputs(build.build_dir)?;
    let store = Store::open(&build.config.cache_dir.value);
    let mut restorer = Restorer::new(build, store, time, may_share);
    let target = build.build_dir.to_string_lossy().into_owned();
    let mut done = WholeBuild { v: log::VERSION, number: build.number, target, ..WholeBuild::default() };
    let mut last_look = Instant::now();
    for unit in snapshot.units.iter().filter(|unit| unit.name.is_plain()) {
        if last_look.elapsed() >= LOOK_INTERVAL {
            if (build.is_over)() {
                return Err(NotRestored::Over);
            }
            last_look = Instant::now();
        }
        match restorer.add(unit) {
            Ok(Placed::Restored) => done.restored += 1,
            Ok(Placed::Present) => done.present += 1,
            Err(LeftOut(reason)) => {
                done.left += 1;
                if done.left_out.len() < log::MAX_LISTED {
                    done.left_out
                        .push(log::LeftOut { unit: format!("{} ({})", unit.name.dir, unit.name.kind), reason });
                }
            }
        }
    }
    drop(locks);
    (done.at, done.ms) = (clock::now().as_millis(), began.elapsed().as_secs_f64() * 1000.0);
    let _ = RestoreLog::of(&build.config.cache_dir.value).append(&done);
    Ok(done)
}

/// Whether all packages are there that cargo downloads.
pub fn has_packages(store: &Store, snapshot: &BuildSnapshot, roots: &Roots) -> bool {
    let home = roots.place(RootKind::CargoHome);
    let directories = snapshot.units.iter().filter_map(|unit| roots.expand(&store.call(unit.lookup)?.cwd));
    let mut downloaded = directories.filter(|dir| home.is_some_and(|home| Path::new(dir).starts_with(home)));
    downloaded.all(|dir| fsx::exists(Path::new(&dir)))
}

/// Whether the directories of a profile are empty, for all targets: units for one target use macros and build scripts
/// for another one.
fn is_unused(build_dir: &Path, profile: &str) -> bool {
    let name = profile.rsplit('/').next().unwrap_or(profile);
    let targets = fsx::list(build_dir).unwrap_or_default().into_iter().map(|target| build_dir.join(target));
    !targets.chain([build_dir.to_owned()]).any(|dir| fsx::exists(&dir.join(name).join(FINGERPRINTS)))
}

/// Creates the build directory as cargo does, with the mark of a cache.
fn create_build_dir(build_dir: &Path) -> fsx::Result<()> {
    if fsx::exists(build_dir) {
        return Ok(());
    }
    let text = "Signature: 8a477f597d28d172789f06886806bc55\n# This file is a cache directory tag created by cargo.\n\
                # For information about cache directory tags see https://bford.info/cachedir/\n";
    Publish::default().bytes(&build_dir.join("CACHEDIR.TAG"), text.as_bytes()).map(|_| ())
}

/// Takes the time that all private files get, and waits until a change of an input would be newer.
fn time_before_inputs(build_dir: &Path) -> Result<Time, NotRestored> {
    let coarse = || NotRestored::Clock(build_dir.to_owned());
    let probe = build_dir.join(".kache-time");
    Publish::default().bytes(&probe, b"")?;
    let time = Stamp::of(&probe)?.mtime;
    fsx::remove_file(&probe)?;
    if fsx::stamp::is_on_network(build_dir) || time.nanos == 0 {
        return Err(coarse());
    }
    clock::tick_after(time);
    Ok(time)
}
