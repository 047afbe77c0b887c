//! What a compile writes, by kind: the kind decides how a file is stored and restored, never its name alone.

use serde::{Deserialize, Serialize};

/// An output file of rustc or of a build script.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArtifactKind {
    /// `.rlib`: read by rustc only, replaced by rename, never rewritten in place. The one kind that may share its inode.
    Rlib,
    /// `.rmeta`: cargo compares its mtime, and re-times it after `check`, so it is always a private file.
    Rmeta,
    /// `.a` of a `staticlib`: handed to users, who strip and re-archive it, so private.
    Staticlib,
    /// What a linker wrote: a program, a test, a proc macro, a shared library. Users strip and sign it, so private.
    Linked,
    /// Debug info beside it (`.dwp`, `.dwo`), which rustc does not announce.
    DebugInfo,
    /// A file that a build script made in `OUT_DIR`. Later runs rewrite such files in place, so private.
    Generated,
    /// The same, a text that names the checkout: stored with tokens, written with the paths of this checkout.
    GeneratedText,
}

impl ArtifactKind {
    /// The kind of a file that rustc announced in an `artifact` notice, judged by the emit kind of the notice and the
    /// file's extension. `None`: a kind this version does not store.
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

    /// The kind of a file that was found beside the announced ones. `None`: none that belongs to them.
    pub fn beside(file_name: &str) -> Option<Self> {
        let extension = file_name.rsplit_once('.').map_or("", |(_, extension)| extension);
        matches!(extension, "dwp" | "dwo").then_some(Self::DebugInfo)
    }

    /// Whether a restored file may be a hard link to the blob.
    pub const fn may_share_inode(self) -> bool {
        matches!(self, Self::Rlib)
    }
}

/// The `--emit` kinds that kache models; any other is a bypass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmitKind {
    /// The `.d` file.
    DepInfo,
    /// The `.rmeta` file.
    Metadata,
    /// The crate type's own file.
    Link,
}

impl EmitKind {
    /// Reads rustc's spelling, as in `--emit` and in `artifact` notices.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "dep-info" => Some(Self::DepInfo),
            "metadata" => Some(Self::Metadata),
            "link" => Some(Self::Link),
            _ => None,
        }
    }
}
