//! Index objects: listings as objects, for places that cannot list.
//!
//! The index of a prefix is the object `<prefix>index.json`:
//! `{"v":1,"objects":[{"name":"<relative to the prefix>","size":<bytes>,"modified":<ms since 1970>}]}`. `modified` may
//! be absent. Whoever reads an index ignores names that are not plain, and believes nothing else in it without looking:
//! it only tells what to ask for.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::names;
use crate::remote::s3::listing::ListedObject;

/// Version of the format; another one cannot be read.
const VERSION: u32 = 1;

/// The largest index that is read, in bytes.
pub const MAX_INDEX_BYTES: u64 = 16 << 20;

/// The last part of the name of an index.
pub(super) const FILE_NAME: &str = "index.json";

#[derive(Serialize, Deserialize)]
struct Index {
    v: u32,
    objects: Vec<IndexedObject>,
}

#[derive(Serialize, Deserialize)]
struct IndexedObject {
    name: String,
    size: u64,
    /// Milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<u64>,
}

/// An index that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the index is not of a known format")]
pub struct IndexError;

/// The name of the index of `prefix`, which is empty or ends with a slash.
pub fn name(prefix: &str) -> String {
    format!("{prefix}{FILE_NAME}")
}

/// The index of the objects whose full names begin with `prefix`, except other indexes. Each name counts once; the last
/// one wins.
pub fn encode(prefix: &str, objects: &[ListedObject]) -> Vec<u8> {
    let below = objects.iter().filter_map(|object| Some((object.name.strip_prefix(prefix)?, object)));
    let kept = below.filter(|(name, _)| names::is_plain(name) && !is_index(name));
    let sorted: BTreeMap<&str, &ListedObject> = kept.collect();
    let objects = sorted.into_iter().map(|(name, object)| IndexedObject {
        name: name.to_owned(),
        size: object.size,
        modified: object.modified.and_then(millis),
    });
    serde_json::to_vec(&Index { v: VERSION, objects: objects.collect() }).unwrap_or_default()
}

/// The objects in the index of `prefix`, with full names.
pub fn decode(prefix: &str, bytes: &[u8]) -> Result<Vec<ListedObject>, IndexError> {
    let index: Index = serde_json::from_slice(bytes).map_err(|_| IndexError)?;
    if index.v != VERSION {
        return Err(IndexError);
    }
    let listed = |object: IndexedObject| ListedObject {
        name: format!("{prefix}{}", object.name),
        size: object.size,
        modified: object.modified.and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms))),
    };
    let plain = index.objects.into_iter().filter(|object| names::is_plain(&object.name));
    Ok(plain.map(listed).collect())
}

/// Whether the name is that of an index.
pub(super) fn is_index(name: &str) -> bool {
    name.rsplit('/').next() == Some(FILE_NAME)
}

fn millis(time: SystemTime) -> Option<u64> {
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, ms: Option<u64>) -> ListedObject {
        ListedObject { name: name.to_owned(), size: 7, modified: ms.map(|ms| UNIX_EPOCH + Duration::from_millis(ms)) }
    }

    #[test]
    fn an_index_round_trips_and_lists_what_is_below_its_prefix() {
        let (one, two) = (object("v1/a/one", Some(1234)), object("v1/a/b/two", None));
        let all = [one.clone(), object("v1/other", None), two.clone(), object("v1/a/index.json", None), one.clone()];
        let bytes = encode("v1/a/", &all);
        let text = r#"{"v":1,"objects":[{"name":"b/two","size":7},{"name":"one","size":7,"modified":1234}]}"#;
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), text);
        assert_eq!(decode("v1/a/", &bytes).unwrap(), [two, one]);
        assert_eq!(name("v1/a/"), "v1/a/index.json");
        assert_eq!(decode("", &encode("", &[])).unwrap(), []);
    }

    #[test]
    fn r05_odd_names_are_ignored_and_odd_indexes_refused() {
        let of = |objects: &str| decode("p/", format!(r#"{{"v":1,"objects":[{objects}]}}"#).as_bytes());
        let odd = r#"{"name":"../x","size":1},{"name":"/x","size":1},{"name":"","size":1},{"name":"a//b","size":1}"#;
        assert_eq!(of(odd).unwrap(), []);
        assert_eq!(of(r#"{"name":"a","size":1,"modified":18446744073709551615,"new":1}"#).unwrap().len(), 1, "control");
        assert!(of(r#"{"name":"a"}"#).is_err() && of(r#"{"name":"a","size":-1}"#).is_err());
        for bad in [&b"{"[..], b"[]", br#"{"v":2,"objects":[]}"#, b"<html>"] {
            assert!(decode("", bad).is_err());
        }
    }
}
