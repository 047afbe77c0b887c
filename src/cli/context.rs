//! What every verb uses: its environment and printer, the exit codes, and texts and values that several verbs share.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::printer::Printer;
use crate::config::{Config, Env};
use crate::store::{SizeLimit, Store};

/// The exit code of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// The command succeeded.
    Ok = 0,
    /// The command failed; the reason is on stderr.
    Failed = 1,
    /// The command line is invalid.
    Usage = 2,
    /// A check (`init --check`, `doctor`) found a problem.
    Found = 3,
    /// The command was interrupted (Ctrl-C or SIGTERM).
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The environment and the printer, which every verb uses.
pub(super) struct CommandContext {
    pub(super) env: Env,
    pub(super) out: Printer,
}

impl CommandContext {
    /// Reads the settings. Fails on unknown keys in the file, which are most likely misspelled.
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        let config = Config::load(&self.env).context("cannot read the settings")?;
        anyhow::ensure!(
            config.unknown_keys.is_empty(),
            "{} contains unknown keys: {}; remove them, or install a newer kache",
            config.file.display(),
            config.unknown_keys.join(", ")
        );
        Ok(config)
    }

    /// Reads the settings and opens the store that they name.
    pub(super) fn store(&self) -> anyhow::Result<(Config, Store)> {
        let config = self.config()?;
        let store = Store::open(&config.cache_dir.value);
        Ok((config, store))
    }
}

/// The size that collections trim the store to.
pub(super) fn limit(config: &Config) -> SizeLimit {
    config.max_size.value.map_or(SizeLimit::OfDisk, |size| SizeLimit::Bytes(size.as_u64()))
}

/// The message if there are no events. `is_period`: the command was asked about a period.
pub(super) fn no_events(is_period: bool) -> &'static str {
    match is_period {
        true => "cargo has not called kache in this period; run `kache doctor` to check the setup",
        false => "cargo has not called kache yet; run `kache doctor` to check the setup",
    }
}

/// Reads a span of time, such as `90s`, `1h` or `7d`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write 90s, 15m, 1h or 7d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_with_their_unit() {
        assert_eq!(span("1h").unwrap(), Duration::from_hours(1));
        assert!(span("soon").is_err());
    }
}
