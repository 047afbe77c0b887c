//! A run of a build script, with everything that is known before kache decides what to do about it.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::{Config, Env, env};
use crate::fsx;
use crate::keys::script::{self, RunKeyParts};
use crate::keys::{Context, Declared, KeyHasher, compiler};
use crate::model::{BypassReason, KeyTrace, Refusal, UnitKey};
use crate::rustc::ProgramChain;
use crate::script::{FLAG, ScriptInvocation};
use crate::store::Store;
use crate::store::calls::CallRecord;
use crate::wrapper::task::{Common, Labels, RUN_KIND, Task};
use crate::wrapper::{call_record, report};

/// A run that the cache can serve.
pub(in crate::wrapper) struct ScriptRun<'a> {
    pub(in crate::wrapper) common: Common<'a>,
    pub(in crate::wrapper) script: ScriptInvocation,
}

impl<'a> ScriptRun<'a> {
    /// Parses the call of this process and computes its lookup key.
    pub(super) fn prepare(argv: &[OsString], config: &'a Config, vars: &'a Env) -> Result<Self, Refusal> {
        let cwd = fsx::current_dir().map_err(|error| Refusal::new(BypassReason::Internal, error.to_string()))?;
        Self::prepare_in(cwd, argv, config, vars)
    }

    /// Parses a call in the working directory `cwd` and computes its lookup key.
    pub(in crate::wrapper) fn prepare_in(
        cwd: PathBuf,
        argv: &[OsString],
        config: &'a Config,
        vars: &'a Env,
    ) -> Result<Self, Refusal> {
        let internal = |detail: &str| Refusal::new(BypassReason::Internal, detail);
        let script =
            ScriptInvocation::parse(argv, cwd, vars).ok_or_else(|| internal("cargo's variables are missing"))?;
        let rustc = vars.get(env::RUSTC).unwrap_or_else(|| "rustc".into());
        let store = Store::open(&config.cache_dir.value);
        let unknown = || Refusal::new(BypassReason::CompilerUnknown, rustc.to_string_lossy());
        let chain = ProgramChain::parse(vec![rustc.clone()]).ok_or_else(unknown)?;
        let compiler = compiler::identify(&chain, None, &script.cwd, vars, &store).ok_or_else(unknown)?;
        let roots = script::roots(&script, &compiler.sysroot, vars);
        let context =
            Context { cwd: &script.cwd, diagnostic_width: None, roots: &roots, env: vars, stamps: store.stamps() };
        let declared = Declared::read(&script.crate_name(), context)?;
        let traced = crate::wrapper::log::wants_key_trace(config);
        let parts = RunKeyParts { compiler: &compiler, paths: config.paths.value, declared: declared.as_ref(), traced };
        let lookup = script::lookup(&script, context, parts)?;
        crate::wrapper::log::key(&script.unit(), &lookup);
        let common = Common { config, env: vars, compiler, roots, store, lookup, declared };
        Ok(Self { common, script })
    }
}

impl Task for ScriptRun<'_> {
    fn common(&self) -> &Common<'_> {
        &self.common
    }

    fn context(&self) -> Context<'_> {
        let (cwd, roots) = (self.script.cwd.as_path(), &self.common.roots);
        Context { cwd, diagnostic_width: None, roots, env: self.common.env, stamps: self.common.store.stamps() }
    }

    fn labels(&self) -> Labels {
        Labels {
            crate_name: self.script.crate_name(),
            package: report::package(self.common.env),
            kind: RUN_KIND.to_owned(),
            emit: RUN_KIND,
            unit: self.script.unit(),
            shape: report::shape(&self.script.out_dir, &self.common.roots),
        }
    }

    fn unit_key(&self) -> UnitKey {
        let mut name = KeyHasher::new(false);
        name.field("run of", &self.script.crate_name());
        for variable in [env::CARGO_PKG_NAME, env::TARGET] {
            name.field(variable, &self.common.env.text(variable).unwrap_or_default());
        }
        UnitKey(name.finish().0.0)
    }

    fn keys_variable(&self, name: &str) -> bool {
        script::keys_value_of(name)
    }

    /// What a script makes for another target may include programs for this machine, but most are for the target.
    fn is_for_this_machine(&self) -> bool {
        self.common.env.get(env::TARGET) == self.common.env.get(env::HOST)
    }

    fn call_record(&self) -> Option<CallRecord> {
        let argv = [self.script.program.clone().into(), FLAG.into(), self.script.argv0.clone()];
        call_record::record(self, &argv, &self.script.cwd)
    }

    fn key_trace(&self) -> Option<KeyTrace> {
        let (compiler, paths) = (&self.common.compiler, self.common.config.paths.value);
        let parts = RunKeyParts { compiler, paths, declared: self.common.declared.as_ref(), traced: true };
        let lookup = script::lookup(&self.script, self.context(), parts).ok()?;
        lookup.key_trace.filter(|_| lookup.key == self.common.lookup.key)
    }
}
