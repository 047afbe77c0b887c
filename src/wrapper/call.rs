//! A call from cargo, with everything that is known before kache decides what to do about it.

use std::ffi::OsString;
use std::path::Path;

use super::call_record;
use super::incremental_plan::{self, IncrementalPlan};
use super::task::{Common, Labels, Task};
use crate::config::{Config, Env, Paths, env};
use crate::fsx;
use crate::keys::lookup::{self, CompileKeyParts};
use crate::keys::{Compiler, Context, Declared, KeyHasher, Roots, compiler, macros};
use crate::model::{BypassReason, EmitKind, KeyTrace, Refusal, RootKind, UnitKey};
use crate::observe::library;
use crate::rustc::{Driver, Invocation, ProgramChain, alias, toolchain};
use crate::script;
use crate::script::hook::Hook;
use crate::store::Store;
use crate::store::calls::CallRecord;

/// A call that the cache can serve.
pub(super) struct Call<'a> {
    pub(super) chain: &'a ProgramChain,
    pub(super) common: Common<'a>,
    pub(super) invocation: Invocation,
    /// Whether compiles are observed.
    pub(super) observed: bool,
    /// Remap flags that kache adds to every compile without the alias.
    pub(super) injected: Vec<String>,
    /// The hook to link, if this is a build script that runs on this machine.
    hook: Option<Hook>,
}

impl<'a> Call<'a> {
    /// Parses the call of this process and computes its lookup key.
    pub(super) fn prepare(chain: &'a ProgramChain, config: &'a Config, vars: &'a Env) -> Result<Self, Refusal> {
        let cwd = fsx::current_dir().map_err(|error| Refusal::new(BypassReason::Internal, error.to_string()))?;
        Self::prepare_in(&cwd, chain, config, vars)
    }

    /// Parses a call in the working directory `cwd` and computes its lookup key.
    pub(super) fn prepare_in(
        cwd: &Path,
        chain: &'a ProgramChain,
        config: &'a Config,
        vars: &'a Env,
    ) -> Result<Self, Refusal> {
        if chain.driver == Driver::Unknown {
            return Err(Refusal::new(BypassReason::UnknownDriver, chain.program.to_string_lossy()));
        }
        if vars.get(env::RUSTC_LOG).is_some() {
            return Err(Refusal::new(BypassReason::RustcLog, env::RUSTC_LOG));
        }
        let invocation = Invocation::parse(chain.rustc_args(), cwd)?;
        if invocation.incremental.is_some() && !incremental_plan::can_remove(&invocation.argv) {
            return Err(Refusal::new(BypassReason::Argfile, "-C incremental"));
        }
        let observed = config.observe.value && library::is_there();
        if !observed && (invocation.needs_observer() || macros::may_run(&invocation)) {
            return Err(Refusal::new(BypassReason::Unobserved, invocation.kind()));
        }
        let store = Store::open(&config.cache_dir.value);
        let compiler = compiler::identify(chain, invocation.last("--target"), cwd, vars, &store)
            .filter(|compiler| observed || compiler.script.is_none())
            .ok_or_else(|| Refusal::new(BypassReason::CompilerUnknown, chain.program.to_string_lossy()))?;
        let roots = Roots::of(&invocation, &compiler.sysroot, vars);
        let injected = injected(&invocation, &roots, config.paths.value, &compiler.commit);
        let hook = hook(&invocation, &compiler, config).filter(|_| observed);
        let context = Context::of(&invocation, &roots, vars, store.stamps());
        let declared = Declared::read(&invocation.crate_name, context)?;
        let parts = CompileKeyParts {
            invocation: &invocation,
            compiler: &compiler,
            driver: chain.driver,
            paths: config.paths.value,
            injected: &injected,
            hook: hook.as_ref().map(Hook::digest),
            declared: declared.as_ref(),
            observed,
            traced: super::log::wants_key_trace(config),
        };
        let lookup = lookup::lookup(context, parts)?;
        super::log::key(&invocation.crate_name, &lookup);
        let common = Common { config, env: vars, compiler, roots, store, lookup, declared };
        Ok(Self { chain, common, invocation, observed, injected, hook })
    }

    /// The arguments of a compile whose result may be stored.
    pub(super) fn compile_args(&self, plan: &IncrementalPlan) -> Vec<OsString> {
        let argv = &self.invocation.argv;
        let aliased = plan.uses_alias.then(|| alias::aliased_args(argv, &self.invocation.cwd)).flatten();
        match aliased {
            Some(argv) => self.all_args(argv, &with_alias(&self.common)),
            None if plan.removes_flag => self.all_args(incremental_plan::without_incremental(argv), &self.injected),
            None => self.all_args(argv.clone(), &self.injected),
        }
    }

    /// The arguments of a compile whose result is only compared. Sessions go below `session_root`.
    pub(super) fn verify_args(&self, session_root: &Path) -> Vec<OsString> {
        let argv = &self.invocation.argv;
        let argv = match self.invocation.incremental {
            Some(_) if self.observed => incremental_plan::with_session_dir(argv, session_root),
            _ => incremental_plan::without_incremental(argv),
        };
        self.all_args(argv, &self.injected)
    }

    /// The arguments that the chain puts first, then rustc's, then kache's.
    fn all_args(&self, argv: Vec<OsString>, injected: &[String]) -> Vec<OsString> {
        let mut args = self.chain.args[..self.chain.skip].to_vec();
        args.extend(argv);
        args.extend(injected.iter().map(OsString::from));
        args.extend(self.hook.iter().flat_map(Hook::arguments).map(OsString::from));
        args
    }
}

impl Task for Call<'_> {
    fn common(&self) -> &Common<'_> {
        &self.common
    }

    fn context(&self) -> Context<'_> {
        Context::of(&self.invocation, &self.common.roots, self.common.env, self.common.store.stamps())
    }

    fn labels(&self) -> Labels {
        Labels {
            crate_name: self.invocation.crate_name.clone(),
            package: super::report::package(self.common.env),
            kind: self.invocation.kind(),
            emit: if self.invocation.emits(EmitKind::Link) { "link" } else { "metadata" },
            unit: self.invocation.stem(),
            shape: super::report::shape(&self.invocation.out_dir, &self.common.roots),
        }
    }

    fn unit_key(&self) -> UnitKey {
        let invocation = &self.invocation;
        let mut name = KeyHasher::new(false);
        name.field("crate", &invocation.crate_name);
        name.field("package", &self.common.env.text(env::CARGO_PKG_NAME).unwrap_or_default());
        name.field("kind", &invocation.kind());
        for emit in &invocation.emit {
            name.field("emit", &format!("{emit:?}"));
        }
        // The unit tests of a library and of a binary may have the same name.
        let source = Path::new(&invocation.source).file_name().unwrap_or_default();
        name.field("source", &source.to_string_lossy());
        name.optional("target", invocation.last("--target"));
        name.field("driver", if self.chain.driver == Driver::Clippy { "clippy" } else { "rustc" });
        UnitKey(name.finish().0.0)
    }

    fn keys_variable(&self, name: &str) -> bool {
        env::RUSTC_INPUTS.contains(&name)
    }

    /// Cargo loads a macro and runs a build script while it builds, and `cargo run` and `cargo test` run what it has
    /// built, also with the `--target` of this machine. The C library of another target is that of its linker: to make
    /// such a result again would not change what it needs, and nothing here loads it.
    fn is_for_this_machine(&self) -> bool {
        self.invocation.last("--target").is_none_or(|target| target == self.common.compiler.host)
    }

    fn call_record(&self) -> Option<CallRecord> {
        let argv: Vec<OsString> = std::iter::once(&self.chain.program).chain(&self.chain.args).cloned().collect();
        call_record::record(self, &argv, &self.invocation.cwd)
    }

    fn key_trace(&self) -> Option<KeyTrace> {
        let parts = CompileKeyParts {
            invocation: &self.invocation,
            compiler: &self.common.compiler,
            driver: self.chain.driver,
            paths: self.common.config.paths.value,
            injected: &self.injected,
            hook: self.hook.as_ref().map(Hook::digest),
            declared: self.common.declared.as_ref(),
            observed: self.observed,
            traced: true,
        };
        let lookup = lookup::lookup(self.context(), parts).ok()?;
        lookup.key_trace.filter(|_| lookup.key == self.common.lookup.key)
    }
}

/// Opens the hook for a build script that runs on this machine.
fn hook(invocation: &Invocation, compiler: &Compiler, config: &Config) -> Option<Hook> {
    let is_program = invocation.crate_types == ["bin"] && !invocation.test && invocation.emits(EmitKind::Link);
    let is_script = is_program && script::is_build_script(&invocation.crate_name, &invocation.out_dir);
    let triple = invocation.last("--target").unwrap_or(&compiler.host);
    (is_script && config.scripts.value).then(|| Hook::open(triple)).flatten()
}

/// The flags that keep the checkout's path out of debug info and panic locations. A debugger that is started in the
/// workspace root still finds the sources. (Generated sources only if the target directory is in its usual place:
/// another name for every other place would change the key.) Paths below cargo's home stay as they are, because they
/// are the same for every checkout on a machine and can be opened from anywhere, unless the user wants to share results
/// with machines that have other homes.
///
/// kache adds no flags if the user maps paths (rustc uses the last mapping, which would be kache's), for coverage (its
/// reports need real paths), and under `--cfg trybuild` (which compares diagnostics).
fn injected(invocation: &Invocation, roots: &Roots, paths: Paths, commit: &str) -> Vec<String> {
    if has_own_mapping(invocation) || wants_coverage(invocation) {
        return Vec::new();
    }
    as_flags(remaps(roots, paths, commit))
}

/// Like [`injected`], for a compile with the alias, which names everything below the working directory, including the
/// target directory.
fn with_alias(common: &Common<'_>) -> Vec<String> {
    let homes = home_remaps(&common.roots, common.config.paths.value, &common.compiler.commit);
    as_flags(homes.into_iter().chain([format!("{}=.", alias::ALIAS)]).collect())
}

fn as_flags(remaps: Vec<String>) -> Vec<String> {
    remaps.into_iter().map(|remap| format!("--remap-path-prefix={remap}")).collect()
}

/// The remaps for rustc and C compilers, each `FROM=TO`. The last match wins. `commit` is the compiler's.
pub(super) fn remaps(roots: &Roots, paths: Paths, commit: &str) -> Vec<String> {
    if paths == Paths::Exact {
        return Vec::new();
    }
    // The target directory comes last, so that it wins if it is in the workspace.
    let checkout = [remap(roots, RootKind::Workspace, "."), remap(roots, RootKind::Target, "./target")];
    home_remaps(roots, paths, commit).into_iter().chain(checkout.into_iter().flatten()).collect()
}

/// Remaps for directories that differ between homes: cargo's home, and the sources of the standard library, which rustc
/// calls `/rustc/<commit>` if they are not installed.
fn home_remaps(roots: &Roots, paths: Paths, commit: &str) -> Vec<String> {
    if paths != Paths::Portable {
        return Vec::new();
    }
    let library = roots.place(RootKind::Sysroot).map(|sysroot| toolchain::library_root(Path::new(sysroot)));
    let library = library.filter(|_| !commit.is_empty()).map(|from| format!("{}=/rustc/{commit}", from.display()));
    remap(roots, RootKind::CargoHome, "/cargo").into_iter().chain(library).collect()
}

fn remap(roots: &Roots, kind: RootKind, to: &str) -> Option<String> {
    roots.place(kind).map(|from| format!("{from}={to}"))
}

/// Whether the user maps paths or compares them.
pub(super) fn has_own_mapping(invocation: &Invocation) -> bool {
    let is_trybuild = |value: Option<&str>| value == Some("trybuild");
    invocation.flags.iter().any(|flag| match flag.name.as_str() {
        "--remap-path-prefix" | "--remap-path-scope" => true,
        "--cfg" => is_trybuild(flag.value.as_deref()),
        _ => false,
    })
}

/// Whether the output contains a relative path to its libraries, in which the scan cannot find a root.
pub(super) fn wants_rpath(invocation: &Invocation) -> bool {
    invocation.needs_whole_libraries() && invocation.flags.iter().any(|flag| flag.name == "-C rpath")
}

/// Whether the output contains coverage maps: the paths in them are compressed, so the scan cannot find them.
pub(super) fn wants_coverage(invocation: &Invocation) -> bool {
    let off = |value: &str| matches!(value, "off" | "no" | "n" | "false" | "0");
    let flag = invocation.flags.iter().rev().find(|flag| flag.name == "-C instrument-coverage");
    flag.is_some_and(|flag| !flag.value.as_deref().is_some_and(off))
}
