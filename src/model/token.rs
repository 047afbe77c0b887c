//! Texts in which tokens replace the machine-local roots, so that one record serves every checkout.
//!
//! A token is spelled `{workspace}`, and a literal brace `{{`. The spelling is unambiguous and readable in a key trace.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A directory whose place differs between checkouts or machines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootKind {
    /// The directory in which cargo starts rustc for a workspace member.
    Workspace,
    /// The target (or build) directory.
    Target,
    /// The git repository around the workspace, if it is not the same directory.
    Repository,
    /// Cargo's home, `$CARGO_HOME`.
    CargoHome,
    /// The sysroot of the compiler.
    Sysroot,
    /// The user's home, `$HOME`.
    Home,
    /// The directory for temporary files.
    Tmp,
}

impl RootKind {
    /// All kinds. If two roots have the same place, the first one in this order counts.
    pub const ALL: [Self; 7] =
        [Self::Target, Self::Workspace, Self::Repository, Self::CargoHome, Self::Sysroot, Self::Home, Self::Tmp];

    /// The name between the braces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Workspace => "workspace",
            Self::Target => "target",
            Self::Repository => "repository",
            Self::CargoHome => "cargo-home",
            Self::Sysroot => "sysroot",
            Self::Home => "home",
            Self::Tmp => "tmp",
        }
    }
}

impl fmt::Display for RootKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text with tokens in place of roots.
#[derive(Clone, PartialEq, Eq, Debug, Default, Hash)]
pub struct TokenString {
    spelled: String,
    roots: Vec<RootKind>,
}

impl TokenString {
    /// Creates a text without tokens.
    pub fn literal(text: &str) -> Self {
        let mut token = Self::default();
        token.push_literal(text);
        token
    }

    /// Appends literal text. A brace in it does not begin a token.
    pub fn push_literal(&mut self, text: &str) {
        if text.contains('{') {
            self.spelled.push_str(&text.replace('{', "{{"));
        } else {
            self.spelled.push_str(text);
        }
    }

    /// Appends the token of a root.
    pub fn push_root(&mut self, kind: RootKind) {
        self.spelled.push('{');
        self.spelled.push_str(kind.name());
        self.spelled.push('}');
        if !self.roots.contains(&kind) {
            self.roots.push(kind);
        }
    }

    /// Returns the spelling with tokens. Equal spellings are equal texts, wherever the roots are.
    pub fn as_str(&self) -> &str {
        &self.spelled
    }

    /// The roots that occur in the text.
    pub fn roots(&self) -> &[RootKind] {
        &self.roots
    }

    /// Splits a path into its directory, spelled with tokens, and a plain name. `None` if the path does not end in a
    /// plain name.
    pub fn directory_and_name(&self) -> Option<(&str, &str)> {
        let slash = self.spelled.rfind('/');
        let (dir, name) = self.spelled.split_at(slash.map_or(0, |slash| slash + 1));
        // Drop the trailing slash, except that of `/`.
        let dir = if dir.len() > 1 { &dir[..dir.len() - 1] } else { dir };
        (!matches!(name, "" | "." | "..") && brace(name).is_none()).then_some((dir, name))
    }

    /// Replaces each token with the place of its root. `None` if `place` returns `None` for a root that occurs.
    pub fn expand<'a>(&self, place: impl Fn(RootKind) -> Option<&'a str>) -> Option<String> {
        Self::expand_spelled(&self.spelled, place)
    }

    /// Like [`Self::expand`], for a part of a text in its spelling with tokens.
    pub fn expand_spelled<'a>(spelled: &str, place: impl Fn(RootKind) -> Option<&'a str>) -> Option<String> {
        let mut out = String::with_capacity(spelled.len() + 64);
        let mut rest = spelled;
        while let Some(at) = brace(rest) {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('{') {
                out.push('{');
                rest = after;
            } else {
                let (name, after) = rest.split_once('}')?;
                let kind = RootKind::ALL.into_iter().find(|kind| kind.name() == name)?;
                out.push_str(place(kind)?);
                rest = after;
            }
        }
        out.push_str(rest);
        Some(out)
    }

    /// Parses a spelling. `None` if it contains a token that this version does not know.
    pub fn spelled(spelled: &str) -> Option<Self> {
        let mut roots = Vec::new();
        let mut rest = spelled;
        while let Some(at) = brace(rest) {
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('{') {
                rest = after;
            } else {
                let (name, after) = rest.split_once('}')?;
                let kind = RootKind::ALL.into_iter().find(|kind| kind.name() == name)?;
                if !roots.contains(&kind) {
                    roots.push(kind);
                }
                rest = after;
            }
        }
        Some(Self { spelled: spelled.to_owned(), roots })
    }
}

fn brace(text: &str) -> Option<usize> {
    text.bytes().position(|byte| byte == b'{')
}

impl Serialize for TokenString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.spelled)
    }
}

impl<'de> Deserialize<'de> for TokenString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Spelled;
        impl serde::de::Visitor<'_> for Spelled {
            type Value = TokenString;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text with roots in braces")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TokenString, E> {
                TokenString::spelled(text).ok_or_else(|| E::custom("unknown token in a text with roots"))
            }
        }
        deserializer.deserialize_str(Spelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(kind: RootKind) -> Option<&'static str> {
        (kind == RootKind::Workspace).then_some("/w")
    }

    #[test]
    fn a_literal_brace_is_no_token() {
        let text = TokenString::literal("a{workspace}b{");
        assert_eq!(text.expand(place).unwrap(), "a{workspace}b{");
        let back: TokenString = serde_json::from_str(&serde_json::to_string(&text).unwrap()).unwrap();
        assert_eq!(back, text);
    }

    #[test]
    fn a_path_is_a_name_in_a_directory() {
        let parts = |spelled: &str| {
            TokenString::spelled(spelled)
                .unwrap()
                .directory_and_name()
                .map(|(dir, name)| (dir.to_owned(), name.to_owned()))
        };
        let some = |dir: &str, name: &str| Some((dir.to_owned(), name.to_owned()));
        assert_eq!(parts("{workspace}/src/a.rs"), some("{workspace}/src", "a.rs"));
        assert_eq!(parts("src/a.rs"), some("src", "a.rs"));
        assert_eq!(parts("a.rs"), some("", "a.rs"));
        assert_eq!(parts("/a"), some("/", "a"));
        assert_eq!(parts("/a//b"), some("/a/", "b"));
        assert_eq!(parts("{{x}/a"), some("{{x}", "a"));
        for odd in ["", "/", "a/", "a/.", "..", "a/..", "{workspace}", "a/{{x}", "a/{home}"] {
            assert_eq!(parts(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_root_expands_to_its_place() {
        let mut text = TokenString::default();
        text.push_root(RootKind::Workspace);
        text.push_literal("/src/{x}.rs");
        assert_eq!(text.expand(place).unwrap(), "/w/src/{x}.rs");
        assert_eq!(text.roots(), [RootKind::Workspace]);
        assert_eq!(text.expand(|_| None), None);
    }
}
