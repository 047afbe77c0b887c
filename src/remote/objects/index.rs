//! Lists of objects as objects, for stores that cannot list: `index.json` below a prefix names what is directly below
//! it.
//!
//! Version 1: `{"v":1,"objects":[{"name":"<relative to the prefix>","size":<bytes>,"modified":<ms since 1970>}]}`.

use serde::{Deserialize, Serialize};

/// Largest list that is read, in bytes.
pub const MAX_INDEX_BYTES: u64 = 16 << 20;
const VERSION: u32 = 1;

/// A list of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// The objects.
    pub objects: Vec<IndexedObject>,
}

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedObject {
    /// Its name, relative to the prefix.
    pub name: String,
    /// Size in bytes; 0 if the writer did not know it.
    pub size: u64,
    /// When it was written, in milliseconds since 1970; 0 if the writer did not know it.
    pub modified: i64,
}

#[derive(Serialize, Deserialize)]
struct VersionedIndex {
    v: u32,
    objects: Vec<IndexedObject>,
}

impl Index {
    /// Encodes the bytes of the object.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(&VersionedIndex { v: VERSION, objects: self.objects.clone() }).unwrap_or_default()
    }

    /// Decodes the bytes of an object. `None`: they are no list, or one of another version. Names that lead elsewhere
    /// are left out.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let VersionedIndex { v, mut objects } = serde_json::from_slice(bytes).ok()?;
        let is_plain = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
        objects.retain(|object| is_plain(&object.name));
        (v == VERSION).then_some(Self { objects })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_round_trip_and_names_lead_nowhere() {
        let object = |name: &str| IndexedObject { name: name.into(), size: 1, modified: 2 };
        let index = Index { objects: vec![object("a.record.zst"), object("b")] };
        assert_eq!(Index::decode(&index.encode()), Some(index.clone()));
        let bad = Index { objects: ["../x", "a/b", "", "..", "a\0"].map(object).into() };
        assert_eq!(Index::decode(&bad.encode()), Some(Index::default()));
        assert_eq!(Index::decode(b"{\"v\":2,\"objects\":[]}"), None);
        assert_eq!(Index::decode(b"<html>"), None);
    }
}
