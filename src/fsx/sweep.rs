//! Removes the temp files of killed processes.

use std::path::Path;
use std::time::Duration;

use super::clock::Time;
use super::temp::PREFIX as TEMP_PREFIX;
use super::{Result, Stamp};

/// A temp file of this age has no owner any more.
pub const ORPHAN_AGE: Duration = Duration::from_hours(1);

/// Returns whether a temp file that was last changed at `changed` is an orphan. `changed` is the ctime, because a clone
/// may have any mtime.
pub fn is_orphan(name: &str, changed: Time, now: Time) -> bool {
    name.starts_with(TEMP_PREFIX)
        && now.as_nanos() - changed.as_nanos() > i128::from(ORPHAN_AGE.as_secs()) * 1_000_000_000
}

/// Removes the orphans directly in `dir`, and returns their size in bytes.
pub fn sweep(dir: &Path, now: Time) -> Result<u64> {
    let mut freed = 0;
    for name in super::list(dir)? {
        let Some(name) = name.to_str().filter(|name| name.starts_with(TEMP_PREFIX)) else { continue };
        let path = dir.join(name);
        if let Ok(stamp) = Stamp::of(&path)
            && is_orphan(name, stamp.ctime, now)
        {
            // A tree on its way to its target is a directory.
            if super::remove_file(&path).is_err() {
                super::remove_dir_all(&path)?;
            }
            freed += stamp.size;
        }
    }
    Ok(freed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::clock;

    #[test]
    fn i10_only_old_temps_are_orphans() {
        let dir = tempfile::tempdir().unwrap();
        let temp = dir.path().join(format!("{TEMP_PREFIX}x"));
        crate::fsx::Publish::default().bytes(&temp, b"12345").unwrap();
        let now = clock::now();
        assert_eq!(sweep(dir.path(), now).unwrap(), 0);
        let later = Time { secs: now.secs + 4000, nanos: 0 };
        assert!(!is_orphan("libx.rlib", now, later));
        assert_eq!(sweep(dir.path(), later).unwrap(), 5);
        assert!(!crate::fsx::exists(&temp));
    }
}
