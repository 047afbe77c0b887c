//! Why the settings cannot be used.

use std::path::PathBuf;

use crate::fsx;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Neither a variable nor a home directory determines where the cache or the configuration is.
    #[error("no home directory: set HOME, or KACHE_CACHE_DIR and KACHE_CONFIG")]
    NoHome,
    /// The file exists but cannot be read.
    #[error(transparent)]
    Read(#[from] fsx::Error),
    /// The file is not TOML of the expected shape.
    #[error("{path}: {reason}", path = path.display(), reason = reason.trim_end())]
    Malformed {
        /// Path of the file.
        path: PathBuf,
        /// The message of the parser.
        reason: String,
    },
    /// A value is not valid.
    #[error("{what} is `{value}`, which is not {expected}")]
    Value {
        /// The variable or key.
        what: String,
        /// The invalid value, with control characters replaced.
        value: String,
        /// The valid values, for the message.
        expected: &'static str,
    },
    /// A setting lacks another one, or contains something that it must not.
    #[error("{what} {problem}")]
    Incomplete {
        /// The variable or key.
        what: String,
        /// The rest of the message: the problem, and what to set.
        problem: &'static str,
    },
}

impl ConfigError {
    /// A value that is not valid. Control characters are replaced, so that a terminal does not act on them.
    pub(super) fn value(what: &str, value: &str, expected: &'static str) -> Self {
        Self::Value { what: what.to_owned(), value: value.replace(char::is_control, "\u{fffd}"), expected }
    }
}
