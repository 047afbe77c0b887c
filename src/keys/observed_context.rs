//! The context of an observed compile or run.

use std::path::Path;

use super::{Context, Lookup, ObservedSubject, StartSnapshot};
use crate::model::DepInfo;

/// Everything about the compile or run besides what the trace shows.
#[derive(Clone, Copy)]
pub struct ObservedContext<'a> {
    /// The compile or run that was observed.
    pub subject: ObservedSubject<'a>,
    /// The context in which inputs are recorded.
    pub context: Context<'a>,
    /// The lookup key, and the files that it covers.
    pub lookup: &'a Lookup,
    /// rustc's dep-info. `None` for a run.
    pub info: Option<&'a DepInfo<String>>,
    /// Texts among the outputs of a run, with the paths of this checkout.
    pub texts: &'a [String],
    /// The sysroot of the compiler.
    pub sysroot: &'a Path,
    /// The state before the compile or run started.
    pub start: &'a StartSnapshot,
}
