//! Versions of glibc, the C library of most Linux systems.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How the names of its symbol versions begin.
const PREFIX: &str = "GLIBC_";
/// The version that a program needs if its relocations are packed (`DT_RELR`). glibc has it since 2.36.
const PACKED_RELOCATIONS: &str = "GLIBC_ABI_DT_RELR";

/// A version of glibc, spelled like the versions of its symbols: `GLIBC_2.34`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct GlibcVersion {
    major: u32,
    minor: u32,
    patch: u32,
}

/// A text that is not a version of glibc.
#[derive(Debug, thiserror::Error)]
#[error("not a version of glibc")]
pub struct NotAGlibcVersion;

impl GlibcVersion {
    /// Reads the version of a symbol. `None` if it does not tell a version of glibc: symbols of other libraries, and
    /// those that only glibc itself uses (`GLIBC_PRIVATE`).
    pub fn of_symbol(name: &str) -> Option<Self> {
        if name == PACKED_RELOCATIONS {
            return Some(Self { major: 2, minor: 36, patch: 0 });
        }
        Self::of_number(name.strip_prefix(PREFIX)?)
    }

    /// Reads a number with two or three parts, as glibc itself tells it: `2.36`.
    pub fn of_number(number: &str) -> Option<Self> {
        let mut parts = number.split('.').map(|part| part.parse().ok());
        let (major, minor) = (parts.next()??, parts.next()??);
        let patch = parts.next().map_or(Some(0), |patch| patch)?;
        parts.next().is_none().then_some(Self { major, minor, patch })
    }
}

impl fmt::Display for GlibcVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}.{}", self.major, self.minor)?;
        if self.patch == 0 { Ok(()) } else { write!(f, ".{}", self.patch) }
    }
}

impl FromStr for GlibcVersion {
    type Err = NotAGlibcVersion;

    fn from_str(text: &str) -> Result<Self, NotAGlibcVersion> {
        text.strip_prefix(PREFIX).and_then(Self::of_number).ok_or(NotAGlibcVersion)
    }
}

impl Serialize for GlibcVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GlibcVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_as_numbers_and_come_back_as_themselves() {
        let names = ["GLIBC_2.2.5", "GLIBC_2.4", "GLIBC_2.17", "GLIBC_2.34", "GLIBC_9.99"];
        let versions = names.map(|name| GlibcVersion::of_symbol(name).unwrap());
        assert!(versions.is_sorted());
        for (version, name) in versions.iter().zip(names) {
            assert_eq!((version.to_string().as_str(), name.parse::<GlibcVersion>().ok()), (name, Some(*version)));
        }
        assert_eq!(GlibcVersion::of_symbol("GLIBC_ABI_DT_RELR"), GlibcVersion::of_number("2.36"));
    }

    #[test]
    fn other_versions_tell_nothing() {
        for name in ["GLIBC_PRIVATE", "GCC_3.0", "GLIBCXX_3.4", "GLIBC_2", "GLIBC_2.x", "GLIBC_2.1.2.3", "2.34", ""] {
            assert_eq!(GlibcVersion::of_symbol(name), None, "{name}");
        }
    }
}
