//! What one compile really read.
//!
//! Recorded after a miss, validated on lookup. A set is a list of [`Input`]s; a new kind of input is a new variant, and a
//! reader that does not know a kind refuses the set (it misses), never ignores it.

use serde::{Deserialize, Serialize};

use super::{Digest, EntryKey, LookupKey, RootKind, TokenString};

/// One thing that the compile read, and what it found.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// A file with this content. Relative paths are relative to the compiler's working directory.
    File(TokenString, Digest),
    /// Nothing stood at this path; rustc would have looked at it.
    Absent(TokenString),
    /// An environment variable that the crate reads; `None` is unset, which differs from empty.
    Env(String, Option<TokenString>),
    /// The value of a root that the outputs hold in bytes, or that something was computed from: serves only there.
    Pinned(RootKind, String),
    /// The value of `--diagnostic-width`, counted because the entry replays diagnostics that were laid out for it.
    DiagnosticWidth(Option<String>),
}

/// The inputs of one compile, in a stable order.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct InputSet {
    /// All inputs.
    pub inputs: Vec<Input>,
}

impl InputSet {
    /// The key of the entry that holds for this set under `lookup`.
    pub fn entry_key(&self, lookup: LookupKey) -> EntryKey {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"kache entry key\0");
        hasher.update(lookup.0.as_bytes());
        for input in &self.inputs {
            hash_input(&mut hasher, input);
        }
        EntryKey(Digest::from_bytes(*hasher.finalize().as_bytes()))
    }
}

fn hash_input(hasher: &mut blake3::Hasher, input: &Input) {
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    match input {
        Input::File(path, digest) => {
            field(b"file");
            field(path.as_str().as_bytes());
            field(digest.as_bytes());
        }
        Input::Absent(path) => {
            field(b"absent");
            field(path.as_str().as_bytes());
        }
        Input::Env(name, value) => {
            field(b"env");
            field(name.as_bytes());
            field(&[u8::from(value.is_some())]);
            field(value.as_ref().map_or("", |value| value.as_str()).as_bytes());
        }
        Input::Pinned(kind, value) => {
            field(b"pinned");
            field(kind.name().as_bytes());
            field(value.as_bytes());
        }
        Input::DiagnosticWidth(width) => {
            field(b"diagnostic-width");
            field(&[u8::from(width.is_some())]);
            field(width.as_deref().unwrap_or("").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(inputs: Vec<Input>) -> EntryKey {
        InputSet { inputs }.entry_key(LookupKey(Digest::of(b"l")))
    }

    #[test]
    fn u26_unset_differs_from_empty() {
        let unset = key(vec![Input::Env("A".into(), None)]);
        let empty = key(vec![Input::Env("A".into(), Some(TokenString::literal("")))]);
        assert_ne!(unset, empty);
    }

    #[test]
    fn u25_swapped_contents_differ() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let file = |path: &str, digest| Input::File(TokenString::literal(path), digest);
        assert_ne!(key(vec![file("x", a), file("y", b)]), key(vec![file("x", b), file("y", a)]));
    }

    #[test]
    fn u26_neighbouring_fields_do_not_run_together() {
        let env = |name: &str, value: &str| Input::Env(name.into(), Some(TokenString::literal(value)));
        assert_ne!(key(vec![env("ab", "c")]), key(vec![env("a", "bc")]));
    }

    #[test]
    fn an_unknown_kind_of_input_is_refused() {
        let newer = r#"{"inputs":[{"listing":["src","00"]}]}"#;
        assert!(serde_json::from_str::<InputSet>(newer).is_err());
    }
}
