//! From what a compile left behind to its input set.

use std::path::{Path, PathBuf};

use super::native::{self, Explained};
use super::scan::Scan;
use super::{Context, Lookup, env_use};
use crate::fsx::clock::Time;
use crate::fsx::{self, Stamp};
use crate::model::{ArtifactKind, DepInfo, Input, RootKind, Stored, TokenString};
use crate::rustc::dep_info;

/// Why a result is not stored, and what exactly said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotStored(pub Stored, pub String);

impl NotStored {
    fn changed(path: &Path) -> Self {
        Self(Stored::InputChanged, path.display().to_string())
    }
}

impl From<fsx::Error> for NotStored {
    fn from(error: fsx::Error) -> Self {
        Self(Stored::StoreFailed, error.to_string())
    }
}

/// The files and variables that the compile read, as rustc recorded them. `start`: the kernel's time before rustc began;
/// what changed since then may not be what rustc read.
pub fn inputs(info: &DepInfo<String>, context: Context<'_>, start: Time) -> Result<Vec<Input>, NotStored> {
    let mut inputs = Vec::with_capacity(info.files.len() * 2 + info.env.len());
    for file in &info.files {
        inputs.push(file_input(file, context, start)?);
    }
    for file in &info.files {
        inputs.extend(shadow_of(file, context));
    }
    for (name, value) in &info.env {
        let value = value.as_ref().map(|value| context.roots.tokenise(value));
        inputs.push(Input::Env(name.clone(), value));
    }
    Ok(inputs)
}

fn file_input(file: &str, context: Context<'_>, start: Time) -> Result<Input, NotStored> {
    let path = context.invocation.cwd.join(file);
    let content = context.stamps.content(&path).map_err(|_| NotStored::changed(&path))?;
    // ctime, not mtime: the kernel alone sets it, and sources with an mtime in the future are common.
    if content.stamp.ctime >= start {
        return Err(NotStored::changed(&path));
    }
    Ok(Input::File(context.roots.tokenise(file), content.digest))
}

/// `m.rs` and `m/mod.rs` are the same module: where one was read the other must be absent, or rustc refuses to choose.
/// Sources of the registry do not change.
fn shadow_of(file: &str, context: Context<'_>) -> Option<Input> {
    let path = Path::new(file);
    let shadow: PathBuf = match path.file_name()?.to_str()? {
        "mod.rs" => path.parent()?.with_extension("rs"),
        _ => path.with_extension("").join("mod.rs"),
    };
    let token = context.roots.tokenise(shadow.to_str()?);
    let is_module = path.extension().is_some_and(|extension| extension == "rs");
    let is_fixed = token.roots().contains(&RootKind::CargoHome);
    let absent = is_module && !is_fixed && !fsx::exists(&context.invocation.cwd.join(&shadow));
    absent.then_some(Input::Absent(token))
}

/// Pins the roots that the outputs may depend on although no scan of them can tell: those of path variables that are used
/// for more than includes, and those that a source names in full.
pub fn pin_hidden_paths(info: &DepInfo<String>, context: Context<'_>, scan: &mut Scan<'_>) {
    let variables = path_variables(info, context);
    let names_roots =
        |file: &String| context.roots.tokenise(file).roots().iter().any(|kind| *kind != RootKind::CargoHome);
    if variables.is_empty() && !info.files.iter().any(names_roots) {
        return;
    }
    let sources = read_sources(info, &context.invocation.cwd);
    for (name, value) in variables {
        let is_include = env_use::is_include_only(name, sources.iter().map(String::as_str));
        if !is_include || dependency_may_read(name, context) {
            value.roots().iter().for_each(|kind| scan.pin(*kind));
        }
    }
    // `include_str!("/one/checkout/x")` names that checkout wherever it is compiled.
    for source in &sources {
        scan.bytes(source.as_bytes());
    }
}

/// The variables whose values hold a root.
fn path_variables<'a>(info: &'a DepInfo<String>, context: Context<'_>) -> Vec<(&'a str, TokenString)> {
    let values = info.env.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_ref()?)));
    let tokens = values.map(|(name, value)| (name, context.roots.tokenise(value)));
    tokens.filter(|(_, value)| !value.roots().is_empty()).collect()
}

/// Whether a macro of a dependency may read the variable on this crate's behalf. Then the dependency holds the variable's
/// name; and a library's sources, which its own `.d` lists, show in which way.
fn dependency_may_read(name: &str, context: Context<'_>) -> bool {
    let finder = memchr::memmem::Finder::new(name);
    let holds_name = |path: &Path| fsx::read(path).map_or(true, |bytes| finder.find(&bytes).is_some());
    let reads = |path: &Path| match library_sources(path, &context.invocation.cwd) {
        Some(sources) => env_use::may_read_value(name, sources.iter().map(String::as_str)),
        None => true,
    };
    context.invocation.externs.iter().any(|dep| holds_name(&dep.path) && reads(&dep.path))
}

/// The sources of a library in an output directory. `None`: a proc macro, or they cannot be found.
fn library_sources(path: &Path, cwd: &Path) -> Option<Vec<String>> {
    let is_library = path.extension().is_some_and(|extension| extension == "rmeta" || extension == "rlib");
    let stem = path.file_stem()?.to_str()?.strip_prefix("lib").filter(|_| is_library)?;
    let text = fsx::read_to_string(&path.with_file_name(format!("{stem}.d"))).ok()?;
    let info = dep_info::parse(&text).filter(|info| !info.files.is_empty())?;
    let all_there = info.files.iter().all(|file| fsx::exists(&cwd.join(file)));
    all_there.then(|| read_sources(&info, cwd))
}

/// All recorded files that are text. Others are no Rust source.
fn read_sources(info: &DepInfo<String>, cwd: &Path) -> Vec<String> {
    info.files.iter().filter_map(|file| fsx::read_to_string(&cwd.join(file)).ok()).collect()
}

/// Checks that the files behind the lookup key are still what they were: by stamp, else by content. (A dependency's `.rmeta`
/// gets another link, and so another ctime, while its own incremental compile ends.)
pub fn recheck(lookup: &Lookup, context: Context<'_>) -> Result<(), NotStored> {
    for (path, before) in &lookup.files {
        let now = Stamp::of(path).map_err(|_| NotStored::changed(path))?;
        let same = now.same_content(&before.stamp)
            || context.stamps.content(path).is_ok_and(|content| content.digest == before.digest);
        if !same {
            return Err(NotStored::changed(path));
        }
    }
    Ok(())
}

/// The rlibs that a staticlib holds, as inputs; and the check that a produced library holds nothing unknown.
pub fn archive_inputs(
    (produced, kind): (&Path, ArtifactKind),
    lookup: &Lookup,
    sysroot: &Path,
    context: Context<'_>,
) -> Result<Vec<Input>, NotStored> {
    let invocation = context.invocation;
    let upstream = match kind {
        ArtifactKind::Staticlib => native::upstream_archives(invocation, sysroot)?,
        ArtifactKind::Rlib => Vec::new(),
        ArtifactKind::Rmeta => return Ok(Vec::new()),
    };
    let used = match native::explain(produced, invocation, &lookup.static_libraries, &upstream)? {
        Explained::ByKey => return Ok(Vec::new()),
        Explained::Not(member) => return Err(NotStored(Stored::UnkeyedArchive, member)),
        Explained::ByFiles(used) => used,
    };
    // The compiler's identity covers its own libraries.
    let others = used.into_iter().filter(|path| !path.starts_with(sysroot));
    others
        .map(|path| {
            let content = context.stamps.content(&path)?;
            Ok(Input::File(context.roots.tokenise(&path.to_string_lossy()), content.digest))
        })
        .collect()
}
