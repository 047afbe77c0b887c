//! The lookup key of a run of a build script: the program, and the variables that cargo sets.

use std::path::{Path, PathBuf};

use super::{Compiler, Context, Declared, KeyHasher, Lookup, Roots, roots};
use crate::config::{Env, Paths, env};
use crate::fsx;
use crate::model::{BypassReason, Refusal, RootKind};
use crate::script::ScriptInvocation;

/// Variables that cargo sets for a build script and that decide its results. They are part of the key, whether the
/// script reads them or not (`cargo/src/cargo/core/compiler/custom_build.rs`, `build_work`).
const KEY_VARIABLES: [&str; 12] = [
    "CARGO_ENCODED_RUSTFLAGS",
    env::CARGO_MANIFEST_DIR,
    env::CARGO_MANIFEST_LINKS,
    "CARGO_MANIFEST_PATH",
    "DEBUG",
    env::HOST,
    "OPT_LEVEL",
    env::OUT_DIR,
    "PROFILE",
    "RUSTC_LINKER",
    "RUSTC_WORKSPACE_WRAPPER",
    env::TARGET,
];
/// The prefixes of the other such variables.
const KEY_PREFIXES: [&str; 4] = ["CARGO_CFG_", "CARGO_FEATURE_", "CARGO_PKG_", "DEP_"];
/// The prefixes among these whose names come from manifests and targets.
const NAMED_BY_MANIFESTS: [&str; 2] = ["CARGO_CFG_", "CARGO_FEATURE_"];

/// Variables that name the channel by which a script and its children share cargo's job slots. They differ in every
/// build. A run whose outputs contain such a value is not stored ([`build_variable_in`]).
const JOB_VARIABLES: [&str; 3] = ["CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS"];

/// Variables with the user's options for make, which make passes on to a script. The options for the jobs of this build
/// do not count.
const MAKE_VARIABLES: [&str; 2] = ["MAKEFLAGS", "MFLAGS"];

/// Everything that a key is made of besides the run and its context.
#[derive(Clone, Copy, Debug)]
pub struct RunKeyParts<'a> {
    /// The compiler that cargo names to the script.
    pub compiler: &'a Compiler,
    /// How paths in outputs are treated.
    pub paths: Paths,
    /// The inputs that the user declares.
    pub declared: Option<&'a Declared>,
    /// Whether to keep a key trace.
    pub traced: bool,
}

/// Makes the lookup key of a run.
pub fn lookup(script: &ScriptInvocation, context: Context<'_>, parts: RunKeyParts<'_>) -> Result<Lookup, Refusal> {
    let refuse = |error: fsx::Error| Refusal::new(BypassReason::Internal, error.to_string());
    let program = context.stamps.content(&script.program).map_err(refuse)?;
    let mut key = KeyHasher::new(parts.traced);
    key.field("run of", "a build script");
    key.digest("program", "", program.digest);
    key.note(|| script.program.display().to_string());
    key.digest("compiler", "", parts.compiler.identity);
    key.note(|| parts.compiler.version.clone());
    key.field("paths", parts.paths.name());
    let mut text = |tag: &str, text: &str| key.field(tag, context.roots.tokenise(text).as_str());
    text("cwd", &script.cwd.to_string_lossy());
    text("argv[0]", &script.argv0.to_string_lossy());
    for (name, value) in context.env.all() {
        let Some(name) = name.to_str().filter(|name| is_in_key(name)) else { continue };
        let non_utf8 = || Refusal::new(BypassReason::NonUtf8, name);
        text(&format!("env {name}"), value.to_str().ok_or_else(non_utf8)?);
    }
    text("target directory", &target_in_workspace(context.roots));
    for name in MAKE_VARIABLES {
        let value = context.env.text(name).map(|value| without_jobs(&value)).filter(|value| !value.is_empty());
        text(&format!("env {name}"), &value.unwrap_or_default());
    }
    if let Some(declared) = parts.declared {
        declared.add_to(&mut key, context);
    }
    let (key, key_trace) = key.finish();
    Ok(Lookup { key, files: vec![(script.program.clone(), program)], static_libraries: Vec::new(), key_trace })
}

/// Returns the place of the target directory in the workspace, links followed, or its name if it is elsewhere. This
/// decides whether a script that goes up from `OUT_DIR`, or down from its package, finds the other one.
fn target_in_workspace(roots: &Roots) -> String {
    let place = |kind| roots.place(kind).and_then(|place| fsx::canonicalize(Path::new(place)).ok());
    let Some(target) = place(RootKind::Target) else { return String::new() };
    let inside = place(RootKind::Workspace).and_then(|workspace| Some(target.strip_prefix(workspace).ok()?.to_owned()));
    match (inside, target.file_name()) {
        (Some(inside), _) => format!("./{}", inside.display()),
        (None, name) => name.unwrap_or_default().to_string_lossy().into_owned(),
    }
}

/// Removes the options for make that set how many jobs run and over which channel.
fn without_jobs(options: &str) -> String {
    let is_of_jobs =
        |word: &&str| *word == "w" || *word == "--" || word.starts_with("-j") || word.starts_with("--jobserver");
    options.split_whitespace().filter(|word| !is_of_jobs(word)).collect::<Vec<_>>().join(" ")
}

fn is_in_key(name: &str) -> bool {
    KEY_VARIABLES.contains(&name) || KEY_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether the key of a run contains the value of this variable. Features and settings of the target do not count:
/// their names may be any word, but their values are those of manifests and of rustc.
pub fn keys_value_of(name: &str) -> bool {
    is_in_key(name) && !NAMED_BY_MANIFESTS.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a variable that a run reads does not need an input: the key covers it, or it describes this build (its jobs,
/// its wrapper) and not the result.
pub(super) fn needs_no_input(name: &str, vars: &Env) -> bool {
    is_in_key(name) || JOB_VARIABLES.contains(&name) || (name == env::RUSTC_WRAPPER && names_kache(vars))
}

fn names_kache(vars: &Env) -> bool {
    vars.path(env::RUSTC_WRAPPER).is_some_and(|wrapper| wrapper.file_name().is_some_and(|name| name == "kache"))
}

/// Returns the variable of the build whose value is in `text`.
pub fn build_variable_in(text: &[u8], vars: &Env) -> Option<&'static str> {
    let holds = |name: &&&str| {
        let value = vars.get(name).unwrap_or_default();
        let value = value.as_encoded_bytes().trim_ascii();
        !value.is_empty() && memchr::memmem::find(text, value).is_some()
    };
    JOB_VARIABLES.iter().chain(&[env::RUSTC_WRAPPER]).find(holds).copied()
}

/// Returns the roots of a run.
pub fn roots(script: &ScriptInvocation, sysroot: &Path, vars: &Env) -> Roots {
    let triple = vars.text(env::TARGET);
    let target = roots::target_dir(&script.out_dir, triple.as_deref());
    let workspace = workspace_dir(&target, &script.cwd, vars);
    let repository = workspace.as_deref().and_then(repository_above);
    Roots::new([
        (RootKind::Target, Some(target)),
        (RootKind::Workspace, workspace),
        (RootKind::Repository, repository),
        (RootKind::CargoHome, vars.cargo_home()),
        (RootKind::Sysroot, Some(sysroot.to_owned())),
        (RootKind::Home, vars.home()),
        (RootKind::Tmp, Some(vars.path(env::TMPDIR).unwrap_or_else(|| "/tmp".into()))),
    ])
}

/// Returns the roots by which texts that a run leaves are rewritten for another checkout. A text may contain any other
/// root (a home directory, say) for other reasons, so it is valid only where that root has the same place.
pub fn text_roots(roots: &Roots) -> Roots {
    let of_checkout = [RootKind::Target, RootKind::Workspace, RootKind::Repository];
    Roots::new(of_checkout.map(|kind| (kind, roots.place(kind).map(PathBuf::from))))
}

/// Returns the workspace: the directory with the lock file, directly above the target directory or one further up, or
/// else the outermost one above the package. For a package in cargo's home, only the former counts.
fn workspace_dir(target: &Path, package: &Path, vars: &Env) -> Option<PathBuf> {
    let has_lock = |dir: &&Path| fsx::exists(&dir.join("Cargo.lock")) && fsx::exists(&dir.join("Cargo.toml"));
    let above_target = target.ancestors().skip(1).take(2).find(has_lock);
    let is_foreign = vars.cargo_home().is_some_and(|home| package.starts_with(home));
    let above_package = || package.ancestors().filter(|_| !is_foreign).filter(has_lock).last();
    above_target.or_else(above_package).map(Path::to_owned)
}

/// Returns the git repository that a workspace is a part of. `None` if the workspace is the repository.
pub fn repository_above(workspace: &Path) -> Option<PathBuf> {
    let is_repository = |dir: &&Path| fsx::exists(&dir.join(".git"));
    workspace.ancestors().find(is_repository).filter(|dir| *dir != workspace).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_decides_is_in_the_key_and_what_changes_with_every_build_is_not() {
        for name in ["TARGET", "CARGO_CFG_UNIX", "CARGO_FEATURE_X", "DEP_Z_INCLUDE", "CARGO_PKG_NAME", "OUT_DIR"] {
            assert!(is_in_key(name), "{name}");
        }
        for name in ["NUM_JOBS", "CARGO_MAKEFLAGS", "RUSTC", "CARGO", "PATH", "RUSTC_WRAPPER", "CARGO_HOME"] {
            assert!(!is_in_key(name), "{name}");
        }
        let vars = |wrapper: &str| Env::of([("RUSTC_WRAPPER", wrapper)]);
        assert!(
            needs_no_input("RUSTC_WRAPPER", &vars("/x/kache")) && !needs_no_input("RUSTC_WRAPPER", &vars("/x/other"))
        );
        assert!(!needs_no_input("NUM_JOBS", &vars("")), "a script may do anything with it");
    }

    #[test]
    fn options_for_make_count_but_for_its_jobs() {
        assert_eq!(without_jobs(" -j4 --jobserver-auth=fifo:/tmp/x"), "");
        assert_eq!(without_jobs("w -j --jobserver-fds=3,4 -- MODE=slow"), "MODE=slow");
        assert_eq!(without_jobs("ks -- A=1 B=2"), "ks A=1 B=2");
    }

    #[test]
    fn a_jobserver_in_an_output_is_found() {
        let vars = Env::of([("CARGO_MAKEFLAGS", " -j --jobserver-auth=3,4 "), ("MAKEFLAGS", " ")]);
        assert_eq!(build_variable_in(b"x -j --jobserver-auth=3,4", &vars), Some("CARGO_MAKEFLAGS"));
        assert_eq!(build_variable_in(b"x -j --jobserver-auth=3,5", &vars), None);
    }

    #[test]
    fn a_workspace_is_found_above_target_or_package() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["mono/.git/HEAD", "mono/ws/Cargo.toml", "mono/ws/Cargo.lock", "home/registry/p/Cargo.lock"] {
            fsx::Publish::default().bytes(&at(name), b"").unwrap();
        }
        let vars = Env::of([("CARGO_HOME", at("home"))]);
        let of = |target: &str, package: &str| workspace_dir(&at(target), &at(package), &vars);
        assert_eq!(of("mono/ws/target", "home/registry/p"), Some(at("mono/ws")));
        assert_eq!(of("elsewhere", "mono/ws/member"), Some(at("mono/ws")));
        assert_eq!(of("elsewhere", "home/registry/p"), None);
        assert_eq!(repository_above(&at("mono/ws")), Some(at("mono")));
        assert_eq!(repository_above(&at("mono")), None);
    }
}
