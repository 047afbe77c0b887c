//! Turns the facts about a compile, or about a run of a build script, into inputs.
//!
//! This module leaves out everything that another record covers: the identity of the compiler, the lookup key,
//! dep-info, the outputs of this unit, and, for a unit that is not linked, the metadata of indirect dependencies (the
//! digests of the direct ones chain to it). It leaves out more of the reads of the toolchain than of those of a plugin,
//! because a plugin may put anything that it reads into the result.

mod absences;
mod git_index;
mod locale;
mod spelling;
mod variables;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::start_snapshot::may_be_newer;
use super::{
    NotStored, ObservedContext, ObservedSubject, git, inspect, leaked_paths, outside_checkout, parent_paths, processor,
    record,
};
use crate::config::env;
use crate::fsx::{self, Stamp};
use crate::model::{Input, InputKind, PathKind, RootKind, Stored};
use crate::observe::{Fact, Observation, ObservedKind, Seen};
use crate::rustc::toolchain;
use crate::store::entries::is_inner_link;

/// The inputs that dep-info does not list.
#[derive(Debug, Default)]
pub struct ObservedInputs {
    /// The inputs, each once and in a stable order.
    pub inputs: Vec<Input>,
    /// Times of files that a plugin could see. They are inputs only if the outputs contain them.
    pub times: Vec<(Input, i64)>,
}

/// Returns the inputs that dep-info does not list. Fails if something could not be observed, or has changed since the
/// start, because the compile may have read another version of it.
pub fn inputs(seen: &Seen, observed: ObservedContext<'_>) -> Result<ObservedInputs, NotStored> {
    if let Some(what) = &seen.unobserved {
        return Err(NotStored(Stored::Unobserved, what.clone()));
    }
    if let Some((path, _)) = seen.links.iter().find(|(path, target)| !is_contained(path, target, observed.subject)) {
        return Err(NotStored(Stored::Unobserved, format!("the symbolic link {path}")));
    }
    let mut collector = InputCollector::new(observed, seen);
    if let Some(name) = collector.git_redirection(seen) {
        return Err(NotStored(Stored::Unobserved, format!("git with {name}")));
    }
    for fact in &seen.facts {
        collector.add(fact)?;
    }
    let named = collector.record_named_variables(seen)?;
    let mut inputs = collector.finish();
    inputs.inputs.extend(leaked_paths::pins(seen, &named.by_plugins, observed));
    inputs.inputs.extend(outside_checkout::pin(seen, observed));
    if named.uses_working_directory {
        let place = |kind| observed.context.roots.place(kind).map(|place| Input::Pinned(kind, place.to_owned()));
        inputs.inputs.extend([RootKind::Workspace, RootKind::Target].into_iter().filter_map(place));
    }
    Ok(inputs)
}

/// Whether a link that the subject made leads nowhere outside the directory of the subject, so that the subject also
/// made everything below the link. `false` for a compile, which does not make links.
fn is_contained(link: &str, target: &str, subject: ObservedSubject<'_>) -> bool {
    let ObservedSubject::Run(script) = subject else { return false };
    let below = Path::new(link).strip_prefix(&script.out_dir).ok().and_then(Path::to_str);
    below.is_some_and(|below| is_inner_link(below, target))
}

struct InputCollector<'a> {
    observed: ObservedContext<'a>,
    /// The files that the compile wrote.
    written: &'a BTreeMap<String, bool>,
    /// The files that dep-info or the lookup key covers.
    known_files: HashSet<PathBuf>,
    known_variables: HashSet<&'a str>,
    /// Directories in which rustc looks for crates and the linker for libraries.
    search_dirs: HashSet<PathBuf>,
    /// The directories among them in which rustc looks only for indirect dependencies.
    dependency_dirs: HashSet<PathBuf>,
    /// The directories of `PATH`, without redundant parts, as facts spell paths.
    path_dirs: Vec<PathBuf>,
    reads_libraries: bool,
    /// Whether git was run.
    runs_git: bool,
    /// Whether a shell was run. Shells look up programs themselves.
    runs_shell: bool,
    /// The inputs by kind and name, so that each is there once and in a stable order.
    inputs: BTreeMap<(InputKind, String), Input>,
    /// The directories that the toolchain found to exist. Any input below one covers it.
    directories: BTreeSet<String>,
    times: Vec<(Input, i64)>,
}

impl<'a> InputCollector<'a> {
    fn new(observed: ObservedContext<'a>, seen: &'a Seen) -> Self {
        let ObservedContext { subject, context, lookup, info, .. } = observed;
        let of_info = info.iter().flat_map(|info| &info.files);
        let mut known_files: HashSet<PathBuf> = of_info.map(|file| context.cwd.join(file)).collect();
        known_files.extend(lookup.files.iter().map(|(path, _)| path.clone()));
        let path = context.env.get(env::PATH).unwrap_or_default();
        Self {
            observed,
            written: &seen.written,
            known_files,
            known_variables: info.iter().flat_map(|info| &info.env).map(|(name, _)| name.as_str()).collect(),
            search_dirs: subject.search_dirs().into_iter().collect(),
            dependency_dirs: subject.dependency_dirs().into_iter().collect(),
            path_dirs: std::env::split_paths(&path)
                .filter(|dir| dir.is_absolute())
                .map(|dir| dir.components().collect())
                .collect(),
            reads_libraries: subject.reads_libraries(),
            runs_git: seen
                .facts
                .iter()
                .any(|fact| matches!(&fact.observation, Observation::Program(path) if path.ends_with("/git"))),
            runs_shell: !seen.shells.is_empty(),
            inputs: BTreeMap::new(),
            directories: BTreeSet::new(),
            times: Vec::new(),
        }
    }

    fn add(&mut self, fact: &Fact) -> Result<(), NotStored> {
        let plugin = fact.plugin;
        let without_parents = self.without_parents(&fact.observation);
        let observation = without_parents.as_ref().unwrap_or(&fact.observation);
        if let Observation::Stat(path, _) | Observation::LinkStat(path, _) | Observation::Program(path) = observation
            && self.runs_shell
        {
            self.record_as_lookup(Path::new(path));
        }
        match observation {
            Observation::Env(name, value) => self.record_variable(name, value.as_deref(), plugin),
            Observation::Lookup(name, _) => self.record_lookup(name),
            Observation::Environ(library) => self.record_environ_use(library)?,
            Observation::Program(path) => self.record_program(path, plugin)?,
            Observation::Library(path) => {
                self.record_library_path();
                self.record_file(path, plugin)?;
            }
            Observation::Read(path) => self.record_read(path, plugin)?,
            Observation::List(path) => self.record_listing(path, plugin)?,
            Observation::Stat(path, found) | Observation::LinkStat(path, found) => {
                let no_follow = matches!(observation, Observation::LinkStat(..)) && plugin;
                self.record_stat(path, *found, no_follow, plugin)?;
            }
            Observation::Link(path, target) => self.record_link(path, target, plugin),
            Observation::Resolve(path, real) => self.record_resolved(path, real, plugin),
        }
        Ok(())
    }

    /// Adds an input. `name` is its name as observed: a path without tokens.
    fn insert(&mut self, name: &str, input: Input) {
        self.inputs.insert((input.kind(), name.to_owned()), input);
    }

    /// Records the result of looking up a program on `PATH`. Validation repeats the lookup, so it notices a program
    /// that appears earlier on `PATH`.
    fn record_lookup(&mut self, name: &str) {
        let path = inspect::program(name, self.observed.context);
        self.insert(name, Input::Program(name.to_owned(), path));
    }

    /// Whether a file does not need a separate input. `path` is not canonical, so a file that is covered under another
    /// name is not recognised.
    fn is_covered(&self, path: &Path, plugin: bool) -> bool {
        self.known_files.contains(path)
            || self.observed.subject.owns(path)
            || self.is_of_compiler(path)
            || (!plugin && !self.reads_libraries && self.is_foreign_metadata(path))
    }

    fn is_of_compiler(&self, path: &Path) -> bool {
        let inside =
            |path: &Path| path.strip_prefix(self.observed.sysroot).is_ok_and(toolchain::is_covered_by_identity);
        // By bytes first: most paths are outside, and comparing part by part costs ten times as much.
        let may_be_inside = path.as_os_str().as_bytes().starts_with(self.observed.sysroot.as_os_str().as_bytes());
        // A path that contains `..` may be inside by its spelling only.
        may_be_inside
            && inside(path)
            && (!parent_paths::has_parents(path)
                || parent_paths::resolve_directory(path).is_some_and(|path| inside(&path)))
    }

    /// Whether a path is among files of the compiler alone, whose identity decides which of them exist.
    fn is_in_sysroot(&self, path: &Path) -> bool {
        let inside = path.strip_prefix(self.observed.sysroot);
        inside
            .is_ok_and(|path| !parent_paths::has_parents(path) && (path.starts_with("lib/rustlib") || path == "lib64"))
    }

    /// Whether a file is the metadata of an indirect dependency. Crates in other search directories may be used without
    /// an `--extern`, so their metadata counts.
    fn is_foreign_metadata(&self, path: &Path) -> bool {
        let is_metadata = path.extension().is_some_and(|extension| extension == "rmeta" || extension == "rlib");
        is_metadata && path.parent().is_some_and(|dir| self.dependency_dirs.contains(dir))
    }

    fn record_read(&mut self, path: &str, plugin: bool) -> Result<(), NotStored> {
        if path == processor::CPUINFO {
            let digest = processor::digest().ok_or_else(|| NotStored(Stored::Unobserved, path.to_owned()))?;
            self.insert("", Input::Processor(digest));
            return Ok(());
        }
        match inspect::kind(Path::new(path)) {
            Some(PathKind::File) => self.record_file(path, plugin),
            Some(PathKind::Directory) => self.record_stat(path, ObservedKind::Directory, false, plugin),
            // The program that made it has removed it since it was opened.
            None => Err(NotStored(Stored::InputChanged, path.to_owned())),
            Some(_) if plugin => Err(NotStored(Stored::Unobserved, path.to_owned())),
            Some(_) => Ok(()),
        }
    }

    fn record_file(&mut self, path: &str, plugin: bool) -> Result<(), NotStored> {
        if self.is_covered(Path::new(path), plugin) || self.inputs.contains_key(&(InputKind::File, path.to_owned())) {
            return Ok(());
        }
        if git::is_index(Path::new(path)) {
            return self.record_git_index(path);
        }
        let input = record::file_input(path, self.observed.context, self.observed.start.time)?;
        self.insert(path, input);
        Ok(())
    }

    /// Whether a script lists a library directory of this build, as a search for libclang does. The content of that
    /// directory depends on which units have already been built, with or without kache, so scripts cannot rely on it.
    fn is_of_other_units(&self, dir: &Path) -> bool {
        let ObservedContext { subject, context, .. } = self.observed;
        let libraries = context.env.get(env::LD_LIBRARY_PATH).unwrap_or_default();
        let target = context.roots.place(RootKind::Target);
        matches!(subject, ObservedSubject::Run(_))
            && !parent_paths::has_parents(dir)
            && target.is_some_and(|target| dir.starts_with(target))
            && std::env::split_paths(&libraries).any(|library| library == dir)
    }

    fn record_listing(&mut self, path: &str, plugin: bool) -> Result<(), NotStored> {
        let dir = Path::new(path);
        if self.observed.subject.owns(dir) || self.is_of_other_units(dir) {
            return Ok(());
        }
        if !plugin && (self.search_dirs.contains(dir) || self.is_in_sysroot(dir)) {
            return Ok(());
        }
        let ObservedContext { context, start, .. } = self.observed;
        let changed = || NotStored(Stored::InputChanged, path.to_owned());
        let stamp = Stamp::of(dir).map_err(|_| changed())?;
        let digest = context.stamps.listing(dir).map_err(|_| changed())?;
        if may_be_newer(stamp.ctime, start.time, || fsx::stamp::is_on_network(dir))
            && !start.is_same_repository(dir, context)
        {
            return Err(changed());
        }
        self.insert(path, Input::Listing(context.roots.tokenise(path), digest));
        Ok(())
    }

    fn record_stat(&mut self, path: &str, found: ObservedKind, no_follow: bool, plugin: bool) -> Result<(), NotStored> {
        let place = Path::new(path);
        // Without `no_follow`, a link counts as the file that it leads to.
        let found = if found == ObservedKind::Link && !no_follow { ObservedKind::Unspecified } else { found };
        if found == ObservedKind::Absent {
            return self.record_absent(path, plugin);
        }
        if !plugin && (self.record_as_lookup(place) || self.search_dirs.contains(place)) {
            return Ok(());
        }
        // git reads the mtime of its index, but does not report it.
        let is_asked_by_git = self.runs_git && git::is_index(place);
        if plugin && !is_asked_by_git && inspect::kind(place) == Some(PathKind::File) {
            self.record_metadata(path);
        }
        if self.is_covered(place, plugin) || (!plugin && self.is_in_sysroot(place)) {
            return Ok(());
        }
        let now = if no_follow { inspect::kind_no_follow(place) } else { inspect::kind(place) };
        let Some(now) = now.filter(|now| matches_now(found, *now)) else {
            return Err(NotStored(Stored::InputChanged, path.to_owned()));
        };
        if now == PathKind::Directory && !plugin {
            self.directories.insert(path.to_owned());
            return Ok(());
        }
        let token = self.observed.context.roots.tokenise(path);
        if no_follow {
            self.insert(path, Input::PresentNoFollow(token, now));
        } else {
            self.insert(path, Input::Present(token, now));
        }
        // The metadata includes the size.
        if now == PathKind::File && plugin {
            self.record_file(path, plugin)?;
        }
        Ok(())
    }

    /// Records everything that a plugin learns about a file besides its size, which the content covers.
    fn record_metadata(&mut self, path: &str) {
        let roots = self.observed.context.roots;
        let token = || roots.tokenise(path);
        if let Some(bits) = inspect::owner_mode(Path::new(path)) {
            self.insert(path, Input::Mode(token(), bits));
        }
        let modified = inspect::mtime(Path::new(path)).map(|time| (Input::Modified(token(), time), time));
        let created = inspect::creation_time(Path::new(path)).map(|time| (Input::Created(token(), time), time));
        self.times.extend(modified.into_iter().chain(created));
    }

    /// Records a request of the toolchain in a directory of `PATH` as a lookup of that name, because only the result of
    /// the lookup counts. Returns `false` if the path is not in such a directory.
    fn record_as_lookup(&mut self, path: &Path) -> bool {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return false;
        };
        let is_on_path = self.path_dirs.iter().any(|known| known.as_os_str() == dir.as_os_str());
        if is_on_path {
            self.record_lookup(name);
        }
        is_on_path
    }

    fn record_link(&mut self, path: &str, target: &str, plugin: bool) {
        if !plugin && self.is_in_sysroot(Path::new(path)) {
            return;
        }
        let roots = self.observed.context.roots;
        self.insert(path, Input::Link(roots.tokenise(path), roots.tokenise(target)));
    }

    fn record_resolved(&mut self, path: &str, real: &str, plugin: bool) {
        let is_irrelevant = path == real || self.is_in_sysroot(Path::new(path));
        if !plugin && (is_irrelevant || self.is_covered(Path::new(path), plugin)) {
            return;
        }
        let roots = self.observed.context.roots;
        self.insert(path, Input::Resolved(roots.tokenise(path), roots.tokenise(real)));
    }

    fn finish(mut self) -> ObservedInputs {
        let found: BTreeSet<String> =
            self.inputs.keys().filter(|(kind, _)| *kind != InputKind::Absent).map(|(_, name)| name.clone()).collect();
        for dir in std::mem::take(&mut self.directories) {
            let below = format!("{dir}/");
            let is_implied = found.range(below.clone()..).next().is_some_and(|path| path.starts_with(&below));
            if !is_implied {
                let token = self.observed.context.roots.tokenise(&dir);
                self.insert(&dir, Input::Present(token, PathKind::Directory));
            }
        }
        // The content of a file implies that the file exists.
        let files: Vec<String> =
            self.inputs.keys().filter(|(kind, _)| *kind == InputKind::File).map(|(_, name)| name.clone()).collect();
        for file in files {
            self.inputs.remove(&(InputKind::Present, file));
        }
        ObservedInputs { inputs: self.inputs.into_values().collect(), times: self.times }
    }
}

/// Whether the kind that a call observed matches the current one.
fn matches_now(found: ObservedKind, now: PathKind) -> bool {
    match found {
        ObservedKind::Unspecified => now != PathKind::Denied,
        ObservedKind::File => now == PathKind::File,
        ObservedKind::Directory => now == PathKind::Directory,
        ObservedKind::Link => now == PathKind::Link,
        ObservedKind::Special => now == PathKind::Special,
        ObservedKind::Denied => now == PathKind::Denied,
        ObservedKind::Absent => false,
    }
}
