//! What hits, misses, events and the remote need to know of a call, be it a compile or a run of a build script.

use crate::config::{Config, Env};
use crate::keys::{Compiler, Context, Declared, Lookup, Roots};
use crate::model::{Trace, UnitKey};
use crate::store::Store;

/// A call that the cache can serve.
pub(super) trait Task {
    fn common(&self) -> &Common<'_>;
    fn context(&self) -> Context<'_>;
    /// Names for people, in events and in the store.
    fn labels(&self) -> Labels;
    /// The unit's name whatever its flags, dependencies and version.
    fn unit_key(&self) -> UnitKey;
    /// What the lookup key was made of. `None` if it would be another one by now.
    fn trace(&self) -> Option<Trace>;
}

/// What every call has.
pub(super) struct Common<'a> {
    pub(super) config: &'a Config,
    pub(super) env: &'a Env,
    pub(super) compiler: Compiler,
    pub(super) roots: Roots,
    pub(super) store: Store,
    pub(super) lookup: Lookup,
    /// Inputs that a `.kache.toml` names for this unit.
    pub(super) declared: Option<Declared>,
}

/// Names of a unit.
pub(super) struct Labels {
    pub(super) crate_name: String,
    /// Package name and version.
    pub(super) package: String,
    /// Crate types, `test` or `run`.
    pub(super) kind: String,
    /// `link`, `metadata`, or `run`.
    pub(super) emit: &'static str,
    /// What tells the unit from all others of its build.
    pub(super) unit: String,
    /// Target triple and profile.
    pub(super) shape: String,
}
