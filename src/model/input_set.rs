//! Input sets: everything that the result of one compile, or of one run of a build script, depends on beside the lookup
//! key.
//!
//! kache records an input set after a miss and validates it on lookup. A set is a list of [`Input`]s: most are things
//! that a program read; pins and the diagnostic width follow from the outputs and messages. A new kind of input is a
//! new variant (ARCHITECTURE.md, "Adding a kind of input"), and a reader that does not know a kind refuses the whole
//! set (it misses) instead of ignoring the input.

use serde::{Deserialize, Serialize};

use super::{Digest, EntryKey, LookupKey, RootKind, TokenString};

/// One thing that the result depends on, with its digest or value if its kind has one.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// A file with this content. A relative path starts at the working directory of the compiler.
    File(TokenString, Digest),
    /// Nothing exists at this path. The compile looked there, or rustc would refuse a file there beside another source
    /// (`m.rs` and `m/mod.rs`).
    Absent(TokenString),
    /// An environment variable that the compile read. `None` means unset, which differs from empty.
    Env(String, Option<TokenString>),
    /// A root and its place. The outputs contain the place or depend on it, so the entry is valid only where the root
    /// has it.
    Pinned(RootKind, String),
    /// A file of this kind exists at the path, links followed.
    Present(TokenString, PathKind),
    /// A file of this kind exists at the path, links not followed.
    #[serde(rename = "itself")]
    PresentNoFollow(TokenString, PathKind),
    /// The permissions of the owner for the file: the mode bits `0o700`. The other bits follow the umask.
    Mode(TokenString, u32),
    /// The mtime of the file, in seconds since 1970.
    Modified(TokenString, i64),
    /// The creation time of the file, in seconds since 1970.
    Created(TokenString, i64),
    /// The directory contains these names: digest of the sorted list, which includes the kind of each.
    Listing(TokenString, Digest),
    /// The symbolic link at the first path contains the second.
    Link(TokenString, TokenString),
    /// The first path resolves to the second, without links, `.` and `..`.
    Resolved(TokenString, TokenString),
    /// The path that a lookup on `PATH` finds for the program of this name. `None` if it finds nothing. The file at
    /// that path is a separate input.
    Program(String, Option<TokenString>),
    /// All variables: digest of their names and values. For programs that do not show which ones they read.
    Environment(Digest),
    /// The variables whose names a program can know. For programs that copy all variables and then look up some of
    /// them.
    KnownVariables(Box<KnownVariables>),
    /// The processor: digest of its model and features. For code that is compiled for `native`.
    Processor(Digest),
    /// git's index at the path: digest of the files that it lists, and of how each differs from its entry in the index.
    GitIndex(TokenString, Digest),
    /// The value of `--diagnostic-width`. It counts if the entry replays diagnostics, which were laid out for this
    /// width.
    DiagnosticWidth(Option<String>),
}

impl Input {
    /// Whether it may change if a `Cargo.lock` does: the file was read, looked for or listed, or git compared it.
    pub fn depends_on_cargo_lock(&self) -> bool {
        match self {
            Self::GitIndex(..) => true,
            Self::Listing(path, _) => matches!(path.as_str(), "{workspace}" | "" | "." | ".."),
            _ => self.name().ends_with("Cargo.lock"),
        }
    }
}

/// The variables whose names a program can know.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct KnownVariables {
    /// The path of the program.
    pub program: TokenString,
    /// The names that were set but that the program cannot know, sorted.
    pub unknown: Vec<String>,
    /// Digest of the names and values of all other variables.
    pub digest: Digest,
}

/// The kind of the file at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A pipe, socket or device.
    Special,
    /// Something that the user has no permission to inspect or open.
    Denied,
}

impl PathKind {
    /// Returns the name, as in keys and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Link => "link",
            Self::Special => "special",
            Self::Denied => "denied",
        }
    }
}

/// The inputs of one compile or run. Entry keys depend on their order: equal inputs are always recorded in the same
/// order.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct InputSet {
    /// All inputs, in the order in which [`Self::entry_key`] hashes them.
    pub inputs: Vec<Input>,
}

impl InputSet {
    /// Returns the key of the entry for this set under `lookup`.
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

/// Hashes an input as three fields: tag, name and value.
fn hash_input(hasher: &mut blake3::Hasher, input: &Input) {
    for field in [input.tag().as_bytes(), input.name().as_bytes(), &value_of(input)] {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field);
    }
}

/// The value in entry keys: what the compile found under the name.
fn value_of(input: &Input) -> Vec<u8> {
    match input {
        Input::Absent(_) => Vec::new(),
        Input::File(_, digest)
        | Input::Listing(_, digest)
        | Input::GitIndex(_, digest)
        | Input::Environment(digest)
        | Input::Processor(digest) => digest.as_bytes().to_vec(),
        Input::Env(_, text) | Input::Program(_, text) => {
            text.as_ref().map_or_else(Vec::new, |text| text.as_str().as_bytes().to_vec())
        }
        Input::Link(_, text) | Input::Resolved(_, text) => text.as_str().as_bytes().to_vec(),
        Input::Pinned(_, place) => place.as_bytes().to_vec(),
        Input::Present(_, kind) | Input::PresentNoFollow(_, kind) => kind.name().into(),
        Input::Mode(_, bits) => bits.to_le_bytes().to_vec(),
        Input::Modified(_, seconds) | Input::Created(_, seconds) => seconds.to_le_bytes().to_vec(),
        Input::KnownVariables(known) => known_bytes(known),
        Input::DiagnosticWidth(width) => width.clone().unwrap_or_default().into(),
    }
}

/// The names cannot run together, because none contains a zero byte.
fn known_bytes(known: &KnownVariables) -> Vec<u8> {
    [known.digest.as_bytes().as_slice(), known.unknown.join("\0").as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::InputKind;

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

    /// One input of every kind, and those of the other tag for an absent value.
    fn all_kinds() -> Vec<Input> {
        let (text, digest) = (TokenString::literal, Digest::of(b"x"));
        let known = KnownVariables { program: text("/p"), unknown: vec!["A".into(), "B".into()], digest };
        vec![
            Input::File(text("f"), digest),
            Input::Absent(text("a")),
            Input::Env("E".into(), Some(text("1"))),
            Input::Env("E".into(), None),
            Input::Pinned(RootKind::Home, "/h".into()),
            Input::Present(text("p"), PathKind::Directory),
            Input::PresentNoFollow(text("i"), PathKind::Link),
            Input::Mode(text("m"), 0o700),
            Input::Modified(text("t"), 1),
            Input::Created(text("c"), 2),
            Input::Listing(text("d"), digest),
            Input::Link(text("l"), text("to")),
            Input::Resolved(text("r"), text("/r")),
            Input::Program("cc".into(), Some(text("/cc"))),
            Input::Program("cc".into(), None),
            Input::Environment(digest),
            Input::KnownVariables(Box::new(known)),
            Input::Processor(digest),
            Input::GitIndex(text("g"), digest),
            Input::DiagnosticWidth(Some("80".into())),
            Input::DiagnosticWidth(None),
        ]
    }

    #[test]
    fn every_kind_is_written_and_hashed_as_by_earlier_versions() {
        let inputs = all_kinds();
        let is_missing = |kind: &&InputKind| !inputs.iter().any(|input| input.kind() == **kind);
        assert_eq!(InputKind::ALL.iter().find(is_missing), None, "add the new kind to the list, and the new digests");
        let written = serde_json::to_vec(&inputs).unwrap();
        assert_eq!(Digest::of(&written).short(), "96abb5e88554");
        assert_eq!(key(inputs).0.short(), "4d5c2a1a2224");
    }

    #[test]
    fn an_unknown_kind_of_input_is_refused() {
        let newer = r#"{"inputs":[{"moon-phase":["src","00"]}]}"#;
        assert!(serde_json::from_str::<InputSet>(newer).is_err());
    }
}
