//! The tagged hasher of lookup keys.

use crate::model::key_trace::{Field, FieldValue};
use crate::model::{Digest, KeyTrace, LookupKey};

/// Part of every key. Raise it with any change to the fields of a key or to the meaning of an entry, so that kache
/// never again finds entries that the new version would not have made.
///
/// 1: first version.
/// 2: input sets contain observed inputs; linked outputs.
/// 3: git's index by its meaning; modes, libraries by path, locale and time zone are observed.
pub const SCHEMA: u32 = 3;

/// Hashes fields as (tag, length, bytes), so that two different sequences of fields cannot run together.
#[derive(Debug)]
pub struct KeyHasher {
    hasher: blake3::Hasher,
    trace: Option<KeyTrace>,
}

impl KeyHasher {
    /// Creates an empty key. `traced` also keeps every field in a key trace.
    pub fn new(traced: bool) -> Self {
        let mut key = Self { hasher: blake3::Hasher::new(), trace: traced.then(KeyTrace::default) };
        key.field("kache lookup key, schema", &SCHEMA.to_string());
        key
    }

    /// Adds a field with a text, which also appears in the key trace.
    pub fn field(&mut self, tag: &str, value: &str) {
        self.bytes(tag, value.as_bytes());
        self.trace(tag, "", || FieldValue::Text(value.to_owned()));
    }

    /// Adds a field that may be absent. An absent field differs from an empty one.
    pub fn optional(&mut self, tag: &str, value: Option<&str>) {
        if let Some(value) = value {
            return self.field(tag, value);
        }
        self.bytes(tag, b"");
        self.hasher.update(b"absent");
        self.trace(tag, "", || FieldValue::Absent);
    }

    /// Adds a digest under a name.
    pub fn digest(&mut self, tag: &str, name: &str, digest: Digest) {
        self.bytes(tag, name.as_bytes());
        self.hasher.update(digest.as_bytes());
        self.trace(tag, name, || FieldValue::Digest(digest));
    }

    /// Adds a note for people to the field that was added last. It is not part of the key.
    pub fn note(&mut self, words: impl FnOnce() -> String) {
        if let Some(field) = self.trace.as_mut().and_then(|trace| trace.fields.last_mut()) {
            field.note = words();
        }
    }

    fn trace(&mut self, tag: &str, name: &str, value: impl FnOnce() -> FieldValue) {
        if let Some(trace) = &mut self.trace {
            let (tag, name, note) = (tag.to_owned(), name.to_owned(), String::new());
            trace.fields.push(Field { tag, name, value: value(), note });
        }
    }

    /// Returns the key, and the key trace if one was kept.
    pub fn finish(self) -> (LookupKey, Option<KeyTrace>) {
        (LookupKey(Digest::from_bytes(*self.hasher.finalize().as_bytes())), self.trace)
    }

    fn bytes(&mut self, tag: &str, value: &[u8]) {
        for part in [tag.as_bytes(), value] {
            self.hasher.update(&(part.len() as u64).to_le_bytes());
            self.hasher.update(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(fill: impl FnOnce(&mut KeyHasher)) -> LookupKey {
        let mut hasher = KeyHasher::new(false);
        fill(&mut hasher);
        hasher.finish().0
    }

    #[test]
    fn u26_fields_do_not_run_together() {
        let one = key(|key| {
            key.field("a", "bc");
            key.field("d", "");
        });
        let other = key(|key| {
            key.field("a", "b");
            key.field("cd", "");
        });
        assert_ne!(one, other);
        assert_ne!(key(|key| key.optional("a", None)), key(|key| key.optional("a", Some(""))));
        assert_ne!(key(|_| {}), key(|key| key.optional("a", None)));
    }

    #[test]
    fn a_key_trace_does_not_change_the_key() {
        let mut traced = KeyHasher::new(true);
        traced.field("a", "b");
        traced.note(|| "words".into());
        let (digest, trace) = traced.finish();
        assert_eq!(digest, key(|key| key.field("a", "b")));
        assert!(trace.unwrap().to_string().ends_with("a: \"b\"\n"));
    }
}
