//! The lookup key: everything known about an invocation without running rustc.

use std::path::{Path, PathBuf};

use super::{Compiler, Context, Declared, KeyHasher, clippy, native, processor};
use crate::config::{Paths, env};
use crate::fsx;
use crate::model::{BypassReason, Digest, KeyTrace, LookupKey, Refusal};
use crate::rustc::args::Arg;
use crate::rustc::{Driver, Invocation};
use crate::store::stamps::StampedDigest;

/// Flags that the key leaves out:
///
/// * `-C incremental`: its presence counts, its directory does not.
/// * `--diagnostic-width`: counts only if there are diagnostics to replay, so it is an input.
/// * `--extern`: added by content.
const LEFT_OUT: &[&str] = &["-C incremental", "--diagnostic-width", "--extern"];

/// Flags that the key leaves out for a unit that is not linked: rustc does not start a linker for it, and marks these
/// options as untracked (`rustc_session::options`).
const LEFT_OUT_UNLINKED: &[&str] = &[
    "-C linker",
    "-C linker-flavor",
    "-C linker-features",
    "-C link-arg",
    "-C link-args",
    "-C link-self-contained",
    "-C rpath",
    "-C default-linker-libraries",
    "-C dlltool",
];

/// Flags whose value is or contains a path.
const WITH_PATHS: &[&str] = &[
    "--out-dir",
    "-L",
    "--remap-path-prefix",
    "-C profile-generate",
    "-C linker-plugin-lto",
    "-C linker",
    "-C link-arg",
    "-C link-args",
];

/// Whether a flag names places or the form of messages. Such a flag does not affect whether rustc can reuse an
/// incremental session.
pub fn names_places(flag: &str) -> bool {
    LEFT_OUT.contains(&flag) || matches!(flag, "-L" | "--out-dir" | "--json" | "--error-format")
}

/// The lookup key of an invocation, and the files whose content is in it.
#[derive(Debug)]
pub struct Lookup {
    /// The key itself: the name of the manifest to search for input sets.
    pub key: LookupKey,
    /// The files that arguments name, as they were when the key was made.
    pub files: Vec<(PathBuf, StampedDigest)>,
    /// The static libraries among `files`.
    pub static_libraries: Vec<PathBuf>,
    /// All fields of the key, if a key trace was requested.
    pub key_trace: Option<KeyTrace>,
}

/// Everything that a key is made of besides the context.
#[derive(Clone, Copy, Debug)]
pub struct CompileKeyParts<'a> {
    /// The invocation of rustc.
    pub invocation: &'a Invocation,
    /// The identity of the compiler.
    pub compiler: &'a Compiler,
    /// Whether the compiler runs as rustc or as clippy-driver.
    pub driver: Driver,
    /// How paths in outputs are treated.
    pub paths: Paths,
    /// The flags that kache adds to the invocation.
    pub injected: &'a [String],
    /// The digest of the hook, if kache links it into this build script.
    pub hook: Option<Digest>,
    /// The inputs that the user declares.
    pub declared: Option<&'a Declared>,
    /// Whether the compile is observed. Input sets that were recorded without the observer never serve an observed
    /// call.
    pub observed: bool,
    /// Whether to keep a key trace.
    pub traced: bool,
}

/// Makes the lookup key of a compile.
pub fn lookup(context: Context<'_>, parts: CompileKeyParts<'_>) -> Result<Lookup, Refusal> {
    let invocation = parts.invocation;
    let mut key = KeyHasher::new(parts.traced);
    key.digest("compiler", "", parts.compiler.identity);
    key.note(|| parts.compiler.version.clone());
    // A script may depend on its own name (`$0`), or on files next to it.
    if let Some(script) = &parts.compiler.script {
        add_text(&mut key, context, "compiler script", &script.to_string_lossy());
    }
    key.field("paths", parts.paths.name());
    key.field("observed", if parts.observed { "yes" } else { "no" });
    add_text(&mut key, context, "cwd", &invocation.cwd.to_string_lossy());
    add_text(&mut key, context, "source", &invocation.source);
    for flag in &invocation.flags {
        add_flag(&mut key, context, invocation, flag);
    }
    for flag in parts.injected {
        add_text(&mut key, context, "injected", flag);
    }
    // An incremental compile splits a crate into other codegen units.
    if parts.observed && invocation.incremental.is_some() {
        key.field("incremental", "yes");
    }
    if let Some(hook) = parts.hook {
        key.digest("hook", "", hook);
    }
    for name in env::RUSTC_INPUTS {
        let value = context.env.get(name).map(|value| value.to_string_lossy().into_owned());
        key.optional(&format!("env {name}"), value.as_deref());
    }
    if let Some(declared) = parts.declared {
        declared.add_to(&mut key, context);
    }
    let mut files = KeyedFiles { invocation, context, key, read: Vec::new() };
    let static_libraries = files.add_arguments()?;
    if parts.driver == Driver::Clippy {
        files.add_clippy()?;
    }
    let KeyedFiles { key, read: files, .. } = files;
    let (key, key_trace) = key.finish();
    Ok(Lookup { key, files, static_libraries, key_trace })
}

fn add_text(key: &mut KeyHasher, context: Context<'_>, tag: &str, text: &str) {
    key.field(tag, context.roots.tokenise(text).as_str());
}

fn add_flag(key: &mut KeyHasher, context: Context<'_>, invocation: &Invocation, flag: &Arg) {
    // An `--extern` without a path names a crate of the sysroot; those with one are added by content.
    let is_pathless = flag.name == "--extern" && !flag.value.as_deref().is_some_and(|value| value.contains('='));
    let name = flag.name.as_str();
    let is_left_out = LEFT_OUT.contains(&name) || LEFT_OUT_UNLINKED.contains(&name) && !invocation.needs_observer();
    if is_left_out && !is_pathless {
        return;
    }
    match flag.value.as_deref() {
        Some(value) if WITH_PATHS.contains(&flag.name.as_str()) => add_text(key, context, &flag.name, value),
        value => key.optional(&flag.name, value),
    }
}

/// Adds the content of files that arguments name to a key.
struct KeyedFiles<'a> {
    invocation: &'a Invocation,
    context: Context<'a>,
    key: KeyHasher,
    read: Vec<(PathBuf, StampedDigest)>,
}

impl KeyedFiles<'_> {
    fn add_arguments(&mut self) -> Result<Vec<PathBuf>, Refusal> {
        let invocation = self.invocation;
        // rustc keeps externs by name, so only the order of equal names counts (`rustc_session::config::Externs`).
        let mut externs: Vec<_> = invocation.externs.iter().collect();
        externs.sort_by_key(|dep| &dep.name);
        for dep in externs {
            self.add("extern", &dep.name, &dep.path, BypassReason::ExternUnresolved)?;
            self.key.note(|| dep.crate_name().to_owned());
        }
        let libraries = native::static_libraries(invocation)?;
        for library in &libraries {
            self.add("static library", "", library, BypassReason::NativeLibrary)?;
            self.key.note(|| library.to_string_lossy().into_owned());
        }
        if let Some(target) = invocation.last("--target").map(Path::new).filter(|target| names_json(target)) {
            self.add("target", "", &invocation.cwd.join(target), BypassReason::UnknownFlag)?;
        }
        for flag in invocation.flags.iter().filter(|flag| flag.name == "-C profile-use") {
            let profile = flag.value.as_deref().unwrap_or("default.profdata");
            self.add("profile", "", &invocation.cwd.join(profile), BypassReason::UnknownFlag)?;
        }
        if is_native(invocation) {
            let cpu =
                processor::digest().ok_or_else(|| Refusal::new(BypassReason::UnknownFlag, "-C target-cpu=native"))?;
            self.key.digest("host cpu", "", cpu);
        }
        Ok(libraries)
    }

    fn add(&mut self, tag: &str, name: &str, path: &Path, refusal: BypassReason) -> Result<(), Refusal> {
        let content = self.context.stamps.content(path).map_err(|error| Refusal::new(refusal, error.to_string()))?;
        self.key.digest(tag, name, content.digest);
        self.read.push((path.to_owned(), content));
        Ok(())
    }

    fn add_clippy(&mut self) -> Result<(), Refusal> {
        let refuse = |error: fsx::Error| Refusal::new(BypassReason::UnknownDriver, error.to_string());
        for file in clippy::add(&mut self.key, self.context).map_err(refuse)? {
            let content = self.context.stamps.content(&file).map_err(refuse)?;
            self.read.push((file, content));
        }
        Ok(())
    }
}

/// Whether a target is the file of a specification, which rustc recognises by this extension alone.
fn names_json(target: &Path) -> bool {
    target.extension().is_some_and(|extension| extension == "json")
}

fn is_native(invocation: &Invocation) -> bool {
    let is_cpu = |flag: &Arg| flag.name == "-C target-cpu" || flag.name == "-Z tune-cpu";
    invocation.flags.iter().any(|flag| is_cpu(flag) && flag.value.as_deref() == Some("native"))
}
