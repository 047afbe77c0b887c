//! Checks the cache directory, and how kache links files from it into a target directory.

use std::path::{Path, PathBuf};

use super::check::Check;
use crate::config::{Config, Env, env};
use crate::fsx::ladder::Sharing;
use crate::fsx::{self, Ladder, LinkMode, Mtime, stamp};

/// Directories below the cache directory that builds write to. Each is created when first needed.
const PARTS: [&str; 9] = [
    "events",
    "v1",
    "v1/blobs",
    "v1/entries",
    "v1/manifests",
    "v1/claims",
    "v1/remote",
    "v1/remote/inbox",
    "v1/remote/agent",
];

pub(super) fn checks(config: &Config, vars: &Env) -> Vec<Check> {
    let cache = &config.cache_dir.value;
    let probe = cache.join(format!("doctor-probe-{}", std::process::id()));
    let mut checks = Vec::new();
    if let Err(error) = fsx::Publish::default().bytes(&probe, b"kache doctor") {
        checks.push(Check::fail("cache directory", format!("cannot be written: {error}")));
        return checks;
    }
    checks.push(match PARTS.iter().find_map(|part| Some((part, unusable(&cache.join(part))?))) {
        None => Check::ok("cache directory", format!("{} can be written", cache.display())),
        Some((part, error)) => {
            let part = cache.join(part);
            let text = format!("{} cannot be written: {error}; remove it, and builds create it again", part.display());
            Check::fail("cache directory", text)
        }
    });
    checks.push(match stamp::is_on_network(cache) {
        false => Check::ok("file system", "local"),
        true => Check::warn("file system", "a network file system: each hit reads all of its inputs"),
    });
    checks.push(links(&probe, &target_dir(vars)));
    let _ = fsx::remove_file(&probe);
    checks
}

/// The error of a write into this directory. `None`: the write succeeded, or the directory does not exist.
fn unusable(dir: &Path) -> Option<fsx::Error> {
    let probe = dir.join(format!("doctor-probe-{}", std::process::id()));
    let written = fsx::symlink_metadata(dir).is_ok().then(|| fsx::Publish::default().bytes(&probe, b""));
    let _ = fsx::remove_file(&probe);
    written?.err()
}

fn links(probe: &Path, target: &Path) -> Check {
    let clone = target.join(".kache-doctor-probe");
    let mode = |sharing| {
        let mode = Ladder::default().clone_beside(probe, &clone, sharing).and_then(|made| made.commit(&clone));
        let _ = fsx::remove_file(&clone);
        mode
    };
    let shared = mode(Sharing::Shared);
    let private = mode(Sharing::Private { executable: false, mtime: Mtime::Now });
    let place = target.display();
    match (shared, private) {
        (Ok(shared), Ok(private)) => {
            let text = format!("into {place}: rlibs by {}, other files by {}", name(shared), name(private));
            match shared {
                LinkMode::Copy => {
                    Check::warn("links", format!("{text}; put the cache and the target directory on one file system"))
                }
                _ => Check::ok("links", text),
            }
        }
        (Err(error), _) | (_, Err(error)) => Check::fail("links", format!("into {place}: {error}")),
    }
}

const fn name(mode: LinkMode) -> &'static str {
    match mode {
        LinkMode::Reflink => "reflink",
        LinkMode::HardLink => "hard link",
        LinkMode::Copy => "copy",
    }
}

/// The target directory of a build in the current directory, or its nearest ancestor that exists.
fn target_dir(vars: &Env) -> PathBuf {
    let here = fsx::current_dir().unwrap_or_default();
    let named = vars.path(env::CARGO_TARGET_DIR).map(|dir| here.join(dir));
    let package = here.ancestors().find(|dir| fsx::exists(&dir.join("Cargo.lock"))).unwrap_or(&here);
    let target = named.unwrap_or_else(|| package.join("target"));
    let there = target.ancestors().find(|dir| fsx::exists(dir));
    there.map_or_else(|| here.clone(), Path::to_owned)
}
