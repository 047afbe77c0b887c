//! Why something that came from the remote is not used: one closed enum.
//!
//! Each reason has a stable id, for events, `stats` and tests, and a sentence. A refused object counts as absent: it is never
//! an error of a build.

use serde::Deserialize;

/// Why a manifest, a pack or a build record is not used. The texts it holds were checked or cut: they can be printed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// The object, or what it announces, is larger than the limits of [`super::manifest`], [`super::pack`], [`super::build`].
    #[error("{0} is too large")]
    TooLarge(&'static str),
    /// The bytes do not have the form of what they should be.
    #[error("{0} is malformed")]
    Malformed(&'static str),
    /// A format that this version does not read.
    #[error("its format is of another version")]
    Version,
    /// Trusted keys are set, and the manifest bears no signature.
    #[error("it is not signed")]
    Unsigned,
    /// It is signed, but by no trusted key.
    #[error("it is signed by none of the trusted keys")]
    Untrusted,
    /// It names a trusted key, whose signature does not hold.
    #[error("its signature is wrong")]
    BadSignature,
    /// It is about another crate, lookup key or key than its name says.
    #[error("it is not about what its name says")]
    Moved,
    /// The inputs it lists do not make the key it is for.
    #[error("its inputs do not make its key")]
    Inputs,
    /// A name that may lead somewhere else, or that a pack cannot hold.
    #[error("it holds a name that is not allowed: {0:?}")]
    BadName(String),
    /// A pack holds a link.
    #[error("the pack holds a link")]
    Link,
    /// A pack holds a directory, a device or a pipe.
    #[error("the pack holds something that is no file")]
    Special,
    /// A pack uses an extension of the tar format: long names, sparse files, attributes.
    #[error("the pack uses an extension of the tar format")]
    Extension,
    /// A name occurs twice.
    #[error("{0:?} occurs twice")]
    Duplicate(String),
    /// A pack holds a file that the manifest does not list, or not there.
    #[error("the pack holds {0:?}, which is not declared there")]
    Undeclared(String),
    /// The pack ended before a file that the manifest lists.
    #[error("the pack lacks {0:?}")]
    Missing(String),
    /// A file, or the pack itself, is longer than declared.
    #[error("{0:?} is longer than declared")]
    TooLong(String),
    /// A file, or the pack itself, is shorter than declared.
    #[error("{0:?} is shorter than declared")]
    TooShort(String),
    /// The bytes are not those that the digest is of.
    #[error("the bytes of {0:?} are not the declared ones")]
    Digest(String),
    /// The compressed stream asks for more memory than is given.
    #[error("the pack asks for too large a window")]
    Window,
    /// The compressed stream is damaged or ends early.
    #[error("the compressed stream is damaged")]
    Compression,
    /// Something follows where everything should have ended.
    #[error("something follows the end of {0}")]
    Trailing(&'static str),
    /// `meta.json` is not about what the manifest says.
    #[error("the entry is not the one that the manifest describes: {0}")]
    Entry(&'static str),
}

impl Refused {
    /// The stable id.
    pub const fn id(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "too-large",
            Self::Malformed(_) => "malformed",
            Self::Version => "version",
            Self::Unsigned => "unsigned",
            Self::Untrusted => "untrusted",
            Self::BadSignature => "bad-signature",
            Self::Moved => "moved",
            Self::Inputs => "inputs",
            Self::BadName(_) => "bad-name",
            Self::Link => "link",
            Self::Special => "special",
            Self::Extension => "extension",
            Self::Duplicate(_) => "duplicate",
            Self::Undeclared(_) => "undeclared",
            Self::Missing(_) => "missing",
            Self::TooLong(_) => "too-long",
            Self::TooShort(_) => "too-short",
            Self::Digest(_) => "digest",
            Self::Window => "window",
            Self::Compression => "compression",
            Self::Trailing(_) => "trailing",
            Self::Entry(_) => "entry",
        }
    }

    /// How much of a name that was not checked is kept.
    const SHOWN: usize = 80;

    pub(super) fn bad_name(name: &str) -> Self {
        Self::BadName(name.chars().take(Self::SHOWN).collect())
    }

    pub(super) fn duplicate(name: &str) -> Self {
        Self::Duplicate(name.chars().take(Self::SHOWN).collect())
    }

    pub(super) fn undeclared(name: &str) -> Self {
        Self::Undeclared(name.chars().take(Self::SHOWN).collect())
    }

    /// Whether it is about who signed: `doctor` and `stats` tell these apart from damage.
    pub const fn is_about_trust(&self) -> bool {
        matches!(self, Self::Unsigned | Self::Untrusted | Self::BadSignature | Self::Moved)
    }
}

/// Whether the JSON object is of the version, before its other fields are looked at: those of another one may differ.
pub(super) fn check_version(bytes: &[u8], version: u32, what: &'static str) -> Result<(), Refused> {
    #[derive(Deserialize)]
    struct Versioned {
        v: u32,
    }
    match serde_json::from_slice(bytes) {
        Ok(Versioned { v }) if v == version => Ok(()),
        Ok(_) => Err(Refused::Version),
        Err(_) => Err(Refused::Malformed(what)),
    }
}
