//! Guards what kache records, stores and reports after cargo has read the result: a panic there must not run the
//! program again.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Does kache's own work after the program has run, or after its messages were replayed: cargo has read them, so the
/// program must not run again. Returns `None` if the work panics.
pub(super) fn after_delivery<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_the_work_and_nothing_else() {
        assert_eq!(after_delivery(|| 1), Some(1));
        assert_eq!(after_delivery(|| assert_eq!(1, 2, "on purpose")), None);
    }
}
