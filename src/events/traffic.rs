//! Counts transfers.

use std::collections::BTreeMap;

use serde::Serialize;

use super::transfer::{Ending, Transfer};

/// The totals of a number of transfers. Fields are added, never renamed, because commands print them as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Number of entries that were fetched into the store.
    pub fetched: u64,
    /// Bytes of the fetched packs.
    pub fetched_bytes: u64,
    /// Number of entries that were uploaded to the remote.
    pub sent: u64,
    /// Bytes of the uploaded packs.
    pub sent_bytes: u64,
    /// Number of refusals, by the id of the reason. A refused entry counts as absent.
    pub refused: BTreeMap<String, u64>,
    /// Number of transfers that failed.
    pub failed: u64,
    /// The message of the newest error.
    pub last_failure: Option<String>,
}

impl Traffic {
    /// Counts `transfers`, oldest first.
    pub fn of<'a>(transfers: impl IntoIterator<Item = &'a Transfer>) -> Self {
        let mut traffic = Self::default();
        for transfer in transfers {
            match transfer.ending {
                Ending::Fetched => {
                    traffic.fetched += 1;
                    traffic.fetched_bytes += transfer.bytes;
                }
                Ending::Sent => {
                    traffic.sent += 1;
                    traffic.sent_bytes += transfer.bytes;
                }
                Ending::Refused => *traffic.refused.entry(transfer.reason.clone()).or_default() += 1,
                Ending::Failed => {
                    traffic.failed += 1;
                    traffic.last_failure = Some(transfer.reason.clone());
                }
            }
        }
        traffic
    }

    /// Whether there were no transfers.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Number of refusals, for all reasons.
    pub fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }

    /// The refusals as text, the most frequent reason first: `3 unsigned, 1 digest`. Empty if there are none.
    pub fn refusals_by_reason(&self) -> String {
        let mut reasons: Vec<_> = self.refused.iter().collect();
        reasons.sort_by_key(|(reason, times)| (std::cmp::Reverse(**times), *reason));
        reasons.iter().map(|(reason, times)| format!("{times} {reason}")).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::transfer::VERSION;

    fn transfer(ending: Ending, bytes: u64, reason: &str) -> Transfer {
        Transfer {
            v: VERSION,
            at: 0,
            ending,
            crate_name: "a".into(),
            key: "00".into(),
            bytes,
            ms: 1.0,
            reason: reason.into(),
        }
    }

    #[test]
    fn transfers_are_counted_by_their_ending() {
        let transfers = [
            transfer(Ending::Fetched, 10, ""),
            transfer(Ending::Fetched, 5, ""),
            transfer(Ending::Sent, 7, ""),
            transfer(Ending::Refused, 3, "digest"),
            transfer(Ending::Refused, 3, "unsigned"),
            transfer(Ending::Refused, 3, "unsigned"),
            transfer(Ending::Failed, 0, "old"),
            transfer(Ending::Failed, 0, "new"),
        ];
        let traffic = Traffic::of(&transfers);
        assert_eq!((traffic.fetched, traffic.fetched_bytes, traffic.sent, traffic.sent_bytes), (2, 15, 1, 7));
        assert_eq!((traffic.refusals(), traffic.refusals_by_reason().as_str()), (3, "2 unsigned, 1 digest"));
        assert_eq!((traffic.failed, traffic.last_failure.as_deref()), (2, Some("new")));
        assert!(!traffic.is_empty() && Traffic::of(&[]).is_empty());
    }
}
