//! Reasons to refuse data from the remote, as one closed enum.
//!
//! Each reason has a stable id, for events, `stats` and tests, and a message. A refused object counts as absent; it
//! never fails a build.

use serde::Deserialize;

/// Why a manifest, a pack or a build record is refused. Its texts are checked or truncated, so that they can be
/// printed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// The object, or a size that it declares, exceeds the limits of [`super::limits`], [`super::manifest`] or
    /// [`super::build_record`].
    #[error("{0} is too large")]
    TooLarge(&'static str),
    /// The bytes do not have the expected format.
    #[error("{0} is malformed")]
    Malformed(&'static str),
    /// The format has a version that this kache does not read.
    #[error("its format is of another version")]
    Version,
    /// Trusted keys are set, and the manifest has no signature.
    #[error("it is not signed")]
    Unsigned,
    /// The manifest is signed, but not by a trusted key.
    #[error("it is signed by none of the trusted keys")]
    Untrusted,
    /// The manifest names a trusted key, but the signature does not verify.
    #[error("its signature is wrong")]
    BadSignature,
    /// The content names another crate, lookup key or key than the object name.
    #[error("it is not about what its name says")]
    Moved,
    /// The listed inputs do not result in the key of the entry.
    #[error("its inputs do not make its key")]
    Inputs,
    /// A name that may lead to another directory, or that the format does not allow.
    #[error("it holds a name that is not allowed: {0:?}")]
    BadName(String),
    /// The pack contains a link.
    #[error("the pack holds a link")]
    Link,
    /// The pack contains a directory, a device or a pipe.
    #[error("the pack holds something that is no file")]
    Special,
    /// The pack uses an extension of the tar format: long names, sparse files, attributes.
    #[error("the pack uses an extension of the tar format")]
    Extension,
    /// Two files have the same name.
    #[error("{0:?} occurs twice")]
    Duplicate(String),
    /// The pack contains a file that the manifest does not list, or does not begin with `meta.json`.
    #[error("the pack holds {0:?}, which is not declared there")]
    Undeclared(String),
    /// The pack does not contain a file that the manifest lists.
    #[error("the pack lacks {0:?}")]
    Missing(String),
    /// A file, or the pack itself, is longer than declared.
    #[error("{0:?} is longer than declared")]
    TooLong(String),
    /// A file, or the pack itself, is shorter than declared.
    #[error("{0:?} is shorter than declared")]
    TooShort(String),
    /// The bytes do not match the declared digest.
    #[error("the bytes of {0:?} are not the declared ones")]
    Digest(String),
    /// The compressed stream needs a larger window than kache allows.
    #[error("the pack asks for too large a window")]
    Window,
    /// The compressed stream is damaged or ends early.
    #[error("the compressed stream is damaged")]
    Compression,
    /// Data follows the end of the archive or of the compressed stream.
    #[error("something follows the end of {0}")]
    Trailing(&'static str),
    /// `meta.json` does not match the manifest.
    #[error("the entry is not the one that the manifest describes: {0}")]
    Entry(&'static str),
}

impl Refused {
    /// Whether the settings refuse the object, or a newer kache wrote it. Otherwise it is damaged.
    pub const fn is_by_policy(&self) -> bool {
        matches!(self, Self::Unsigned | Self::Untrusted | Self::Version)
    }

    /// Stable id for events, `stats` and tests.
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

    /// Characters to keep of a name that was not checked.
    const MAX_SHOWN_CHARS: usize = 80;

    pub(super) fn bad_name(name: &str) -> Self {
        Self::BadName(name.chars().take(Self::MAX_SHOWN_CHARS).collect())
    }

    pub(super) fn duplicate(name: &str) -> Self {
        Self::Duplicate(name.chars().take(Self::MAX_SHOWN_CHARS).collect())
    }

    pub(super) fn undeclared(name: &str) -> Self {
        Self::Undeclared(name.chars().take(Self::MAX_SHOWN_CHARS).collect())
    }

    /// Whether the reason is about who signed, and not about damage.
    pub const fn is_about_trust(&self) -> bool {
        matches!(self, Self::Unsigned | Self::Untrusted | Self::BadSignature | Self::Moved)
    }
}

/// Checks the version of a JSON object before its other fields are parsed: they may differ between versions.
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
