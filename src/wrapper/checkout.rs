//! What is the same for all calls in a checkout: roots, and the snapshot to restore from.

use std::path::Path;

use crate::cargo::command;
use crate::config::{Env, env};
use crate::keys::{self, Roots, compiler};
use crate::model::RootKind;
use crate::rustc::ProgramChain;
use crate::store::Store;
use crate::store::build_snapshots::{BuildSnapshot, SnapshotName};

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

/// Returns the snapshot of a command in a workspace, or else that of a similar command.
pub fn snapshot(store: &Store, workspace: &str, command: &str) -> Option<BuildSnapshot> {
    let of = |command: &str| store.snapshot(SnapshotName::of(workspace, command));
    of(command).or_else(|| command::similar(command).iter().find_map(|similar| of(similar)))
}
