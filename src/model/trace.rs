//! The fields that a lookup key was made of.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Digest;

/// Texts of this length in bytes, or longer, are kept as digests: the `--check-cfg` of some crates lists a thousand
/// features.
const LONG: usize = 512;

/// The value of a field.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
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
    pub value: Value,
    /// A note for people. It is not part of the key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// All fields of a lookup key, in the order in which they were added.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Trace {
    /// The fields, in the order in which the key was hashed.
    pub fields: Vec<Field>,
}

impl Trace {
    /// Replaces long texts by their digests. The store keeps traces in this form.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        for field in &mut self.fields {
            if let Value::Text(text) = &field.value
                && text.len() >= LONG
            {
                field.value = Value::Digest(Digest::of(text.as_bytes()));
            }
        }
        self
    }
}

impl fmt::Display for Trace {
    /// Writes one line per field.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fields.iter().try_for_each(|Field { tag, name, value, .. }| match value {
            Value::Absent => writeln!(f, "{tag}: absent"),
            Value::Text(text) => writeln!(f, "{tag}: {text:?}"),
            Value::Digest(digest) => writeln!(f, "{tag}: {name:?} = {digest}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_become_digests_that_still_differ() {
        let trace = |text: &str| {
            let value = Value::Text(text.to_owned());
            Trace { fields: vec![Field { tag: "--cfg".into(), name: String::new(), value, note: String::new() }] }
        };
        let (one, two) = ("x".repeat(LONG), "y".repeat(LONG));
        assert_eq!(trace("short").shortened(), trace("short"));
        assert!(serde_json::to_string(&trace(&one).shortened()).unwrap().len() < LONG);
        assert_ne!(trace(&one).shortened(), trace(&two).shortened());
    }
}
