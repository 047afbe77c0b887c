//! A call with all that is known about it before anything is decided.

use std::ffi::OsString;

use crate::config::{Config, Env, Paths, env};
use crate::fsx;
use crate::keys::lookup::{self, Setting};
use crate::keys::{Compiler, Context, Declared, Lookup, Roots, compiler, macros};
use crate::model::{BypassReason, Refusal, RootKind, Trace};
use crate::observe::library;
use crate::rustc::{Chain, Driver, Invocation};
use crate::store::Store;

/// A call that the cache can serve.
pub(super) struct Call<'a> {
    pub(super) chain: &'a Chain,
    pub(super) config: &'a Config,
    pub(super) env: &'a Env,
    pub(super) invocation: Invocation,
    pub(super) compiler: Compiler,
    pub(super) roots: Roots,
    pub(super) store: Store,
    /// Whether compiles are observed.
    pub(super) observed: bool,
    /// Flags that kache adds to every compile of its own.
    pub(super) injected: Vec<String>,
    pub(super) lookup: Lookup,
    /// Inputs that a `.kache.toml` names for this unit.
    pub(super) declared: Option<Declared>,
}

impl<'a> Call<'a> {
    /// Reads the call and makes its lookup key.
    pub(super) fn prepare(chain: &'a Chain, config: &'a Config, vars: &'a Env) -> Result<Self, Refusal> {
        if chain.driver == Driver::Unknown {
            return Err(Refusal::new(BypassReason::UnknownDriver, chain.program.to_string_lossy()));
        }
        if let Some(name) = env::RUST_LOGS.into_iter().find(|name| vars.get(name).is_some()) {
            return Err(Refusal::new(BypassReason::RustcLog, name));
        }
        let cwd = fsx::current_dir().map_err(|error| Refusal::new(BypassReason::Internal, error.to_string()))?;
        let invocation = Invocation::parse(chain.rustc_args(), &cwd)?;
        if invocation.incremental.is_some() && !super::incremental::can_drop(&invocation.argv) {
            return Err(Refusal::new(BypassReason::Argfile, "-C incremental"));
        }
        let observed = config.observe.value && library::is_there();
        if !observed && (invocation.needs_observer() || macros::may_run(&invocation)) {
            return Err(Refusal::new(BypassReason::Unobserved, invocation.kind()));
        }
        let store = Store::open(&config.cache_dir.value);
        let compiler = compiler::identify(chain, invocation.last("--target"), &cwd, vars, &store)
            .ok_or_else(|| Refusal::new(BypassReason::CompilerUnknown, chain.program.to_string_lossy()))?;
        let roots = Roots::of(&invocation, &compiler.sysroot, vars);
        let injected = injected(&invocation, &roots, config.paths.value);
        let context = Context { invocation: &invocation, roots: &roots, env: vars, stamps: store.stamps() };
        let declared = Declared::read(context)?;
        let (driver, paths, traced) = (chain.driver, config.paths.value, super::log::wants_trace(config));
        let known = declared.as_ref();
        let setting =
            Setting { compiler: &compiler, driver, paths, injected: &injected, declared: known, observed, traced };
        let lookup = lookup::lookup(context, setting)?;
        super::log::key(&invocation.crate_name, &lookup);
        Ok(Self { chain, config, env: vars, invocation, compiler, roots, store, observed, injected, lookup, declared })
    }

    /// The same as the `keys` module takes it.
    pub(super) fn context(&self) -> Context<'_> {
        Context { invocation: &self.invocation, roots: &self.roots, env: self.env, stamps: self.store.stamps() }
    }

    /// What the lookup key was made of. `None` if it would be another one by now.
    pub(super) fn trace(&self) -> Option<Trace> {
        let (driver, paths) = (self.chain.driver, self.config.paths.value);
        let setting = Setting {
            compiler: &self.compiler,
            driver,
            paths,
            injected: &self.injected,
            declared: self.declared.as_ref(),
            observed: self.observed,
            traced: true,
        };
        let lookup = lookup::lookup(self.context(), setting).ok()?;
        lookup.trace.filter(|_| lookup.key == self.lookup.key)
    }

    /// The arguments of a compile: as they came, `-C incremental` taken out if `shared`, and our own at the end.
    pub(super) fn compile_args(&self, shared: bool) -> Vec<OsString> {
        let mut args = self.chain.args[..self.chain.skip].to_vec();
        match shared {
            true => args.extend(super::incremental::dropped(&self.invocation.argv)),
            false => args.extend(self.invocation.argv.iter().cloned()),
        }
        args.extend(self.injected.iter().map(OsString::from));
        args
    }
}

/// Makes debug info and panic locations neutral, and openable by a debugger that was started in the workspace root. (For
/// generated sources that holds where the target directory is in its usual place: a name of its own for every other place
/// would be a key of its own.) Paths below cargo's home stay as they are, unless the user wants results that machines with
/// other homes can share: they are the same for every checkout of a machine, and can be opened from anywhere.
///
/// Nothing is injected where the user has mappings of his own (the last one wins in rustc), for coverage (its reports need
/// real paths) and under `--cfg trybuild` (which compares diagnostics).
fn injected(invocation: &Invocation, roots: &Roots, paths: Paths) -> Vec<String> {
    if paths == Paths::Exact || has_own_mapping(invocation) || wants_coverage(invocation) {
        return Vec::new();
    }
    let map = |kind, to: &str| roots.place(kind).map(|from| format!("--remap-path-prefix={from}={to}"));
    let home = if paths == Paths::Portable { map(RootKind::CargoHome, "/cargo") } else { None };
    // The target directory comes last, so that it wins where it lies in the workspace.
    [home, map(RootKind::Workspace, "."), map(RootKind::Target, "./target")].into_iter().flatten().collect()
}

/// Whether the user maps paths himself, or compares them.
pub(super) fn has_own_mapping(invocation: &Invocation) -> bool {
    let is_trybuild = |value: Option<&str>| value == Some("trybuild");
    invocation.flags.iter().any(|flag| match flag.name.as_str() {
        "--remap-path-prefix" | "--remap-path-scope" => true,
        "--cfg" => is_trybuild(flag.value.as_deref()),
        _ => false,
    })
}

/// Whether the output holds the way from itself to libraries elsewhere, in which no root is seen.
pub(super) fn wants_rpath(invocation: &Invocation) -> bool {
    invocation.is_linked() && invocation.flags.iter().any(|flag| flag.name == "-C rpath")
}

/// Whether coverage maps are written: they hold paths in compressed form.
pub(super) fn wants_coverage(invocation: &Invocation) -> bool {
    let off = |value: &str| matches!(value, "off" | "no" | "n" | "false" | "0");
    let flag = invocation.flags.iter().rev().find(|flag| flag.name == "-C instrument-coverage");
    flag.is_some_and(|flag| !flag.value.as_deref().is_some_and(off))
}
