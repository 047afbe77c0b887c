//! Explains a miss: finds the differences from the nearest record.
//!
//! This runs only on a miss, before rustc starts; validation itself stops at the first difference. [`inputs`] compares
//! with recorded input sets, [`fields`] with recorded key traces. Values that look secret are redacted here, where the
//! differences are made.

pub mod fields;
pub mod inputs;

use crate::fsx;
use crate::model::{Difference, DifferenceKind, secret};

/// The most differences that are kept for one miss.
const MAX_DIFFERENCES: usize = 20;

/// The differences from the nearest record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// The first 20 of them, causes before consequences.
    pub listed: Vec<Difference>,
    /// The number of all differences.
    pub number: usize,
}

impl From<Vec<Difference>> for Differences {
    fn from(mut all: Vec<Difference>) -> Self {
        let number = all.len();
        // The sort is stable, so differences of one rank stay in recorded order.
        all.sort_by_key(rank);
        all.truncate(MAX_DIFFERENCES);
        Self { listed: all, number }
    }
}

/// The rank of a difference: people look for the lowest ranks first.
fn rank(difference: &Difference) -> u8 {
    use DifferenceKind as Kind;
    // The places of outputs and dependencies follow from profile and target.
    let is_place = difference.is(Kind::Flag) && matches!(difference.name.as_str(), "--out-dir" | "-L");
    if difference.is(Kind::Compiler) {
        0
    } else if difference.is(Kind::Derived) {
        4
    } else if difference.is(Kind::Dependency) {
        3
    } else if is_place {
        2
    } else {
        1
    }
}

/// Creates a difference between two values that a user has set. Values that look secret are redacted.
fn between_values(kind: DifferenceKind, name: &str, old: Option<&str>, new: Option<&str>) -> Difference {
    let is_secret = |value: Option<&str>| value.is_some_and(|value| secret::is_secret(name, value));
    // No event contains the boot id, so a reader of the log cannot try out weak secrets on the digest.
    let salt = if is_secret(old) || is_secret(new) { fsx::boot_id() } else { String::new() };
    let shown = |value: Option<&str>| value.map(|value| secret::redacted(name, value, &salt));
    Difference::new(kind, name, shown(old), shown(new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_come_first_and_the_rest_is_counted() {
        let one = |kind, name: &str| Difference::new(kind, name, None, None);
        let mut all = vec![one(DifferenceKind::Derived, "-C metadata"), one(DifferenceKind::Dependency, "dep")];
        all.extend((0..30).map(|n| one(DifferenceKind::File, &n.to_string())));
        all.push(one(DifferenceKind::Compiler, "rustc"));
        let differences = Differences::from(all);
        assert_eq!((differences.number, differences.listed.len()), (33, MAX_DIFFERENCES));
        assert_eq!((differences.listed[0].name.as_str(), differences.listed[1].name.as_str()), ("rustc", "0"));
    }
}
