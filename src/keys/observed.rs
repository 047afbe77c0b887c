//! Turns the observation of a compile, or of a run of a build script, into inputs.
//!
//! Left out is everything that something else covers: the identity of the compiler, the lookup key, dep-info, the
//! outputs of this unit, and, for a unit that is not linked, the metadata of indirect dependencies (the digests of the
//! direct ones chain to it). More is left out of the requests that only the toolchain made than of those of a plugin,
//! because a proc macro may put anything that it sees into the result.

mod absences;
mod index;
mod locale;
mod spelling;
mod variables;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use super::record::{self, NotStored};
use super::{Context, Lookup, Start, Subject, dots, git, processor, things, told, upward};
use crate::config::env;
use crate::fsx::{self, Stamp};
use crate::model::{DepInfo, Input, RootKind, Stored, Thing};
use crate::observe::{Fact, Found, Seen, What};
use crate::rustc::toolchain;
use crate::store::entries::is_inner_link;

/// Everything about the compile or run besides the observation.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The compile or run that was observed.
    pub subject: Subject<'a>,
    /// The context in which inputs are recorded.
    pub context: Context<'a>,
    /// The lookup key, and the files that it covers.
    pub lookup: &'a Lookup,
    /// rustc's dep-info. `None` for a run.
    pub info: Option<&'a DepInfo<String>>,
    /// Texts among the outputs of a run, with the paths of this checkout.
    pub texts: &'a [String],
    /// The sysroot of the compiler.
    pub sysroot: &'a Path,
    /// The state before the compile or run started.
    pub start: &'a Start,
}

/// The inputs that dep-info does not list.
#[derive(Debug, Default)]
pub struct Observed {
    /// The inputs, each once and in a stable order.
    pub inputs: Vec<Input>,
    /// Times of files that a plugin could see. They are inputs only if the outputs contain them.
    pub times: Vec<(Input, i64)>,
}

/// Returns the inputs that dep-info does not list. Fails if something could not be observed, or has changed since the
/// start, because the compile may have read another version of it.
pub fn inputs(seen: &Seen, known: Known<'_>) -> Result<Observed, NotStored> {
    if let Some(what) = &seen.unobserved {
        return Err(NotStored(Stored::Unobserved, what.clone()));
    }
    if let Some((path, _)) = seen.links.iter().find(|(path, target)| !is_contained(path, target, known.subject)) {
        return Err(NotStored(Stored::Unobserved, format!("the symbolic link {path}")));
    }
    let mut collector = Collector::new(known, seen);
    if let Some(name) = collector.git_goes_elsewhere(seen) {
        return Err(NotStored(Stored::Unobserved, format!("git with {name}")));
    }
    for fact in &seen.facts {
        collector.add(fact)?;
    }
    let named = collector.named(seen)?;
    let mut observed = collector.finish();
    observed.inputs.extend(told::pins(seen, &named.told, known));
    observed.inputs.extend(upward::pin(seen, known));
    if named.place {
        let place = |kind| known.context.roots.place(kind).map(|place| Input::Pinned(kind, place.to_owned()));
        observed.inputs.extend([RootKind::Workspace, RootKind::Target].into_iter().filter_map(place));
    }
    Ok(observed)
}

/// Whether a link that the subject made leads nowhere outside the directory of the subject, so that the subject also
/// made everything below the link. `false` for a compile, which does not make links.
fn is_contained(link: &str, target: &str, subject: Subject<'_>) -> bool {
    let Subject::Run(script) = subject else { return false };
    let below = Path::new(link).strip_prefix(&script.out_dir).ok().and_then(Path::to_str);
    below.is_some_and(|below| is_inner_link(below, target))
}

struct Collector<'a> {
    known: Known<'a>,
    /// The files that the compile wrote.
    written: &'a BTreeMap<String, bool>,
    /// The files that dep-info or the lookup key covers.
    known_files: HashSet<PathBuf>,
    known_variables: HashSet<&'a str>,
    /// Directories in which rustc looks for crates and the linker for libraries.
    search_dirs: HashSet<PathBuf>,
    /// The directories among them in which rustc looks only for indirect dependencies.
    dependency_dirs: HashSet<PathBuf>,
    /// The directories of `PATH`.
    path_dirs: Vec<PathBuf>,
    reads_libraries: bool,
    /// Whether git was run.
    runs_git: bool,
    /// Whether a shell was run. Shells look up programs themselves.
    runs_shell: bool,
    /// The inputs by kind and name, so that each is there once and in a stable order.
    inputs: BTreeMap<(&'static str, String), Input>,
    /// The directories that the toolchain found to exist. Any input below one covers it.
    directories: BTreeSet<String>,
    times: Vec<(Input, i64)>,
}

impl<'a> Collector<'a> {
    fn new(known: Known<'a>, seen: &'a Seen) -> Self {
        let Known { subject, context, lookup, info, .. } = known;
        let of_info = info.iter().flat_map(|info| &info.files);
        let mut known_files: HashSet<PathBuf> = of_info.map(|file| context.cwd.join(file)).collect();
        known_files.extend(lookup.files.iter().map(|(path, _)| path.clone()));
        let path = context.env.get(env::PATH).unwrap_or_default();
        Self {
            known,
            written: &seen.written,
            known_files,
            known_variables: info.iter().flat_map(|info| &info.env).map(|(name, _)| name.as_str()).collect(),
            search_dirs: subject.search_dirs().into_iter().collect(),
            dependency_dirs: subject.dependency_dirs().into_iter().collect(),
            path_dirs: std::env::split_paths(&path).filter(|dir| dir.is_absolute()).collect(),
            reads_libraries: subject.reads_libraries(),
            runs_git: seen.facts.iter().any(|fact| matches!(&fact.what, What::Program(path) if path.ends_with("/git"))),
            runs_shell: !seen.shells.is_empty(),
            inputs: BTreeMap::new(),
            directories: BTreeSet::new(),
            times: Vec::new(),
        }
    }

    fn add(&mut self, fact: &Fact) -> Result<(), NotStored> {
        let plugin = fact.plugin;
        let folded = self.folded(&fact.what);
        let what = folded.as_ref().unwrap_or(&fact.what);
        if let What::Stat(path, _) | What::LinkStat(path, _) | What::Program(path) = what
            && self.runs_shell
        {
            self.take_for_lookup(Path::new(path));
        }
        match what {
            What::Env(name, value) => self.variable(name, value.as_deref(), plugin),
            What::Lookup(name, _) => self.program(name),
            What::Environ(library) => self.environ(library)?,
            What::Program(path) => self.ran(path, plugin)?,
            What::Library(path) => {
                self.search_path();
                self.file(path, plugin)?;
            }
            What::Read(path) => self.read(path, plugin)?,
            What::List(path) => self.list(path, plugin)?,
            What::Stat(path, found) | What::LinkStat(path, found) => {
                let itself = matches!(what, What::LinkStat(..)) && plugin;
                self.stat(path, *found, itself, plugin)?;
            }
            What::Link(path, target) => self.link(path, target, plugin),
            What::Resolve(path, real) => self.resolve(path, real, plugin),
        }
        Ok(())
    }

    fn insert(&mut self, kind: &'static str, name: &str, input: Input) {
        self.inputs.insert((kind, name.to_owned()), input);
    }

    /// Records the result of looking up a program on `PATH`. Validation repeats the lookup, so it notices a program
    /// that appears earlier on `PATH`.
    fn program(&mut self, name: &str) {
        let path = things::program(name, self.known.context);
        self.insert("program", name, Input::Program(name.to_owned(), path));
    }

    /// Whether a file does not need a separate input. `path` is not canonical, so a file that is covered under another
    /// name is not recognised.
    fn is_covered(&self, path: &Path, plugin: bool) -> bool {
        self.known_files.contains(path)
            || self.known.subject.owns(path)
            || self.is_of_compiler(path)
            || (!plugin && !self.reads_libraries && self.is_foreign_metadata(path))
    }

    fn is_of_compiler(&self, path: &Path) -> bool {
        let inside = |path: &Path| path.strip_prefix(self.known.sysroot).is_ok_and(toolchain::is_covered_by_identity);
        // A path that contains `..` may be inside by its spelling only.
        inside(path) && (!dots::goes_up(path) || dots::resolved(path).is_some_and(|path| inside(&path)))
    }

    /// Whether a path is among files of the compiler alone, whose identity decides which of them exist.
    fn is_in_sysroot(&self, path: &Path) -> bool {
        let inside = path.strip_prefix(self.known.sysroot);
        inside.is_ok_and(|path| !dots::goes_up(path) && (path.starts_with("lib/rustlib") || path == "lib64"))
    }

    /// Whether a file is the metadata of an indirect dependency. Crates in other search directories may be used without
    /// an `--extern`, so their metadata counts.
    fn is_foreign_metadata(&self, path: &Path) -> bool {
        let is_metadata = path.extension().is_some_and(|extension| extension == "rmeta" || extension == "rlib");
        is_metadata && path.parent().is_some_and(|dir| self.dependency_dirs.contains(dir))
    }

    fn read(&mut self, path: &str, plugin: bool) -> Result<(), NotStored> {
        if path == processor::FILE {
            let digest = processor::digest().ok_or_else(|| NotStored(Stored::Unobserved, path.to_owned()))?;
            self.insert("processor", "", Input::Processor(digest));
            return Ok(());
        }
        match things::present(Path::new(path)) {
            Some(Thing::File) => self.file(path, plugin),
            Some(Thing::Directory) => self.stat(path, Found::Directory, false, plugin),
            // The program that made it has removed it since it was opened.
            None => Err(NotStored(Stored::InputChanged, path.to_owned())),
            Some(_) if plugin => Err(NotStored(Stored::Unobserved, path.to_owned())),
            Some(_) => Ok(()),
        }
    }

    fn file(&mut self, path: &str, plugin: bool) -> Result<(), NotStored> {
        if self.is_covered(Path::new(path), plugin) || self.inputs.contains_key(&("file", path.to_owned())) {
            return Ok(());
        }
        if git::is_index(Path::new(path)) {
            return self.index(path);
        }
        let input = record::file_input(path, self.known.context, self.known.start.time)?;
        self.insert("file", path, input);
        Ok(())
    }

    /// Whether a script lists a library directory of this build, as a search for libclang does. The content of that
    /// directory depends on which units have already been built, with or without kache, so scripts cannot rely on it.
    fn is_of_other_units(&self, dir: &Path) -> bool {
        let Known { subject, context, .. } = self.known;
        let libraries = context.env.get(env::LD_LIBRARY_PATH).unwrap_or_default();
        let target = context.roots.place(RootKind::Target);
        matches!(subject, Subject::Run(_))
            && !dots::goes_up(dir)
            && target.is_some_and(|target| dir.starts_with(target))
            && std::env::split_paths(&libraries).any(|library| library == dir)
    }

    fn list(&mut self, path: &str, plugin: bool) -> Result<(), NotStored> {
        let dir = Path::new(path);
        if self.known.subject.owns(dir) || self.is_of_other_units(dir) {
            return Ok(());
        }
        if !plugin && (self.search_dirs.contains(dir) || self.is_in_sysroot(dir)) {
            return Ok(());
        }
        let Known { context, start, .. } = self.known;
        let changed = || NotStored(Stored::InputChanged, path.to_owned());
        let stamp = Stamp::of(dir).map_err(|_| changed())?;
        let digest = context.stamps.listing(dir).map_err(|_| changed())?;
        if record::may_be_newer(stamp.ctime, start.time, || fsx::stamp::is_on_network(dir))
            && !start.is_same_repository(dir, context)
        {
            return Err(changed());
        }
        self.insert("listing", path, Input::Listing(context.roots.tokenise(path), digest));
        Ok(())
    }

    fn stat(&mut self, path: &str, found: Found, itself: bool, plugin: bool) -> Result<(), NotStored> {
        let place = Path::new(path);
        // Without `itself`, a link counts as the thing that it leads to.
        let found = if found == Found::Link && !itself { Found::Something } else { found };
        if found == Found::Nothing {
            return self.absent(path, plugin);
        }
        if !plugin && (self.take_for_lookup(place) || self.search_dirs.contains(place)) {
            return Ok(());
        }
        // git reads the mtime of its index, but does not report it.
        let is_asked_by_git = self.runs_git && git::is_index(place);
        if plugin && !is_asked_by_git && things::present(place) == Some(Thing::File) {
            self.metadata_of(path);
        }
        if self.is_covered(place, plugin) || (!plugin && self.is_in_sysroot(place)) {
            return Ok(());
        }
        let now = if itself { things::itself(place) } else { things::present(place) };
        let Some(now) = now.filter(|now| agrees(found, *now)) else {
            return Err(NotStored(Stored::InputChanged, path.to_owned()));
        };
        if now == Thing::Directory && !plugin {
            self.directories.insert(path.to_owned());
            return Ok(());
        }
        let token = self.known.context.roots.tokenise(path);
        match itself {
            true => self.insert("itself", path, Input::Itself(token, now)),
            false => self.insert("present", path, Input::Present(token, now)),
        }
        // The metadata includes the size.
        if now == Thing::File && plugin {
            self.file(path, plugin)?;
        }
        Ok(())
    }

    /// Records everything that a plugin learns about a file besides its size, which the content covers.
    fn metadata_of(&mut self, path: &str) {
        let roots = self.known.context.roots;
        let token = || roots.tokenise(path);
        if let Some(bits) = things::mode(Path::new(path)) {
            self.insert("mode", path, Input::Mode(token(), bits));
        }
        let modified = things::modified(Path::new(path)).map(|time| (Input::Modified(token(), time), time));
        let created = things::created(Path::new(path)).map(|time| (Input::Created(token(), time), time));
        self.times.extend(modified.into_iter().chain(created));
    }

    /// Records a request of the toolchain in a directory of `PATH` as a lookup of that name, because only the result of
    /// the lookup counts. Returns `false` if the path is not in such a directory.
    fn take_for_lookup(&mut self, path: &Path) -> bool {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return false;
        };
        let is_on_path = self.path_dirs.iter().any(|known| known == dir);
        if is_on_path {
            self.program(name);
        }
        is_on_path
    }

    fn link(&mut self, path: &str, target: &str, plugin: bool) {
        if !plugin && self.is_in_sysroot(Path::new(path)) {
            return;
        }
        let roots = self.known.context.roots;
        self.insert("link", path, Input::Link(roots.tokenise(path), roots.tokenise(target)));
    }

    fn resolve(&mut self, path: &str, real: &str, plugin: bool) {
        let is_dull = path == real || self.is_in_sysroot(Path::new(path));
        if !plugin && (is_dull || self.is_covered(Path::new(path), plugin)) {
            return;
        }
        let roots = self.known.context.roots;
        self.insert("resolved", path, Input::Resolved(roots.tokenise(path), roots.tokenise(real)));
    }

    fn finish(mut self) -> Observed {
        let found: BTreeSet<String> =
            self.inputs.keys().filter(|(kind, _)| *kind != "absent").map(|(_, name)| name.clone()).collect();
        for dir in std::mem::take(&mut self.directories) {
            let below = format!("{dir}/");
            let is_implied = found.range(below.clone()..).next().is_some_and(|path| path.starts_with(&below));
            if !is_implied {
                let token = self.known.context.roots.tokenise(&dir);
                self.insert("present", &dir, Input::Present(token, Thing::Directory));
            }
        }
        // The content of a file implies that the file exists.
        let files: Vec<String> =
            self.inputs.keys().filter(|(kind, _)| *kind == "file").map(|(_, name)| name.clone()).collect();
        for file in files {
            self.inputs.remove(&("present", file));
        }
        Observed { inputs: self.inputs.into_values().collect(), times: self.times }
    }
}

/// Whether the kind of thing that was found then matches the current one.
fn agrees(found: Found, now: Thing) -> bool {
    match found {
        Found::Something => now != Thing::Denied,
        Found::File => now == Thing::File,
        Found::Directory => now == Thing::Directory,
        Found::Link => now == Thing::Link,
        Found::Special => now == Thing::Special,
        Found::Denied => now == Thing::Denied,
        Found::Nothing => false,
    }
}
