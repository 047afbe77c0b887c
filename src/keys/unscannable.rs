//! Pins roots that an output may depend on without containing them: through the length or the hash of a path, or
//! through a file that a source names in full.

use std::path::Path;

use super::scan::Scan;
use super::{Context, env_use};
use crate::fsx;
use crate::model::{DepInfo, RootKind, TokenString};
use crate::rustc::{Invocation, dep_info};

/// Pins the roots that the outputs may depend on although a scan of them cannot show it: those of path variables that
/// are used for more than includes, and those that a source names in full.
pub fn pin_roots(info: &DepInfo<String>, invocation: &Invocation, context: Context<'_>, scan: &mut Scan<'_>) {
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

/// Returns the variables whose values contain a root.
fn path_variables<'a>(info: &'a DepInfo<String>, context: Context<'_>) -> Vec<(&'a str, TokenString)> {
    let values = info.env.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_ref()?)));
    let tokens = values.map(|(name, value)| (name, context.roots.tokenise(value)));
    tokens.filter(|(_, value)| !value.roots().is_empty()).collect()
}

/// Whether a macro of a dependency may read the variable for this crate.
///
/// A proc macro needs the name for that. The sources of a library, which its `.d` lists, show whether one of its macros
/// reads the variable, or one that the caller names. But if the metadata of a library contains the name and its sources
/// do not, the name is from a macro of yet another crate, whose sources are not available.
fn dependency_may_read(name: &str, invocation: &Invocation) -> bool {
    // The user makes libraries contain their unit tests, which `env_use` does not read.
    if invocation.flags.iter().any(|flag| flag.name == "--cfg" && flag.value.as_deref() == Some("test")) {
        return true;
    }
    let finder = memchr::memmem::Finder::new(name);
    let holds_name = |path: &Path| fsx::read(path).map_or(true, |bytes| finder.find(&bytes).is_some());
    invocation.externs.iter().any(|dep| match library_sources(&dep.path, &invocation.cwd) {
        Some(sources) => {
            // Listed data (`include_str!`, declared inputs) does not explain a name in the metadata.
            let names_it = sources.iter().any(|source| source.is_rust && source.text.contains(name));
            let texts = sources.iter().map(|source| source.text.as_str());
            env_use::may_read_value(name, texts) || (!names_it && holds_name(&dep.path))
        }
        None => holds_name(&dep.path),
    })
}

/// Returns the sources of a library in an output directory. `None` for a proc macro, or if they cannot be found.
fn library_sources(path: &Path, cwd: &Path) -> Option<Vec<SourceText>> {
    let is_library = path.extension().is_some_and(|extension| extension == "rmeta" || extension == "rlib");
    let stem = path.file_stem()?.to_str()?.strip_prefix("lib").filter(|_| is_library)?;
    let text = fsx::read_to_string(&path.with_file_name(format!("{stem}.d"))).ok()?;
    let info = dep_info::parse(&text).filter(|info| !info.files.is_empty())?;
    let all_there = info.files.iter().all(|file| fsx::exists(&cwd.join(file)));
    all_there.then(|| read_sources(&info, cwd))
}

/// A file that dep-info lists.
struct SourceText {
    text: String,
    /// Whether it has the extension of Rust sources. An included source may have another one.
    is_rust: bool,
}

/// Reads all listed files that are text. The others cannot be Rust sources.
fn read_sources(info: &DepInfo<String>, cwd: &Path) -> Vec<SourceText> {
    let is_rust = |file: &str| Path::new(file).extension().is_some_and(|extension| extension == "rs");
    let read = |file: &String| {
        let text = fsx::read_to_string(&cwd.join(file)).ok()?;
        Some(SourceText { text, is_rust: is_rust(file) })
    };
    info.files.iter().filter_map(read).collect()
}
