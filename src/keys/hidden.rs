//! Paths that an output may depend on although no scan of its bytes can tell: the length of a path, its hash, a file that a
//! source names in full.

use std::path::Path;

use super::scan::Scan;
use super::{Context, env_use};
use crate::fsx;
use crate::model::{DepInfo, RootKind, TokenString};
use crate::rustc::{Invocation, dep_info};

/// Pins the roots that the outputs may depend on although no scan of them can tell: those of path variables that are used
/// for more than includes, and those that a source names in full.
pub fn pin(info: &DepInfo<String>, invocation: &Invocation, context: Context<'_>, scan: &mut Scan<'_>) {
    let variables = path_variables(info, context);
    let names_roots =
        |file: &String| context.roots.tokenise(file).roots().iter().any(|kind| *kind != RootKind::CargoHome);
    if variables.is_empty() && !info.files.iter().any(names_roots) {
        return;
    }
    let sources = read_sources(info, context.cwd);
    for (name, value) in variables {
        let is_include = env_use::is_include_only(name, sources.iter().map(|source| source.text.as_str()));
        if !is_include || dependency_may_read(name, invocation) {
            value.roots().iter().for_each(|kind| scan.pin(*kind));
        }
    }
    // `include_str!("/one/checkout/x")` names that checkout wherever it is compiled.
    for source in &sources {
        scan.bytes(source.text.as_bytes());
    }
}

/// The variables whose values hold a root.
fn path_variables<'a>(info: &'a DepInfo<String>, context: Context<'_>) -> Vec<(&'a str, TokenString)> {
    let values = info.env.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_ref()?)));
    let tokens = values.map(|(name, value)| (name, context.roots.tokenise(value)));
    tokens.filter(|(_, value)| !value.roots().is_empty()).collect()
}

/// Whether a macro of a dependency may read the variable on this crate's behalf.
///
/// A proc macro needs the name for that. A library's own sources, which its `.d` lists, show whether a macro of its reads
/// the variable, or one that its caller names; but a library whose metadata holds the name while its sources do not has it
/// from a macro of yet another crate, whose sources are not at hand.
fn dependency_may_read(name: &str, invocation: &Invocation) -> bool {
    let finder = memchr::memmem::Finder::new(name);
    let holds_name = |path: &Path| fsx::read(path).map_or(true, |bytes| finder.find(&bytes).is_some());
    invocation.externs.iter().any(|dep| match library_sources(&dep.path, &invocation.cwd) {
        Some(sources) => {
            // Data that is listed too (`include_str!`, declared inputs) explains no name in the metadata.
            let names_it = sources.iter().any(|source| source.is_rust && source.text.contains(name));
            let texts = sources.iter().map(|source| source.text.as_str());
            env_use::may_read_value(name, texts) || (!names_it && holds_name(&dep.path))
        }
        None => holds_name(&dep.path),
    })
}

/// The sources of a library in an output directory. `None`: a proc macro, or they cannot be found.
fn library_sources(path: &Path, cwd: &Path) -> Option<Vec<Source>> {
    let is_library = path.extension().is_some_and(|extension| extension == "rmeta" || extension == "rlib");
    let stem = path.file_stem()?.to_str()?.strip_prefix("lib").filter(|_| is_library)?;
    let text = fsx::read_to_string(&path.with_file_name(format!("{stem}.d"))).ok()?;
    let info = dep_info::parse(&text).filter(|info| !info.files.is_empty())?;
    let all_there = info.files.iter().all(|file| fsx::exists(&cwd.join(file)));
    all_there.then(|| read_sources(&info, cwd))
}

/// A recorded file.
struct Source {
    text: String,
    /// Whether it is called as Rust sources are; an included one may be called otherwise.
    is_rust: bool,
}

/// All recorded files that are text. Others are no Rust source.
fn read_sources(info: &DepInfo<String>, cwd: &Path) -> Vec<Source> {
    let is_rust = |file: &str| Path::new(file).extension().is_some_and(|extension| extension == "rs");
    let read = |file: &String| {
        let text = fsx::read_to_string(&cwd.join(file)).ok()?;
        Some(Source { text, is_rust: is_rust(file) })
    };
    info.files.iter().filter_map(read).collect()
}
