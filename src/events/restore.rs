//! The log of whole builds that kache restored before cargo asked for their units.
//!
//! Format version: 1. Each restored unit also has a line in the event log; this log says how long all of them took, and
//! which were left to cargo.

use serde::{Deserialize, Serialize};

use super::log::LogLine;

/// The format version that this program writes. Readers skip lines of other versions.
pub const VERSION: u32 = 1;
/// At most this many units are listed in [`WholeBuild::left_out`].
pub const MAX_LISTED: usize = 50;

/// The reason of a unit that was left to cargo because another one was.
pub const DEPENDS_ON_ANOTHER: &str = "a unit that it depends on is not in place";

/// One restore of a whole build.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WholeBuild {
    /// Format version. Readers skip other versions than [`VERSION`].
    pub v: u32,
    /// End of the restore, in milliseconds since 1970.
    pub at: i64,
    /// The number of the build in the event log.
    #[serde(rename = "build")]
    pub number: u64,
    /// The target directory.
    pub target: String,
    /// The number of restored units.
    pub restored: u64,
    /// The number of units that were there already.
    pub present: u64,
    /// The number of units that were left to cargo.
    pub left: u64,
    /// These units and the reasons, at most [`MAX_LISTED`].
    pub left_out: Vec<LeftOut>,
    /// Milliseconds from start to end.
    pub ms: f64,
}

/// A unit that was left to cargo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Cargo's name for the unit: package, id and kind.
    pub unit: String,
    /// Why it was left out.
    pub reason: String,
}

/// The totals of a number of restores. Fields are added, never renamed, because commands print them as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WholeBuilds {
    /// The number of builds.
    pub builds: u64,
    /// The number of units that were restored.
    pub restored: u64,
    /// The number of units that were left to cargo.
    pub left: u64,
    /// Milliseconds that the restores took.
    pub ms: f64,
}

impl WholeBuilds {
    /// Adds up these restores.
    pub fn of<'a>(restores: impl IntoIterator<Item = &'a WholeBuild>) -> Self {
        restores.into_iter().fold(Self::default(), |sum, one| Self {
            builds: sum.builds + 1,
            restored: sum.restored + one.restored,
            left: sum.left + one.left,
            ms: sum.ms + one.ms,
        })
    }
}

impl LogLine for WholeBuild {
    const NAME: &'static str = "whole-builds";
    const MAX_BYTES: u64 = 4 * 1024 * 1024;

    fn at(&self) -> Option<i64> {
        (self.v == VERSION).then_some(self.at)
    }
}
