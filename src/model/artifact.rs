//! The kinds of files that a compile writes. The kind, and never the name alone, decides how kache stores and restores
//! a file.

use serde::{Deserialize, Serialize};

/// The kind of an output file of rustc or of a build script.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArtifactKind {
    /// `.rlib`: only rustc reads it, and it is replaced by rename, never rewritten in place. The only kind that may
    /// share its inode.
    Rlib,
    /// `.rmeta`: cargo compares its mtime, and sets it after `check`, so it is always a private file.
    Rmeta,
    /// `.a` of a `staticlib`: users strip and re-archive it, so it is private.
    Staticlib,
    /// The output of a linker: a program, a test, a proc macro or a shared library. Users strip and sign it, so it is
    /// private.
    Linked,
    /// Debug info next to the output of a linker (`.dwp`, `.dwo`). rustc does not announce it.
    DebugInfo,
    /// A file that a build script wrote to `OUT_DIR`. Later runs rewrite such files in place, so it is private.
    Generated,
    /// A text in `OUT_DIR` that names the checkout. kache stores it with tokens, and restores it with the paths of the
    /// current checkout.
    GeneratedText,
}

impl ArtifactKind {
    /// Returns the kind of a file that rustc announced in an `artifact` notice, from the emit kind in the notice and
    /// the file extension. `None` if this version does not store files of that kind.
    pub fn of(emit: EmitKind, file_name: &str) -> Option<Self> {
        let extension = file_name.rsplit_once('.').map_or("", |(_, extension)| extension);
        match (emit, extension) {
            (EmitKind::Metadata, "rmeta") => Some(Self::Rmeta),
            (EmitKind::Link, "rlib") => Some(Self::Rlib),
            (EmitKind::Link, "a" | "lib") => Some(Self::Staticlib),
            (EmitKind::Link, _) => Some(Self::Linked),
            _ => None,
        }
    }

    /// Returns the kind of a file next to the announced ones. `None` if it does not belong to them.
    pub fn beside(file_name: &str) -> Option<Self> {
        let extension = file_name.rsplit_once('.').map_or("", |(_, extension)| extension);
        matches!(extension, "dwp" | "dwo").then_some(Self::DebugInfo)
    }

    /// Whether a restored file may be a hard link to the blob.
    pub const fn may_share_inode(self) -> bool {
        matches!(self, Self::Rlib)
    }
}

/// The `--emit` kinds that kache supports. Any other kind is a bypass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmitKind {
    /// The `.d` file. kache requires it of every compile, because it lists the sources.
    DepInfo,
    /// The `.rmeta` file. Cargo may start dependents as soon as it is complete.
    Metadata,
    /// The file that the crate type determines: an `.rlib`, a program, ...
    Link,
}

impl EmitKind {
    /// Parses the spelling that rustc uses in `--emit` and in `artifact` notices.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "dep-info" => Some(Self::DepInfo),
            "metadata" => Some(Self::Metadata),
            "link" => Some(Self::Link),
            _ => None,
        }
    }
}
