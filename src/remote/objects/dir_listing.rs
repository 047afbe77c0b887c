//! A listing of a directory of this machine: the files below it, sorted by name. Links are not listed.

use std::path::Path;
use std::sync::Arc;

use super::dir::{DirObjects, real_root};
use super::names;
use crate::fsx;
use crate::remote::s3::error::Result;
use crate::remote::s3::listing::ListedObject;
use crate::remote::tasks::run_blocking;

/// Objects on one page, as with S3.
const PAGE_OBJECTS: usize = 1000;

/// A listing of a directory in progress.
#[derive(Debug)]
pub struct DirListing {
    root: Arc<Path>,
    prefix: String,
    /// The objects that no page has had yet, the last one first. `None`: the directory has not been read.
    left: Option<Vec<ListedObject>>,
}

impl DirListing {
    pub(super) fn new(objects: &DirObjects, prefix: &str) -> Self {
        Self { root: objects.root(), prefix: prefix.to_owned(), left: None }
    }

    /// Reads the directory at the first call. `None`: all objects have been returned.
    pub(super) async fn next_page(&mut self) -> Result<Option<Vec<ListedObject>>> {
        let mut left = match self.left.take() {
            Some(left) if left.is_empty() => {
                self.left = Some(left);
                return Ok(None);
            }
            Some(left) => left,
            None => {
                let (root, prefix) = (Arc::clone(&self.root), self.prefix.clone());
                run_blocking(move || files_below(&root, &prefix)).await?
            }
        };
        let page = left.split_off(left.len().saturating_sub(PAGE_OBJECTS)).into_iter().rev().collect();
        self.left = Some(left);
        Ok(Some(page))
    }
}

/// The objects whose names begin with `prefix`, the last one first.
fn files_below(root: &Path, prefix: &str) -> fsx::Result<Vec<ListedObject>> {
    let root = real_root(root)?;
    let mut open = vec![prefix.rsplit_once('/').map_or("", |(dir, _)| dir).to_owned()];
    let mut found = Vec::new();
    if !open[0].is_empty() && !names::is_plain(&open[0]) || !is_real_dir(&root, &open[0]) {
        return Ok(found);
    }
    while let Some(dir) = open.pop() {
        // Another process may remove a directory meanwhile.
        for (name, is_dir) in fsx::optional(fsx::list_with_kind(&root.join(&dir)))?.unwrap_or_default() {
            let Some(name) = name.to_str().filter(|name| !name.starts_with(fsx::temp::PREFIX)) else { continue };
            let name = if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
            let is_wanted = name.starts_with(prefix) || is_dir && prefix.starts_with(&format!("{name}/"));
            if !is_wanted || !names::is_plain(&name) {
                continue;
            }
            if is_dir {
                open.push(name);
                continue;
            }
            let metadata = fsx::optional(fsx::symlink_metadata(&root.join(&name)))?;
            if let Some(metadata) = metadata.filter(fsx::Metadata::is_file) {
                found.push(ListedObject { name, size: metadata.len(), modified: metadata.modified().ok() });
            }
        }
    }
    found.sort_unstable_by(|one, other| other.name.cmp(&one.name));
    Ok(found)
}

/// Whether `dir` is a directory below `root` that no link leads to.
fn is_real_dir(root: &Path, dir: &str) -> bool {
    let path = root.join(dir);
    fsx::canonicalize(&path).is_ok_and(|real| real == path || dir.is_empty())
}
