//! The format of an event: one JSON object per line, with every field present.
//!
//! Format version: 1.

use serde::{Deserialize, Serialize};

use super::log::LogLine;
use crate::model::{Compared, Difference, Outcome, RemoteAnswer, Stored};

/// The format version that this program writes. Readers skip lines of other versions.
pub const VERSION: u32 = 1;

/// How one invocation or run ended, and what it cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Format version. Readers skip other versions than [`VERSION`].
    pub v: u32,
    /// End of the invocation, in milliseconds since 1970.
    pub at: i64,
    /// How it ended, by id.
    pub outcome: Outcome,
    /// Crate name, as in `--crate-name`.
    #[serde(rename = "crate")]
    pub crate_name: String,
    /// Package name and version, as cargo sets them in the environment.
    pub package: String,
    /// Crate types joined by commas, `test`, or `run` for a run of a build script.
    pub kind: String,
    /// `link`, `metadata`, or `run` for a run of a build script. Empty if the call was not understood.
    pub emit: String,
    /// Milliseconds from start to end, including rustc.
    pub ms: f64,
    /// Milliseconds of `ms` that were spent waiting for the remote.
    pub waited_ms: f64,
    /// On a hit, milliseconds that the original compile took.
    pub saved_ms: f64,
    /// Bytes restored by reflink.
    pub reflink_bytes: u64,
    /// Bytes restored by hard link.
    pub hardlink_bytes: u64,
    /// Bytes restored by copy.
    pub copy_bytes: u64,
    /// On a miss, whether its result was stored, by id. Written as an empty text for anything else.
    #[serde(with = "optional")]
    pub stored: Option<Stored>,
    /// Bytes added to the store.
    pub stored_bytes: u64,
    /// The lookup key, in hexadecimal. Empty if there is none.
    pub lookup: String,
    /// The entry key, in hexadecimal. Empty if there is none.
    pub key: String,
    /// Details: the flag of a bypass, the error of a failure, or the first input that differs.
    pub detail: String,
    /// The target directory. Empty if it is unknown.
    pub target: String,
    /// Target and profile: `<triple or host>/<profile's directory>`, such as `host/debug`. Empty if they are unknown.
    pub shape: String,
    /// Process id of the caller, which is cargo: the same for all events of one build ([`super::build`]).
    #[serde(rename = "build")]
    pub cargo_pid: u64,
    /// Crate name with `-C extra-filename`, which distinguishes a unit from all others of its build.
    pub unit: String,
    /// What a miss was compared with, by id. Written as an empty text for anything else.
    #[serde(with = "optional")]
    pub compared: Option<Compared>,
    /// The differences from it, causes first; at most 20.
    pub differs: Vec<Difference>,
    /// Number of differences, including those not listed.
    pub differing: usize,
    /// What the remote answered, by id. Written as an empty text if it was not asked because there is none, or because
    /// the local store had a hit.
    #[serde(with = "optional")]
    pub remote: Option<RemoteAnswer>,
}

impl Event {
    /// Whether the result of a miss was stored.
    pub fn is_stored(&self) -> bool {
        self.stored == Some(Stored::Yes)
    }
}

/// A value that may be absent, as a text that may be empty.
mod optional {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde gives a reference to the field")]
    pub(super) fn serialize<T: Serialize, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => value.serialize(serializer),
            None => serializer.serialize_str(""),
        }
    }

    pub(super) fn deserialize<'de, T: From<String>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(if text.is_empty() { None } else { Some(T::from(text)) })
    }
}

impl LogLine for Event {
    const NAME: &'static str = "events";
    const MAX_BYTES: u64 = 32 * 1024 * 1024;

    fn at(&self) -> Option<i64> {
        (self.v == VERSION).then_some(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HitSource, MissReason};

    /// A line as programs wrote it before they recorded the answer of the remote.
    fn old(line: &str) -> String {
        line.replace(",\"remote\":\"late\"", "")
    }

    /// A line of this version of the format.
    const LINE: &str = concat!(
        "{\"v\":1,\"at\":5,\"outcome\":\"miss.no-manifest\",\"crate\":\"a\",\"package\":\"a 1.0.0\",\"kind\":\"lib\",",
        "\"emit\":\"link\",\"ms\":1.5,\"waited_ms\":0.0,\"saved_ms\":0.0,\"reflink_bytes\":0,\"hardlink_bytes\":0,",
        "\"copy_bytes\":0,\"stored\":\"rustc-failed\",\"stored_bytes\":0,\"lookup\":\"\",\"key\":\"\",\"detail\":\"exit\",",
        "\"target\":\"/t\",\"shape\":\"host/debug\",\"build\":7,\"unit\":\"a-1\",\"compared\":\"first-seen\",\"differs\":[],",
        "\"differing\":0,\"remote\":\"late\"}"
    );

    #[test]
    fn the_bytes_of_version_1_stay() {
        let event: Event = serde_json::from_str(LINE).unwrap();
        assert_eq!(event.outcome, Outcome::Miss(MissReason::NoManifest));
        assert_eq!((&event.stored, &event.compared), (&Some(Stored::RustcFailed), &Some(Compared::FirstSeen)));
        assert_eq!(event.remote, Some(RemoteAnswer::Late));
        assert_eq!(serde_json::to_string(&event).unwrap(), LINE);
    }

    #[test]
    fn lines_without_an_answer_of_the_remote_are_read() {
        assert!(!old(LINE).contains("remote"));
        let event: Event = serde_json::from_str(&old(LINE)).unwrap();
        let expected = Event { remote: None, ..serde_json::from_str(LINE).unwrap() };
        assert_eq!(event, expected);
        assert!(serde_json::to_string(&event).unwrap().ends_with(",\"remote\":\"\"}"));
    }

    #[test]
    fn absent_and_unknown_values_are_written_as_they_were_read() {
        let hit = LINE.replace("miss.no-manifest", "hit.local").replace("rustc-failed", "").replace("first-seen", "");
        let event: Event = serde_json::from_str(&hit).unwrap();
        assert_eq!((&event.outcome, &event.stored), (&Outcome::Hit(HitSource::Local), &None));
        assert_eq!(serde_json::to_string(&event).unwrap(), hit);
        let newer = LINE.replace("miss.no-manifest", "miss.newer").replace("rustc-failed", "newer");
        let event: Event = serde_json::from_str(&newer).unwrap();
        assert_eq!(event.stored, Some(Stored::Other("newer".into())));
        assert_eq!(serde_json::to_string(&event).unwrap(), newer);
        let short: Event = serde_json::from_str("{\"v\":1}").unwrap();
        assert_eq!((short.outcome, short.stored, short.compared), (Outcome::default(), None, None));
    }
}
