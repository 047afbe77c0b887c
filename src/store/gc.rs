//! Garbage collection.

use super::Store;
use crate::fsx::clock::Time;

/// Whether the last collection is long ago.
pub fn is_due(_store: &Store, _now: Time) -> bool {
    false
}
