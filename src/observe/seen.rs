//! Everything that a trace shows of a compile or run, as plain data.

use std::collections::{BTreeMap, BTreeSet};

/// The kind of the file at a path, as far as a call shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ObservedKind {
    /// A file of some kind that the call does not show.
    Unspecified,
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link. Only from calls that do not follow links.
    Link,
    /// A pipe, socket or device.
    Special,
    /// There is no file.
    Absent,
    /// The call failed because the user has no permission (`EACCES` or `EPERM`).
    Denied,
}

/// One thing that a program found out or did.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum Observation {
    /// The file or directory was opened for reading.
    Read(String),
    /// A call that follows links found this at the path.
    Stat(String, ObservedKind),
    /// A call that does not follow links found this at the path.
    LinkStat(String, ObservedKind),
    /// The directory was listed.
    List(String),
    /// The link at the first path has the second as its target.
    Link(String, String),
    /// The second path is the first with all links resolved.
    Resolve(String, String),
    /// The variable has this value. `None`: it is not set.
    Env(String, Option<String>),
    /// The program of this name was looked up on `PATH`, and this file was found. `None`: there is no such program.
    Lookup(String, Option<String>),
    /// The program in this file was run.
    Program(String),
    /// The library in this file was loaded.
    Library(String),
    /// The library in this file is a plugin and may have read all variables at once, through `environ`.
    Environ(String),
}

/// An observation, and whether a plugin made it: a proc macro, a build script, or a program that one of them started.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Fact {
    /// What the program found out or did.
    pub observation: Observation,
    /// Whether the program was a plugin.
    pub plugin: bool,
}

/// One run of a shell, or of `env`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shell {
    /// File of the program.
    pub program: String,
    /// Its arguments, beginning with `argv[0]`. `None` if they could not be read.
    pub arguments: Option<Vec<String>>,
    /// Whether a plugin started it.
    pub plugin: bool,
}

/// Everything that a trace shows of a compile or run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// Facts, in the order in which they were first found.
    pub facts: Vec<Fact>,
    /// Files that were written, each with whether a plugin wrote it.
    pub written: BTreeMap<String, bool>,
    /// Symbolic links that were made, each with its target.
    pub links: BTreeMap<String, String>,
    /// The shells, and `env`, that were run.
    pub shells: Vec<Shell>,
    /// Files that shells opened, which may contain commands.
    pub commands: BTreeSet<String>,
    /// Something that was not observed, or that cannot be repeated, such as a connection to a socket. `None`: the trace
    /// shows everything.
    pub unobserved: Option<String>,
}
