//! Values as variables and tables of the file give them, with the name of their source for messages.

use crate::config::env::Env;
use crate::config::error::ConfigError;
use crate::config::table::Row;
use crate::config::{ValueKind, table};

/// A value as it is given, and the variable or key that gives it.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) what: String,
    pub(super) value: String,
}

impl Given {
    /// The value of the variable `name`. An empty one counts as unset.
    pub(super) fn variable(vars: &Env, name: &'static str) -> Option<Self> {
        set(vars, name).map(|value| Self { what: name.to_owned(), value })
    }

    pub(super) fn read<T>(&self, kind: &ValueKind<T>) -> Result<T, ConfigError> {
        kind.read(&self.what, &self.value)
    }

    /// Reads a URL, which is printed and stored in many places: it must not contain a user name or password, and the
    /// error about one does not repeat it. `instead`: what to do.
    pub(super) fn read_url(&self, kind: &ValueKind<String>, instead: &'static str) -> Result<String, ConfigError> {
        match may_hold_password(&self.value) {
            true => Err(incomplete(&self.what, instead)),
            false => self.read(kind),
        }
    }
}

/// A table of the file, and the variables that describe the same layer.
#[derive(Clone, Debug)]
pub(super) struct TableSource<'a> {
    pub(super) vars: &'a Env,
    /// Whether the variables describe this table, too.
    pub(super) has_variables: bool,
    /// Position in a list of several tables, from 1. `None`: it is the only one.
    pub(super) position: Option<usize>,
}

impl TableSource<'_> {
    /// The value of the variable in `row`, else that of the key in the file.
    pub(super) fn pick(&self, row: &Row, in_file: Option<String>) -> Option<Given> {
        let of_variable = || self.has_variables.then(|| Given::variable(self.vars, row.variable)).flatten();
        of_variable().or_else(|| self.of_file(row, in_file))
    }

    /// The value of the key in the file.
    pub(super) fn of_file(&self, row: &Row, in_file: Option<String>) -> Option<Given> {
        in_file.map(|value| Given { what: self.key(row), value })
    }

    /// The key, for messages.
    pub(super) fn key(&self, row: &Row) -> String {
        match self.position {
            None => row.key.to_owned(),
            Some(position) => format!("{} of remote {position}", row.key),
        }
    }

    /// The table, for messages.
    pub(super) fn name(&self) -> String {
        let section = table::REMOTE_TYPE.key.rsplit_once('.').map_or("", |(section, _)| section);
        self.position.map_or_else(|| section.to_owned(), |position| format!("{section} {position}"))
    }
}

/// Whether the URL contains an `@` that may be the end of a user name and a password: before the path, or anywhere if
/// the URL is malformed, because then it is unknown where the path begins.
fn may_hold_password(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return url.contains('@');
    };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    // The colons in brackets are part of an IPv6 address.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, ""),
    };
    let is_plain = !host.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    authority.contains('@') || !is_plain && url.contains('@')
}

/// The text of a variable. An empty one counts as unset.
pub(super) fn set(vars: &Env, name: &str) -> Option<String> {
    vars.text(name).filter(|value| !value.is_empty())
}

/// A copy of the text, or an empty one.
pub(super) fn own_or_default(text: Option<&String>) -> String {
    text.cloned().unwrap_or_default()
}

/// The digest of a text that must not be revealed, in hexadecimal.
pub(super) fn digest(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

pub(super) fn incomplete(what: &str, problem: &'static str) -> ConfigError {
    ConfigError::Incomplete { what: what.to_owned(), problem }
}
