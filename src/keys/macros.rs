//! Where the observer is not available: decides which units may run macros that read files or variables unseen.

use std::path::Path;

use memchr::memmem::Finder;

use crate::fsx;
use crate::rustc::Invocation;

/// Whether a proc macro may run in a unit of a path package. In units of other packages, macros are assumed to read
/// only their arguments, which every other cache assumes of all macros.
///
/// A library passes on the macros of its dependencies. Its metadata names each crate below it by the suffix of its file
/// name (`rustc_metadata::rmeta::CrateDep`), so the macros among them are found there.
pub fn may_run(invocation: &Invocation) -> bool {
    let is_path_package = invocation.last("--cap-lints").is_none();
    is_path_package && !invocation.externs.is_empty() && {
        let endings = macro_endings(invocation);
        let names_one = |path: &Path| {
            let bytes = fsx::read(path);
            bytes.map_or(true, |bytes| endings.iter().any(|ending| Finder::new(ending).find(&bytes).is_some()))
        };
        invocation.externs.iter().any(|dep| is_shared_library(&dep.path) || names_one(&dep.path))
    }
}

fn is_shared_library(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "so" || extension == "dylib")
}

/// Returns the `-0123456789abcdef` of every `libname-0123456789abcdef.so` in the directories where rustc looks for
/// crates.
fn macro_endings(invocation: &Invocation) -> Vec<String> {
    let mut endings = Vec::new();
    for dir in invocation.search_dirs() {
        for name in fsx::list(&dir).unwrap_or_default() {
            let path = Path::new(&name);
            let stem = path.file_stem().and_then(|stem| stem.to_str()).filter(|_| is_shared_library(path));
            endings.extend(stem.and_then(|stem| stem.rfind('-').map(|at| stem[at..].to_owned())));
        }
    }
    endings
}
