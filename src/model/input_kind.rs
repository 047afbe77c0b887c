//! The kinds of inputs: one table of their tags, their labels and the kinds of their differences.

use std::cmp::Ordering;

use super::{DifferenceKind, Input};

macro_rules! input_kinds {
    ($($variant:ident: $tag:literal, $label:literal, $difference:ident;)*) => {
        /// The kind of an input: the variant of [`Input`] without its content.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum InputKind {
            $(#[doc = concat!("[`Input::", stringify!($variant), "`]")] $variant,)*
        }

        impl InputKind {
            /// All kinds, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The tag, which entry keys contain. Never reuse or change one.
            pub const fn tag(self) -> &'static str {
                match self { $(Self::$variant => $tag,)* }
            }

            /// The words before the name of an input, for people.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }

            /// The kind of the difference if an input of this kind does not hold.
            pub const fn difference(self) -> DifferenceKind {
                match self { $(Self::$variant => DifferenceKind::$difference,)* }
            }
        }

        impl Input {
            /// The kind of this input.
            pub const fn kind(&self) -> InputKind {
                match self { $(Self::$variant(..) => InputKind::$variant,)* }
            }
        }
    };
}

input_kinds! {
    // Variant:      tag,                label,          difference;
    File:            "file",             "file",         File;
    Absent:          "absent",           "absent file",  AbsentFile;
    Env:             "env",              "variable",     Variable;
    Pinned:          "pinned",           "root",         Root;
    Present:         "present",          "presence of",  File;
    PresentNoFollow: "itself",           "presence of",  File;
    Mode:            "mode",             "mode of",      File;
    Modified:        "modified",         "time of",      File;
    Created:         "created",          "time of",      File;
    Listing:         "listing",          "listing",      Listing;
    Link:            "link",             "link",         Link;
    Resolved:        "resolved",         "link",         Link;
    Program:         "program",          "program",      Program;
    Environment:     "environment",      "environment",  Variable;
    KnownVariables:  "known variables",  "environment",  Variable;
    Processor:       "processor",        "processor",    Other;
    GitIndex:        "git index",        "git's index",  File;
    DiagnosticWidth: "diagnostic width", "flag",         Flag;
}

/// The order of the tags, in which input sets list the inputs that the observer found. Entry keys depend on it.
impl Ord for InputKind {
    fn cmp(&self, other: &Self) -> Ordering {
        self.tag().cmp(other.tag())
    }
}

impl PartialOrd for InputKind {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Input {
    /// The tag in entry keys. An unset variable has its own tag because it differs from an empty one.
    pub(super) const fn tag(&self) -> &'static str {
        match self {
            Self::Env(_, None) => "env unset",
            Self::Program(_, None) => "program nowhere",
            Self::DiagnosticWidth(None) => "no diagnostic width",
            _ => self.kind().tag(),
        }
    }

    /// The path or name that the input is about, as in entry keys. Empty if there is only one input of its kind.
    pub fn name(&self) -> &str {
        match self {
            Self::File(path, _)
            | Self::Absent(path)
            | Self::Present(path, _)
            | Self::PresentNoFollow(path, _)
            | Self::Mode(path, _)
            | Self::Modified(path, _)
            | Self::Created(path, _)
            | Self::Listing(path, _)
            | Self::Link(path, _)
            | Self::Resolved(path, _)
            | Self::GitIndex(path, _) => path.as_str(),
            Self::Env(name, _) | Self::Program(name, _) => name,
            Self::Pinned(root, _) => root.name(),
            Self::KnownVariables(known) => known.program.as_str(),
            Self::Environment(_) | Self::Processor(_) | Self::DiagnosticWidth(_) => "",
        }
    }

    /// The label and the name, for people.
    pub fn words(&self) -> String {
        let name = match self {
            Self::KnownVariables(_) => "",
            Self::DiagnosticWidth(_) => "--diagnostic-width",
            _ => self.name(),
        };
        format!("{} {name}", self.kind().label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_unique() {
        let tags: std::collections::BTreeSet<&str> = InputKind::ALL.iter().map(|kind| kind.tag()).collect();
        assert_eq!(tags.len(), InputKind::ALL.len());
    }
}
