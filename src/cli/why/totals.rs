//! The totals of a build.

use serde::Serialize;

/// The totals of the build.
#[derive(Serialize)]
pub(super) struct BuildTotals<'a> {
    pub(super) began: i64,
    pub(super) ended: i64,
    pub(super) target: &'a str,
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) bypasses: u64,
}
