//! What a lookup key was made of, field by field.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Digest;

/// Texts from this length on are kept as digests: the `--check-cfg` of some crates lists a thousand features.
const LONG: usize = 512;

/// The value of a field.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// Not given, which differs from empty.
    Absent,
    /// As it stands, roots as tokens.
    Text(String),
    /// The digest of a file, or of a long text.
    Digest(Digest),
}

/// One field of a lookup key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Field {
    /// What it is: a flag, `env NAME`, `extern`, ...
    pub tag: String,
    /// Which one of several.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its value.
    pub value: Value,
    /// Words for people that are no part of the key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// All fields of a lookup key, in the order in which they were added.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Trace {
    /// The fields.
    pub fields: Vec<Field>,
}

impl Trace {
    /// The same with digests for long texts, as it is kept.
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
    /// One line per field.
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
