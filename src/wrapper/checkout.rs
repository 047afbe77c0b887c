//! The roots of a checkout, as far as they are the same for all its calls.

use std::path::Path;

use crate::config::{Env, env};
use crate::keys::{self, Roots, compiler};
use crate::model::RootKind;
use crate::rustc::ProgramChain;
use crate::store::Store;

/// Returns the roots of a checkout.
pub fn roots(workspace: &Path, build_dir: &Path, vars: &Env, store: &Store) -> Roots {
    let rustc = vars.get(env::RUSTC).unwrap_or_else(|| "rustc".into());
    let chain = ProgramChain::parse(vec![rustc]);
    let compiler = chain.and_then(|chain| compiler::identify(&chain, None, workspace, vars, store));
    Roots::new([
        (RootKind::Target, Some(build_dir.to_owned())),
        (RootKind::Workspace, Some(workspace.to_owned())),
        (RootKind::Repository, keys::script::repository_above(workspace)),
        (RootKind::CargoHome, vars.cargo_home()),
        (RootKind::Sysroot, compiler.map(|compiler| compiler.sysroot)),
        (RootKind::Home, vars.home()),
        (RootKind::Tmp, Some(vars.path(env::TMPDIR).unwrap_or_else(|| "/tmp".into()))),
    ])
}
