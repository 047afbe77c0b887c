//! One thing that is not as it was recorded, in short texts for people.
//!
//! Made where a miss is explained, kept in the event log, shown by `kache why`. Values of variables that look secret are
//! never in it: [`Difference::new`] is handed what [`secret::veiled`] left.
//!
//! [`secret::veiled`]: super::secret::veiled

use serde::{Deserialize, Serialize};

/// How many characters of a value are kept.
const VALUE_CHARS: usize = 160;
/// How many characters of a name are kept.
const NAME_CHARS: usize = 400;
/// How many characters before the first difference of two long values are kept.
const LEAD_CHARS: usize = 32;

/// What kind of thing differs. The ids appear in the event log and in JSON; never reuse or rename one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum DifferenceKind {
    /// The compiler itself.
    Compiler,
    /// A setting of kache's.
    Setting,
    /// The directory that rustc is started in.
    Directory,
    /// A flag of rustc's.
    Flag,
    /// A file's content.
    File,
    /// A file that was not there.
    AbsentFile,
    /// The names in a directory.
    Listing,
    /// Where a link leads.
    Link,
    /// A program that was run.
    Program,
    /// An environment variable.
    Variable,
    /// A directory whose place counts, as the outputs hold it.
    Root,
    /// A native library.
    Library,
    /// A crate that this one is built on.
    Dependency,
    /// A flag that cargo made of the others (`-C metadata`): a consequence, not a cause.
    Derived,
    /// Something else that the lookup key holds.
    Other,
}

impl DifferenceKind {
    /// The stable id.
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

/// One thing that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Difference {
    /// Id of its kind ([`DifferenceKind`]).
    pub kind: String,
    /// Path, variable, flag or crate.
    pub name: String,
    /// What was recorded: a value or a shortened digest. `None`: nothing, as of an unset variable.
    pub old: Option<String>,
    /// What is there now.
    pub new: Option<String>,
}

impl Difference {
    /// A difference, its texts cut to a readable length.
    pub fn new(kind: DifferenceKind, name: &str, old: Option<String>, new: Option<String>) -> Self {
        let (old, new) = shorten(old, new);
        Self { kind: kind.id().to_owned(), name: cut(name, 0, NAME_CHARS), old, new }
    }

    /// Whether it is of this kind.
    pub fn is(&self, kind: DifferenceKind) -> bool {
        self.kind == kind.id()
    }
}

/// Cuts both values so that what differs stays.
fn shorten(old: Option<String>, new: Option<String>) -> (Option<String>, Option<String>) {
    let is_long = |text: &Option<String>| text.as_ref().is_some_and(|text| text.chars().nth(VALUE_CHARS).is_some());
    if !is_long(&old) && !is_long(&new) {
        return (old, new);
    }
    let same = match (&old, &new) {
        (Some(old), Some(new)) => old.chars().zip(new.chars()).take_while(|(one, other)| one == other).count(),
        _ => 0,
    };
    // From the start, unless the difference would be beyond the end.
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
        // One is the start of the other.
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
