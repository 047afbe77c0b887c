//! One thing that is not as it was recorded, as short texts for people.
//!
//! kache makes differences when it explains a miss, records them in the event log, and shows them in `kache why`. They
//! never contain the value of a variable that looks secret: callers pass the result of [`secret::redacted`] to
//! [`Difference::new`].
//!
//! [`secret::redacted`]: super::secret::redacted

use serde::{Deserialize, Serialize};

/// The longest value that is kept, in characters.
const VALUE_CHARS: usize = 160;
/// The longest name that is kept, in characters.
const NAME_CHARS: usize = 400;
/// The number of characters kept before the first difference of two long values.
const LEAD_CHARS: usize = 32;

/// The kind of thing that differs. The ids appear in the event log and in JSON; never reuse or rename one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum DifferenceKind {
    /// The compiler itself: its version, or the bytes of its files.
    Compiler,
    /// A setting of kache.
    Setting,
    /// The directory in which rustc is started.
    Directory,
    /// A flag of rustc.
    Flag,
    /// The content, kind, mode or times of a file.
    File,
    /// A file that was absent when the input set was recorded.
    AbsentFile,
    /// The names in a directory.
    Listing,
    /// The target of a symbolic link.
    Link,
    /// The result of looking up a program on `PATH`.
    Program,
    /// An environment variable, or all of them as one.
    Variable,
    /// A root whose place counts because it is pinned.
    Root,
    /// A static library that a flag names.
    Library,
    /// A crate that the compiled crate depends on.
    Dependency,
    /// A flag that cargo computes from the others (`-C metadata`): a consequence, not a cause.
    Derived,
    /// Anything else in the lookup key or the input set.
    Other,
}

impl DifferenceKind {
    /// The stable id, as in the event log.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Compiler => "compiler",
            Self::Setting => "setting",
            Self::Directory => "directory",
            Self::Flag => "flag",
            Self::File => "file",
            Self::AbsentFile => "absent-file",
            Self::Listing => "listing",
            Self::Link => "link",
            Self::Program => "program",
            Self::Variable => "variable",
            Self::Root => "root",
            Self::Library => "library",
            Self::Dependency => "dependency",
            Self::Derived => "derived",
            Self::Other => "other",
        }
    }
}

/// One thing that is not as it was recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Difference {
    /// The id of the kind ([`DifferenceKind::id`]).
    pub kind: String,
    /// The path, variable, flag or crate that differs.
    pub name: String,
    /// The recorded value, or a shortened digest of it. `None` if nothing was there, such as for an unset variable.
    pub old: Option<String>,
    /// The current value, in the same form.
    pub new: Option<String>,
}

impl Difference {
    /// Creates a difference and cuts its texts to a readable length.
    pub fn new(kind: DifferenceKind, name: &str, old: Option<String>, new: Option<String>) -> Self {
        let (old, new) = shorten(old, new);
        Self { kind: kind.id().to_owned(), name: cut(name, 0, NAME_CHARS), old, new }
    }

    /// Whether the difference is of this kind.
    pub fn is(&self, kind: DifferenceKind) -> bool {
        self.kind == kind.id()
    }
}

/// Cuts both values to a readable length. The part that differs stays.
fn shorten(old: Option<String>, new: Option<String>) -> (Option<String>, Option<String>) {
    let is_long = |text: &Option<String>| text.as_ref().is_some_and(|text| text.chars().nth(VALUE_CHARS).is_some());
    if !is_long(&old) && !is_long(&new) {
        return (old, new);
    }
    let same = match (&old, &new) {
        (Some(old), Some(new)) => old.chars().zip(new.chars()).take_while(|(one, other)| one == other).count(),
        _ => 0,
    };
    // Keep the start, unless that would cut off the part that differs.
    let from = if same + LEAD_CHARS < VALUE_CHARS { 0 } else { same - LEAD_CHARS };
    let cut = |text: Option<String>| text.map(|text| cut(&text, from, VALUE_CHARS));
    (cut(old), cut(new))
}

fn cut(text: &str, from: usize, most: usize) -> String {
    let mut chars = text.chars();
    let mut out = String::new();
    if from > 0 && chars.by_ref().take(from).count() > 0 {
        out.push_str("...");
    }
    out.extend(chars.by_ref().take(most));
    if chars.next().is_some() {
        out.push_str("...");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(old: &str, new: &str) -> (String, String) {
        let one = Difference::new(DifferenceKind::Variable, "A", Some(old.into()), Some(new.into()));
        (one.old.unwrap(), one.new.unwrap())
    }

    #[test]
    fn short_values_stay_as_they_are() {
        assert_eq!(values("one", "two"), ("one".into(), "two".into()));
        assert_eq!(values(&"é".repeat(VALUE_CHARS), ""), ("é".repeat(VALUE_CHARS), String::new()));
    }

    #[test]
    fn long_values_show_where_they_differ() {
        let common = "/a/long/path:".repeat(30);
        let (old, new) = values(&format!("{common}one"), &format!("{common}two"));
        assert!(old.starts_with("...") && old.ends_with("one"), "{old}");
        assert!(new.ends_with("two") && new.len() < 60, "{new}");
        let (old, new) = values(&format!("one{common}"), &format!("two{common}"));
        assert!(old.starts_with("one") && old.ends_with("..."), "{old}");
        assert!(new.starts_with("two"), "{new}");
        // One is a prefix of the other.
        let (old, new) = values(&common, &format!("{common}x"));
        assert_ne!(old, new);
    }

    #[test]
    fn kinds_have_ids_of_their_own() {
        use DifferenceKind as Kind;
        let all = [Kind::Compiler, Kind::Flag, Kind::File, Kind::AbsentFile, Kind::Dependency, Kind::Derived];
        let ids: std::collections::BTreeSet<&str> = all.iter().map(|kind| kind.id()).collect();
        assert_eq!(ids.len(), all.len());
        assert!(Difference::new(Kind::Flag, "-O", None, None).is(Kind::Flag));
    }
}
