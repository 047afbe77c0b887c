//! The compile or the run of a build script that was observed. Files that it makes itself are not its inputs.

use std::path::{Path, PathBuf};

use memchr::memmem::Finder;

use super::parent_paths;
use crate::rustc::Invocation;
use crate::script::ScriptInvocation;

/// The compile or run that was observed.
#[derive(Clone, Copy, Debug)]
pub enum ObservedSubject<'a> {
    /// A compile. Its outputs and their temporary forms are not inputs.
    Compile(&'a Invocation),
    /// A run of a build script.
    Run(&'a ScriptInvocation),
}

impl ObservedSubject<'_> {
    /// Whether a path is one of the subject's outputs, or a temporary form of one.
    pub(super) fn owns(self, path: &Path) -> bool {
        match self {
            Self::Compile(invocation) => is_output_of(invocation, path),
            Self::Run(script) => parent_paths::is_below(path, &script.out_dir),
        }
    }

    /// The directories in which rustc looks for crates and the linker for libraries.
    pub(super) fn search_dirs(self) -> Vec<PathBuf> {
        match self {
            Self::Compile(invocation) => invocation.search_dirs().chain([invocation.out_dir.clone()]).collect(),
            Self::Run(_) => Vec::new(),
        }
    }

    /// The directories among them in which rustc looks only for indirect dependencies.
    pub(super) fn dependency_dirs(self) -> Vec<PathBuf> {
        match self {
            Self::Compile(invocation) => invocation.dependency_dirs().collect(),
            Self::Run(_) => Vec::new(),
        }
    }

    /// Whether the content of crate metadata counts, not only its digest.
    pub(super) fn reads_libraries(self) -> bool {
        match self {
            Self::Compile(invocation) => invocation.needs_whole_libraries(),
            Self::Run(_) => true,
        }
    }

    /// Whether an argument names a file of this name.
    pub(super) fn is_asked_for(self, name: &std::ffi::OsStr) -> bool {
        let finder = Finder::new(name.as_encoded_bytes());
        match self {
            Self::Compile(invocation) => {
                invocation.argv.iter().any(|arg| finder.find(arg.as_encoded_bytes()).is_some())
            }
            Self::Run(_) => false,
        }
    }
}

fn is_output_of(invocation: &Invocation, path: &Path) -> bool {
    let stem = invocation.stem();
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // A stem without a hash may be the beginning of another crate's name.
    let is_called_so =
        |name: &str| name.strip_prefix(&stem).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    (is_called_so(name) || name.strip_prefix("lib").is_some_and(is_called_so))
        && path.parent() == Some(&invocation.out_dir)
}
