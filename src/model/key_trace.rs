//! Key traces: the fields that lookup keys were made of.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Digest;

/// A text of at least this many bytes is kept as its digest: the `--check-cfg` of some crates lists a thousand
/// features.
const MIN_DIGESTED_BYTES: usize = 512;

/// The value of a field.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FieldValue {
    /// Not given, which differs from empty.
    Absent,
    /// The text, with tokens for roots.
    Text(String),
    /// The digest of a file, or of a long text.
    Digest(Digest),
}

/// One field of a lookup key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Field {
    /// The kind of field: a flag, `env NAME`, `extern`, ...
    pub tag: String,
    /// Tells fields with the same tag apart. Empty for most tags.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The value in the key.
    pub value: FieldValue,
    /// A note for people. It is not part of the key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// All fields of a lookup key, in the order in which they were added.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyTrace {
    /// The fields, in the order in which the key was hashed.
    pub fields: Vec<Field>,
}

impl KeyTrace {
    /// Replaces long texts by their digests. The store keeps key traces in this form.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        for field in &mut self.fields {
            if let FieldValue::Text(text) = &field.value
                && text.len() >= MIN_DIGESTED_BYTES
            {
                field.value = FieldValue::Digest(Digest::of(text.as_bytes()));
            }
        }
        self
    }
}

impl fmt::Display for KeyTrace {
    /// Writes one line per field.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fields.iter().try_for_each(|Field { tag, name, value, .. }| match value {
            FieldValue::Absent => writeln!(f, "{tag}: absent"),
            FieldValue::Text(text) => writeln!(f, "{tag}: {text:?}"),
            FieldValue::Digest(digest) => writeln!(f, "{tag}: {name:?} = {digest}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_become_digests_that_still_differ() {
        let trace = |text: &str| {
            let value = FieldValue::Text(text.to_owned());
            KeyTrace { fields: vec![Field { tag: "--cfg".into(), name: String::new(), value, note: String::new() }] }
        };
        let (one, two) = ("x".repeat(MIN_DIGESTED_BYTES), "y".repeat(MIN_DIGESTED_BYTES));
        assert_eq!(trace("short").shortened(), trace("short"));
        assert!(serde_json::to_string(&trace(&one).shortened()).unwrap().len() < MIN_DIGESTED_BYTES);
        assert_ne!(trace(&one).shortened(), trace(&two).shortened());
    }
}
