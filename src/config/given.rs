//! Values as they are given, and what gives them: a variable, or a key of the file.

use super::ValueKind;
use super::env::Env;
use super::error::ConfigError;
use super::table::Row;

/// A value as it is given, and the variable or key that gives it.
pub(super) struct Given {
    pub(super) what: &'static str,
    pub(super) value: String,
}

impl Given {
    /// The value of the variable in `row`, else that of the key in the file.
    pub(super) fn pick(vars: &Env, row: &Row, in_file: Option<String>) -> Option<Self> {
        Self::variable(vars, row.variable).or(in_file.map(|value| Self { what: row.key, value }))
    }

    /// The value of the variable `name`.
    pub(super) fn variable(vars: &Env, name: &'static str) -> Option<Self> {
        set(vars, name).map(|value| Self { what: name, value })
    }

    pub(super) fn read<T>(&self, kind: &ValueKind<T>) -> Result<T, ConfigError> {
        kind.read(self.what, &self.value)
    }
}

/// The text of a variable. An empty one counts as unset.
pub(super) fn set(vars: &Env, name: &str) -> Option<String> {
    vars.text(name).filter(|value| !value.is_empty())
}

/// The error for a setting that lacks something.
pub(super) fn incomplete(what: &str, problem: &'static str) -> ConfigError {
    ConfigError::Incomplete { what: what.to_owned(), problem }
}
