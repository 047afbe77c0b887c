//! Visits the files of a store, which digests name.

use std::path::{Path, PathBuf};

use crate::fsx::{self, Stamp};
use crate::model::Digest;

/// Visits every regular file directly in `dirs`. Skips files that vanish meanwhile.
pub(super) fn each_file(dirs: &[PathBuf], mut visit: impl FnMut(&Path, &Stamp)) -> fsx::Result<()> {
    for dir in dirs {
        for name in fsx::list(dir)? {
            let path = dir.join(name);
            if let Some(stamp) = fsx::optional(Stamp::of(&path))?.filter(|stamp| stamp.is_file) {
                visit(&path, &stamp);
            }
        }
    }
    Ok(())
}

/// Returns the digest that names a file, without the extension.
pub(super) fn digest_in_name(path: &Path) -> Option<Digest> {
    let name = path.file_name()?.to_str()?;
    name.split('.').next()?.parse().ok()
}
