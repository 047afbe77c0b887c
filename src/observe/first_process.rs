//! The first process of a compile or run: every other process that is observed descends from it.

/// The first process of a compile or run, and the names of its target directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FirstProcess<'a> {
    /// ID of the process.
    pub process: u32,
    /// Whether a script takes the place of the compiler. Then the compiler's identity does not cover the libraries that
    /// this process loads.
    pub is_script: bool,
    /// The target directory, if there is one. If its path contains a link, rustc uses both names.
    pub target: Option<TargetNames<'a>>,
}

/// The two names of the target directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TargetNames<'a> {
    /// The path that cargo uses.
    pub name: &'a str,
    /// The same path with all links resolved.
    pub real: &'a str,
}

/// The kind of program that the first process runs. [`super::Trace::place`] encodes it as a letter that
/// `preload/start.c` reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FirstKind {
    /// rustc. Calls from libraries that it loads later count as calls of plugins.
    Compiler,
    /// rustc, and it names its working directory by the alias (`rustc::alias`).
    CompilerWithAlias,
    /// A build script. Like a plugin, it may put anything that it sees into its result.
    Script,
}
