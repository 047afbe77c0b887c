//! The ways in which an invocation can end: enums in which each value has a stable id and a sentence.
//!
//! Ids appear in the event log and in `kache stats`; never reuse or rename one. A log may hold ids of a newer version:
//! they are read as `Other`, and written as they were read.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize, Serializer};

/// The meaning of an id that this version does not know.
const UNKNOWN: &str = "an outcome that this kache does not know";

/// An enum of reasons, each with an id and a sentence.
macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $id:literal, $sentence:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
        pub enum $name {
            $(#[doc = $sentence] $(#[$vdoc])* $variant,)*
        }

        impl $name {
            /// All values, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stable id, as in the event log and in JSON. Never reuse or rename one.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$variant => $id,)* }
            }

            /// The meaning in one sentence, for people.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }

            /// The value with this id.
            pub fn from_id(id: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.id() == id)
            }
        }
    };
}

/// The same for the enums that the event log holds by id: they have `Other`, and order and serialise as their ids.
macro_rules! logged_reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $id:literal, $sentence:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
        #[serde(from = "String")]
        pub enum $name {
            $(#[doc = $sentence] $(#[$vdoc])* $variant,)*
            /// A value of a newer version, by its id.
            Other(String),
        }

        impl $name {
            /// All values that this version knows.
            pub const KNOWN: &'static [Self] = &[$(Self::$variant),*];

            /// The stable id, as in the event log and in JSON. Never reuse or rename one.
            pub fn id(&self) -> &str {
                match self { $(Self::$variant => $id,)* Self::Other(id) => id }
            }

            /// The meaning in one sentence, for people.
            pub const fn sentence(&self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* Self::Other(_) => UNKNOWN }
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                match id.as_str() { $($id => Self::$variant,)* _ => Self::Other(id) }
            }
        }

        by_id! { $name }
    };
}

/// Orders and serialises a type as its ids.
macro_rules! by_id {
    ($name:ident) => {
        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self::from(id.to_owned())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.id())
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.id().cmp(other.id())
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }
    };
}

reasons! {
    /// Where a hit came from.
    HitSource {
        Local = "hit.local", "restored from the local store";
        WholeBuild = "hit.whole-build", "restored with its whole build, before cargo asked for it";
        Remote = "hit.remote", "restored from the local store, to which it came from the remote";
        Offered = "hit.offered", "restored from what a checkout of this machine had compiled after an edit";
        Verified = "hit.verified", "compiled all the same, with the result that the store holds";
        Differs = "hit.differs", "compiled all the same, with another result than the store holds";
    }
}

reasons! {
    /// Why a compile was needed.
    MissReason {
        NoManifest = "miss.no-manifest", "nothing is recorded for this unit, compiler and flags";
        InputChanged = "miss.input-changed", "no recorded input set holds any more";
        EntryGone = "miss.entry-gone", "the entry is missing or unreadable";
        BlobGone = "miss.blob-gone", "a blob of the entry is missing";
        BlobCorrupt = "miss.blob-corrupt", "a blob was damaged and is now in quarantine";
        RestoreFailed = "miss.restore-failed", "the outputs could not be put in place";
        NewerLibc = "miss.newer-libc", "a program or library in the entry needs a newer C library than this machine has";
        PrivateInput = "miss.private-input", "a dependency was compiled on an incremental session, so its result is offered and not stored";
    }
}

logged_reasons! {
    /// Whether the result of a miss was stored, and if not, why.
    Stored {
        Yes = "stored", "stored";
        RustcFailed = "rustc-failed", "rustc failed, and errors are never stored";
        InputChanged = "input-changed", "an input changed while rustc ran";
        PrivateIncremental = "private-incremental", "compiled on an incremental session, so offered to whoever asks";
        PrivateInput = "private-input", "built on what was compiled so, and offered likewise";
        OutputsUnknown = "outputs-unknown", "the outputs were not the ones that were asked for";
        DepInfoUnreadable = "dep-info-unreadable", "the dep-info file could not be read back exactly";
        UnkeyedArchive = "unkeyed-archive", "the output bundles a native archive that no flag names";
        Unobserved = "unobserved", "something was read that could not be observed";
        SideEffects = "side-effects", "files were written that are no outputs";
        ScriptFailed = "script-failed", "the build script failed, and failures are never stored";
        OutDirUsed = "out-dir-used", "OUT_DIR held files of an earlier run, which the script may build on";
        OutDirUnsupported = "out-dir-unsupported", "OUT_DIR holds something that cannot be restored elsewhere";
        AlwaysRuns = "always-runs", "the script tells cargo to run it in every build";
        NotText = "not-text", "the script printed something that is not UTF-8";
        ChildrenLeft = "children-left", "processes that the script started were still running at its end";
        MessagesUnplaceable = "messages-unplaceable", "a message could not be retargeted";
        StoreFailed = "store-failed", "the store could not be written";
        HoldsAlias = "holds-alias", "a macro put rustc's own arguments into the result; the next compile has others";
        DiskFull = "disk-full", "the disk of the cache directory is full, or nearly so";
    }
}

logged_reasons! {
    /// The record that a miss was compared with to find the differences.
    Compared {
        FirstSeen = "first-seen", "nothing is known of this unit: it was never stored here, or the store was purged";
        Removed = "removed", "the same call was stored before, but its result has been removed from the store";
        Call = "call", "the nearest call that was stored differs";
        InputSet = "input-set", "the nearest input set differs";
    }
}

logged_reasons! {
    /// What the remote, or the agent that asks it, answered a miss. A miss without a remote has none.
    RemoteAnswer {
        Fetched = "fetched", "an entry was fetched from the remote; if this is a miss, it does not hold here";
        Unknown = "unknown", "the remote was asked, and is not known to have such an entry";
        Failed = "failed", "the remote was asked, and the request failed";
        Late = "late", "the remote was asked, and had not delivered an entry when the time to wait was over";
        Unusable = "unusable", "the remote was not asked: the agent has paused it after failures";
        Useless = "useless", "no entry was waited for: none of those fetched for this build holds here";
        NoAgent = "no-agent", "the remote was not asked: the agent did not start or did not answer in time";
        OtherRemote = "other-remote", "the remote was not asked: the agent serves another remote";
        OtherVersion = "other-version", "the remote was not asked: the agent is another version of kache";
    }
}

reasons! {
    /// Why the cache was not consulted.
    BypassReason {
        Probe = "bypass.probe", "cargo or a build script asks rustc a question";
        UnknownFlag = "bypass.unknown-flag", "a flag that this kache does not know";
        Argfile = "bypass.argfile", "an @argfile that cannot be read as rustc would";
        NonUtf8 = "bypass.non-utf8", "an argument or path is not valid UTF-8";
        ExplicitOutput = "bypass.explicit-output", "outputs are named one by one (-o, --emit=kind=path)";
        EmitKind = "bypass.emit-kind", "an --emit kind that is not cached";
        DumpMode = "bypass.dump-mode", "rustc prints instead of compiling";
        SideOutputs = "bypass.side-outputs", "a flag makes rustc write files beyond its outputs";
        Unobserved = "bypass.unobserved", "the unit is linked or runs macros, and what that reads cannot be observed here";
        Inputs = "bypass.inputs", "not exactly one source file";
        NoDepInfo = "bypass.no-dep-info", "no dep-info is written, so the sources stay unknown";
        NoArtifactNotices = "bypass.no-artifact-notices", "rustc is not asked to announce its outputs";
        UnknownDriver = "bypass.unknown-driver", "a workspace wrapper that this kache does not know";
        CompilerUnknown = "bypass.compiler-unknown", "the compiler could not be identified";
        RustcLog = "bypass.rustc-log", "RUSTC_LOG is set";
        ExternUnresolved = "bypass.extern-unresolved", "an --extern without a readable path";
        NativeLibrary = "bypass.native-library", "a native library that cannot be resolved as rustc would";
        ProjectFile = "bypass.project-file", "the .kache.toml above the package, or what it declares, cannot be used";
        Internal = "bypass.internal", "kache failed inside; rustc ran instead";
    }
}

/// Why kache does not consult the cache for an invocation, and the detail that caused it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The reason, which is the outcome of the invocation.
    pub reason: BypassReason,
    /// The flag, file or value that caused it.
    pub detail: String,
}

impl Refusal {
    /// Creates a refusal because of `detail`.
    pub fn new(reason: BypassReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// How one invocation ended, as kache decides it and as the event log holds it, by its id.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(from = "String")]
pub enum Outcome {
    /// kache restored the outputs and replayed the messages.
    Hit(HitSource),
    /// kache ran the compiler, and may have stored the result.
    Miss(MissReason),
    /// kache did not consult the cache.
    Bypass(BypassReason),
    /// An outcome of a newer version, by its id.
    Other(String),
}

/// The three classes of outcomes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum OutcomeClass {
    /// The outputs were restored.
    Hit,
    /// The compiler ran, and the result may have been stored.
    Miss,
    /// The cache was not consulted.
    Bypass,
}

impl OutcomeClass {
    /// The name, with which the ids of the class begin.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}

impl Outcome {
    /// The stable id, such as `hit.local`.
    pub fn id(&self) -> &str {
        match self {
            Self::Hit(source) => source.id(),
            Self::Miss(reason) => reason.id(),
            Self::Bypass(reason) => reason.id(),
            Self::Other(id) => id,
        }
    }

    /// The id without its class, such as `local`.
    pub fn short_id(&self) -> &str {
        let id = self.id();
        id.split_once('.').map_or(id, |(_, short)| short)
    }

    /// The class. An unknown outcome has the class that its id names, else it counts as a bypass.
    pub fn class(&self) -> OutcomeClass {
        match self {
            Self::Hit(_) => OutcomeClass::Hit,
            Self::Miss(_) => OutcomeClass::Miss,
            Self::Bypass(_) => OutcomeClass::Bypass,
            Self::Other(id) => match id.split('.').next() {
                Some("hit") => OutcomeClass::Hit,
                Some("miss") => OutcomeClass::Miss,
                _ => OutcomeClass::Bypass,
            },
        }
    }

    /// Whether the outputs were restored.
    pub fn is_hit(&self) -> bool {
        self.class() == OutcomeClass::Hit
    }

    /// Whether the compiler ran because nothing could be restored.
    pub fn is_miss(&self) -> bool {
        self.class() == OutcomeClass::Miss
    }

    /// The meaning in one sentence, for people.
    pub fn sentence(&self) -> &'static str {
        match self {
            Self::Hit(source) => source.sentence(),
            Self::Miss(reason) => reason.sentence(),
            Self::Bypass(reason) => reason.sentence(),
            Self::Other(_) => UNKNOWN,
        }
    }
}

/// The outcome of an event without one.
impl Default for Outcome {
    fn default() -> Self {
        Self::Other(String::new())
    }
}

impl From<String> for Outcome {
    fn from(id: String) -> Self {
        let hit = || HitSource::from_id(&id).map(Self::Hit);
        let miss = || MissReason::from_id(&id).map(Self::Miss);
        let bypass = || BypassReason::from_id(&id).map(Self::Bypass);
        hit().or_else(miss).or_else(bypass).unwrap_or(Self::Other(id))
    }
}

by_id! { Outcome }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique() {
        let mut ids: Vec<_> = HitSource::ALL.iter().map(|value| value.id()).collect();
        ids.extend(MissReason::ALL.iter().map(|value| value.id()));
        ids.extend(Stored::KNOWN.iter().map(Stored::id));
        ids.extend(BypassReason::ALL.iter().map(|value| value.id()));
        ids.extend(Compared::KNOWN.iter().map(Compared::id));
        ids.extend(RemoteAnswer::KNOWN.iter().map(RemoteAnswer::id));
        let total = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), total);
    }

    #[test]
    fn outcomes_come_back_as_themselves() {
        let known = HitSource::ALL.iter().copied().map(Outcome::Hit);
        let known = known.chain(MissReason::ALL.iter().copied().map(Outcome::Miss));
        let known = known.chain(BypassReason::ALL.iter().copied().map(Outcome::Bypass));
        for outcome in known.chain([Outcome::Other("hit.newer".into()), Outcome::default()]) {
            let text = serde_json::to_string(&outcome).unwrap();
            assert_eq!(text, format!("\"{}\"", outcome.id()));
            assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
        }
    }

    #[test]
    fn logged_reasons_come_back_as_themselves() {
        fn all<T>(known: &[T], id: fn(&T) -> &str)
        where
            T: Clone + PartialEq + std::fmt::Debug + for<'a> From<&'a str> + Serialize + serde::de::DeserializeOwned,
        {
            for value in known.iter().cloned().chain([T::from("newer")]) {
                let text = serde_json::to_string(&value).unwrap();
                assert_eq!(text, format!("\"{}\"", id(&value)));
                assert_eq!(serde_json::from_str::<T>(&text).unwrap(), value);
            }
        }
        all(Stored::KNOWN, Stored::id);
        all(Compared::KNOWN, Compared::id);
        all(RemoteAnswer::KNOWN, RemoteAnswer::id);
    }

    #[test]
    fn an_id_names_its_class() {
        for (class, ids) in [
            (OutcomeClass::Hit, HitSource::ALL.iter().map(|value| value.id()).collect::<Vec<_>>()),
            (OutcomeClass::Miss, MissReason::ALL.iter().map(|value| value.id()).collect()),
            (OutcomeClass::Bypass, BypassReason::ALL.iter().map(|value| value.id()).collect()),
        ] {
            for id in ids {
                let outcome = Outcome::from(id);
                assert_eq!((outcome.class(), id), (class, format!("{}.{}", class.name(), outcome.short_id()).as_str()));
            }
        }
        for (id, class) in [("hit.newer", OutcomeClass::Hit), ("miss.newer", OutcomeClass::Miss)] {
            assert_eq!(Outcome::from(id).class(), class);
        }
        for id in ["bypass.newer", "newer", ""] {
            assert_eq!(Outcome::from(id).class(), OutcomeClass::Bypass);
        }
    }
}
